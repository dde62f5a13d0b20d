"""A limit of time that a stopped or busy process does not run into."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import gevent

#: One more round of the loop, so that it sees what has arrived.
_LEAST_GRACE_S = 0.01


@contextmanager
def time_limit(seconds: float) -> Iterator[None]:
    """Raise TimeoutError in this greenlet when the block takes longer than `seconds`.

    Where the process noticed the limit late, because it was stopped or busy, the block has as much more time: the loop
    runs timers out before it sees what arrived meanwhile.
    """
    waiting, loop = gevent.getcurrent(), gevent.get_hub().loop
    due_s = time.perf_counter() + seconds
    timers: list[Any] = []

    def start(delay_s: float, then: Any) -> None:
        timers.append(loop.timer(max(0.0, delay_s)))
        timers[-1].start(then, update=True)  # from now on: the loop's own time is that of its last round

    def limit_is_over() -> None:
        start(max(_LEAST_GRACE_S, time.perf_counter() - due_s), lambda: waiting.throw(TimeoutError()))

    start(seconds, limit_is_over)
    try:
        yield
    finally:
        for timer in timers:
            timer.stop()
            timer.close()
