"""A master and its workers: real runner classes and events, but a network of the test's own, which hands over bytes.

Clocks, sleeps and greenlets are stand-ins: nothing here waits.
"""

from __future__ import annotations

import json
import random
import sys
from argparse import Namespace
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import gevent
import pytest
from gevent.pool import Group
from hypothesis import given, settings
from hypothesis import strategies as st
from locust.env import Environment
from locust.rpc import Message
from locust.runners import STATE_RUNNING, MasterRunner, WorkerNode, WorkerNodes, WorkerRunner
from locust.stats import setup_distributed_stats_event_listeners

import tokenswarm.cluster.worker_link
import tokenswarm.recording.active_run
import tokenswarm.run_control.process_recorder
import tokenswarm.run_control.recording_hooks
import tokenswarm.run_control.run_controller
from tests.run_control.recording_bench import (
    MakeLevel,
    MakeTimeline,
    S,
    Screen,
    facts_of,
    fire_request,
    options,
    rows_of,
    told_of,
)
from tokenswarm.cluster.protocol import WorkerRefused
from tokenswarm.metrics.level import Level
from tokenswarm.metrics.timeline import Timeline
from tokenswarm.recording.recording_options import RecordingOptions
from tokenswarm.recording.recovery import recover
from tokenswarm.run_control.recording_hooks import Recording

pytestmark = pytest.mark.slow


class Wall:
    """Stands for time and for gevent: every sleep moves the one clock, and what is spawned is left alone."""

    def __init__(self) -> None:
        self.now_ns = 1000 * S
        self.each_sleep: Callable[[], None] = lambda: None

    def perf_counter_ns(self) -> int:
        return self.now_ns

    def time_ns(self) -> int:
        return self.now_ns + 1_700_000_000 * S

    def sleep(self, seconds: float) -> None:
        self.now_ns += round(seconds * S)
        self.each_sleep()

    def spawn(self, function: Callable[..., Any], *arguments: Any) -> Any:
        return SimpleNamespace(kill=lambda **_: None)

    def getcurrent(self) -> object:
        return gevent.getcurrent()

    def kill(self, *_: object) -> None:
        pass

    def signal_handler(self, *_: object) -> Any:
        """Leaves the test runner's own handlers alone."""
        return SimpleNamespace(cancel=lambda: None)


@dataclass
class Clock:
    """A machine's own: it shows something else than the wall's, and runs at another speed."""

    wall: Wall
    ahead_ns: int = 0
    drift: float = 0.0

    def perf_counter_ns(self) -> int:
        return self.wall.now_ns + self.ahead_ns + round((self.wall.now_ns - 1000 * S) * self.drift)


class QuietWorker(WorkerRunner):
    """A worker whose connection is the test's."""

    def __init__(self, environment: Environment, index: int, nodes: Nodes) -> None:
        self.environment, self.custom_messages = environment, {}
        self.worker_index = -1  # as Locust's worker has it until its master has sent one
        self.client_id, self.worker_state, self.nodes = f"worker-{index}", "ready", nodes
        self.greenlet: Any = Group()
        self.greenlet.add(gevent.Greenlet())  # it listens
        self.stops = 0

    def send_message(self, msg_type: str, data: Any = None, client_id: str | None = None) -> None:
        self.nodes.up(Message(msg_type, data, self.client_id).serialize())

    def stop(self) -> None:
        self.stops += 1
        self.worker_state = "stopped"

    def quit(self) -> None:
        self.stop()


class QuietMaster(MasterRunner):
    """A master whose connections are the test's."""

    user_count = 0
    worker_count = 2
    shape_greenlet = None

    def __init__(self, environment: Environment, nodes: Nodes) -> None:
        self.environment, self.nodes, self.custom_messages = environment, nodes, {}
        self.greenlet = None  # type: ignore[assignment]
        self.server = SimpleNamespace(recv_from_client=None)
        self.clients = WorkerNodes()
        self._users_dispatcher = None
        self.exceptions = {}

    def get_worker_index(self, client_id: str) -> int:
        return int(client_id.rpartition("-")[2])

    def handle_message(self, client_id: str, msg: Message) -> None:
        if msg.type == "stats":
            self.environment.events.worker_report.fire(client_id=client_id, data=msg.data)
        elif msg.type == "client_ready":
            self.environment.events.worker_connect.fire(client_id=client_id)
            self.clients[client_id] = WorkerNode(client_id)
        elif msg.type == "quit":
            del self.clients[client_id]
        elif msg.type != "heartbeat":
            self.custom_messages[msg.type][0](environment=self.environment, msg=msg)

    def send_message(self, msg_type: str, data: Any = None, client_id: str | None = None) -> None:
        assert client_id is not None
        self.nodes.down(Message(msg_type, data, client_id).serialize())


