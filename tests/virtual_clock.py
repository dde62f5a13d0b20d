"""A clock of the tests' own, on which greenlets wait without time passing."""

from __future__ import annotations

import heapq

import gevent
from gevent.event import Event

#: When a level begins on it.
BEGAN_NS = 1_000 * 10**9


class VirtualClock:
    """Moves on when every greenlet waits."""

    lead_ns = 0

    def __init__(self) -> None:
        self.now_s = BEGAN_NS / 1e9
        self._alarms: list[tuple[float, int, Event]] = []
        self._number = 0

    def now_ns(self) -> int:
        return round(self.now_s * 1e9)

    def wait(self, event: Event, seconds: float | None) -> None:
        if seconds is None:
            event.wait()
            return
        self._number += 1
        woken = Event()
        event.rawlink(lambda _: woken.set())
        heapq.heappush(self._alarms, (self.now_s + seconds, self._number, woken))
        woken.wait()

    def close(self) -> None:
        """Nothing to do."""

    def sleep(self, seconds: float) -> None:
        self.wait(Event(), seconds)

    def run(self, until_s: float) -> None:
        """Let so much time of the level pass."""
        end_s = BEGAN_NS / 1e9 + until_s
        settle()
        while self._alarms and self._alarms[0][0] <= end_s:
            self.now_s, _, woken = heapq.heappop(self._alarms)
            woken.set()
            settle()
        self.now_s = end_s


def settle() -> None:
    """Until all that can run has run."""
    for _ in range(50):
        gevent.sleep(0)
