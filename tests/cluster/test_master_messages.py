"""A real master of Locust's on a real port, and clients that send it whatever they like."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import gevent
import msgpack
import msgspec
import pytest
import zmq.green as zmq
from locust import User, task
from locust.env import Environment
from locust.rpc import zmqrpc
from locust.runners import STATE_RUNNING, MasterRunner, WorkerNode

from tests.run_control.recording_bench import options
from tokenswarm.cluster.cluster_key import ClusterKey, MasterSessions
from tokenswarm.cluster.master_link import MasterLink
from tokenswarm.cluster.protocol import LevelBegun
from tokenswarm.cluster.transport import MasterSocket
from tokenswarm.metrics.level import Arrivals, Level
from tokenswarm.run_folder.worker_events import WorkerEventKind
from tokenswarm.shapes.splits import Splits
from tokenswarm.upstream.locust_internals import RebalancingDispatcher

BUILD = "1 (abc)"


class Idle(User):
    """A user class by name; its users are on clients of the tests'."""

    @task
    def idle(self) -> None: ...


class Client:
    """Speaks to the master as the test says. `spawned`: the users that it was sent."""

    def __init__(self, port: int, name: str) -> None:
        self.name = name
        self.received: list[Any] = []
        self._socket = zmq.Context.instance().socket(zmq.DEALER)
        self._socket.setsockopt(zmq.IDENTITY, name.encode())
        self._socket.setsockopt(zmq.LINGER, 0)
        self._socket.connect(f"tcp://127.0.0.1:{port}")
        self._reader = gevent.spawn(self._read)

    def send(self, kind: Any, data: Any = None, name: str | None = None) -> None:
        self._socket.send(msgpack.dumps([kind, data, self.name if name is None else name]))

    def send_raw(self, *frames: bytes) -> None:
        self._socket.send_multipart(frames)

    def _read(self) -> None:
        while True:
            self.received.append(msgpack.loads(self._socket.recv(), strict_map_key=False))

    def got(self, kind: str) -> list[Any]:
        return [data for received, data, _ in self.received if received == kind]

    def settle(self) -> None:
        """Until the master has read all that was sent before."""
        sent_ns = time.perf_counter_ns()
        self.send("tokenswarm_join", {"build": "none", "cluster": "settle", "sent_ns": sent_ns})
        before = len(self.got("tokenswarm_rejected"))
        soon(lambda: len(self.got("tokenswarm_rejected")) > before)

    def take_part(self) -> None:
        self.send("client_ready", "2.47.0")
        self.send("tokenswarm_join", {"build": BUILD, "cluster": "", "sent_ns": 1})
        soon(lambda: bool(self.got("tokenswarm_admitted")))
        self.send("tokenswarm_ready", {"locust": "2.47.0"})
        soon(lambda: len(self.got("ack")) > 1)

    def beat(self, **more: Any) -> None:
        before = len(self.got("heartbeat"))
        self.send("heartbeat", {"state": "running", "current_cpu_usage": 1.0, "current_memory_usage": 1, **more})
        soon(lambda: len(self.got("heartbeat")) > before)

    @property
    def users(self) -> int:
        spawns = self.got("spawn")
        return spawns[-1]["user_classes_count"]["Idle"] if spawns else 0

    def close(self) -> None:
        self._reader.kill()
        self._socket.close()


