"""Sockets between master and workers, with a cluster key: what another end sends is not acted on."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from typing import Any

import gevent
import msgpack
import pytest
import zmq.green as zmq
from locust.rpc import Message

from tokenswarm.cluster import transport
from tokenswarm.cluster.cluster_key import ClusterKey, MasterSessions
from tokenswarm.cluster.transport import MasterSocket, SocketState, WorkerSocket, WorkerSockets

KEY = ClusterKey("correct horse battery staple")


def soon(condition: Callable[[], bool]) -> None:
    deadline_s = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline_s, "it never came"
        gevent.sleep(0.005)


def a_main_greenlet() -> Any:
    """It waits; what ends its process is its value: the exit code."""

    def wait() -> Any:
        try:
            gevent.sleep(3600)
        except SystemExit as error:
            return error.code

    main = gevent.spawn(wait)
    gevent.sleep(0)
    return main


class Worker:
    """A worker's socket and what came through it."""

    def __init__(self, port: int, key: ClusterKey | None = KEY, sockets: WorkerSockets | None = None) -> None:
        self.sockets = sockets or WorkerSockets(key)
        self.socket: WorkerSocket = self.sockets("127.0.0.1", port, "worker")
        self.received: list[Any] = []
        self.reader = gevent.spawn(self._read)

    def _read(self) -> None:
        while True:
            self.received.append(self.socket.recv())

    def send(self, kind: str, data: Any = None) -> None:
        self.socket.send(Message(kind, data, "worker"))

    def close(self) -> None:
        self.reader.kill()
        self.socket.close(linger=0)


class Master:
    """A master's socket and what came through it; `frames`: as it came over the network."""

    def __init__(self, key: ClusterKey | None = KEY) -> None:
        self.socket = MasterSocket(MasterSessions(key) if key else None, "127.0.0.1", 0)
        self.received: list[Any] = []
        self.frames: list[list[bytes]] = []
        receive = self.socket.socket.recv_multipart

        def recorded(*arguments: Any, **keywords: Any) -> list[bytes]:
            self.frames.append(receive(*arguments, **keywords))
            return self.frames[-1]

        self.socket.socket.recv_multipart = recorded
        self.reader = gevent.spawn(self._read)

    def _read(self) -> None:
        while True:
            self.received.append(self.socket.recv_from_client()[1])

    def send(self, kind: str, data: Any = None) -> None:
        self.socket.send_to_client(Message(kind, data, "worker"))

    def close(self) -> None:
        self.reader.kill()
        self.socket.close(linger=0)


@pytest.fixture
def ends() -> Iterator[list[Any]]:
    """What is to be closed."""
    opened: list[Any] = []
    yield opened
    for end in opened:
        end.close()


def kinds(messages: list[Any]) -> list[str]:
    return [message.type for message in messages]


@pytest.mark.parametrize("key", [KEY, None], ids=["key", "no key"])
def test_messages_arrive_both_ways_and_in_order_from_the_first_on(key: ClusterKey | None, ends: list[Any]) -> None:
    master = Master(key)
    worker = Worker(master.socket.port, key)
    ends += [master, worker]
    for number in range(50):  # the first are sent before there is a session
        worker.send("stats", {"number": number})
    soon(lambda: len(master.received) == 50)
    assert [message.data["number"] for message in master.received] == list(range(50))
    assert not worker.socket.state.connected
    master.send("spawn", {"users": 3})
    soon(lambda: kinds(worker.received) == ["spawn"])
    assert worker.socket.state.connected
    assert worker.received[0].data == {"users": 3}
    over_the_network = b"".join(b"".join(frames) for frames in master.frames)
    assert b"correct horse" not in over_the_network