def heartbeat(name: str) -> bytes:
    data = {"state": "running", "current_cpu_usage": 0.0, "current_memory_usage": 0}
    return Message("heartbeat", data, name).serialize()


@dataclass
class Nodes:
    """A master and its workers. `up` and `down` are the ways between them."""

    results: Path
    wall: Wall
    monkeypatch: pytest.MonkeyPatch
    number: int = 2
    clocks: list[Clock] = field(default_factory=list)
    headless: bool = True

    def __post_init__(self) -> None:
        for module in (tokenswarm.run_control.process_recorder, tokenswarm.run_control.run_controller):
            self.monkeypatch.setattr(module, "time", self.wall)
            self.monkeypatch.setattr(module, "gevent", self.wall)
        self.monkeypatch.setattr(tokenswarm.recording.active_run, "time", self.wall)
        for name, module in list(sys.modules.items()):
            if name.startswith("tokenswarm.cluster.") and name != "tokenswarm.cluster.transport":
                for stands_for in {"gevent", "time"} & vars(module).keys():
                    self.monkeypatch.setattr(module, stands_for, self.wall)
        self.clocks = self.clocks or [Clock(self.wall) for _ in range(self.number)]
        self.screen = Screen()
        self.workers: list[QuietWorker] = []
        self.recordings: list[Recording] = []
        self.lossy: Callable[[bytes], list[bytes]] = lambda sent: [sent]
        self.silent: set[str] = set()
        for index in range(self.number):
            self.add_worker(index)
        self.environment = Environment(parsed_options=self.options())
        self.master = QuietMaster(self.environment, self)
        self.environment.runner = self.master
        self.recording = Recording(self.environment.events, [self.screen])
        self.recording.attach(self.environment)

    def options(self, **changes: Any) -> Namespace:
        return options(self.results, **changes)

    def add_worker(self, index: int, **changes: Any) -> QuietWorker:
        node = Environment(parsed_options=self.options(**changes))
        worker = QuietWorker(node, index, self)
        node.runner = worker
        setup_distributed_stats_event_listeners(node.events, node.stats)
        node.events.report_to_master.add_listener(lambda client_id, data: data.update(user_classes_count={}))
        recording = Recording(node.events, [])
        recording.attach(node)
        self.workers.append(worker)
        self.recordings.append(recording)
        return worker

    def join(self) -> None:
        for index in range(len(self.workers)):
            self.join_one(index)

    def join_one(self, index: int) -> None:
        self.on(index, self.recordings[index].request_admission)
        self.on(index, self.recordings[index].join)

    def begin(self, *plan: Level) -> None:
        self.join()
        self.recording.await_workers()
        self.begin_again(*plan)

    def begin_again(self, *plan: Level) -> None:
        """A run of workers that have joined."""
        self.recording.begin_run(facts_of(*plan), RecordingOptions.of(self.options()))

    def on(self, index: int, function: Callable[..., Any], *arguments: Any, **keywords: Any) -> Any:
        """Do it on that worker's machine."""
        with self.monkeypatch.context() as patched:
            patched.setattr(self.wall, "perf_counter_ns", self.clocks[index].perf_counter_ns)
            return function(*arguments, **keywords)

    def up(self, sent: bytes) -> None:
        message = Message.unserialize(sent)
        if message.node_id in self.silent:
            return
        arrived = self.lossy(sent) if message.type == "stats" else [sent]
        for each in arrived:
            self.deliver(each)

    def deliver(self, sent: bytes) -> None:
        message = Message.unserialize(sent)
        with self.monkeypatch.context() as patched:
            patched.setattr(self.wall, "perf_counter_ns", Wall.perf_counter_ns.__get__(self.wall))
            self.master.handle_message(message.node_id, message)

    def down(self, sent: bytes) -> None:
        message = Message.unserialize(sent)
        if message.node_id in self.silent:
            return
        index = self.master.get_worker_index(message.node_id)
        worker = self.workers[index]
        self.on(index, worker.custom_messages[message.type][0], environment=worker.environment, msg=message)

    def fire(self, index: int, timeline: Timeline) -> None:
        fire_request(self.workers[index].environment, {"timeline": timeline})

    def stats_message(self, index: int) -> bytes:
        """The stats message that Locust's reporter would send now."""
        data: dict[str, Any] = {}
        worker = self.workers[index]
        self.on(index, worker.environment.events.report_to_master.fire, client_id=worker.client_id, data=data)
        return Message("stats", data, worker.client_id).serialize()

    def report(self, *indexes: int) -> None:
        for index in indexes or range(len(self.workers)):
            self.up(self.stats_message(index))

    def beat(self) -> None:
        """Each worker's sign of life."""
        for worker in self.workers:
            if worker.client_id not in self.silent:
                self.deliver(heartbeat(worker.client_id))

    def stop(self) -> None:
        """As Locust's master does it."""
        self.environment.events.test_stopping.fire(environment=self.environment)
        self.environment.events.test_stop.fire(environment=self.environment)

    @property
    def folder(self) -> Path:
        return max(self.results.iterdir(), key=lambda path: (len(path.name), path.name))

    @property
    def summary(self) -> Any:
        return told_of(self.folder, "summary.json")


