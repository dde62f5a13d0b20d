"""When gevent's loop asks the kernel which sockets have something to read, and when it last did.

The loop is told of every socket that is ready. One that it reads now and was not told of the time before was empty
then: what is in it came since, however late this process is.

Where many streams are past their first output, it asks once a millisecond at most: being woken for each packet costs
more than reading it, and the kernel notes down when it came.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import gevent
from gevent import monkey

#: How long a sleeping process may take from the packet that wakes it to its first instruction.
_WAKING_NS = 500_000
_FIRST, _LAST = 2, -2
_MANY_STREAMS = 64
_ROUND_NS = 1_000_000
_sleep = monkey.get_original("time", "sleep")


class Polls:
    """empty_ns: within a callback of the loop, when the sockets that it reads now held nothing, on
    time.perf_counter_ns()'s clock. That is the loop's look before the one that led here; or, if it slept meanwhile,
    shortly before it was woken: it is a packet that wakes it.
    patient: how many streams have had their first output, and the kernel's times for all that is still to come."""

    def __init__(self) -> None:
        self.empty_ns = self._asked_ns = self._told_ns = 0
        self.patient = 0
        self._in_a_hurry = 0
        self._loop: Any = None
        self._watchers: list[Any] = []

    def keep(self) -> None:
        """Note down each look of this process's loop from now on; nothing changes where it is done already."""
        if not self._watchers:
            self._loop = loop = gevent.get_hub().loop
            # In this order of urgency: gevent runs its greenlets in a watcher like the first, and they may take long.
            about_to_ask, told = loop.prepare(ref=False, priority=_LAST), loop.check(ref=False, priority=_FIRST)
            about_to_ask.start(self._ask)
            told.start(self._hear)
            self._watchers += about_to_ask, told

    @contextmanager
    def hurry(self) -> Iterator[None]:
        """Meanwhile it asks without delay: a connection is being made, or a request sent."""
        self._in_a_hurry += 1
        try:
            yield
        finally:
            self._in_a_hurry -= 1

    def _ask(self) -> None:
        self._asked_ns = time.perf_counter_ns()
        left_ns = self._told_ns + _ROUND_NS - self._asked_ns
        # A greenlet that is due, to send a request perhaps, is not kept waiting; gevent has no public name for those.
        hurry = self._in_a_hurry or self._loop._callbacks
        if left_ns > 0 and self.patient >= _MANY_STREAMS and not hurry:
            _sleep(left_ns / 1e9)
            self._asked_ns = time.perf_counter_ns()

    def _hear(self) -> None:
        now_ns = time.perf_counter_ns()
        slept = now_ns - self._asked_ns > _WAKING_NS
        self.empty_ns = now_ns - _WAKING_NS if slept else self._told_ns
        self._told_ns = now_ns


#: One to a process, as its loop is; kept from the first connection on.
POLLS = Polls()