def test_what_was_recorded_is_not_acted_on_again(ends: list[Any]) -> None:
    master = Master()
    worker = Worker(master.socket.port)
    ends += [master, worker]
    for _ in range(3):
        worker.send("exception", {"msg": "m", "traceback": "t"})
    soon(lambda: len(master.received) == 3)
    for _, frame in master.frames[:]:
        assert master.socket._read("worker", frame) is None if b"hello" in frame else True
    with pytest.raises(ValueError, match="received before"):
        master.socket._read("worker", master.frames[-1][1])
    later = Master()  # the same key, another run
    ends.append(later)
    for _, frame in master.frames:
        if b"tokenswarm_sealed" in frame:
            with pytest.raises(ValueError, match="not sealed"):
                later.socket._read("worker", frame)
    worker.send("stats")
    soon(lambda: kinds(master.received)[-1] == "stats")


def test_a_worker_acts_on_nothing_that_a_forged_master_sends(
    ends: list[Any], capsys: pytest.CaptureFixture[str]
) -> None:
    forged = zmq.Context.instance().socket(zmq.ROUTER)
    port = forged.bind_to_random_port("tcp://127.0.0.1")
    worker = Worker(port)
    worker.send("client_ready", "2.47.0")
    name, hello = forged.recv_multipart()
    assert msgpack.loads(hello)[0] == "tokenswarm_hello"
    nonce = msgpack.loads(hello)[1][0]
    for message in (
        ["ack", {"index": 0}, "worker"],
        ["spawn", {"user_classes_count": {"ChatUser": 1000}, "host": "http://victim"}, "worker"],
        ["quit", None, "worker"],
        ["tokenswarm_level", {"spool": "/tmp"}, "worker"],
        ["tokenswarm_welcome", [b"m" * 16, b"x" * 32], "worker"],
        ["tokenswarm_welcome", msgpack.loads(hello)[1], "worker"],
        ["tokenswarm_sealed", [nonce, 1, b"x" * 32, msgpack.dumps(["quit", None, "worker"])], "worker"],
        ["tokenswarm_sealed", 7, "worker"],
        [7, None, "worker"],
    ):
        forged.send_multipart([name, msgpack.dumps(message)])
    forged.send_multipart([name, b"\xc1"])
    dropped = worker.socket.state.dropped
    soon(lambda: sum(dropped.counts.values()) == 10)
    assert worker.received == []
    assert not forged.poll(0) or b"client_ready" not in forged.recv_multipart()[1]  # nothing but greetings goes to it
    worker.close()
    forged.close(linger=0)


def test_a_master_with_a_key_acts_on_nothing_without_a_seal(ends: list[Any]) -> None:
    master = Master()
    worker = Worker(master.socket.port)
    ends += [master, worker]
    worker.send("stats")
    soon(lambda: len(master.received) == 1)
    stranger = zmq.Context.instance().socket(zmq.DEALER)
    stranger.setsockopt(zmq.IDENTITY, b"stranger")
    stranger.connect(f"tcp://127.0.0.1:{master.socket.port}")
    messages: list[tuple[str, Any]] = [
        ("client_ready", "2.47.0"),
        ("tokenswarm_join", {"build": "1", "cluster": "", "sent_ns": 1}),
        ("stats", {"user_count": 1}),
        ("exception", {"msg": "m", "traceback": "t"}),
        ("quit", None),
        ("tokenswarm_sealed", [b"n" * 16, 1, b"m" * 32, msgpack.dumps(["quit", None, "stranger"])]),
    ]
    for kind, data in messages:
        stranger.send(msgpack.dumps([kind, data, "stranger"]))
    dropped = master.socket.dropped.counts
    soon(lambda: len(master.received) - 1 + sum(dropped.values()) == len(messages))
    assert kinds(master.received) == ["stats"]
    stranger.close(linger=0)


