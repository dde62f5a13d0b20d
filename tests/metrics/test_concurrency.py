"""Requested against actual concurrency, in virtual time: what workers note, and what the level is said to be."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import pytest
from msgspec.structs import replace

from tests.run_fixtures import issues_of, kinds_of
from tokenswarm.metrics.client_health import LAG_SLEEP_S
from tokenswarm.metrics.concurrency import Concurrency, ConcurrencyMeter, concurrency_of
from tokenswarm.metrics.level import Level, RunningLevel, Scope, ThinkTime
from tokenswarm.metrics.objectives import Objectives
from tokenswarm.metrics.timeline import Timeline
from tokenswarm.recording.aggregator import Aggregator
from tokenswarm.recording.recorder import Recorder
from tokenswarm.recording.summary import level_summary, worker_summaries
from tokenswarm.recording.task_errors import TaskErrors
from tokenswarm.recording.worker_report import Report
from tokenswarm.run_folder.schema import IssueKind
from tokenswarm.run_folder.summary_csv import summary_rows

S = 1_000_000_000
SLEEP_NS = round(LAG_SLEEP_S * S)
MakeTimeline = Callable[..., Timeline]


class VirtualWorker:
    """A worker that notes every 20 ms of virtual time that it is there, and reports at the end."""

    def __init__(self, number: int, began_s: float = 0.0) -> None:
        self.recorder = Recorder(number)
        self.now_ns = round(began_s * S)
        self.recorder.start(self.now_ns, 0)

    def begin(self, stage: Level, began_s: float = 0.0) -> None:
        self.recorder.begin_level(stage, 0, round(began_s * S))

    def run(self, users: int, until_s: float) -> None:
        while self.now_ns < round(until_s * S):
            due_ns = self.now_ns + SLEEP_NS
            self.now_ns = due_ns
            self.recorder.woke(due_ns, self.now_ns, 0, users)

    def stop(self, users: int, until_s: float) -> None:
        """It is frozen now, and goes on at that moment."""
        due_ns, self.now_ns = self.now_ns + SLEEP_NS, round(until_s * S)
        self.recorder.woke(due_ns, self.now_ns, 0, users)


def aggregator_of(stage: Level, workers: Iterable[VirtualWorker], timelines: Sequence[Timeline] = ()) -> Aggregator:
    """A run of one level, all reports of which have come."""
    aggregator = Aggregator(Objectives())
    aggregator.begin_level(stage, 0.0)
    for worker in workers:
        for timeline in timelines:
            worker.recorder.record(timeline)
        aggregator.apply(Report.decode(worker.recorder.take_report().encode()))
    aggregator.close(stage.level_time_s or worker.now_ns / 1e9)
    return aggregator


@pytest.fixture
def level(a_level: Callable[..., Level]) -> Level:
    """Ten users, ramp to 2 s, hold to 42 s."""
    return a_level(level_time_s=42.0)


def two_workers(level: Level) -> tuple[VirtualWorker, VirtualWorker]:
    workers = VirtualWorker(0), VirtualWorker(1)
    for worker in workers:
        worker.begin(level)
    return workers


def load_reasons(aggregator: Aggregator) -> list[str]:
    return [issue.message for issue in issues_of(aggregator) if issue.kind == IssueKind.FEWER_USERS]


def test_users_that_were_all_there_are_no_reason(level: Level) -> None:
    workers = two_workers(level)
    for worker in workers:
        worker.run(5, 45)
    aggregator = aggregator_of(level, workers)
    found = aggregator.concurrency(aggregator.levels[0])
    assert found is not None
    assert (found.requested, found.seconds, found.min, found.short_s) == (10, 40, pytest.approx(10), 0)
    assert found.mean == pytest.approx(10)
    assert load_reasons(aggregator) == []


def test_users_that_ended_with_an_error_of_the_locustfile_are_not_blamed_on_the_client_alone(level: Level) -> None:
    workers = two_workers(level)
    for worker in workers:
        worker.run(1, 45)
    aggregator = aggregator_of(level, workers)
    assert "): they started late, or their process stood still" in load_reasons(aggregator)[0]
    aggregator.task_errors = TaskErrors(3, "division by zero")
    (reason, *_) = load_reasons(aggregator)
    assert "): they ended with an error of the locustfile" in reason and "--processes" not in reason


@pytest.mark.parametrize(
    ("frozen", "until_s", "short_s", "mean", "least"),
    [
        ((0, 1), 22.0, 12, 7.0, 0.0),  # the client of a run in one process, or all of them
        ((1,), 25.0, 15, 8.125, 5.0),  # one worker of two
    ],
)
def test_a_frozen_process_has_no_users_meanwhile(
    level: Level, frozen: tuple[int, ...], until_s: float, short_s: int, mean: float, least: float
) -> None:
    workers = two_workers(level)
    for number, worker in enumerate(workers):
        worker.run(5, 10)
        if number in frozen:
            worker.stop(5, until_s)
        worker.run(5, 42)
    aggregator = aggregator_of(level, workers)
    (reason,) = load_reasons(aggregator)
    assert f"{short_s} of 40 s" in reason
    summary = level_summary(
        aggregator.levels[0], 42.0, Objectives(), None, aggregator.concurrency(aggregator.levels[0])
    )
    assert summary.concurrency is not None
    assert summary.concurrency.mean == pytest.approx(mean, abs=0.02)
    assert summary.concurrency.min == pytest.approx(least, abs=0.2)
    assert summary.concurrency.short_share == pytest.approx(short_s / 40)
    hold, whole = summary_rows([summary])
    assert (hold["users_actual_mean"], hold["users_short_share"]) == (summary.concurrency.mean, short_s / 40)
    assert whole["users_actual_mean"] is None
    assert list(hold)[-3:] == ["users_actual_mean", "users_actual_min", "users_short_share"]


def test_a_rejected_or_silent_worker_with_users_of_the_level_is_a_reason(level: Level) -> None:
    """Locust gave it half of them; it takes no part, and what it does nobody knows."""
    first, _ = two_workers(level)
    first.run(5, 42)
    (reason,) = load_reasons(aggregator_of(level, [first]))
    assert "40 of 40 s" in reason and "mean 5.0, minimum 5.0" in reason


@pytest.mark.parametrize(("without_s", "suspect"), [(1, False), (2, False), (4, True)])
def test_a_rolling_update_counts_by_how_long_its_users_were_away(level: Level, without_s: int, suspect: bool) -> None:
    """One worker leaves, another takes its users over some seconds later."""
    first, second = two_workers(level)
    third = VirtualWorker(2, 20.0 + without_s)
    third.begin(level)
    first.run(5, 42)
    second.run(5, 20)
    third.run(5, 42)
    aggregator = aggregator_of(level, [first, second, third])
    found = aggregator.concurrency(aggregator.levels[0])
    assert found is not None
    assert (found.short_s, found.min) == (without_s, pytest.approx(5))
    assert bool(load_reasons(aggregator)) is suspect


@pytest.mark.parametrize(
    ("users", "suspect"),
    [
        ((0.1, 0.12, 2), True),
        ((1.8, 1.9, 2), False),
        ((0, 2), False),
        ((1,), True),
        ((1.9,), False),
        ((2, 2, 0), False),
    ],
)
def test_a_short_hold_without_most_of_its_users_is_not_as_requested(users: tuple[float, ...], suspect: bool) -> None:
    """Two seconds may be missing of a hold, but not where they are most of it."""
    found = concurrency_of(dict(enumerate(users)), 2, 0, len(users))
    assert found is not None
    assert found.as_requested is not suspect


def test_a_loop_that_is_late_for_less_than_a_second_is_there(level: Level) -> None:
    (worker, other) = two_workers(level)
    other.run(5, 42)
    worker.run(5, 10)
    worker.stop(5, 10.9)
    worker.run(5, 42)
    aggregator = aggregator_of(level, [worker, other])
    assert load_reasons(aggregator) == []
    found = aggregator.concurrency(aggregator.levels[0])
    assert found is not None and found.min == pytest.approx(10)


def test_users_missing_in_ramp_and_drain_and_after_a_stop_are_none_of_the_hold(level: Level) -> None:
    worker = VirtualWorker(0)
    worker.begin(level)
    worker.run(1, 2)
    worker.run(10, 30)
    aggregator = Aggregator(Objectives())
    aggregator.begin_level(level, 0.0)
    aggregator.apply(worker.recorder.take_report())
    aggregator.stop(30.0, interrupted=True)
    aggregator.close(55.0)
    found = aggregator.concurrency(aggregator.levels[0])
    assert found is not None and (found.seconds, found.short_s) == (28, 0)


def test_what_is_not_reported_yet_is_not_missing_yet(level: Level) -> None:
    """A master hears of users every 3 s: a level that runs is judged by what is 5 s old."""
    worker = VirtualWorker(0)
    worker.begin(level)
    worker.run(10, 20)
    aggregator = Aggregator(Objectives())
    aggregator.begin_level(level, 0.0)
    aggregator.apply(worker.recorder.take_report())
    aggregator.observe(10, 22.9)
    assert load_reasons(aggregator) == []
    assert aggregator.users_of_late == pytest.approx(10)
    aggregator.observe(10, 32.0)
    assert "7 of 25 s" in load_reasons(aggregator)[0]


def test_user_seconds_are_those_of_each_second_of_the_level_and_are_given_out_once(level: Level) -> None:
    meter = ConcurrencyMeter()
    meter.start(0)
    began = RunningLevel(level, 0, 1_500_000_000)
    meter.woke(began, 2, 2_000_000_000, 2_250_000_000)  # nothing before the level began
    assert meter.take() == {(0, 0): pytest.approx(1.5)}
    meter.woke(began, 4, 2_300_000_000, 3_000_000_000)
    assert meter.take() == {(0, 0): pytest.approx(1.0), (0, 1): pytest.approx(2.0)}
    assert meter.take() == {}


@pytest.mark.parametrize(
    ("seconds", "mean", "short_s", "as_requested"),
    [(100, 9.9, 5, True), (100, 9.9, 6, False), (20, 9.9, 2, True), (20, 9.9, 3, False), (3, 9.6, 2, True)],
)
def test_so_many_seconds_of_a_hold_may_be_short_of_users(
    seconds: int, mean: float, short_s: int, as_requested: bool
) -> None:
    assert Concurrency(10, seconds, mean, 0.0, short_s).as_requested is as_requested


def test_the_error_of_a_sum_is_neither_a_missing_user_nor_a_missing_second() -> None:
    found = concurrency_of({2: 9.499999999}, 10, 2.0000000001, 2.9999999999)
    assert found is not None
    assert (found.seconds, found.short_s) == (1, 0)


def test_each_level_has_its_own_seconds(a_level: Callable[..., Level]) -> None:
    first, second = a_level(0), a_level(1)
    worker = VirtualWorker(0)
    worker.begin(first)
    worker.run(10, 12)
    worker.begin(second, 12.0)
    worker.run(4, 24)
    report = worker.recorder.take_report()
    assert report.level_indexes == {0, 1}
    assert sum(users for (number, _), users in report.user_seconds.items() if number == 0) == pytest.approx(120)
    assert sum(users for (number, _), users in report.user_seconds.items() if number == 1) == pytest.approx(48)


def test_a_hold_without_a_whole_second_has_no_concurrency() -> None:
    assert concurrency_of({0: 1.0, 1: 1.0}, 1, 0.2, 1.4) is None
    found = concurrency_of({0: 1.0, 1: 1.0}, 1, 0.0, 2.0)
    assert found is not None and found.seconds == 2


def test_windows_without_a_token_are_named(level: Level, timeline: MakeTimeline) -> None:
    """Tokens to 13 s and again from 31 s on: three whole windows had users and nothing else."""
    arrivals_s = [[each + step / 5 for step in range(5)] for each in [*range(3, 13), *range(31, 42)]]
    timelines = [timeline(arrivals, sent_s=arrivals[0] - 0.1) for arrivals in arrivals_s]
    worker = VirtualWorker(0)
    worker.begin(level)
    worker.run(10, 42)
    (issue,) = issues_of(aggregator_of(level, [worker], timelines))
    assert (issue.kind, issue.values) == (IssueKind.SILENT_WINDOWS, {"windows": 3})
    assert "15 to 20 s, 20 to 25 s, 25 to 30 s" in issue.message
    frozen = VirtualWorker(0)
    frozen.begin(level)
    frozen.run(10, 13)
    frozen.stop(10, 31)
    frozen.run(10, 42)
    assert IssueKind.SILENT_WINDOWS not in kinds_of(aggregator_of(level, [frozen], timelines))  # nobody was there
    thinking = replace(level, think_time=ThinkTime("30s", 30.0))
    worker = VirtualWorker(0)
    worker.begin(thinking)
    worker.run(10, 42)
    assert IssueKind.SILENT_WINDOWS not in kinds_of(aggregator_of(thinking, [worker], timelines))  # all may think


def test_answers_that_are_slow_by_themselves_leave_windows_empty(level: Level, timeline: MakeTimeline) -> None:
    slow = [timeline((12.0, 12.1, 31.0, 31.1), sent_s=4.0), timeline((31.0, 31.1), sent_s=15.0)]
    worker = VirtualWorker(0)
    worker.begin(level)
    worker.run(10, 42)
    assert kinds_of(aggregator_of(level, [worker], slow)) == []


@pytest.mark.parametrize(("late_ms", "ttft_s", "suspect"), [(240, 0.1, False), (270, 0.1, True), (270, 6.0, False)])
def test_a_loop_that_is_late_changes_the_load_whoever_stamped_the_times(
    level: Level, timeline: MakeTimeline, late_ms: int, ttft_s: float, suspect: bool
) -> None:
    """The bound is 250 ms, or 5 % of the median TTFT where that is more."""
    worker = VirtualWorker(0)
    worker.begin(level)
    while worker.now_ns < 42 * S:
        due_ns = worker.now_ns + SLEEP_NS
        worker.now_ns = due_ns + late_ms * 1_000_000
        worker.recorder.woke(due_ns, worker.now_ns, 0, 10)
    arrivals = [(place + ttft_s, place + ttft_s + 0.1) for place in range(3, 38, 4)]
    timelines = [timeline(each, sent_s=each[0] - ttft_s) for each in arrivals]
    aggregator = aggregator_of(level, [worker], timelines)
    (of_worker,) = worker_summaries(aggregator)
    for issues in (issues_of(aggregator), of_worker.validity.issues):
        assert (IssueKind.LATE_LOOP in [issue.kind for issue in issues]) is suspect


def test_a_loop_that_is_stuck_beyond_the_hold_was_late_in_the_hold(level: Level) -> None:
    worker = VirtualWorker(0)
    worker.begin(level)
    worker.run(10, 35)
    worker.stop(10, 45)
    aggregator = aggregator_of(level, [worker])
    assert aggregator.levels[0].scopes[Scope.HOLD].loop_lag_s.maximum == pytest.approx(9.98, rel=0.01)


def test_a_stage_on_another_clock_keeps_its_seconds(a_level: Callable[..., Level]) -> None:
    """A worker's clock is some seconds off the master's: seconds count from when the stage began on its own."""
    recorder = Recorder(0)
    recorder.start(1_000 * S, 0)
    recorder.begin_level(a_level(), 995 * S, 1_000 * S)
    assert recorder.current_level == RunningLevel(a_level(), 995 * S, 1_000 * S)
    recorder.woke(1_000 * S + SLEEP_NS, 1_000 * S + SLEEP_NS, 0, 3)
    assert recorder.take_report().user_seconds == {(0, 0): pytest.approx(3 * LAG_SLEEP_S)}


def test_a_mean_of_users_has_the_seconds_of_its_window_and_no_other(books: Callable[..., Aggregator]) -> None:
    level = books([]).levels[0]
    level.user_seconds = dict.fromkeys(range(7), 8.0) | {7: 4.0}
    assert level.users_between(0, 5 + 1e-9) == pytest.approx(8)
    assert level.users_between(5, 7.5) == pytest.approx(8)
