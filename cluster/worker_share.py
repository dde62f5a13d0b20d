"""A worker's share of the arrivals of an open-loop level, as its master announces it."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import gevent
import msgspec
from gevent import Greenlet

from tokenswarm.cluster.protocol import REFUSED, SENDING, SPLITS, AnnouncedSplits
from tokenswarm.cluster.worker_channel import WorkerChannel
from tokenswarm.shapes.level_splitter import ALIVE_INTERVAL_S, GRANT_S, HANDOVER_S
from tokenswarm.shapes.worker_arrivals import WorkerArrivals

#: How long a worker that is stopped waits until others send its arrivals, and how often it looks.
_HANDOVER_WAIT_S = HANDOVER_S + 1.5
_POLL_S = 0.05


class WorkerShare:
    """Keeps the arrivals of the running level up to date. There is one level at a time."""

    def __init__(self, channel: WorkerChannel, run: Callable[[], int]) -> None:
        """run: the id of the run."""
        self._channel, self._run = channel, run
        self._level_index = -1
        self._arrivals: WorkerArrivals | None = None
        self._on_change: Callable[[], None] = lambda: None
        self._announcing: Greenlet[..., None] | None = None
        channel.listen(SPLITS, self._on_splits)

    def open(self, level_index: int, arrivals: WorkerArrivals, on_change: Callable[[], None]) -> None:
        """Announce to the master, until `close`, that this worker sends its part of the level's arrivals. on_change:
        called when the arrivals have changed."""
        if self._arrivals is not None:
            self.close(self._arrivals)
        self._level_index, self._arrivals, self._on_change = level_index, arrivals, on_change
        self._announcing = gevent.spawn(self._announce)

    def close(self, arrivals: WorkerArrivals) -> None:
        """This worker sends no more of these, unless others have been opened since."""
        if self._arrivals is arrivals:
            assert self._announcing is not None
            self._announcing.kill(block=False)
            self._arrivals = None

    def refuse(self, reason: str) -> None:
        """This worker cannot send the level: the master ends the run."""
        self._channel.send(REFUSED, {"reason": reason})

    def hand_over(self) -> None:
        """The master knows that this worker is being stopped: return when others have its later arrivals, and it has
        sent the earlier ones. At once where it sends none."""
        for _ in range(round(_HANDOVER_WAIT_S / _POLL_S)):
            if self._arrivals is None or self._arrivals.is_released:
                return
            gevent.sleep(_POLL_S)

    def _announce(self) -> None:
        while True:
            sent_ns = time.perf_counter_ns()
            self._channel.send(SENDING, {"run": self._run(), "level": self._level_index, "sent_ns": sent_ns})
            gevent.sleep(ALIVE_INTERVAL_S)

    def _on_splits(self, environment: Any, msg: Any, **_: Any) -> None:
        announced = msgspec.convert(msg.data, AnnouncedSplits)
        arrivals = self._arrivals
        if arrivals is None or (announced.run, announced.level) != (self._run(), self._level_index):
            return
        if announced.splits is not None and announced.splits != arrivals.splits:
            arrivals.splits = announced.splits
        if announced.answers_ns is not None:
            granted_ns = announced.answers_ns + round(GRANT_S * 1e9)
            arrivals.granted_until_ns = max(arrivals.granted_until_ns, granted_ns)
        self._on_change()
