"""Has connections read what has come, and process it afterwards.

Reading a socket takes microseconds, and gives its bytes the kernel's time; what follows (parsing, the end of a request)
takes up to a hundred times as long. Where a second packet joins a first one that was not read yet, the first one's time
is lost. So all sockets are read first, and again every few milliseconds between the steps of what follows.

gevent's loop calls back for each socket by itself, which costs more than one call of the kernel that lists them. Where
the system has epoll, the sockets are in an epoll of their own, which is a single descriptor to the loop.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, Protocol

import gevent
from gevent import monkey

from tokenswarm.wire.limits import USUAL_CONNECTIONS, reserve_descriptors
from tokenswarm.wire.loop_pacer import LOOP_PACER

#: Reads once what has come. Whether that is to be processed soon.
Read = Callable[[], bool]
Process = Callable[[], object]

_READABLE = 1
#: Of the loop's callbacks: gevent runs greenlets in those of timers and connects, and they may take long.
_BEFORE_OTHERS = 1
#: For so long nothing is read while greenlets send or what was read is processed.
_UNREAD_NS = 2_000_000
#: For so long what was read is processed before greenlets that are due, perhaps to send a request, get their turn.
_PROCESSING_NS = 5_000_000
#: The same where the time of such a greenlet has come.
_PROCESSING_WHEN_DUE_NS = 250_000


class ReadNotifier(Protocol):
    """Sockets by their descriptors, and what is called when one becomes readable. The callbacks must neither block nor
    raise."""

    def add(self, fileno: int, read: Read, process: Process) -> None:
        """Call `read` from now on, once for all that has come, and `process` a little later where it returns true. If
        `read` leaves some of what has come, it calls `rearm`."""
        ...

    def rearm(self, fileno: int) -> None:
        """Call `read` once more, for what is left unread."""
        ...

    def remove(self, fileno: int) -> None:
        """Call back no more; to be called before the socket is closed. Nothing happens if it was not added."""
        ...

    def read_between(self) -> None:
        """Read what has come, unless that was done just now: for greenlets, before each step that takes long."""
        ...


class EpollReadNotifier:
    """With an epoll of its own."""

    def __init__(self) -> None:
        self._callbacks: dict[int, tuple[Read, Process]] = {}
        #: What was read, in the order in which it is processed.
        self._unprocessed: dict[int, Process] = {}
        self._epoll: Any = None
        self._watcher: Any = None
        self._loop: Any = None
        self._events = self._gone = 0
        self._read_ns = 0
        self._continues = False

    def add(self, fileno: int, read: Read, process: Process) -> None:
        if self._epoll is None:
            self._begin()
        self._callbacks[fileno] = read, process
        self._epoll.register(fileno, self._events)

    def rearm(self, fileno: int) -> None:
        if fileno in self._callbacks:
            self._epoll.modify(fileno, self._events)

    def remove(self, fileno: int) -> None:
        if self._callbacks.pop(fileno, None) is not None:
            self._unprocessed.pop(fileno, None)
            self._epoll.unregister(fileno)

    def read_between(self) -> None:
        if self._epoll is not None:
            self._read_if_due()
            self._continue()

    def _begin(self) -> None:
        names = "epoll", "EPOLLIN", "EPOLLET", "EPOLLRDHUP"
        epoll, readable, edge, self._gone = (monkey.get_original("select", name) for name in names)
        self._epoll, self._events = epoll(), readable | edge | self._gone
        reserve_descriptors(USUAL_CONNECTIONS)
        self._loop = gevent.get_hub().loop
        self._watcher = self._loop.io(self._epoll.fileno(), _READABLE, priority=_BEFORE_OTHERS)
        self._watcher.start(self._notify)

    def _notify(self) -> None:
        self._read_all()
        self._process_all()

    def _read_if_due(self) -> None:
        if time.perf_counter_ns() - self._read_ns > _UNREAD_NS:
            LOOP_PACER.polls_between()
            self._read_all()

    def _read_all(self) -> None:
        callbacks_of, gone = self._callbacks.get, self._gone
        # All of them, not the default of a thousand: a socket that is not listed now has nothing to read.
        for fileno, events in self._epoll.poll(0, max(1, len(self._callbacks))):
            if (callbacks := callbacks_of(fileno)) is not None:  # one that was read just now may have ended another
                read, process = callbacks
                if read():
                    self._unprocessed[fileno] = process
                if events & gone:  # the end follows the last bytes, and there is no further event for it
                    self.rearm(fileno)
        self._read_ns = time.perf_counter_ns()

    def _process_all(self) -> None:
        """What was read so far; where that takes long, the rest is done in the loop's next round."""
        unprocessed = self._unprocessed
        began_ns = time.perf_counter_ns()
        while unprocessed:
            unprocessed.pop(next(iter(unprocessed)))()
            now_ns = time.perf_counter_ns()
            most_ns = _PROCESSING_NS if now_ns < LOOP_PACER.due_ns else _PROCESSING_WHEN_DUE_NS
            if now_ns - began_ns > most_ns:
                self._continue()
                return
            self._read_if_due()

    def _continue(self) -> None:
        if self._unprocessed and not self._continues:
            self._continues = True
            self._loop.run_callback(self._process_rest)

    def _process_rest(self) -> None:
        self._continues = False
        self._process_all()


class LoopReadNotifier:
    """With gevent's loop, which calls back for as long as something is unread."""

    def __init__(self) -> None:
        self._watchers: dict[int, Any] = {}

    def add(self, fileno: int, read: Read, process: Process) -> None:
        self._watchers[fileno] = watcher = gevent.get_hub().loop.io(fileno, _READABLE)
        watcher.start(_read_and_process, read, process)

    def rearm(self, fileno: int) -> None:
        """Nothing to do: the loop calls back until all is read."""

    def remove(self, fileno: int) -> None:
        if (watcher := self._watchers.pop(fileno, None)) is not None:
            watcher.stop()
            watcher.close()

    def read_between(self) -> None:
        """Nothing to do: it is not known which sockets are readable, and no time of the kernel's would be lost."""


def _read_and_process(read: Read, process: Process) -> None:
    if read():
        process()


def has_epoll() -> bool:
    """Whether this system has epoll. gevent's patch of the module `select`, which Locust applies, hides it there."""
    try:
        monkey.get_original("select", "epoll")
    except AttributeError:
        return False
    return True


#: One per process, like its loop; filled after any fork.
READ_NOTIFIER: ReadNotifier = EpollReadNotifier() if has_epoll() else LoopReadNotifier()
