"""Every readable socket is called back, with either notifier."""

import socket
from collections.abc import Callable, Iterator, Sequence
from math import inf
from types import SimpleNamespace
from typing import Any

import gevent
import pytest

from tokenswarm.wire.loop_pacer import LoopPacer
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
    """Reads so many bytes at a time, and processes them afterwards."""

    def __init__(self, sock: Any, at_once: int = 100) -> None:
        self.sock = sock
        self.at_once = at_once
        self.unprocessed: list[bytes] = []
        self.reads: list[bytes] = []

    def read(self) -> bool:
        self.unprocessed.append(self.sock.recv(self.at_once))
        return True

    def process(self) -> None:
        self.reads += self.unprocessed
        self.unprocessed.clear()


def nothing() -> None:
    """There is nothing to process."""


def test_each_arrival_is_told(ready: Ready, pair: Any, until: Callable[[Callable[[], object]], object]) -> None:
    ours, theirs = pair
    reader = Reader(ours)
    ready.add(ours.fileno(), reader.read, reader.process)
    for data in (b"one", b"two"):
        theirs.send(data)
        until(lambda data=data: reader.reads and reader.reads[-1] == data)
    assert reader.reads == [b"one", b"two"]


def test_what_was_there_before_is_told(ready: Ready, pair: Any, until: Any) -> None:
    ours, theirs = pair
    theirs.send(b"before")
    reader = Reader(ours)
    ready.add(ours.fileno(), reader.read, reader.process)
    until(lambda: reader.reads == [b"before"])


def test_the_other_end_that_closes_behind_its_last_bytes_is_told_too(ready: Ready, pair: Any, until: Any) -> None:
    """Both have come by the time that the loop looks: the one call for the bytes must not be the last."""
    ours, theirs = pair
    reader = Reader(ours)
    theirs.send(b"last")
    theirs.shutdown(socket.SHUT_WR)
    ready.add(ours.fileno(), reader.read, reader.process)
    until(lambda: reader.reads[:2] == [b"last", b""])


def test_what_is_left_is_told_again(ready: Ready, pair: Any, until: Any) -> None:
    ours, theirs = pair
    reads: list[bytes] = []

    def read() -> bool:
        if len(reads) < 3:
            reads.append(ours.recv(2))
            ready.rearm(ours.fileno())
        return False

    theirs.send(b"abcdef")
    ready.add(ours.fileno(), read, nothing)
    until(lambda: reads == [b"ab", b"cd", b"ef"])


def test_who_was_removed_is_told_no_more(ready: Ready, pair: Any) -> None:
    ours, theirs = pair
    reader = Reader(ours)
    ready.add(ours.fileno(), reader.read, reader.process)
    theirs.send(b"data")
    ready.remove(ours.fileno())
    ready.remove(ours.fileno())
    ready.rearm(ours.fileno())
    gevent.sleep(0.01)
    assert not reader.unprocessed and not reader.reads


def test_one_that_ends_another_keeps_it_from_being_told(ready: Ready, until: Any) -> None:
    ends = [gevent.socket.socketpair() for _ in range(2)]
    read: list[int] = []

    def read_and_end_the_other(this: int) -> bool:
        read.append(this)
        ends[this][0].recv(100)
        ready.remove(ends[1 - this][0].fileno())
        return False

    for this, (ours, theirs) in enumerate(ends):
        ours.setblocking(False)
        theirs.send(b"data")
        ready.add(ours.fileno(), lambda this=this: read_and_end_the_other(this), nothing)
    until(lambda: read)
    gevent.sleep(0.01)
    assert len(read) == 1
    for ours, theirs in ends:
        ready.remove(ours.fileno())
        ours.close()
        theirs.close()


class Epoll:
    """Lists those that are ready, one unless more are requested, as the real one lists a thousand."""

    def __init__(self) -> None:
        self.ready: list[tuple[int, int]] = []

    def register(self, fileno: int, events: int) -> None:
        """Nothing is ready yet."""

    def unregister(self, fileno: int) -> None:
        """It is not listed any more."""

    def poll(self, timeout_s: float, most: int = 1) -> list[tuple[int, int]]:
        assert timeout_s == 0
        listed, self.ready = self.ready[:most], self.ready[most:]
        return listed


