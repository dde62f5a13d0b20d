"""Waiting in gevent's loop to a tenth of a millisecond.

gevent's own timers are up to 1.1 ms late, as libev has the kernel wait for whole milliseconds. Linux has timers that
are files (timerfd), which become readable at their time.
"""

from __future__ import annotations

import ctypes
import os
import struct
from typing import Any

import gevent
from gevent.event import Event

_READABLE = 1
_CLOCK_MONOTONIC = 1
#: Seconds and nanoseconds of the interval, which is none, and until the time.
_SPEC = struct.Struct("@qqqq")
_EXPIRATIONS_BYTES = 8


class PreciseTimer:
    """For one greenlet at a time. Where the system has no such timers, gevent's are used."""

    def __init__(self) -> None:
        self._fileno: int | None = None  # -1: there is none
        self._libc: Any = None
        self._watcher: Any = None
        self._event: Event | None = None

    def wait(self, event: Event, seconds: float) -> None:
        """Until the event is set, or for so long; the event may then be set."""
        if self._fileno is None:
            self._fileno = self._open()
        if self._fileno < 0:
            event.wait(seconds)
            return
        spec = _SPEC.pack(0, 0, *divmod(max(1, round(seconds * 1e9)), 1_000_000_000))
        self._event = event
        self._libc.timerfd_settime(self._fileno, 0, spec, None)
        event.wait()
        self._event = None

    def close(self) -> None:
        """Nobody waits any more."""
        if self._watcher is not None and self._fileno is not None:
            self._watcher.stop()
            self._watcher.close()
            self._watcher = None
            os.close(self._fileno)
        self._fileno = None

    def _open(self) -> int:
        try:
            self._libc = ctypes.CDLL(None)
            fileno: int = self._libc.timerfd_create(_CLOCK_MONOTONIC, os.O_NONBLOCK | os.O_CLOEXEC)
        except (AttributeError, OSError, TypeError):  # another system
            return -1
        if fileno >= 0:
            self._watcher = gevent.get_hub().loop.io(fileno, _READABLE)
            self._watcher.start(self._expire)
        return fileno

    def _expire(self) -> None:
        assert self._fileno is not None
        try:
            os.read(self._fileno, _EXPIRATIONS_BYTES)
        except BlockingIOError:  # it was set anew meanwhile
            return
        if self._event is not None:
            self._event.set()