@pytest.fixture
def nodes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Nodes:
    return Nodes(tmp_path / "results", Wall(), monkeypatch)


@pytest.fixture
def request_at(timeline: MakeTimeline) -> MakeTimeline:
    """An answer sent so many seconds after the run began, which was at 1,000 s; a token each 100 ms."""

    def make(sent_s: float, tokens: int = 4, began_s: float = 1000, **changes: Any) -> Timeline:
        arrivals_s = [began_s + sent_s + (place + 1) / 10 for place in range(tokens)]
        return timeline(arrivals_s, sent_s=began_s + sent_s, **changes)

    return make


def accounting(number: int, balanced: bool = True, unaccounted: int = 0) -> dict[str, Any]:
    counts = dict.fromkeys(("ended", "recorded", "rows"), number)
    return {**counts, "unaccounted": unaccounted, "complete": balanced}


def test_workers_have_recorders_of_their_own_and_the_master_has_none(nodes: Nodes, a_level: MakeLevel) -> None:
    nodes.begin(a_level())
    assert nodes.recording.recorder is None
    assert [recording.recorder.worker for recording in nodes.recordings if recording.recorder] == [0, 1]


def test_what_ended_on_workers_is_in_the_masters_folder(
    nodes: Nodes, request_at: MakeTimeline, a_level: MakeLevel
) -> None:
    nodes.begin(a_level())
    for index, requests in enumerate((2, 3)):
        for _ in range(requests):
            nodes.fire(index, request_at(3.0))
        nodes.report(index)
    nodes.wall.now_ns += 12 * S
    nodes.beat()
    nodes.recording.end_plan()
    nodes.stop()
    summary = nodes.summary
    assert (summary["status"], summary["accounting"], summary["events"]) == ("finished", accounting(5), [])
    assert told_of(nodes.folder, "run.json")["workers"] == 2
    assert summary["levels"][0]["hold"]["gap_s"]["count"] == 5 * 3
    assert sorted(row["id"] for row in rows_of(nodes.folder, "requests.csv")) == ["0-1", "0-2", "1-1", "1-2", "1-3"]


def test_a_run_ends_when_every_worker_has_stopped_its_users_and_sent_its_final_report(
    nodes: Nodes, request_at: MakeTimeline, a_level: MakeLevel
) -> None:
    """One needs a while: nothing is known of how long."""
    nodes.begin(a_level())
    for index, worker in enumerate(nodes.workers):
        worker.worker_state = STATE_RUNNING
        nodes.fire(index, request_at(3.0))
    nodes.environment.parsed_options.stop_timeout = 20
    asked: list[bytes] = []
    at_once = nodes.down

    def slowly(sent: bytes) -> None:
        message = Message.unserialize(sent)
        if (message.type, message.node_id) != ("tokenswarm_end", "worker-1"):
            at_once(sent)
            return
        asked.append(sent)
        if len(asked) == 14:
            nodes.fire(1, request_at(4.0))
            at_once(sent)

    def sign_of_life() -> None:
        nodes.deliver(heartbeat("worker-1"))

    nodes.down = slowly  # type: ignore[method-assign]
    nodes.wall.each_sleep = sign_of_life
    nodes.recording.end_plan()
    nodes.stop()
    assert (nodes.summary["status"], nodes.summary["accounting"]) == ("finished", accounting(3))
    assert [worker.stops for worker in nodes.workers] == [1, 1]
    assert {worker.environment.parsed_options.stop_timeout for worker in nodes.workers} == {20}
    assert 13 <= (nodes.wall.now_ns - 1000 * S) / S < 14


def test_workers_keep_their_reports_until_they_are_acknowledged(
    nodes: Nodes, request_at: MakeTimeline, a_level: MakeLevel
) -> None:
    nodes.begin(a_level())
    nodes.fire(0, request_at(3.0))
    nodes.stats_message(0)  # goes nowhere
    nodes.fire(0, request_at(4.0))
    again = nodes.stats_message(0)
    nodes.fire(0, request_at(5.0))
    nodes.report(0)
    nodes.deliver(again)  # late
    nodes.report(0)
    assert [row["sent_s"][:1] for row in rows_of(nodes.folder, "requests.csv")] == ["3", "4", "5"]
    quiet = Message.unserialize(nodes.stats_message(0)).data["tokenswarm"]
    assert len(quiet[5]) == 1  # what was acknowledged is gone


