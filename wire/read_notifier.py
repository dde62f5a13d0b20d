"""Tells connections that there is something to read.

gevent's loop calls back for one socket after the other, which costs more than asking the kernel which they are. Where
there is epoll, the sockets are in one of their own, and the loop is told of that as of one socket.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

import gevent
from gevent import monkey

_READABLE = 1


class Ready(Protocol):
    """The sockets, by their descriptors, and what is called in gevent's hub when more has come to one."""

    def add(self, fileno: int, read: Callable[[], object]) -> None:
        """Call `read` from now on: once for all that has come, which it may leave unread if it says `again`."""
        ...

    def change(self, fileno: int, read: Callable[[], object]) -> None:
        """Call this one instead."""
        ...

    def again(self, fileno: int) -> None:
        """Call once more for what is left."""
        ...

    def remove(self, fileno: int) -> None:
        """Call no more; nothing happens if it was not. Before the socket is closed."""
        ...


class ReadyByEpoll:
    """By an epoll of their own."""

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

    def again(self, fileno: int) -> None:
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
        self._watcher.start(self._tell)

    def _tell(self) -> None:
        reader_of, gone = self._readers.get, self._gone
        # All of them, not the thousand that are the default: who is not told of now had nothing to read.
        for fileno, events in self._epoll.poll(0, max(1, len(self._readers))):
            if (read := reader_of(fileno)) is not None:  # one that was read just now may have ended another
                read()
                if events & gone:  # the end stood behind the last bytes, and nothing more comes that would tell of it
                    self.again(fileno)


class ReadyByLoop:
    """By gevent's loop itself, which goes on calling for as long as something is unread."""

    def __init__(self) -> None:
        self._watchers: dict[int, Any] = {}

    def add(self, fileno: int, read: Callable[[], object]) -> None:
        self._watchers[fileno] = gevent.get_hub().loop.io(fileno, _READABLE)
        self.change(fileno, read)

    def change(self, fileno: int, read: Callable[[], object]) -> None:
        self._watchers[fileno].start(read)

    def again(self, fileno: int) -> None:
        """It does."""

    def remove(self, fileno: int) -> None:
        if (watcher := self._watchers.pop(fileno, None)) is not None:
            watcher.stop()
            watcher.close()


def has_epoll() -> bool:
    """Whether this system has it. Locust has gevent patch the module `select`, which hides it there."""
    try:
        monkey.get_original("select", "epoll")
    except AttributeError:
        return False
    return True


#: One to a process, as its loop is; filled after any fork.
READY: Ready = ReadyByEpoll() if has_epoll() else ReadyByLoop()
