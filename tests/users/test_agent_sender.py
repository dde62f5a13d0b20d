"""The requests of a session with sub-agents on their connections: what a failure, an end and a kill do to others."""

from __future__ import annotations

import time
from typing import Any

import gevent
import pytest
from gevent.event import Event

from tests.client.test_agent_tree import session_of, turn
from tokenswarm.client.agent_tree import AgentTree, DueRequest
from tokenswarm.metrics.timeline import PLAIN_LOAD, Outcome, SessionPlace, Timeline
from tokenswarm.prompts import Prompt, SubAgent
from tokenswarm.users.agent_sender import AgentSender

AT_ONCE = Prompt(
    "r1",
    1,
    agents=(SubAgent((turn("x1", 0.0), turn("x2", 0.0))), SubAgent((turn("y1", 0.0),))),
    turns=(turn("r2", 0.0),),
)


class Connection:
    """That of an agent."""

    def __init__(self) -> None:
        self.closed = False
        self.sent: list[str] = []

    def close(self) -> None:
        self.closed = True


class Pool:
    """Connections, and those that came back."""

    def __init__(self) -> None:
        self.taken: list[Connection] = []
        self.back: list[Connection] = []

    def take(self) -> Any:
        self.taken.append(Connection())
        return self.taken[-1]

    def give_back(self, connection: Any) -> None:
        self.back.append(connection)


class Bench:
    """Sends a session whose requests end at once, but for those that are held."""

    def __init__(self, root: Prompt = AT_ONCE) -> None:
        self.pool, self.first = Pool(), Connection()
        self.sent: list[str] = []
        self.held: dict[str, Event] = {}
        self.outcomes: dict[str, Outcome] = {}
        self.errors: dict[str, Exception] = {}
        self.may_send = True
        self.killed: list[str] = []
        tree = AgentTree(session_of(root, SessionPlace("s", 1, 2, "main", 0, 5)))
        self.sender = AgentSender(tree, self.pool, self._prepare, self._send, lambda: self.may_send)  # type: ignore[arg-type]

    def run(self) -> Timeline | None:
        return self.sender.run(self.first, PLAIN_LOAD, lambda: self.may_send)  # type: ignore[arg-type]

    def wait_for(self, requests: int) -> None:
        """Until so many were sent."""
        for _ in range(10_000):
            if len(self.sent) >= requests:
                return
            gevent.sleep(0.001)
        raise AssertionError(f"only {self.sent} were sent")

    def _prepare(self, client: Any, due: DueRequest) -> Any:
        return client, due

    def _send(self, prepared: Any) -> Timeline:
        client, due = prepared
        session = due.agent.session
        text = session.next().prompt.text
        self.sent.append(text)
        client.sent.append(text)
        try:
            if text in self.held:
                self.held[text].wait()
        except gevent.GreenletExit:
            self.killed.append(text)
            raise
        if text in self.errors:
            raise self.errors[text]
        outcome = self.outcomes.get(text, Outcome.OK)
        timeline = Timeline("u", 0, outcome, 0, 0, time.perf_counter_ns(), output_tokens=1)
        session.ended(timeline, "")
        return timeline


def test_each_agent_keeps_a_connection_of_its_own() -> None:
    bench = Bench()
    assert bench.run() is None
    assert bench.sent[0] == "r1" and bench.sent[-1] == "r2"
    assert bench.first.sent == ["r1", "r2"]
    assert sorted(connection.sent for connection in bench.pool.taken) == [["x1", "x2"], ["y1"]]
    assert sorted(map(id, bench.pool.back)) == sorted(map(id, bench.pool.taken))


def test_a_failure_ends_the_session_when_what_is_under_way_has_ended() -> None:
    bench = Bench()
    bench.held["y1"], bench.outcomes["x1"] = Event(), Outcome.HTTP_ERROR
    gevent.spawn_later(0.05, bench.held["y1"].set)
    failure = bench.run()
    assert failure is not None and failure.outcome is Outcome.HTTP_ERROR
    assert sorted(bench.sent) == ["r1", "x1", "y1"]
    assert len(bench.pool.back) == 2


def test_a_request_that_waits_is_not_sent_after_a_failure() -> None:
    slow = SubAgent((turn("x1", 600.0),))
    bench = Bench(Prompt("r1", 1, agents=(slow, SubAgent((turn("y1", 0.0),))), turns=(turn("r2", 0.0),)))
    bench.outcomes["y1"] = Outcome.TIMEOUT
    bench.run()
    assert bench.sent == ["r1", "y1"]


def test_nothing_is_sent_once_the_level_is_over() -> None:
    bench = Bench()
    bench.held["x1"] = Event()
    run = gevent.spawn(bench.run)
    bench.wait_for(3)
    bench.may_send = False
    bench.held["x1"].set()
    run.join()
    assert sorted(bench.sent) == ["r1", "x1", "y1"]


def test_a_user_that_is_killed_ends_all_its_agents() -> None:
    bench = Bench()
    bench.held["x1"], bench.held["y1"] = Event(), Event()
    run = gevent.spawn(bench.run)
    bench.wait_for(3)
    run.kill()
    assert sorted(bench.killed) == ["x1", "y1"]
    assert all(connection.closed for connection in (*bench.pool.taken, bench.first))


def test_a_defect_of_ours_is_raised_and_ends_the_session() -> None:
    bench = Bench()
    bench.errors["x1"] = RuntimeError("a defect")
    with pytest.raises(RuntimeError, match="a defect"):
        bench.run()
    assert "r2" not in bench.sent


def test_delays_are_waited() -> None:
    bench = Bench(Prompt("r1", 1, agents=(SubAgent((turn("x1", 0.05),)),), turns=(turn("r2", 0.05),)))
    began_s = time.perf_counter()
    bench.run()
    assert time.perf_counter() - began_s >= 0.1
