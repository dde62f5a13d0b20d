"""Every readable socket is called back, with either notifier."""

import socket
from collections.abc import Callable, Iterator
from typing import Any

import gevent
import pytest

from tokenswarm.wire.read_notifier import EpollReadNotifier, LoopReadNotifier, has_epoll

Ready = EpollReadNotifier | LoopReadNotifier


@pytest.fixture(params=[EpollReadNotifier, LoopReadNotifier], ids=["epoll", "loop"])
def ready(request: pytest.FixtureRequest) -> Ready:
    if request.param is EpollReadNotifier and not has_epoll():
        pytest.skip("only Linux has epoll")
    made: Ready = request.param()
    return made


@pytest.fixture
def pair(ready: Ready) -> Iterator[tuple[socket.socket, socket.socket]]:
    """(ours, the other's end)."""
    ours, theirs = gevent.socket.socketpair()
    ours.setblocking(False)
    yield ours, theirs
    ready.remove(ours.fileno())
    ours.close()
    theirs.close()


class Reader:
    """Reads so many bytes at a time."""

    def __init__(self, sock: Any, at_once: int = 100) -> None:
        self.sock = sock
        self.at_once = at_once
        self.reads: list[bytes] = []

    def __call__(self) -> None:
        self.reads.append(self.sock.recv(self.at_once))


def test_each_arrival_is_told(ready: Ready, pair: Any, until: Callable[[Callable[[], object]], object]) -> None:
    ours, theirs = pair
    reader = Reader(ours)
    ready.add(ours.fileno(), reader)
    for data in (b"one", b"two"):
        theirs.send(data)
        until(lambda data=data: reader.reads and reader.reads[-1] == data)
    assert reader.reads == [b"one", b"two"]


def test_what_was_there_before_is_told(ready: Ready, pair: Any, until: Any) -> None:
    ours, theirs = pair
    theirs.send(b"before")
    reader = Reader(ours)
    ready.add(ours.fileno(), reader)
    until(lambda: reader.reads == [b"before"])


def test_the_other_end_that_closes_behind_its_last_bytes_is_told_too(ready: Ready, pair: Any, until: Any) -> None:
    """Both have come by the time that the loop looks: the one call for the bytes must not be the last."""
    ours, theirs = pair
    reader = Reader(ours)
    theirs.send(b"last")
    theirs.shutdown(socket.SHUT_WR)
    ready.add(ours.fileno(), reader)
    until(lambda: reader.reads[:2] == [b"last", b""])


def test_what_is_left_is_told_again(ready: Ready, pair: Any, until: Any) -> None:
    ours, theirs = pair
    reads: list[bytes] = []

    def read() -> None:
        reads.append(ours.recv(2))
        ready.rearm(ours.fileno())

    theirs.send(b"abcdef")
    ready.add(ours.fileno(), lambda: read() if len(reads) < 3 else None)
    until(lambda: reads == [b"ab", b"cd", b"ef"])


def test_another_reader_takes_over(ready: Ready, pair: Any, until: Any) -> None:
    ours, theirs = pair
    first, second = Reader(ours), Reader(ours)
    ready.add(ours.fileno(), first)
    ready.change(ours.fileno(), second)
    theirs.send(b"data")
    until(lambda: second.reads == [b"data"])
    assert not first.reads


def test_who_was_removed_is_told_no_more(ready: Ready, pair: Any) -> None:
    ours, theirs = pair
    reader = Reader(ours)
    ready.add(ours.fileno(), reader)
    theirs.send(b"data")
    ready.remove(ours.fileno())
    ready.remove(ours.fileno())
    ready.rearm(ours.fileno())
    gevent.sleep(0.01)
    assert not reader.reads


def test_one_that_ends_another_keeps_it_from_being_told(ready: Ready, until: Any) -> None:
    ends = [gevent.socket.socketpair() for _ in range(2)]
    read: list[int] = []

    def read_and_end_the_other(this: int) -> None:
        read.append(this)
        ends[this][0].recv(100)
        ready.remove(ends[1 - this][0].fileno())

    for this, (ours, theirs) in enumerate(ends):
        ours.setblocking(False)
        theirs.send(b"data")
        ready.add(ours.fileno(), lambda this=this: read_and_end_the_other(this))
    until(lambda: read)
    gevent.sleep(0.01)
    assert len(read) == 1
    for ours, theirs in ends:
        ready.remove(ours.fileno())
        ours.close()
        theirs.close()


def test_however_many_are_ready_all_are_told_in_one_round() -> None:
    """With an epoll that lists one unless more are requested, as the real one lists a thousand."""

    class Epoll:
        def __init__(self) -> None:
            self.ready: list[tuple[int, int]] = []

        def register(self, fileno: int, events: int) -> None:
            self.ready.append((fileno, 1))

        def poll(self, timeout_s: float, most: int = 1) -> list[tuple[int, int]]:
            assert timeout_s == 0
            return self.ready[:most]

    ready, called = EpollReadNotifier(), []
    ready._epoll = Epoll()
    for fileno in range(3):
        ready.add(fileno, lambda fileno=fileno: called.append(fileno))
    ready._notify()
    assert called == [0, 1, 2]
