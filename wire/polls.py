"""When gevent's loop last asked the kernel which sockets have something to read.

The loop is told of every socket that is ready. One that it reads now and was not told of the time before was empty
then: what is in it came since, however late this process is.
"""

from __future__ import annotations

import time
from typing import Any

import gevent

#: How long a sleeping process may take from the packet that wakes it to its first instruction.
_WAKING_NS = 500_000
_FIRST, _LAST = 2, -2


class Polls:
    """empty_ns: within a callback of the loop, when the sockets that it reads now held nothing, on
    time.perf_counter_ns()'s clock. That is the loop's look before the one that led here; or, if it slept meanwhile,
    shortly before it was woken: it is a packet that wakes it."""

    def __init__(self) -> None:
        self.empty_ns = self._asked_ns = self._told_ns = 0
        self._watchers: list[Any] = []

    def keep(self) -> None:
        """Note down each look of this process's loop from now on; nothing changes where it is done already."""
        if not self._watchers:
            loop = gevent.get_hub().loop
            # In this order of urgency: gevent runs its greenlets in a watcher like the first, and they may take long.
            about_to_ask, told = loop.prepare(ref=False, priority=_LAST), loop.check(ref=False, priority=_FIRST)
            about_to_ask.start(self._ask)
            told.start(self._hear)
            self._watchers += about_to_ask, told

    def _ask(self) -> None:
        self._asked_ns = time.perf_counter_ns()

    def _hear(self) -> None:
        now_ns = time.perf_counter_ns()
        slept = now_ns - self._asked_ns > _WAKING_NS
        self.empty_ns = now_ns - _WAKING_NS if slept else self._told_ns
        self._told_ns = now_ns


#: One to a process, as its loop is; kept from the first connection on.
POLLS = Polls()
