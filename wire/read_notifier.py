"""Calls connections back when there is something to read.

gevent's loop calls back for each socket by itself, which costs more than one call of the kernel that lists them. Where
the system has epoll, the sockets are in an epoll of their own, which is a single descriptor to the loop.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

import gevent
from gevent import monkey

_READABLE = 1


class ReadNotifier(Protocol):
    """Sockets by their descriptors, and what is called in gevent's hub when one becomes readable."""

    def add(self, fileno: int, read: Callable[[], object]) -> None:
        """Call `read` from now on, once for all that has come. If it leaves some of that unread, it calls `rearm`."""
        ...

    def change(self, fileno: int, read: Callable[[], object]) -> None:
        """Replace the callback of a socket that was added."""
        ...

    def rearm(self, fileno: int) -> None:
        """Call back once more, for what is left unread."""
        ...

    def remove(self, fileno: int) -> None:
        """Call back no more; to be called before the socket is closed. Nothing happens if it was not added."""
        ...


class EpollReadNotifier:
    """With an epoll of its own."""

    def __init__(self) -> None:
        self._readers: dict[int, Callable[[], object]] = {}
        self._epoll: Any = None
        self._watcher: Any = None
        self._events = self._gone = 0

    def add(self, fileno: int, read: Callable[[], object]) -> None:
        if self._epoll is None:
            self._begin()
        self._readers[fileno] = read
        self._epoll.register(fileno, self._events)

    def change(self, fileno: int, read: Callable[[], object]) -> None:
        self._readers[fileno] = read

    def rearm(self, fileno: int) -> None:
        if fileno in self._readers:
            self._epoll.modify(fileno, self._events)

    def remove(self, fileno: int) -> None:
        if self._readers.pop(fileno, None) is not None:
            self._epoll.unregister(fileno)

    def _begin(self) -> None:
        names = "epoll", "EPOLLIN", "EPOLLET", "EPOLLRDHUP"
        epoll, readable, edge, self._gone = (monkey.get_original("select", name) for name in names)
        self._epoll, self._events = epoll(), readable | edge | self._gone
        self._watcher = gevent.get_hub().loop.io(self._epoll.fileno(), _READABLE)
        self._watcher.start(self._notify)

    def _notify(self) -> None:
        reader_of, gone = self._readers.get, self._gone
        # All of them, not the default of a thousand: a socket that is not listed now has nothing to read.
        for fileno, events in self._epoll.poll(0, max(1, len(self._readers))):
            if (read := reader_of(fileno)) is not None:  # one that was read just now may have ended another
                read()
                if events & gone:  # the end follows the last bytes, and there is no further event for it
                    self.rearm(fileno)


class LoopReadNotifier:
    """With gevent's loop, which calls back for as long as something is unread."""

    def __init__(self) -> None:
        self._watchers: dict[int, Any] = {}

    def add(self, fileno: int, read: Callable[[], object]) -> None:
        self._watchers[fileno] = gevent.get_hub().loop.io(fileno, _READABLE)
        self.change(fileno, read)

    def change(self, fileno: int, read: Callable[[], object]) -> None:
        self._watchers[fileno].start(read)

    def rearm(self, fileno: int) -> None:
        """Nothing to do: the loop calls back until all is read."""

    def remove(self, fileno: int) -> None:
        if (watcher := self._watchers.pop(fileno, None)) is not None:
            watcher.stop()
            watcher.close()


def has_epoll() -> bool:
    """Whether this system has epoll. gevent's patch of the module `select`, which Locust applies, hides it there."""
    try:
        monkey.get_original("select", "epoll")
    except AttributeError:
        return False
    return True


#: One per process, like its loop; filled after any fork.
READ_NOTIFIER: ReadNotifier = EpollReadNotifier() if has_epoll() else LoopReadNotifier()
