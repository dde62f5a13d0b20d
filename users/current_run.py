"""The run that this process has users for, as each user class finds it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from tokenswarm.client.run_context import RunContext
from tokenswarm.shapes.worker_arrivals import WorkerArrivals


class Share(Protocol):
    """A worker's share of the arrivals of its master's levels. open: keep these arrivals up to date until `close`, and
    call on_change when they change. refuse: this worker cannot send them, for that reason."""

    def open(self, level_index: int, arrivals: WorkerArrivals, on_change: Callable[[], None]) -> None: ...
    def close(self, arrivals: WorkerArrivals) -> None: ...
    def refuse(self, reason: str) -> None: ...


@dataclass(slots=True)
class CurrentRun:
    """run_context: set before the run's first user, None before and after. share: of an open-loop level's arrivals, on
    a worker. is_prepared: whether Tokenswarm's composition is loaded, which sets these. default_name: of
    requests of Tokenswarm's own users; "" unless users of a locustfile's own run beside them."""

    run_context: RunContext | None = None
    share: Share | None = None
    is_prepared: bool = False
    default_name: str = ""
    _users: int = 0

    def next_user(self) -> int:
        """The number of a user that begins, over all runs of this process: 1, 2, …"""
        self._users += 1
        return self._users


CURRENT_RUN = CurrentRun()
