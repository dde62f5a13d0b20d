"""The running level of a master, and the messages with which its workers receive it."""

from __future__ import annotations

from typing import Any

import msgspec

from tokenswarm.cluster.master_channel import MasterChannel
from tokenswarm.cluster.membership import Membership
from tokenswarm.cluster.protocol import LEVEL, LevelBegun
from tokenswarm.cluster.request_shares import request_shares


class LevelBroadcast:
    """Sends each level to every worker as it begins, and to each worker that connects later. `current`: the running
    level, None between runs."""

    def __init__(self, channel: MasterChannel, membership: Membership) -> None:
        self._channel, self._membership = channel, membership
        self.current: LevelBegun | None = None
        #: Of the running level's requests, by worker; None where no number is set.
        self._shares: dict[str, int] | None = None
        self._by_index: dict[int, int] = {}
        channel.runner.environment.events.worker_connect.add_listener(self._on_connect)

    def begin(self, begun: LevelBegun) -> None:
        """Requests belong to this level from its beginning on."""
        takers = [name for name, member in self._membership.members.items() if not member.leaving]
        self._shares = request_shares(begun.level, takers or self._membership.members)
        members = self._membership.members
        self._by_index = {members[name].index: share for name, share in (self._shares or {}).items()}
        self.announce(begun)

    def announce(self, begun: LevelBegun) -> None:
        """Send the running level to every worker, whether it is new or has changed."""
        self.current = begun
        for name in self._membership.members:
            self.send(name)

    def shares_by_worker(self) -> dict[int, int]:
        """Of the running level's number of requests, those that each worker's users send; empty where none is set."""
        return dict(self._by_index)

    def end_run(self) -> None:
        """No level is running any more."""
        self.current = None

    def send(self, name: str) -> None:
        """Send the running level to a worker. One that joined after it began has no share of a number of requests."""
        level = self.current
        if level is not None and self._shares is not None:
            level = msgspec.structs.replace(level, share=self._shares.get(name, 0))
        self._channel.send(LEVEL, name, msgspec.to_builtins(level))

    def _on_connect(self, client_id: str, **_: Any) -> None:
        # Before its users, whether it is new, or ready again after a run that was stopped or a connection that broke.
        if client_id in self._membership.members and self.current is not None:
            self.send(client_id)
