"""How a master spreads users over its workers."""

from __future__ import annotations

import time
from typing import Any

import msgspec
from locust import User
from locust.runners import WorkerNode

from tokenswarm.cluster.level_broadcast import LevelBroadcast
from tokenswarm.cluster.locust_messages import check_user_counts
from tokenswarm.cluster.master_channel import MasterChannel
from tokenswarm.cluster.membership import Membership
from tokenswarm.cluster.protocol import DRAINING, USERS, UserCounts
from tokenswarm.cluster.run_ending import RunEnding
from tokenswarm.upstream.locust_internals import (
    RebalancingDispatcher,
    UsersOnWorkers,
    disable_ramp_rebalancing,
    keep_missing_workers,
    remove_from_dispatcher,
)


class UserDistribution:
    """Gives each worker its share of the users, and shares anew at once when workers join or leave."""

    def __init__(
        self, channel: MasterChannel, membership: Membership, levels: LevelBroadcast, ending: RunEnding
    ) -> None:
        self._channel, self._membership, self._levels, self._ending = channel, membership, levels, ending
        self._runner = channel.runner
        self._runner.environment.dispatcher_class = self._dispatcher  # type: ignore[assignment]
        disable_ramp_rebalancing(self._runner)
        keep_missing_workers()
        channel.listen(USERS, self._on_users)
        channel.listen(DRAINING, self._on_draining)

    def _dispatcher(self, worker_nodes: list[WorkerNode], user_classes: list[type[User]]) -> RebalancingDispatcher:
        """The dispatcher that Locust spreads a run's users with."""
        members = self._membership.members
        takers = [node for node in worker_nodes if node.id in members and not members[node.id].leaving]
        return RebalancingDispatcher(takers or worker_nodes, user_classes, self._send_users, self._one_sender_each)

    def _one_sender_each(self, users_on_workers: UsersOnWorkers) -> UsersOnWorkers:
        """In an open loop, each worker has the one user that sends its arrivals, as long as there are users at all.
        Locust would move users from one worker to another when their number changes."""
        begun = self._levels.current
        if begun is None or begun.level.arrivals is None:
            return users_on_workers
        wanted = {name for counts in users_on_workers.values() for name, count in counts.items() if count}
        return {worker: {name: int(name in wanted) for name in counts} for worker, counts in users_on_workers.items()}

    def _send_users(self, users_on_workers: UsersOnWorkers) -> None:
        """As Locust's master does it in a ramp. Before a run's first level and when it ends, no worker gets users."""
        if self._levels.current is None or self._ending.has_begun:
            return
        environment = self._runner.environment
        for name, counts in users_on_workers.items():
            spawn = {
                "timestamp": time.time(),
                "user_classes_count": counts,
                "host": environment.host,
                "stop_timeout": environment.stop_timeout,
                "parsed_options": vars(environment.parsed_options),
            }
            self._channel.send("spawn", name, spawn)

    def _on_users(self, environment: Any, msg: Any, **_: Any) -> None:
        counts = msgspec.convert(msg.data, UserCounts).user_classes_count
        check_user_counts(counts, self._runner.user_classes_by_name)
        if (client := self._runner.clients.get(msg.node_id)) is not None:
            client.user_classes_count = counts

    def _on_draining(self, environment: Any, msg: Any, **_: Any) -> None:
        """A worker is being stopped: its users start on the others at once, while its own streams end."""
        self._membership.drain(msg.node_id, time.perf_counter_ns() / 1e9)
        if (client := self._runner.clients.get(msg.node_id)) is not None:
            remove_from_dispatcher(self._runner, client)
