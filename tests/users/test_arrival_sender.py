"""Requests go out when they are due: on a clock of the test's own, and servers that take a given time."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from math import inf
from types import SimpleNamespace

import gevent
import numpy as np
import pytest

from tests.virtual_clock import BEGAN_NS, VirtualClock, settle
from tokenswarm.shapes.arrival_schedule import DueArrival, RecordedSchedule
from tokenswarm.shapes.splits import Splits
from tokenswarm.shapes.worker_arrivals import WorkerArrivals
from tokenswarm.users import arrival_sender
from tokenswarm.users.arrival_sender import ArrivalSender, let_sends_go_first
from tokenswarm.users.requests_ahead import SendRequest


@dataclass
class Sent:
    number: int
    due_s: float
    sent_s: float
    prepared_s: float
    prepared_for: int
    ended_s: float | None = None


@dataclass
class Bench:
    """A sender whose requests take service_s each; log: what it sent, in order."""

    due_s: list[float]
    service_s: Callable[[float], float]
    max_in_flight: int | None = None
    clock: VirtualClock = field(default_factory=VirtualClock)
    log: list[Sent] = field(default_factory=list)
    own_requests: bool = False

    def __post_init__(self) -> None:
        self.arrivals = WorkerArrivals.alone(RecordedSchedule(np.array(self.due_s)), self.max_in_flight)
        self.sender = ArrivalSender(
            self.arrivals, lambda: BEGAN_NS, self._prepare, self.clock, own_requests=self.own_requests
        )
        self.greenlet = gevent.spawn(self.sender.run)

    @property
    def level_s(self) -> float:
        return self.clock.now_s - BEGAN_NS / 1e9

    def _prepare(self, planned: DueArrival) -> SendRequest:
        prepared_s = self.level_s

        def send(arrival: DueArrival, due_ns: int) -> None:
            assert due_ns == BEGAN_NS + round(arrival.due_s * 1e9)
            sent = Sent(arrival.number, arrival.due_s, self.level_s, prepared_s, planned.number)
            self.log.append(sent)
            try:
                self.clock.sleep(self.service_s(sent.sent_s))
            finally:
                sent.ended_s = self.level_s

        return send


@pytest.fixture
def bench() -> Iterator[Callable[..., Bench]]:
    made: list[Bench] = []

    def make(*arguments: object, **named: object) -> Bench:
        made.append(Bench(*arguments, **named))  # type: ignore[arg-type]
        return made[-1]

    yield make
    gevent.killall([each.greenlet for each in made])


def lags(bench: Bench) -> list[float]:
    return [round(sent.sent_s - sent.due_s, 6) for sent in bench.log]


def test_requests_go_out_when_they_are_due_whatever_became_of_the_ones_before(bench: Callable[..., Bench]) -> None:
    run = bench([0.0, 0.5, 0.5, 3.0], lambda _: 10.0)
    run.clock.run(2.0)
    assert ([sent.number for sent in run.log], run.sender.in_flight) == ([0, 1, 2], 3)
    run.clock.run(20.0)
    assert lags(run) == [0.0] * 4
    assert run.greenlet.ready()


def test_a_request_is_prepared_before_it_is_due(bench: Callable[..., Bench]) -> None:
    run = bench([1.0, 5.0], lambda _: 0.1)
    run.clock.run(6.0)
    assert [sent.prepared_s for sent in run.log] == pytest.approx([0.0, 1.002])


def test_a_request_that_is_due_soon_is_prepared_at_once(bench: Callable[..., Bench]) -> None:
    run = bench([1.0, 1.0025], lambda _: 0.1)
    run.clock.run(2.0)
    assert [sent.prepared_s for sent in run.log] == [0.0, 1.0]
    assert lags(run) == [0.0, 0.0]


def test_the_requests_of_a_replays_burst_are_all_prepared_before_it_is_due(bench: Callable[..., Bench]) -> None:
    run = bench([1.0, *[2.0] * 20], lambda _: 0.1, own_requests=True)
    run.clock.run(3.0)
    assert lags(run) == [0.0] * 21
    assert [sent.number for sent in run.log] == [sent.prepared_for for sent in run.log] == list(range(21))
    assert max(sent.prepared_s for sent in run.log) < 0.1


def test_so_many_are_prepared_and_none_shortly_before_another_is_due(bench: Callable[..., Bench]) -> None:
    run = bench([0.0201, *[float(number) for number in range(1, 100)]], lambda _: 0.1, own_requests=True)
    run.clock.run(0.5)
    prepared_s = dict.fromkeys(sent.prepared_for for sent in run.log)
    run.clock.run(100.0)
    assert lags(run) == [0.0] * 100 and list(prepared_s) == [0]
    ahead_s = sorted(sent.prepared_s for sent in run.log)
    assert sum(at_s < 1.0 for at_s in ahead_s) == 12  # one was sent, and those of ten seconds are made ahead
    assert not any(0.0201 - 0.004 <= at_s < 0.0201 for at_s in ahead_s)


@pytest.mark.parametrize(("own_requests", "prepared_for"), [(False, [0, 1]), (True, [0, 2])])
def test_a_request_of_an_arrival_that_another_worker_gets_is_sent_for_no_other_one(
    bench: Callable[..., Bench], own_requests: bool, prepared_for: list[int]
) -> None:
    run = bench([0.0, 1.0, 2.0], lambda _: 0.1, own_requests=own_requests)
    run.clock.run(0.5)
    run.arrivals.splits = Splits.among([0]).followed_by(1, [0, 1])
    run.sender.wake()
    run.clock.run(3.0)
    assert [sent.number for sent in run.log] == [0, 2]
    assert [sent.prepared_for for sent in run.log] == prepared_for
    assert lags(run) == [0.0, 0.0]


def test_arrivals_that_are_late_go_out_at_once_and_in_order(bench: Callable[..., Bench]) -> None:
    """A worker that gets its user 2 s late, for instance."""
    clock = VirtualClock()
    clock.now_s += 2.0
    run = bench([0.0, 0.5, 1.0, 2.5], lambda _: 0.1, clock=clock)
    run.clock.run(3.0)
    assert [sent.number for sent in run.log] == [0, 1, 2, 3]
    assert lags(run) == [2.0, 1.5, 1.0, 0.0]


@pytest.mark.slow
def test_a_server_that_stalls_stops_no_arrival(bench: Callable[..., Bench]) -> None:
    """50 a second for 20 s; from 5 to 10 s it answers nothing. A closed loop would send none meanwhile."""
    due_s = [number / 50 for number in range(1000)]
    run = bench(due_s, lambda sent_s: 10.0 - sent_s + 0.1 if 5 <= sent_s < 10 else 0.1)
    run.clock.run(30.0)
    assert [sent.number for sent in run.log] == list(range(1000))
    assert max(lags(run)) == 0.0
    waited_s = sorted((sent.ended_s or 0) - sent.due_s for sent in run.log)
    assert waited_s[-10] > 4.5


def test_a_bound_of_requests_in_flight_queues_and_the_wait_counts(bench: Callable[..., Bench]) -> None:
    run = bench([0.0, 0.1, 0.2, 0.3], lambda _: 1.0, max_in_flight=2)
    run.clock.run(1.05)
    assert run.sender.in_flight == 2
    run.clock.run(5.0)
    assert lags(run) == pytest.approx([0.0, 0.0, 0.8, 0.8])
    assert [sent.number for sent in run.log] == [0, 1, 2, 3]
    assert run.greenlet.ready()


def test_a_stopped_sender_sends_what_is_due_and_ends_with_its_requests(bench: Callable[..., Bench]) -> None:
    run = bench([0.0, 0.1, 0.2, 1.0], lambda _: 2.0)
    run.clock.run(0.5)
    run.sender.stop()
    run.clock.run(1.5)
    assert (len(run.log), run.greenlet.ready()) == (3, False)
    run.clock.run(7.0)
    assert (len(run.log), run.sender.sent, run.greenlet.ready()) == (3, 3, True)


def test_a_stopped_sender_does_not_send_what_waits_for_another_request(bench: Callable[..., Bench]) -> None:
    run = bench([0.0, 0.1, 0.2], lambda _: 2.0, max_in_flight=1)
    run.clock.run(0.5)
    run.sender.stop()
    run.clock.run(5.0)
    assert ([sent.number for sent in run.log], run.greenlet.ready()) == ([0], True)


def test_a_sender_that_waits_for_an_arrival_stops_at_once(bench: Callable[..., Bench]) -> None:
    run = bench([100.0], lambda _: 1.0)
    run.clock.run(1.0)
    run.sender.stop()
    settle()
    assert (run.log, run.greenlet.ready()) == ([], True)


def test_a_sender_that_is_killed_takes_its_requests_along(bench: Callable[..., Bench]) -> None:
    run = bench([0.0, 0.1, 50.0], lambda _: 99.0)
    run.clock.run(1.0)
    run.greenlet.kill()
    assert [sent.ended_s for sent in run.log] == [1.0, 1.0]
    assert run.sender.in_flight == 0


def test_a_request_that_fails_in_the_client_stops_no_other(bench: Callable[..., Bench]) -> None:
    def service_s(sent_s: float) -> float:
        if sent_s < 0.05:
            raise LookupError("oops")
        return 0.1

    run = bench([0.0, 0.1], service_s, max_in_flight=1)
    run.clock.run(1.0)
    assert [sent.number for sent in run.log] == [0, 1]
    assert run.greenlet.ready()


def test_a_request_is_started_before_it_is_due_as_starting_takes_time(bench: Callable[..., Bench]) -> None:
    clock = VirtualClock()
    clock.lead_ns = 300_000
    run = bench([0.1, 0.1001, 0.2], lambda _: 10.0, clock=clock)
    run.clock.run(20.0)
    assert lags(run) == [-0.0009, -0.0003, -0.0003]
    assert [sent.due_s for sent in run.log] == [0.1, 0.1001, 0.2]


def test_a_request_after_a_pause_is_started_earlier_and_those_of_its_moment_with_it(
    bench: Callable[..., Bench],
) -> None:
    clock = VirtualClock()
    clock.lead_ns = 300_000
    run = bench([0.5, 0.5, 0.5, 0.6], lambda _: 10.0, clock=clock, own_requests=True)
    run.clock.run(20.0)
    assert lags(run) == [-0.0009, -0.0009, -0.0009, -0.0003]
    assert [sent.number for sent in run.log] == [0, 1, 2, 3]


@pytest.mark.parametrize(
    ("due_ms", "slept_ms"),
    [
        ([inf], []),
        ([9.0], []),
        ([1.5, 20.0], [2.5]),
        ([-2.0, 8.0], [1.0]),
        ([1.0] * 30, [2.0] * 20),
    ],
    ids=["none", "later", "soon", "being sent", "always another"],
)
def test_work_that_can_wait_is_put_off_until_a_request_that_is_due_soon_is_sent(
    monkeypatch: pytest.MonkeyPatch, due_ms: list[float], slept_ms: list[float]
) -> None:
    """due_ms: how far off the next request is at first, and after each sleep."""
    slept: list[float] = []
    monkeypatch.setattr(arrival_sender, "LOOP_PACER", SimpleNamespace(due_ns=due_ms[0] * 1e6))
    monkeypatch.setattr(arrival_sender, "time", SimpleNamespace(perf_counter_ns=lambda: 0))

    def sleep(seconds: float) -> None:
        slept.append(round(seconds * 1e3, 3))
        arrival_sender.LOOP_PACER.due_ns = due_ms[len(slept)] * 1e6

    monkeypatch.setattr(arrival_sender, "gevent", SimpleNamespace(sleep=sleep))
    let_sends_go_first()
    assert slept == slept_ms
