"""Ctrl-C while a probe waits for the server: raised where the probe is, and nowhere else."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

import gevent


@contextmanager
def ending_with_ctrl_c() -> Iterator[None]:
    """Within, Ctrl-C raises KeyboardInterrupt in this greenlet. Python would raise it where the process happens to be:
    mostly in gevent's hub, which prints it and then raises it here too."""
    waiting = gevent.getcurrent()

    def end(_number: int, _frame: FrameType | None) -> None:
        if gevent.getcurrent() is waiting:
            raise KeyboardInterrupt
        gevent.kill(waiting, KeyboardInterrupt)

    # One that is ignored stays so (`nohup`).
    handles = signal.getsignal(signal.SIGINT) is signal.default_int_handler
    if handles:
        signal.signal(signal.SIGINT, end)
    try:
        yield
    finally:
        if handles:
            signal.signal(signal.SIGINT, signal.default_int_handler)
