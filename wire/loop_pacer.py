"""When gevent's loop polls the kernel for readable sockets, and when it last did.

A poll lists every readable socket. One that is read now and was not listed by the poll before was empty then: its bytes
came since, however late this process is.

Where many streams are past their first output, the loop polls once a millisecond at most: waking up for each packet
costs more than reading it, and the kernel stamps the packet in any case. It polls once in three where a packet tap has
the times of most of them, so that packets that are read together still have their own.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from math import inf
from typing import Any

import gevent
from gevent import monkey

from tokenswarm.upstream.gevent_internals import has_due_callbacks

#: How long a sleeping process may take from the packet that wakes it to its first instruction.
_WAKING_NS = 500_000
_FIRST, _LAST = 2, -2
_MANY_STREAMS = 64
_ROUND_NS, _TAPPED_ROUND_NS = 1_000_000, 3_000_000
_sleep = monkey.get_original("time", "sleep")


class LoopPacer:
    """Notes each poll of the loop, and delays polls where that costs no accuracy.

    empty_ns: while sockets are read, when they held nothing, on time.perf_counter_ns()'s clock. That is the poll before
    the last one; or, if the loop slept since, shortly before it woke up, as a packet wakes it.
    streaming: how many streams have had their first output, and get the kernel's times for all that is still to come.
    left_to_tap: how many of them are left unread for long, as a packet tap has their times.
    due_ns: when a greenlet that waits for a moment is to go on (perf_counter_ns, inf for none). It is not to wait for a
    delayed poll, nor for much of what was read to be processed.
    """

    def __init__(self) -> None:
        self.empty_ns = self._poll_began_ns = self._poll_ended_ns = 0
        self.streaming = self.left_to_tap = 0
        self.due_ns = inf
        self._no_delay_blocks = 0
        self._loop: Any = None
        self._watchers: list[Any] = []

    def keep(self) -> None:
        """Note each poll of this process's loop from now on; to be called by each connection, as it has effect once."""
        if not self._watchers:
            self._loop = loop = gevent.get_hub().loop
            # In this order of urgency: gevent runs its greenlets in a watcher like the first, and they may take long.
            before, after = loop.prepare(ref=False, priority=_LAST), loop.check(ref=False, priority=_FIRST)
            before.start(self._before_poll)
            after.start(self._after_poll)
            self._watchers += before, after

    @property
    def has_many_streams(self) -> bool:
        """Whether what each of them costs is worth some lateness."""
        return self.streaming >= _MANY_STREAMS

    @contextmanager
    def no_delay(self) -> Iterator[None]:
        """Within the block the loop polls without delay: a connection is being made, or a request sent."""
        self._no_delay_blocks += 1
        try:
            yield
        finally:
            self._no_delay_blocks -= 1

    def polls_between(self) -> None:
        """The sockets are about to be listed and read, between two polls of the loop."""
        self.empty_ns, self._poll_ended_ns = self._poll_ended_ns, time.perf_counter_ns()

    def _before_poll(self) -> None:
        self._poll_began_ns = time.perf_counter_ns()
        round_ns = _TAPPED_ROUND_NS if 2 * self.left_to_tap > self.streaming else _ROUND_NS
        left_ns = min(self._poll_ended_ns + round_ns, self.due_ns) - self._poll_began_ns
        if not self.has_many_streams or left_ns <= 0 or self._no_delay_blocks:
            return
        if not has_due_callbacks(self._loop):  # a greenlet that is due, perhaps to send a request, must not wait
            _sleep(left_ns / 1e9)
            self._poll_began_ns = time.perf_counter_ns()

    def _after_poll(self) -> None:
        now_ns = time.perf_counter_ns()
        slept = now_ns - self._poll_began_ns > _WAKING_NS
        self.empty_ns = now_ns - _WAKING_NS if slept else self._poll_ended_ns
        self._poll_ended_ns = now_ns


#: One per process, like its loop; in use from the first connection on.
LOOP_PACER = LoopPacer()
