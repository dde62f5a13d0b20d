"""SIGINT and SIGTERM of a process that is set up: counted, and answered in a greenlet of their own.

No exception is raised where the process happens to be: what ends a run goes its way, and what writes its results is
never torn. Wrappers (`timeout`, shells, containers) signal a process and its group: signals that come together count as
one.
"""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Sequence

import gevent

#: Signals that come within this time are one interrupt.
TOGETHER_S = 1.0


class Interrupts:
    """`act` is called with 1 for the first interrupt, 2 for the second, and so on."""

    def __init__(self, act: Callable[[int], None], clock_s: Callable[[], float] = time.monotonic) -> None:
        self._act = act
        self._clock_s = clock_s
        self._latest_s = -TOGETHER_S
        self.count = 0
        #: Called instead of `act` where it is set.
        self.on_next: Callable[[], None] | None = None

    def take_over(self, numbers: Sequence[signal.Signals] = (signal.SIGINT, signal.SIGTERM)) -> None:
        """Answer these signals from now on, whoever did before."""
        for number in numbers:
            signal.signal(number, lambda *_: self.arrive())

    def arrive(self) -> None:
        """A signal has come."""
        now_s = self._clock_s()
        together = now_s - self._latest_s < TOGETHER_S
        self._latest_s = now_s
        if together:
            return
        if self.on_next is not None:
            gevent.spawn(self.on_next)
            return
        self.count += 1
        gevent.spawn(self._act, self.count)