class Link:
    """A way that loses, repeats and holds back what goes over it."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.held: list[bytes] = []

    def __call__(self, sent: bytes) -> list[bytes]:
        fate = self.random.random()
        if fate < 0.3:
            return []
        if fate < 0.5:
            self.held.append(sent)
            return []
        arrived = [sent, sent] if fate < 0.7 else [sent]
        self.random.shuffle(self.held)
        late, self.held = self.held[:2], self.held[2:]
        return [*late, *arrived] if fate < 0.85 else [*arrived, *late]


@pytest.mark.parametrize("seed", range(20))
def test_lost_repeated_and_reordered_reports_change_no_figure(
    seed: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request_at: MakeTimeline, a_level: MakeLevel
) -> None:
    results = []
    for name, link in (("good", None), ("bad", Link(seed))):
        with monkeypatch.context() as patched:
            nodes = Nodes(tmp_path / name, Wall(), patched, number=3)
            if link is not None:
                nodes.lossy = link
            nodes.begin(a_level(0), a_level(1))
            for number in range(60):
                nodes.fire(number % 3, request_at(2.5 + number / 10, tokens=1 + number % 7))
                if number % 4 == 0:
                    nodes.report(number % 3)
            nodes.wall.now_ns += 13 * S
            nodes.beat()
            nodes.recording.begin_level(a_level(1))
            for number in range(20):
                nodes.fire(number % 3, request_at(16 + number / 10, level_index=1))
            nodes.wall.each_sleep = nodes.beat
            began_ns = nodes.wall.now_ns
            nodes.recording.end_plan()
            nodes.stop()
            assert nodes.summary["status"] == "finished"
            waited_ns, nodes.wall.now_ns = nodes.wall.now_ns - began_ns, began_ns
            assert waited_ns < 30 * S
            summary = nodes.summary
            rows = sorted(tuple(row.values()) for row in rows_of(nodes.folder, "requests.csv"))
            for level in summary["levels"]:
                for part in ("hold", "whole"):
                    for figure in ("seconds", "token_rate", "good_token_rate", "request_rate", "goodput"):
                        level[part].pop(figure)  # of the last level: the run is longer by the wait for final reports
            results.append((summary["accounting"], summary["levels"], rows))
    assert results[0][0] == accounting(80)
    assert results[0] == results[1]


def test_a_level_that_a_worker_missed_reaches_it_with_its_next_report(
    nodes: Nodes, request_at: MakeTimeline, a_level: MakeLevel
) -> None:
    nodes.begin(a_level(0), a_level(1))
    nodes.silent.add("worker-1")
    nodes.wall.now_ns += 2 * S
    nodes.recording.begin_level(a_level(1))
    nodes.silent.clear()
    late = nodes.recordings[1].recorder
    assert late is not None
    assert list(late.levels) == [0]
    nodes.report(1)
    assert list(late.levels) == [0, 1]
    assert late.levels[1].began_ns == 1002 * S


def test_a_worker_that_joins_in_mid_run_receives_the_level_at_once_and_is_named(
    nodes: Nodes, request_at: MakeTimeline, a_level: MakeLevel
) -> None:
    nodes.begin(a_level())
    nodes.wall.now_ns += 4 * S
    nodes.beat()
    worker = nodes.add_worker(2)
    nodes.clocks.append(Clock(nodes.wall))
    worker.worker_state = STATE_RUNNING  # Locust's users were there first
    late: list[str] = []
    nodes.recordings[2].on_late_level = lambda: late.append("begin")
    nodes.recordings[2]._worker_link._on_late_level = nodes.recordings[2].on_late_level  # type: ignore[union-attr]
    nodes.join_one(2)
    assert late == ["begin"]
    nodes.fire(2, request_at(5.0))
    nodes.stop()
    assert nodes.summary["accounting"] == accounting(1)
    (event,) = nodes.summary["events"]
    assert event == {"time_s": 4.0, "worker": 2, "name": "worker-2", "event": "joined"}


def test_a_worker_that_leaves_sends_its_final_report_first(
    nodes: Nodes, request_at: MakeTimeline, a_level: MakeLevel
) -> None:
    nodes.begin(a_level())
    nodes.fire(1, request_at(3.0))
    nodes.wall.now_ns += 5 * S
    nodes.beat()
    node = nodes.workers[1].environment
    nodes.on(1, node.events.quitting.fire, environment=node, reverse=True)
    nodes.recording.end_plan()
    nodes.stop()
    assert (nodes.summary["status"], nodes.summary["accounting"]) == ("finished", accounting(1))
    assert [(event["worker"], event["event"]) for event in nodes.summary["events"]] == [(1, "leaving"), (1, "left")]


def test_users_that_are_sent_to_a_worker_when_its_run_has_ended_are_not_started(
    nodes: Nodes, a_level: MakeLevel, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The message was sent before: on a slow way it comes late."""
    link = nodes.recordings[0]._worker_link
    assert link is not None
    handled: list[str] = []
    monkeypatch.setattr(link, "_handle", lambda message: handled.append(message.type))
    spawn = Message("spawn", {"user_classes_count": {"ChatUser": 5}}, "worker-0")
    nodes.begin(a_level())
    link._handle_checked(spawn)
    nodes.recording.end_plan()
    nodes.stop()
    link._handle_checked(spawn)
    link._handle_checked(Message("stop", None, "worker-0"))
    assert handled == ["spawn", "stop"]