def test_a_message_that_is_too_large_is_not_read(ends: list[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transport, "_LARGEST_BYTES", 100_000)
    master = Master(None)
    worker = Worker(master.socket.port, None)
    ends += [master, worker]
    worker.send("stats", "x" * 90_000)
    soon(lambda: len(master.received) == 1)
    worker.send("logs", "x" * 200_000)

    def arrived() -> bool:
        worker.send("heartbeat", {})  # its connection is closed and made again: some are lost
        return "heartbeat" in kinds(master.received)

    soon(arrived)
    assert "logs" not in kinds(master.received)


def test_a_session_goes_on_over_a_new_socket_of_the_same_worker(ends: list[Any]) -> None:
    """Locust makes one when the connection broke."""
    master = Master()
    worker = Worker(master.socket.port)
    ends.append(master)
    worker.send("stats", 1)
    soon(lambda: len(master.received) == 1)
    worker.close()
    gevent.sleep(0.05)  # the master's socket forgets the old connection
    again = Worker(master.socket.port, sockets=worker.sockets)
    ends.append(again)

    def arrived() -> bool:
        again.send("stats", 2)
        return len(master.received) > 1

    soon(arrived)
    assert master.received[-1].data == 2


@pytest.mark.parametrize(
    ("masters", "workers", "reason"),
    [
        (KEY, ClusterKey("another secret, as long"), "it has another cluster key than this master"),
        (KEY, None, "it has no cluster key"),
        (None, KEY, "it has a cluster key, its master has none"),
    ],
)
def test_a_worker_with_another_key_ends_with_the_reason(
    masters: ClusterKey | None,
    workers: ClusterKey | None,
    reason: str,
    ends: list[Any],
    capsys: pytest.CaptureFixture[str],
) -> None:
    master = Master(masters)
    ends.append(master)
    ended: list[Any] = []

    def work() -> None:
        worker = Worker(master.socket.port, workers)
        ends.append(worker)
        worker.send("client_ready", "2.47.0")
        try:
            gevent.sleep(30)
        except SystemExit as error:
            ended.append(error.code)

    gevent.spawn(work).join()
    assert ended == [2]
    assert reason in capsys.readouterr().err
    assert master.received == []
    assert any(reason in counted for counted in master.socket.dropped.counts)


@pytest.mark.parametrize(
    ("answered_s", "logged_s"), [(None, [0.5, 10, 20]), (5, [0.5]), (0.1, [])], ids=["never", "late", "at once"]
)
def test_a_worker_logs_where_it_waits_for_its_master_until_there_is_an_answer(
    answered_s: float | None, logged_s: list[float], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    main = a_main_greenlet()
    state = SocketState(main, session=None)
    now_s = 0.0
    lines: list[float] = []

    def sleep(seconds: float) -> None:
        nonlocal now_s
        lines.extend([now_s] * (len(caplog.records) - len(lines)))
        now_s += seconds
        state.connected = answered_s is not None and now_s >= answered_s

    transport.await_master(state, "gpu:5557", sleep)
    sleep(0)
    assert lines == logged_s
    assert all("gpu:5557" in record.getMessage() for record in caplog.records)
    gevent.kill(main)


def test_a_worker_that_no_master_answers_ends_with_a_code_and_a_sentence(capsys: pytest.CaptureFixture[str]) -> None:
    waited: list[float] = []
    main = a_main_greenlet()
    transport.await_master(SocketState(main, session=None), "gpu:5557", waited.append)
    assert main.get(timeout=30) == 2
    assert sum(waited) < 305  # Locust's own end
    said = capsys.readouterr().err
    assert said.count("\n") == 1 and "gpu:5557" in said


def test_a_worker_that_takes_part_is_not_ended_by_a_rejection_without_seal(ends: list[Any]) -> None:
    master = Master()
    worker = Worker(master.socket.port)
    ends += [master, worker]
    worker.send("stats")
    soon(lambda: len(master.received) == 1)
    assert worker.socket._read(msgpack.dumps(["tokenswarm_rejected", {"reason": "forged"}, "worker"])) is None
    assert sum(worker.socket.state.dropped.counts.values()) == 1
    assert not worker.socket.state.rejected