class Loop:
    """Runs callbacks when it is said."""

    def __init__(self) -> None:
        self.callbacks: list[Callable[[], object]] = []

    def run_callback(self, callback: Callable[[], object]) -> None:
        self.callbacks.append(callback)

    def run(self) -> None:
        callbacks, self.callbacks = self.callbacks, []
        for callback in callbacks:
            callback()


class Steps:
    """A notifier on a clock that only processing moves. What it does, in order: `r1` reads socket 1, `p1` processes
    what came there, which takes so many milliseconds; sockets of `arrives` become ready during the first of these."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, takes_ms: int, arrives: Sequence[int] = ()) -> None:
        self.now_ns = 10**12
        self.takes_ms = takes_ms
        self.arrives = list(arrives)
        self.done: list[str] = []
        self.epoll, self.loop = Epoll(), Loop()
        self.notifier = EpollReadNotifier()
        self.notifier._epoll, self.notifier._loop = self.epoll, self.loop
        monkeypatch.setattr("tokenswarm.wire.read_notifier.time", SimpleNamespace(perf_counter_ns=lambda: self.now_ns))
        for fileno in range(4):
            self.notifier.add(
                fileno, lambda fileno=fileno: self._read(fileno), lambda fileno=fileno: self._take(fileno)
            )

    def become_ready(self, *filenos: int) -> None:
        self.epoll.ready += [(fileno, 1) for fileno in filenos if (fileno, 1) not in self.epoll.ready]

    def _read(self, fileno: int) -> bool:
        self.done.append(f"r{fileno}")
        return True

    def _take(self, fileno: int) -> None:
        self.done.append(f"p{fileno}")
        self.now_ns += self.takes_ms * 10**6
        self.become_ready(*self.arrives)
        self.arrives.clear()


def test_all_that_are_ready_are_read_before_anything_is_processed(monkeypatch: pytest.MonkeyPatch) -> None:
    steps = Steps(monkeypatch, takes_ms=0)
    steps.become_ready(0, 1, 2)
    steps.notifier._notify()
    assert steps.done == ["r0", "r1", "r2", "p0", "p1", "p2"]


def test_what_arrives_while_others_are_processed_is_read_meanwhile(monkeypatch: pytest.MonkeyPatch) -> None:
    steps = Steps(monkeypatch, takes_ms=3, arrives=[3])
    steps.become_ready(0, 1)
    steps.notifier._notify()
    assert steps.done == ["r0", "r1", "p0", "r3", "p1"]
    steps.loop.run()
    assert steps.done[5:] == ["p3"]


def test_what_takes_long_to_process_lets_greenlets_run_in_between(monkeypatch: pytest.MonkeyPatch) -> None:
    steps = Steps(monkeypatch, takes_ms=6)
    steps.become_ready(0, 1, 2)
    steps.notifier._notify()
    assert steps.done == ["r0", "r1", "r2", "p0"]
    assert len(steps.loop.callbacks) == 1
    steps.loop.run()
    steps.loop.run()
    assert steps.done[4:] == ["p1", "p2"]
    assert not steps.loop.callbacks


def test_a_greenlet_whose_time_has_come_waits_for_no_more_than_one_to_be_processed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    steps = Steps(monkeypatch, takes_ms=1)
    monkeypatch.setattr("tokenswarm.wire.read_notifier.LOOP_PACER", pacer := LoopPacer())
    pacer.due_ns = steps.now_ns + 2_500_000
    steps.become_ready(0, 1, 2, 3)
    steps.notifier._notify()
    assert steps.done[4:] == ["p0", "p1", "p2"]
    pacer.due_ns = inf
    steps.loop.run()
    assert steps.done[7:] == ["p3"]


def test_a_socket_that_is_removed_is_not_processed(monkeypatch: pytest.MonkeyPatch) -> None:
    steps = Steps(monkeypatch, takes_ms=6)
    steps.become_ready(0, 1)
    steps.notifier._notify()
    steps.notifier.remove(1)
    steps.loop.run()
    assert steps.done == ["r0", "r1", "p0"]


def test_greenlets_in_a_row_read_every_two_milliseconds_and_process_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    steps = Steps(monkeypatch, takes_ms=0)
    steps.notifier._notify()
    for _ in range(6):
        steps.now_ns += 900_000
        steps.become_ready(0)
        steps.notifier.read_between()
    assert steps.done == ["r0", "r0"]  # three arrivals each
    assert len(steps.loop.callbacks) == 1
    steps.loop.run()
    assert steps.done[2:] == ["p0"]