def test_a_second_end_of_a_worker_that_leaves_cancels_its_streams_and_ends_nothing_itself(
    nodes: Nodes, a_level: MakeLevel, monkeypatch: pytest.MonkeyPatch
) -> None:
    nodes.begin(a_level())
    link = nodes.recordings[1]._worker_link
    assert link is not None
    stopped: list[float] = []
    monkeypatch.setattr(link._users, "stop", stopped.append)

    class WaitsForEver(Exception):
        pass

    def wait() -> None:
        raise WaitsForEver

    monkeypatch.setattr(tokenswarm.cluster.worker_link, "Event", lambda: SimpleNamespace(wait=wait))
    link._quitting, link._leaving = object(), True  # another greenlet's
    with pytest.raises(WaitsForEver):
        link._on_quitting()
    assert stopped == [0.0]


def test_a_lost_worker_is_named_with_what_is_known_of_it(
    nodes: Nodes, request_at: MakeTimeline, a_level: MakeLevel
) -> None:
    nodes.begin(a_level())
    recorder = nodes.recordings[1].recorder
    assert recorder is not None
    recorder.in_flight = 5
    for index in (0, 1):
        nodes.fire(index, request_at(3.0))
        nodes.report(index)
    nodes.wall.now_ns += 4 * S
    nodes.beat()
    nodes.silent.add("worker-1")
    nodes.wall.each_sleep = nodes.beat
    nodes.recording.end_plan()
    nodes.stop()
    summary = nodes.summary
    assert summary["accounting"] == accounting(2, balanced=False, unaccounted=5)
    assert summary["validity"]["reasons"] == [
        "worker 1 (worker-1) was lost: its last heartbeat was received 4.0 s into the run, with 5 requests in flight "
        "by its last report; what it sent after that is not known"
    ]
    assert [(event["worker"], event["event"], event["time_s"]) for event in summary["events"]] == [(1, "lost", 4.0)]
    assert (summary["status"], nodes.environment.process_exit_code) == ("failed", 3)
    assert (nodes.wall.now_ns - 1000 * S) / S < 4 + 16  # nobody waits for the dead


@pytest.mark.parametrize("forked", [True, False])
def test_a_worker_that_leaves_without_having_reported_all_is_lost(
    forked: bool, nodes: Nodes, request_at: MakeTimeline, a_level: MakeLevel, tmp_path: Path
) -> None:
    nodes.recordings[1].controller.process._forked = forked
    nodes.begin(a_level())
    nodes.fire(0, request_at(3.0))
    nodes.fire(1, request_at(3.0))
    nodes.report(0, 1)
    nodes.fire(1, request_at(4.0))
    worker, recording = nodes.workers[1], nodes.recordings[1]
    recorder = recording.recorder
    recording._worker_link._on_master_lost("The master was silent")  # type: ignore[union-attr]
    nodes.report(1)
    assert recording.recorder is recorder  # whatever the master sends still
    nodes.on(1, worker.environment.events.quitting.fire, environment=worker.environment, reverse=True)
    assert recording.recorder is not None
    assert recording.recorder.spool is not None
    recording.recorder.spool.close()  # the process is gone
    nodes.recording.end_plan()
    nodes.stop()
    assert nodes.summary["status"] == "failed"
    assert "worker 1 (worker-1) was lost" in nodes.summary["validity"]["reasons"][0]
    assert [(event["worker"], event["event"]) for event in nodes.summary["events"]] == [(1, "left"), (1, "lost")]
    # What it had left is in its own spool, which the master can read if it forked the worker, and must leave else.
    assert nodes.summary["accounting"] == accounting(3 if forked else 2, balanced=False)
    assert (nodes.folder / "spool").exists() is not forked


