"""An open loop's arrivals shared by several workers, whatever becomes of these and of their messages: each arrival is
sent by one worker, or counted as not sent. Master and workers are on a clock of the test's own."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import pairwise
from typing import NamedTuple

import gevent
import pytest
from gevent.event import Event

from tests.virtual_clock import BEGAN_NS, VirtualClock
from tokenswarm.shapes.arrival_process import Poisson
from tokenswarm.shapes.arrival_schedule import DueArrival, GeneratedSchedule, arrivals
from tokenswarm.shapes.level_splitter import ALIVE_INTERVAL_S, GRANT_S, LevelSplitter
from tokenswarm.shapes.rate_schedule import RateSchedule
from tokenswarm.shapes.splits import Splits
from tokenswarm.shapes.worker_arrivals import WorkerArrivals
from tokenswarm.users.arrival_sender import ArrivalSender
from tokenswarm.users.requests_ahead import SendRequest

LEVEL_TIME_S = 12.0
SCHEDULE = GeneratedSchedule(Poisson(), RateSchedule.constant(20), seed=5, duration_s=LEVEL_TIME_S)
ALL = list(arrivals(SCHEDULE))
LEAD_S = 1.5


class Sent(NamedTuple):
    number: int
    due_s: float
    sent_s: float
    worker: int


class Hanging:
    """A clock of a process that stands still from one moment of the level to another."""

    lead_ns = 0

    def __init__(self, clock: VirtualClock, hang: tuple[float, float] | None) -> None:
        self._clock, self._hang = clock, hang

    @property
    def level_s(self) -> float:
        return self._clock.now_s - BEGAN_NS / 1e9

    def now_ns(self) -> int:
        return self._clock.now_ns()

    def wait(self, event: Event, seconds: float) -> None:
        self._clock.wait(event, seconds)
        self.stand_still()

    def sleep(self, seconds: float) -> None:
        self._clock.sleep(seconds)
        self.stand_still()

    def stand_still(self) -> None:
        if self._hang is not None and self._hang[0] <= self.level_s < self._hang[1]:
            self._clock.sleep(self._hang[1] - self.level_s)


@dataclass
class Worker:
    """begins_s: when its user is there; hang: it stands still meanwhile; dies_s: it is killed then."""

    cluster: Cluster
    number: int
    begins_s: float = -1.2
    hang: tuple[float, float] | None = None
    dies_s: float | None = None
    service_s: float = 0.05
    begun: int = 0

    def __post_init__(self) -> None:
        self.clock = Hanging(self.cluster.clock, self.hang)
        self.arrivals = WorkerArrivals(SCHEDULE, self.number, self.cluster.most)
        self.sender = ArrivalSender(self.arrivals, lambda: BEGAN_NS, self._prepare, self.clock)
        self.greenlets = [gevent.spawn(self._run)]
        if self.dies_s is not None:
            gevent.spawn(self._die, self.dies_s)

    def receive(self, splits: Splits | None, answers_s: float | None) -> None:
        if splits is not None and splits != self.arrivals.splits:
            self.arrivals.splits = splits
        if answers_s is not None:
            granted_ns = BEGAN_NS + round((answers_s + GRANT_S) * 1e9)
            self.arrivals.granted_until_ns = max(self.arrivals.granted_until_ns, granted_ns)
        self.sender.wake()

    def _run(self) -> None:
        self.clock.sleep(self.begins_s - self.clock.level_s)
        self.greenlets += [gevent.spawn(self.sender.run), gevent.spawn(self._announce)]

    def _announce(self) -> None:
        while True:
            self.cluster.to_master(self.number, self.clock.level_s)
            self.clock.sleep(ALIVE_INTERVAL_S)

    def _die(self, at_s: float) -> None:
        self.cluster.clock.sleep(at_s - self.clock.level_s)
        gevent.killall(self.greenlets)

    def _prepare(self, _: DueArrival) -> SendRequest:
        def send(arrival: DueArrival, due_ns: int) -> None:
            self.begun = arrival.number + 1
            self.cluster.log.append(Sent(arrival.number, arrival.due_s, self.clock.level_s, self.number))
            self.clock.sleep(self.service_s)

        return send


@dataclass
class Cluster:
    """delay_s: how long a message takes. stalls: the master stands still meanwhile."""

    delay_s: Callable[[], float] = lambda: 0.001
    stalls: tuple[float, float] | None = None
    most: int | None = None
    clock: VirtualClock = field(default_factory=VirtualClock)
    log: list[Sent] = field(default_factory=list)
    workers: dict[int, Worker] = field(default_factory=dict)
    leaving: set[int] = field(default_factory=set)
    _arrive_s: dict[tuple[int, str], float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.clock.now_s -= LEAD_S
        self.master_clock = Hanging(self.clock, self.stalls)
        self.splitter = LevelSplitter(SCHEDULE, LEVEL_TIME_S, self.most)
        self.greenlets = [gevent.spawn(self._watch)]

    def add(self, number: int, **how: object) -> Worker:
        self.workers[number] = worker = Worker(self, number, **how)  # type: ignore[arg-type]
        return worker

    def run(self, until_s: float = LEVEL_TIME_S + 8) -> None:
        self.clock.run(until_s)

    def to_master(self, worker: int, sent_s: float) -> None:
        self._deliver((worker, "master"), lambda: self._on_sending(worker, sent_s), self.master_clock)

    def _on_sending(self, worker: int, sent_s: float) -> None:
        self.splitter.announced(worker, self.master_clock.level_s)
        self._send(worker, sent_s)

    def _send(self, worker: int, answers_s: float | None) -> None:
        splits, target = self.splitter.splits, self.workers[worker]
        self._deliver((worker, "worker"), lambda: target.receive(splits, answers_s), target.clock)

    def _deliver(self, link: tuple[int, str], receive: Callable[[], None], receiver: Hanging) -> None:
        """In the order of sending."""
        arrives_s = max(self.clock.now_s + self.delay_s(), self._arrive_s.get(link, 0.0))
        self._arrive_s[link] = arrives_s + 1e-9

        def arrive() -> None:
            self.clock.sleep(arrives_s - self.clock.now_s)
            receiver.stand_still()
            receive()

        gevent.spawn(arrive)

    def _watch(self) -> None:
        while True:
            self.master_clock.sleep(0.1)
            available = set(self.workers) - self.leaving
            if self.splitter.update(available, self.master_clock.level_s) is not None:
                for worker in self.workers:
                    self._send(worker, None)

    @property
    def splits(self) -> Splits:
        assert self.splitter.splits is not None
        return self.splitter.splits

    def sent_numbers(self) -> list[int]:
        return sorted(sent.number for sent in self.log)

    def late(self, after_s: float = 0.001) -> list[Sent]:
        return [sent for sent in self.log if sent.sent_s - sent.due_s > after_s]

    def close(self) -> None:
        workers = [greenlet for worker in self.workers.values() for greenlet in worker.greenlets]
        gevent.killall([*self.greenlets, *workers])


@pytest.fixture
def cluster() -> Iterator[Callable[..., Cluster]]:
    made: list[Cluster] = []

    def make(workers: int, /, **how: object) -> Cluster:
        made.append(Cluster(**how))  # type: ignore[arg-type]
        for number in range(workers):
            made[-1].add(number)
        return made[-1]

    yield make
    for each in made:
        each.close()


MakeCluster = Callable[..., Cluster]


@pytest.mark.parametrize("workers", [1, 2, 4])
def test_the_server_sees_the_same_requests_at_the_same_times_from_any_number_of_workers(
    cluster: MakeCluster, workers: int
) -> None:
    run = cluster(workers)
    run.run()
    assert [(sent.number, sent.due_s) for sent in run.log] == ALL
    assert run.late() == []
    assert {sent.number % workers == sent.worker for sent in run.log} == {True}


def test_a_killed_worker_s_share_is_taken_over_within_three_seconds_and_its_gap_is_known(cluster: MakeCluster) -> None:
    run = cluster(2)
    dead = run.add(2, dies_s=4.03)
    run.run()
    numbers = run.sent_numbers()
    missing = sorted(set(range(len(ALL))) - set(numbers))
    assert len(numbers) == len(set(numbers))
    assert len(missing) == run.splits.owed(2, dead.begun, len(ALL)) > 0
    assert run.splits.range_owed(2, dead.begun, len(ALL)) == (missing[0], missing[-1])
    assert ALL[missing[-1]].due_s < 4.03 + 3.0
    assert run.late() == []


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(6))
def test_each_arrival_is_sent_once_though_workers_hang_and_messages_are_late(cluster: MakeCluster, seed: int) -> None:
    draw = random.Random(seed)
    run = cluster(1, delay_s=lambda: draw.random() * 0.6)
    for number in (1, 2, 3):
        began_s = draw.uniform(1.0, 6.0)
        run.add(number, hang=(began_s, began_s + draw.uniform(0.1, 5.0)))
    run.run()
    assert run.sent_numbers() == list(range(len(ALL)))


def test_a_worker_that_hangs_leaves_no_gap_once_it_is_back(cluster: MakeCluster) -> None:
    run = cluster(1)
    run.add(1, hang=(3.0, 7.0))
    run.run()
    assert run.sent_numbers() == list(range(len(ALL)))
    late = run.late()
    assert {sent.worker for sent in late} == {1}
    assert max(sent.due_s for sent in late) < 3.0 + 3.0
    assert {sent.worker for sent in run.log if sent.due_s > 9.0} == {0, 1}


def test_a_worker_that_joins_gets_its_share_of_later_arrivals(cluster: MakeCluster) -> None:
    run = cluster(2)
    run.add(2, begins_s=4.0)
    run.run()
    assert run.sent_numbers() == list(range(len(ALL)))
    assert run.late() == []
    of_joined = [sent.due_s for sent in run.log if sent.worker == 2]
    assert 4.0 < of_joined[0] < 7.0
    after = [sent for sent in run.log if sent.due_s > 7.0]
    assert sum(sent.worker == 2 for sent in after) == pytest.approx(len(after) / 3, abs=1)


def test_a_worker_that_leaves_sends_what_is_its_own_until_others_do(cluster: MakeCluster) -> None:
    run = cluster(3)
    run.run(4.0)
    run.leaving.add(1)
    run.run(7.0)
    assert run.workers[1].arrivals.is_released
    run.run()
    assert run.sent_numbers() == list(range(len(ALL)))
    assert run.late() == []
    assert 4.0 < max(sent.due_s for sent in run.log if sent.worker == 1) < 7.0


def test_a_worker_that_is_not_ready_in_time_delays_no_first_request(cluster: MakeCluster) -> None:
    run = cluster(1)
    run.add(1, begins_s=2.0)
    run.run()
    assert run.sent_numbers() == list(range(len(ALL)))
    assert run.late() == []


@pytest.mark.parametrize(("until_s", "lag_s"), [(4.9, 0.0), (7.0, 2.2)])
def test_a_master_that_stands_still_stops_no_arrival_for_long(
    cluster: MakeCluster, until_s: float, lag_s: float
) -> None:
    """For a second, its workers do not notice. For longer, what they send waits for it: they could be replaced."""
    run = cluster(2, stalls=(4.0, until_s))
    run.run()
    assert run.sent_numbers() == list(range(len(ALL)))
    assert max(sent.sent_s - sent.due_s for sent in run.log) <= lag_s + 0.001
    assert len(run.splits.splits) == 1


def test_a_limit_of_requests_in_flight_is_divided_among_the_workers(cluster: MakeCluster) -> None:
    run = cluster(2, most=3)
    for worker in run.workers.values():
        worker.service_s = 100.0
    run.run(6.0)
    assert sorted(sent.worker for sent in run.log) == [0, 0, 1]


def test_workers_without_a_part_of_the_limit_get_no_arrivals(cluster: MakeCluster) -> None:
    run = cluster(2, most=2)
    run.add(2, begins_s=3.0)
    run.run()
    assert {sent.worker for sent in run.log} == {0, 1}
    assert run.splits.workers == (0, 1)


def test_with_no_worker_left_arrivals_are_nobody_s(cluster: MakeCluster) -> None:
    run = cluster(0)
    dead = run.add(0, dies_s=4.0)
    run.run()
    missing = set(range(len(ALL))) - set(run.sent_numbers())
    owed = [run.splits.owed(worker, first, len(ALL)) for worker, first in ((0, dead.begun), (None, 0))]
    assert sum(owed) == len(missing)
    assert min(owed) > 0


def test_numbers_are_sent_in_order_by_each_worker(cluster: MakeCluster) -> None:
    """Its first unsent arrival says all of what it has sent."""
    run = cluster(2)
    run.add(2, hang=(2.0, 5.0))
    run.add(3, begins_s=5.0)
    run.run()
    for worker in run.workers:
        numbers = [sent.number for sent in run.log if sent.worker == worker]
        assert all(before < after for before, after in pairwise(numbers))
