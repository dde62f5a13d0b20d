"""A worker's watch over its master: a worker that has lost its master must not load the server any longer."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from typing import Any

import gevent
from locust.event import Events

#: The process that imported this module: in a process that was forked since then, its parent.
_PARENT = os.getpid()
#: Locust's own worker waits a minute for a silent master; its server would be loaded for as long.
_MASTER_SILENT_S = 15
_LOOK_S = 0.5


def end_with_parent(is_connected: Callable[[], bool]) -> None:
    """In a worker that was forked, until it is connected: Locust's tries to reach a master for five minutes, also where
    its parent, which is that master, has ended."""
    while os.getpid() != _PARENT and not is_connected():
        if os.getppid() != _PARENT:
            os.kill(os.getpid(), signal.SIGKILL)
        gevent.sleep(_LOOK_S)


class MasterWatch:
    """Calls `on_lost` with the reason, once, when the master is silent or its process is gone."""

    def __init__(self, events: Events, on_lost: Callable[[str], None], is_idle: Callable[[], bool]) -> None:
        """is_idle: whether this worker is in no run. One that was forked then ends at once with its parent, and without
        a word: the parent has said why."""
        self._on_lost, self._is_idle = on_lost, is_idle
        self._silent_s = 0
        events.heartbeat_received.add_listener(self._on_heartbeat)
        gevent.spawn(self._watch)

    def _on_heartbeat(self, **_: Any) -> None:
        self._silent_s = 0

    def _watch(self) -> None:
        forked = os.getpid() != _PARENT
        while True:
            gevent.sleep(1.0)
            # Ticks, not a clock: a worker whose own process was suspended has not waited.
            self._silent_s += 1
            if forked and os.getppid() != _PARENT:
                if self._is_idle():
                    os.kill(os.getpid(), signal.SIGKILL)
                return self._on_lost("The process that forked this worker is gone")
            if self._silent_s >= _MASTER_SILENT_S:
                return self._on_lost(f"The master has sent nothing for {_MASTER_SILENT_S} s")