@pytest.mark.parametrize("what", ["reports", "acknowledgements"])
def test_a_spool_is_kept_exactly_where_the_run_has_ended_without_what_is_in_it(
    what: str, nodes: Nodes, request_at: MakeTimeline, a_level: MakeLevel
) -> None:
    """A worker that is cut off as a run ends is back when it is over, and its master goes on, for a page say."""
    nodes.begin(a_level())
    for index in (0, 1):
        nodes.fire(index, request_at(3.0))
    recorder = nodes.recordings[1].recorder
    assert recorder is not None
    assert recorder.spool is not None
    spools = recorder.spool.folder
    if what == "reports":
        nodes.silent.add("worker-1")
        nodes.wall.each_sleep = nodes.beat
    else:
        at_once = nodes.down
        nodes.down = lambda sent: None  # type: ignore[assignment, method-assign]
        for index in (0, 1):
            nodes.recordings[index]._worker_link._reports.send_final_report()  # type: ignore[union-attr]
    nodes.recording.end_plan()
    nodes.stop()
    if what == "acknowledgements":
        nodes.down = at_once  # type: ignore[method-assign]
    nodes.silent.clear()
    nodes.recordings[1]._worker_link._reports.send_final_report()  # type: ignore[union-attr]
    assert nodes.recordings[1].recorder is None
    if what == "acknowledgements":
        assert (nodes.summary["status"], nodes.summary["accounting"]) == ("finished", accounting(2))
        assert not list(spools.glob("worker-1-*"))
    else:
        assert (nodes.summary["status"], nodes.summary["accounting"]["recorded"]) == ("failed", 1)
        assert recover(nodes.folder, [spools]).requests == 2


def test_a_report_of_another_run_is_left_alone_and_not_sent_again(
    nodes: Nodes, request_at: MakeTimeline, a_level: MakeLevel
) -> None:
    nodes.begin(a_level())
    nodes.fire(0, request_at(3.0))
    nodes.silent = {"worker-0", "worker-1"}
    nodes.wall.now_ns += 60 * S
    nodes.stop()
    nodes.silent.clear()
    late = nodes.stats_message(0)
    nodes.beat()
    nodes.begin_again(a_level())
    nodes.deliver(late)
    assert rows_of(nodes.folder, "requests.csv") == []
    assert len(Message.unserialize(nodes.stats_message(0)).data["tokenswarm"][5]) == 1


def test_two_runs_with_the_same_workers_have_their_own_statistics(
    nodes: Nodes, request_at: MakeTimeline, a_level: MakeLevel
) -> None:
    for began_s, requests in ((1000, 3), (1100, 2)):
        nodes.wall.now_ns = began_s * S
        nodes.beat()
        nodes.begin(a_level()) if began_s == 1000 else nodes.begin_again(a_level())
        for _ in range(requests):
            nodes.fire(1, request_at(3.0, began_s=began_s))
        nodes.recording.end_plan()
        nodes.stop()
        assert (nodes.summary["status"], nodes.summary["accounting"]) == ("finished", accounting(requests))
        assert [recording.recorder for recording in nodes.recordings] == [None, None]


@pytest.mark.parametrize(
    "report",
    [
        b"no report",
        ["not", "six", "parts"],
        "RUN, 0, 0, 1, False, [b'garbage']",
        "RUN, 0, 0, 1, False, [Report(1, 5, 0, 0, 0).encode()]",
        "RUN, 0, 0, 1, False, [Report(0, 1, 0, 0, 0).encode()]",
        "RUN, 0, 0, 1, False, [Report(1, 1, 0, 0, 0, tokens_by_window={(7, 0): 1.0}).encode()]",
    ],
    ids=["bytes", "too short", "garbage", "out of order", "in another's name", "of a level that never was"],
)
def test_a_report_that_cannot_be_entered_fails_the_run_and_its_worker_is_sent_away(
    report: Any, nodes: Nodes, request_at: MakeTimeline, a_level: MakeLevel, caplog: pytest.LogCaptureFixture
) -> None:
    from tokenswarm.recording.worker_report import Report

    nodes.begin(a_level())
    nodes.fire(0, request_at(3.0))
    run = Message.unserialize(nodes.stats_message(0)).data["tokenswarm"][0]
    if isinstance(report, str):
        report = list(eval(report, {"RUN": run, "Report": Report}))
    data = Message.unserialize(nodes.stats_message(1)).data | {"tokenswarm": report}
    nodes.deliver(Message("stats", data, "worker-1").serialize())
    assert "the master rejects this worker: its report could not be entered" in caplog.text
    assert "worker-1" not in nodes.master.clients  # Locust gives it no users any more
    assert nodes.workers[1].environment.process_exit_code == 2
    nodes.recording.end_plan()
    nodes.stop()
    assert told_of(nodes.folder, "run.json")["status"] == "failed"
    assert nodes.summary["accounting"] == accounting(1)
    assert [(event["worker"], event["event"]) for event in nodes.summary["events"]] == [(1, "expelled")]
    assert "a report of worker worker-1 could not be entered" in nodes.summary["validity"]["reasons"][0]
    assert nodes.environment.process_exit_code == 3


