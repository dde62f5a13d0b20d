"""Locust's users dispatcher, with its defects repaired: which users run on which worker.

Private names of Locust used here, checked with 2.47.0 (https://github.com/locustio/locust/blob/2.47.0/locust/dispatch.py
and runners.py): UsersDispatcher._worker_nodes, _users_on_workers, _rebalance; runners.HEARTBEAT_DEAD_INTERNAL.
"""

from __future__ import annotations

from collections.abc import Callable
from math import inf

import locust.runners
from locust import User
from locust.dispatch import UsersDispatcher
from locust.runners import WorkerNode

#: How many users of each class each worker has, by the worker's name in Locust.
UsersOnWorkers = dict[str, dict[str, int]]


class Dispatcher(UsersDispatcher):
    """Locust's, which gives users another worker at once when a worker comes or goes.

    Locust does so by starting another ramp, unless one is under way. That ramp blocks whatever reads the workers'
    messages for a second, and a worker that comes or goes in that second is overlooked: its users are missing until the
    next level. Here the new distribution is sent the moment it is known, and a ramp under way goes on from it.
    """

    def __init__(
        self,
        worker_nodes: list[WorkerNode],
        user_classes: list[type[User]],
        send: Callable[[UsersOnWorkers], None],
    ) -> None:
        """send: makes the workers' users what is given."""
        super().__init__(worker_nodes, user_classes)
        self._send = send
        self._under_way: UsersOnWorkers = {}

    def __next__(self) -> UsersOnWorkers:
        """The next step of a ramp. Locust sends it a moment later."""
        self._under_way = super().__next__()
        return self._under_way

    @property
    def dispatch_in_progress(self) -> bool:
        """Always true: Locust then starts no ramp of its own because a worker came or went."""
        return True

    def add_worker(self, worker_node: WorkerNode) -> None:
        """Give the worker its share of the users now; one that is known already has it anew."""
        self._worker_nodes = [node for node in self._worker_nodes if node.id != worker_node.id]
        super().add_worker(worker_node)
        self._send_now()

    def remove_worker(self, worker_node: WorkerNode) -> None:
        """Give the worker's users to the others now. Without others, to those that come."""
        if all(node.id != worker_node.id for node in self._worker_nodes):
            return
        super().remove_worker(worker_node)
        self._send_now()

    def _send_now(self) -> None:
        if self._rebalance:
            self._rebalance = False
            users_on_workers = self._fast_users_on_workers_copy(self._users_on_workers)
            # A step that has yet to be sent would undo this: it shall say the same.
            for counts in self._under_way.values():
                counts.update(dict.fromkeys(counts, 0))
            for name, counts in users_on_workers.items():
                self._under_way.setdefault(name, {}).update(counts)
            self._send(users_on_workers)


def keep_missing_workers() -> None:
    """Locust forgets a worker that was silent for a minute, and then begins the ramp of the running level anew: all
    users but one are stopped. What it does here once a worker has been silent for four seconds is enough."""
    locust.runners.HEARTBEAT_DEAD_INTERNAL = -inf  # type: ignore[assignment]
