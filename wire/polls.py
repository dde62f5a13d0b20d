"""When gevent's loop last asked the kernel which sockets have something to read, and the time before that.

The loop is told of every socket that is ready. One that it reads now, and was not told of the time before, was empty
then: what is in it came since, however late this process is.
"""

from __future__ import annotations

import time
from typing import Any

import gevent


class Polls:
    """previous_ns: the loop's last look but one, on time.perf_counter_ns()'s clock. Within a callback, the last look is
    the one that led to it."""

    def __init__(self) -> None:
        self.previous_ns = self._last_ns = 0
        self._watcher: Any = None

    def keep(self) -> None:
        """Note down each look of this process's loop from now on; nothing changes where it is done already."""
        if self._watcher is None:
            self._watcher = gevent.get_hub().loop.check(ref=False)
            self._watcher.start(self._looked)

    def _looked(self) -> None:
        self.previous_ns = self._last_ns
        self._last_ns = time.perf_counter_ns()


#: One to a process, as its loop is; kept from the first connection on.
POLLS = Polls()