def test_a_request_that_a_worker_could_not_record_fails_the_run_on_the_master(
    nodes: Nodes, request_at: MakeTimeline, a_level: MakeLevel
) -> None:
    nodes.begin(a_level())
    nodes.fire(0, request_at(3.0))
    nodes.fire(0, request_at(3.0, level_index=7))  # a stage that never began
    nodes.recording.end_plan()
    nodes.stop()
    assert nodes.summary["accounting"] == {"ended": 2, "recorded": 1, "rows": 1, "complete": False, "unaccounted": 0}
    assert (nodes.summary["status"], nodes.environment.process_exit_code) == ("failed", 3)


def test_a_worker_keeps_its_recorder_from_level_to_level(nodes: Nodes, a_level: MakeLevel) -> None:
    nodes.begin(a_level(0), a_level(1))
    recorder = nodes.recordings[0].recorder
    assert recorder is not None
    nodes.wall.now_ns += 15 * S
    nodes.recording.begin_level(a_level(1))
    assert nodes.recordings[0].recorder is recorder
    assert [(begun.run_began_ns, begun.began_ns) for begun in recorder.levels.values()] == [
        (1000 * S, 1000 * S),
        (1000 * S, 1015 * S),
    ]


def test_reports_of_strangers_are_left_alone(nodes: Nodes, request_at: MakeTimeline, a_level: MakeLevel) -> None:
    nodes.begin(a_level())
    for data in ({"stats": []}, {"tokenswarm": b"?"}, Message.unserialize(nodes.stats_message(0)).data):
        nodes.deliver(Message("stats", data, "stranger").serialize())
    nodes.fire(0, request_at(3.0))
    nodes.recording.end_plan()
    nodes.stop()
    assert nodes.summary["status"] == "finished"


@pytest.mark.parametrize("kind", ["join", "ping", "refused"])
@pytest.mark.parametrize("data", [None, 7, {}, {"build": 1}, [1, 2], {"reason": 3}])
def test_messages_that_make_no_sense_are_left_out(
    kind: str, data: Any, nodes: Nodes, a_level: MakeLevel, caplog: pytest.LogCaptureFixture
) -> None:
    nodes.begin(a_level())
    nodes.deliver(Message(f"tokenswarm_{kind}", data, "worker-1").serialize())
    assert f"an invalid tokenswarm_{kind} message" in caplog.text
    assert list(nodes.master.clients) == ["worker-0", "worker-1"]