class Master:
    """The master and what is known of its run."""

    def __init__(self, results: Any, key: ClusterKey | None = None) -> None:
        self.environment = Environment(user_classes=[Idle], parsed_options=options(results))
        zmqrpc.Server = partial(MasterSocket, MasterSessions(key) if key else None)  # type: ignore[assignment, misc]
        self.runner = MasterRunner(self.environment, "127.0.0.1", 0)
        self.environment.runner = self.runner
        self.failures: list[str] = []
        self.splits: list[Splits] = []
        self.link = MasterLink(
            *(self.runner, BUILD, "", lambda *_: None, self.failures.append, self.failures.append),
            lambda _, splits: self.splits.append(splits),
        )
        self.port = self.runner.server.port
        self.clients: list[Client] = []

    def client(self, name: str) -> Client:
        client = Client(self.port, name)
        self.clients.append(client)
        return client

    def worker(self, name: str) -> Client:
        client = self.client(name)
        client.take_part()
        return client

    def start(self, users: int, arrivals: Arrivals | None = None) -> None:
        """As the shape does. An open-loop level begins at once."""
        gevent.spawn(self.runner.start, users, 100)
        soon(lambda: self.runner.state == STATE_RUNNING)
        self.link.begin_run()
        now_ns = time.perf_counter_ns()
        self.link.begin_level(LevelBegun(1, Level(0, "off", "10", users, 0.0, 60.0, arrivals), now_ns, now_ns))

    @property
    def state(self) -> Any:
        """All that a client could change."""
        runner = self.runner
        return (
            [(client.id, client.state, client.user_classes_count) for client in runner.clients.values()],
            dict(runner.worker_indexes),
            list(runner.exceptions),
            (runner.stats.total.num_requests, len(runner.stats.entries), list(runner.stats.errors)),
            dict(self.environment.worker_logs),
            (runner.state, runner.user_count, list(self.failures)),
        )


def soon(condition: Callable[[], bool]) -> None:
    deadline_s = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline_s, "it never came"
        gevent.sleep(0.005)