def test_a_worker_that_runs_other_files_is_rejected_with_a_sentence_on_both_sides(
    nodes: Nodes, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    with monkeypatch.context() as patched:
        patched.setattr(tokenswarm.run_control.recording_hooks, "build_of", lambda files: "0.0.9 (0123456789ab)")
        worker = nodes.add_worker(2)
    nodes.clocks.append(Clock(nodes.wall))
    nodes.workers.pop()
    nodes.join()
    nodes.workers.append(worker)
    with pytest.raises(WorkerRefused) as refused:
        nodes.join_one(2)
    mine = tokenswarm.run_control.recording_hooks.build_of([])
    reason = f"it runs Tokenswarm 0.0.9 (0123456789ab), its master runs {mine}; use the same files on both"
    assert f"Worker worker-2 is rejected: {reason}" in caplog.text
    assert str(refused.value) == f"the master rejects this worker: {reason}"
    nodes.recording.await_workers()
    assert list(nodes.master.clients) == ["worker-0", "worker-1"]  # Locust gives a rejected worker no users


@pytest.mark.parametrize(
    ("masters", "workers", "admitted"),
    [
        ("", "", True),
        ("blue", "blue", True),
        ("blue", "red", False),
        ("blue", "", False),
        ("", "blue", False),
        ("", "forked-1", False),
        ("forked-1", "forked-1", True),
        ("forked-1", "forked-2", False),
        ("forked-1", "", True),
    ],
)
def test_a_worker_of_another_cluster_is_rejected(
    masters: str, workers: str, admitted: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a master forks has a name that it made up; workers of other machines have none."""
    nodes = Nodes(tmp_path / "results", Wall(), monkeypatch, number=0)
    nodes.recording._master_link._admissions._cluster = masters  # type: ignore[union-attr]
    nodes.add_worker(0, cluster=workers)
    nodes.clocks.append(Clock(nodes.wall))
    with nullcontext() if admitted else pytest.raises(WorkerRefused) as refused:
        nodes.join()
    if refused is not None:
        assert ("--processes" in str(refused.value)) == any(each.startswith("forked-") for each in (masters, workers))
        assert ("the worker none" in str(refused.value)) == (not workers)
    assert list(nodes.master.clients) == (["worker-0"] if admitted else [])


def test_a_run_does_not_begin_while_an_admitted_worker_still_loads(nodes: Nodes) -> None:
    nodes.on(0, nodes.recordings[0].request_admission)
    nodes.wall.each_sleep = nodes.beat
    with pytest.raises(WorkerRefused, match="worker worker-0 was not ready within 120 s"):
        nodes.recording.await_workers()
    assert list(nodes.master.clients) == []
    nodes.wall.each_sleep = lambda: None  # it is gone
    nodes.recording.await_workers()


def test_a_run_does_not_begin_with_a_worker_that_cannot_take_part(nodes: Nodes) -> None:
    nodes.on(1, nodes.recordings[1].request_admission)
    nodes.recordings[1].refuse_run("its prompts are missing")
    with pytest.raises(
        WorkerRefused, match="worker worker-1 cannot take part: on that worker's machine, its prompts are missing"
    ):
        nodes.recording.await_workers()


# Clocks.


def test_clocks_that_show_something_else_and_a_slow_way_move_no_phase(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request_at: MakeTimeline, a_level: MakeLevel
) -> None:
    """One machine has been up for years, one was just started; messages take up to 40 ms, one way."""
    wall = Wall()
    clocks = [Clock(wall, 90_000_000 * S), Clock(wall, -990 * S)]
    nodes = Nodes(tmp_path / "results", wall, monkeypatch, clocks=clocks)
    up, down, ways = nodes.up, nodes.down, random.Random(3)

    def slow(way: Callable[[bytes], None]) -> Callable[[bytes], None]:
        def go(sent: bytes) -> None:
            wall.now_ns += ways.randrange(1_000_000, 40_000_000)
            way(sent)

        return go

    nodes.up, nodes.down = slow(up), slow(down)  # type: ignore[method-assign]
    nodes.begin(a_level())
    began_ns = wall.now_ns
    nodes.recording.begin_level(a_level(1))
    for index, clock in enumerate(clocks):
        link = nodes.recordings[index]._worker_link
        recorder = nodes.recordings[index].recorder
        assert link is not None
        assert recorder is not None
        assert link.clock.offset_ns == pytest.approx(-clock.ahead_ns, abs=link.clock.error_ns)
        assert 0 < link.clock.error_ns < 20_000_000  # the best of nine
        assert recorder.levels[1].began_ns - clock.ahead_ns == pytest.approx(began_ns, abs=link.clock.error_ns)


def test_a_clock_that_drifts_is_followed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request_at: MakeTimeline, a_level: MakeLevel
) -> None:
    """100 ppm, as no machine's: 180 ms in half an hour. The offset stays within what drifts in two minutes."""
    wall = Wall()
    nodes = Nodes(tmp_path / "results", wall, monkeypatch, clocks=[Clock(wall, 5 * S, 100e-6)], number=1)
    nodes.begin(a_level())
    recorder = nodes.recordings[0].recorder
    assert recorder is not None
    for _ in range(600):
        wall.now_ns += 3 * S
        nodes.report(0)
    nodes.recording.begin_level(a_level(1))
    there_ns = nodes.clocks[0].perf_counter_ns()
    assert recorder.levels[1].began_ns == pytest.approx(there_ns, abs=13_000_000)
    assert recorder.levels[0].run_began_ns == recorder.levels[1].run_began_ns


# Exactness.


@settings(max_examples=30)
@given(
    values_us=st.lists(st.integers(1, 5_000_000), min_size=1, max_size=200),
    workers=st.integers(1, 7),
    seed=st.integers(0, 1000),
)
def test_merged_figures_are_those_of_one_process_fed_the_same_requests(
    values_us: list[int], workers: int, seed: int
) -> None:
    from tests.run_fixtures import make_level, make_report, make_timeline
    from tokenswarm.metrics.objectives import Objectives
    from tokenswarm.recording.aggregator import Aggregator
    from tokenswarm.recording.summary import level_summary
    from tokenswarm.recording.worker_report import Report

    the_level = make_level()
    timelines = [
        make_timeline((3 + us / 1e6, 3 + us / 1e6 + 0.05, 3 + us / 5e5 + 0.06), sent_s=3.0, delays_ns=[us])
        for us in values_us
    ]
    shares: list[list[Timeline]] = [[] for _ in range(workers)]
    draw = random.Random(seed)
    for timeline in timelines:
        draw.choice(shares).append(timeline)
    results = []
    for parts in ([timelines], shares):
        aggregator = Aggregator(Objectives.parse("ttft=500ms"))
        aggregator.begin_level(the_level, 0.0)
        for worker, part in enumerate(parts):
            aggregator.apply(Report.decode(make_report(part, [the_level], worker=worker).encode()))
        aggregator.end_level(12.0)
        results.append(json.dumps(_rounded(level_summary(aggregator.levels[0], 12.0, aggregator.objectives))))
    assert results[0] == results[1]


def _rounded(summary: Any) -> Any:
    """Sums of floats differ in their last digit by the order of adding."""
    import msgspec

    def walk(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: walk(each) for key, each in sorted(value.items())}
        if isinstance(value, list):
            return [walk(each) for each in value]
        return float(f"{value:.12g}") if isinstance(value, float) else value

    return walk(msgspec.to_builtins(summary))