@pytest.fixture
def master(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[Master]:
    monkeypatch.setattr("locust.runners.HEARTBEAT_DEAD_INTERNAL", -60)
    master = Master(tmp_path / "results")
    yield master
    master.runner.greenlet.kill(block=True)
    for client in master.clients:
        client.close()
    master.runner.server.close(linger=0)


ENTRY = {
    **dict.fromkeys(("num_requests", "num_none_requests", "num_failures", "total_response_time"), 1),
    **dict.fromkeys(("max_response_time", "total_content_length"), 1),
    "name": "",
    "method": "",
    "start_time": 1.0,
    "last_request_timestamp": 2.0,
    "min_response_time": 1,
    "response_times": {1: 1},
    "num_reqs_per_sec": {1: 1},
    "num_fail_per_sec": {},
}
STATS = {"stats": [], "stats_total": ENTRY, "errors": {}, "user_classes_count": {"Idle": 3}, "user_count": 3}
EXCEPTION = {"msg": "it failed", "traceback": "in line 3"}
#: What Locust's worker sends, as it sends it.
GOOD: list[tuple[str, Any]] = [
    ("heartbeat", {"state": "running", "current_cpu_usage": 99, "current_memory_usage": 5}),
    ("stats", STATS),
    ("spawning", None),
    ("spawning_complete", {"user_classes_count": {"Idle": 3}, "user_count": 3}),
    ("exception", EXCEPTION),
    ("logs", {"worker_id": "stranger", "logs": ["a line"]}),
    ("client_stopped", None),
    ("quit", None),
    ("tokenswarm_ping", {"sent_ns": 1}),
    ("tokenswarm_refused", {"reason": "no"}),
    ("tokenswarm_draining", None),
    ("tokenswarm_leaving", None),
    ("tokenswarm_ready", {"locust": "2.47.0"}),
    ("tokenswarm_users", {"user_classes_count": {"Idle": 5}}),
]


def test_a_client_that_was_not_admitted_changes_no_state_and_is_sent_no_users(master: Master) -> None:
    honest = master.worker("honest")
    master.start(4)
    honest.beat(user_classes_count={"Idle": 4})
    before = master.state
    stranger = master.client("stranger")
    for _ in range(2):
        stranger.send("client_ready", "2.47.0")
        for kind, data in GOOD:
            stranger.send(kind, data)
        stranger.settle()
    assert master.state == before
    assert stranger.got("spawn") == []
    assert honest.users == master.link.users == 4
    assert master.link.dropped.counts["it was not admitted"] == 2 * len(GOOD)


def test_a_worker_of_plain_locust_is_named_once_and_not_used(
    master: Master, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def named() -> list[str]:
        return [line for line in caplog.messages if "without Tokenswarm" in line]

    master.worker("ours").beat()
    plain = master.client("plain")
    plain.send("client_ready", "2.47.0")
    plain.send("heartbeat", GOOD[0][1])
    plain.settle()
    assert named() == []  # it may still send that it wants to take part
    monkeypatch.setattr("tokenswarm.cluster.master_gate._JOINS_WITHIN_S", 0.0)
    plain = master.client("plain.2")
    plain.send("client_ready", "2.47.0")
    for _ in range(3):
        plain.send("heartbeat", GOOD[0][1])
        plain.send("stats", STATS)
    late = master.client("late")
    late.send("client_ready", "2.47.0")
    late.take_part()
    late.beat()
    soon(lambda: bool(named()))
    (line,) = named()
    assert line.startswith("Worker plain.2 is not used: ")
    assert "locust -f PATH/TO/locustfile.py --worker" in line
    assert sorted(master.runner.clients) == ["late", "ours"]
    assert master.runner.stats.total.num_requests == 0


def test_an_admitted_worker_is_given_users_only_once_it_is_ready(master: Master) -> None:
    master.worker("first")
    master.start(4)
    second = master.client("second")
    second.send("client_ready", "2.47.0")
    second.send("tokenswarm_join", {"build": BUILD, "cluster": "", "sent_ns": 1})
    soon(lambda: bool(second.got("tokenswarm_admitted")))
    second.beat()  # it is answered: a worker that loads for long is not left alone
    assert list(master.runner.clients) == ["first"]
    assert second.got("spawn") == []
    second.send("tokenswarm_ready", {"locust": "2.47.0"})
    soon(lambda: second.users == 2)
    kinds = [kind for kind, _, _ in second.received]
    assert kinds.index("tokenswarm_level") < kinds.index("spawn")


def test_what_a_worker_sends_while_it_loads_changes_no_state(master: Master) -> None:
    master.worker("first")
    master.start(4)
    second = master.client("stranger")
    second.send("tokenswarm_join", {"build": BUILD, "cluster": "", "sent_ns": 1})
    soon(lambda: bool(second.got("tokenswarm_admitted")))
    before = master.state
    of_locust = [(kind, data) for kind, data in GOOD if not kind.startswith("tokenswarm_") and kind != "quit"]
    for kind, data in of_locust:
        second.send(kind, data)
    second.settle()
    assert master.state == before
    assert list(master.link.membership.candidates) == ["stranger"]


def test_a_worker_that_is_ready_and_was_not_admitted_is_sent_the_reason(master: Master) -> None:
    late = master.client("late")
    late.send("tokenswarm_ready", {"locust": "2.47.0"})
    soon(lambda: bool(late.got("tokenswarm_rejected")))
    assert "silent for too long" in late.got("tokenswarm_rejected")[0]["reason"]


def test_clients_that_wait_are_let_go_and_their_number_is_bounded(
    master: Master, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tokenswarm.cluster.master_gate._MOST_WAITING", 2)
    waiting = [master.client(f"waiting-{number}") for number in range(3)]
    for client in waiting:
        client.send("client_ready", "2.47.0")
        soon(lambda client=client: bool(client.got("ack")))
    gevent.spawn(master.runner.quit)
    soon(lambda: sum(len(client.got("quit")) for client in waiting) >= 2)
    gevent.sleep(0.05)
    assert [len(client.got("quit")) for client in waiting] == [1, 1, 0]


def test_an_error_in_locusts_handler_does_not_end_the_master(master: Master) -> None:
    worker = master.worker("worker")

    def fails(*_: object) -> None:
        raise KeyError("worker")

    gate = master.link._gate
    handle, gate._handle = gate._handle, fails
    worker.send("heartbeat", {"state": "running", "current_cpu_usage": 1.0, "current_memory_usage": 1})
    soon(lambda: sum(master.link.dropped.counts.values()) == 1)
    gate._handle = handle
    worker.beat()  # the master still listens


#: What none of Locust's workers sends, and Locust's master trips over or keeps.
BAD: list[tuple[str, Any]] = [
    ("stats", STATS | {"user_classes_count": "many"}),
    ("stats", STATS | {"user_classes_count": {"Idle": "many"}}),
    ("stats", STATS | {"user_classes_count": {"Idle": -1}}),
    ("stats", STATS | {"user_classes_count": {"Idle": True}}),
    ("stats", STATS | {"user_classes_count": {"Idle": 2_000_000}}),
    ("stats", STATS | {"user_classes_count": {"Stranger": 1}}),
    ("stats", STATS | {"stats": {"a": 1}}),
    ("stats", STATS | {"stats": [ENTRY | {"num_requests": "many"}]}),
    ("stats", STATS | {"stats_total": ENTRY | {"response_times": [1]}}),
    ("stats", STATS | {"stats_total": ENTRY | {"total_response_time": float("nan")}}),
    ("stats", STATS | {"errors": {"a": {"occurrences": 1}}}),
    ("stats", {}),
    ("stats", None),
    ("spawning_complete", {"user_classes_count": "many"}),
    ("spawning_complete", None),
    ("spawning_complete", {"user_classes_count": {"Idle": 1}, "user_count": "1"}),
    ("heartbeat", {"state": "running", "current_cpu_usage": "hot", "current_memory_usage": 1}),
    ("heartbeat", {"state": "missing", "current_cpu_usage": 1, "current_memory_usage": 1}),
    ("heartbeat", {"state": ["ready"], "current_cpu_usage": 1, "current_memory_usage": 1}),
    ("heartbeat", 7),
    ("client_ready", {"a": 1}),
    ("client_ready", 7),
    ("client_ready", []),
    ("client_ready", ""),
    ("client_ready", "2" * 101),
    ("exception", "it failed"),
    ("exception", {"msg": 7, "traceback": []}),
    ("logs", {"worker_id": "another", "logs": ["a line"]}),
    ("logs", {"worker_id": "worker", "logs": 7}),
    ("logs", "a line"),
    ("locustfile", {"version": []}),
    ("tokenswarm_users", {"user_classes_count": {"Idle": -5}}),
    ("tokenswarm_ready", 7),
    ("no such type", {"a": 1}),
]


def test_contents_that_locust_could_not_act_on_are_dropped(master: Master) -> None:
    worker = master.worker("worker")
    master.start(2)
    worker.beat(user_classes_count={"Idle": 2})
    before = master.state
    for number, (kind, data) in enumerate(BAD):
        worker.send(kind, data)
        worker.settle()
        assert master.state == before, (kind, data)
        assert sum(master.link.dropped.counts.values()) == number + 1, (kind, data)
    worker.beat()  # the master still listens


@pytest.mark.parametrize(
    "frames",
    [
        *((b"",), (b"\xc1",), (b"a", b"b", b"c"), (b"\x91" * 5000,), (msgpack.dumps([["list"], None, "raw"]),)),
        (msgpack.dumps(["client_ready", "2.47.0", "raw"]), b"more"),
    ],
    ids=["empty", "no msgpack", "frames", "nested", "type", "one frame more"],
)
def test_bytes_that_are_no_message_are_dropped(master: Master, frames: tuple[bytes, ...]) -> None:
    raw, worker = master.client("raw"), master.worker("worker")
    raw.send_raw(*frames)
    raw.send("stats", STATS, name="worker")
    raw.settle()
    worker.beat()
    assert master.runner.stats.total.num_requests == 0
    assert sum(master.runner.server.dropped.counts.values()) == 2


def test_a_repeated_stats_message_counts_once_in_locust_too_and_a_late_one_does(master: Master) -> None:
    """Our reports are numbered; Locust adds up whatever comes: a way that repeats messages doubled its table."""
    worker = master.worker("worker")
    total = ENTRY | {"num_requests": 5}
    for sent_ns in (1_000, 3_000, 2_000, 3_000, 1_000):
        worker.send("stats", STATS | {"stats_total": total, "tokenswarm": [0, -1, sent_ns, 0, False, []]})
    worker.settle()
    assert master.runner.stats.total.num_requests == 15
    assert len(worker.got("tokenswarm_ack")) == 5


def test_what_locust_keeps_of_exceptions_errors_logs_and_names_is_bounded(master: Master) -> None:
    worker = master.worker("worker")
    for number in range(300):
        worker.send("exception", {"msg": "m" * 50_000, "traceback": f"{number} " + "t" * 50_000})
    worker.send("exception", {"msg": "m" * 50_000, "traceback": "0 " + "t" * 50_000})
    for start in range(0, 3000, 500):
        errors = {
            str(number): {"name": "n", "method": "m", "error": f"{number}", "occurrences": 1}
            for number in range(start, start + 500)
        }
        entries = [ENTRY | {"name": str(number), "method": "m"} for number in range(start, start + 500)]
        worker.send("stats", STATS | {"errors": errors, "stats": entries})
    worker.send("logs", {"worker_id": "worker", "logs": ["l" * 5_000] * 2_000})
    worker.settle()
    runner = master.runner
    assert len(runner.exceptions) == 100
    assert max(len(row["msg"]) + len(row["traceback"]) for row in runner.exceptions.values()) <= 11_000
    assert max(row["count"] for row in runner.exceptions.values()) == 2  # one that is known still counts
    assert (len(runner.stats.errors), len(runner.stats.entries)) == (1000, 1000)
    assert runner.stats.total.num_requests == 6  # no report was lost for it
    (lines,) = master.environment.worker_logs.values()
    assert sum(map(len, lines)) <= 500 * 2_000


def users_of(*clients: Client) -> int:
    return sum(client.users for client in clients)


def test_users_move_at_once_when_workers_come_leave_or_fall_silent(master: Master) -> None:
    old = [master.worker(f"old-{number}") for number in range(3)]
    master.start(12)
    assert [client.users for client in old] == [4, 4, 4]
    # All workers are replaced, one after the other: old ones are stopped, and their streams end while they leave.
    new: list[Client] = []
    for number, leaving in enumerate(old):
        new.append(master.worker(f"new-{number}"))
        leaving.send("tokenswarm_draining")
        leaving.settle()
        assert users_of(*new, *old[number + 1 :]) == 12
    for leaving in old:
        leaving.beat(user_classes_count={"Idle": 4})
        leaving.send("tokenswarm_leaving")
        leaving.send("quit")
        leaving.settle()
    assert list(master.runner.clients) == [client.name for client in new]
    assert [client.users for client in new] == [4, 4, 4]
    # One falls silent: Locust notices after four seconds, and none of its users waits longer.
    silent, *others = new
    client = master.runner.clients[silent.name]
    client.heartbeat = -1
    soon(lambda: users_of(*others) == 12)
    silent.beat()  # it is back
    soon(lambda: [client.users for client in new] == [4, 4, 4])


ONE_A_SECOND = Arrivals("constant", ((0.0, 1.0),), 1.0)


def test_in_an_open_loop_each_worker_has_one_user_whoever_comes_and_goes(master: Master) -> None:
    workers = [master.worker(f"w{number}") for number in range(2)]
    master.start(users=2, arrivals=ONE_A_SECOND)
    soon(lambda: [worker.users for worker in workers] == [1, 1])
    workers.append(master.worker("w0-earlier-by-name"))
    soon(lambda: workers[2].users == 1)
    workers[0].send("tokenswarm_draining")
    workers[0].settle()
    assert [worker.users for worker in workers] == [1, 1, 1]
    assert {spawn["user_classes_count"]["Idle"] for worker in workers for spawn in worker.got("spawn")} == {1}


def test_a_master_shares_the_arrivals_among_those_that_send_and_answers_each_of_them(master: Master) -> None:
    workers = [master.worker(f"w{number}") for number in range(3)]
    master.start(users=3, arrivals=ONE_A_SECOND)
    senders = workers[:2]

    def announce() -> None:
        while True:
            for sender in senders:
                sender.send("tokenswarm_sending", {"run": 1, "level": 0, "sent_ns": 7})
            gevent.sleep(0.05)

    announcing = gevent.spawn(announce)
    soon(lambda: bool(master.splits) and master.splits[-1].workers == (0, 1))
    senders.append(workers[2])
    soon(lambda: master.splits[-1].workers == (0, 1, 2))
    assert master.splits[-1].last_first > 0
    workers[1].send("tokenswarm_draining")
    soon(lambda: master.splits[-1].workers == (0, 2))

    def knows_the_last_splits(worker: Client) -> bool:
        answer = worker.got("tokenswarm_splits")[-1]
        return answer["answers_ns"] == 7 and msgspec.convert(answer["splits"], Splits) == master.splits[-1]

    soon(lambda: all(map(knows_the_last_splits, workers)))
    announcing.kill()
    for sent in ({"run": 2, "level": 0, "sent_ns": 8}, {"run": 1, "level": 1, "sent_ns": 8}, {"run": "x"}):
        workers[0].send("tokenswarm_sending", sent)
    workers[0].settle()
    assert {answer["answers_ns"] for answer in workers[0].got("tokenswarm_splits")} == {7, None}


def test_a_step_of_a_ramp_that_is_sent_after_a_worker_has_come_or_gone_says_the_same() -> None:
    sent: list[dict[str, dict[str, int]]] = []
    first, second = WorkerNode("first"), WorkerNode("second")
    dispatcher = RebalancingDispatcher([first], [Idle], sent.append)
    dispatcher.new_dispatch(10, 10.0)
    step = next(dispatcher)
    assert step == {"first": {"Idle": 10}}
    dispatcher.add_worker(second)
    assert sent[-1] == {"first": {"Idle": 5}, "second": {"Idle": 5}}
    assert step == sent[-1]
    dispatcher.remove_worker(first)
    assert sent[-1] == {"second": {"Idle": 10}}
    assert step == {"first": {"Idle": 0}, "second": {"Idle": 10}}


def test_a_worker_that_leaves_before_a_run_is_given_no_users_by_it(master: Master) -> None:
    staying, leaving = master.worker("staying"), master.worker("leaving")
    leaving.send("tokenswarm_draining")
    leaving.settle()
    master.start(4)
    soon(lambda: staying.users == 4)
    leaving.settle()
    assert leaving.got("spawn") == []


def test_a_worker_that_says_twice_that_it_is_ready_joins_once(master: Master) -> None:
    worker = master.worker("worker")
    master.start(2)
    worker.beat(user_classes_count={"Idle": 2})
    member, events = master.link.membership.members["worker"], list(master.link.membership.events)
    worker.send("tokenswarm_ready", {"locust": "2.47.0"})
    worker.settle()
    assert master.link.membership.members["worker"] is member
    assert master.link.membership.events == events


def test_a_worker_that_is_sent_away_takes_no_users_with_it(master: Master) -> None:
    honest, liar = master.worker("honest"), master.worker("liar")
    master.start(6)
    assert [honest.users, liar.users] == [3, 3]
    liar.send("stats", STATS | {"tokenswarm": "no report"})
    soon(lambda: honest.users == 6)
    assert list(master.runner.clients) == ["honest"]
    assert [event.event for event in master.link.membership.events] == [WorkerEventKind.EXPELLED]


def test_nobody_gets_users_while_a_run_ends(master: Master) -> None:
    stays, leaves = master.worker("stays"), master.worker("leaves")
    master.start(6)
    ending = gevent.spawn(master.link.end)
    soon(lambda: bool(stays.got("tokenswarm_end")))
    leaves.send("tokenswarm_leaving")
    leaves.send("quit")
    leaves.settle()
    assert list(master.runner.clients) == ["stays"]
    assert stays.users == 3
    ending.kill()


def test_a_leaving_worker_that_was_silent_gets_no_users_again(master: Master) -> None:
    stays, leaves = master.worker("stays"), master.worker("leaves")
    master.start(6)
    leaves.send("tokenswarm_draining")
    soon(lambda: stays.users == 6)
    master.runner.clients["leaves"].state = "missing"
    leaves.beat()
    leaves.settle()
    assert stays.users == 6


def test_the_users_there_are_those_of_workers_that_send_heartbeats(master: Master, monkeypatch: Any) -> None:
    first, second = master.worker("first"), master.worker("second")
    master.start(6)
    first.beat(user_classes_count={"Idle": 3})
    second.beat(user_classes_count={"Idle": 2})
    assert master.link.users == 5
    master.link.membership.members["second"].last_heartbeat_s -= 4
    assert master.link.users == 3


def test_with_a_cluster_key_clients_without_it_change_nothing(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("locust.runners.HEARTBEAT_DEAD_INTERNAL", -60)
    master = Master(tmp_path / "results", ClusterKey("correct horse battery staple"))
    stranger = master.client("stranger")
    before = master.state
    stranger.send("tokenswarm_join", {"build": BUILD, "cluster": "", "sent_ns": 1})
    for kind, data in GOOD:
        stranger.send(kind, data)
    stranger.send("tokenswarm_hello", [b"n" * 16, b"m" * 32])
    stranger.send("tokenswarm_sealed", [b"n" * 16, 1, b"m" * 32, msgpack.dumps(["client_ready", "2", "stranger"])])
    stranger.send("client_ready", "2.47.0")
    soon(lambda: len(stranger.received) == 2)
    master.runner.send_message("spawn", {"user_classes_count": {"Idle": 1}}, "stranger")  # it has no session
    stranger.send("client_ready", "2.47.0")
    soon(lambda: len(stranger.received) == 3)
    assert master.state == before
    assert [kind for kind, _, _ in stranger.received] == ["tokenswarm_rejected"] * 3
    assert sum(master.runner.server.dropped.counts.values()) == len(GOOD) + 5
    master.runner.greenlet.kill(block=True)
    stranger.close()
    master.runner.server.close(linger=0)


JUNK: list[Any] = [
    *(None, True, False, 0, -1, 2**63, -(2**63), 1e308, float("nan"), float("inf")),
    *("", "x" * 10_000, "\x00", "'; --", b"", b"\xff" * 100, [], {}, [[[]]], {"a": {"b": []}}, [None] * 1000),
]


def mutated(value: Any, draw: random.Random) -> Any:
    """The value with something in it replaced, left out or added."""
    if draw.random() < 0.2:
        return draw.choice(JUNK)
    if isinstance(value, dict) and value:
        changed, key = dict(value), draw.choice(list(value))
        fate = draw.random()
        if fate < 0.2:
            del changed[key]
        elif fate < 0.3:
            changed[draw.choice(["a", 7, "users", key])] = draw.choice(JUNK)
        else:
            changed[key] = mutated(value[key], draw)
        return changed
    if isinstance(value, list) and value:
        return [*value[1:], mutated(value[0], draw)]
    return draw.choice(JUNK)


@pytest.mark.chaos
@pytest.mark.parametrize("seed", range(5))
def test_whatever_clients_send_the_master_goes_on_and_all_users_are_with_workers(master: Master, seed: int) -> None:
    draw = random.Random(seed)
    honest, liar, stranger = master.worker("honest"), master.worker("liar"), master.client("stranger")
    master.start(8)
    kinds = [kind for kind, _ in GOOD if kind not in ("quit", "client_stopped")]
    custom = [kind for kind in master.runner.custom_messages if kind != "tokenswarm_refused"]
    for number in range(4_000):
        kind, data = draw.choice(GOOD)
        stranger.send(draw.choice([kind, draw.choice(custom)]), mutated(data, draw))
        kind, data = draw.choice(GOOD)
        liar.send(kind if kind in kinds and kind != "tokenswarm_refused" else draw.choice(custom), mutated(data, draw))
        if number % 500 == 0:
            liar.settle()
            honest.beat(user_classes_count={"Idle": honest.users})
    honest.settle()
    stranger.settle()
    assert stranger.got("spawn") == []
    assert "stranger" not in master.runner.clients
    assert 0 <= master.runner.user_count < 10**7
    liar.send("quit")
    soon(lambda: honest.users == 8)
    honest.beat(user_classes_count={"Idle": 8})
    assert master.runner.state == STATE_RUNNING
    assert (master.runner.user_count, master.link.users) == (8, 8)
    assert len(master.runner.exceptions) <= 100


@pytest.mark.chaos
def test_a_message_that_is_too_large_closes_its_connection_and_no_other(master: Master) -> None:
    honest, greedy = master.worker("honest"), master.client("greedy")
    greedy.send("client_ready", "x" * (65 * 1024 * 1024))
    gevent.sleep(1)
    honest.beat()
    assert "greedy" not in master.runner.clients
