"""Requested against actual concurrency, in virtual time: what workers note, and what the level is said to be."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import pytest

from metrics.concurrency import concurrency_of
from metrics.health import LAG_SLEEP_S
from metrics.ledger import Ledger
from metrics.objectives import Objectives
from metrics.recorder import Recorder
from metrics.records import Report
from metrics.stage import Begun, Part, Stage
from metrics.summary import level_summary, reasons_to_suspect, worker_summaries
from metrics.summary_csv import summary_rows
from metrics.timeline import Timeline

S = 1_000_000_000
SLEEP_NS = round(LAG_SLEEP_S * S)
MakeTimeline = Callable[..., Timeline]


class VirtualWorker:
    """A worker that notes every 20 ms of virtual time that it is there, and reports at the end."""

    def __init__(self, number: int, began_s: float = 0.0) -> None:
        self.recorder = Recorder(number)
        self.now_ns = round(began_s * S)
        self.recorder.start(self.now_ns, 0)

    def begin(self, stage: Stage, began_s: float = 0.0) -> None:
        self.recorder.begin_stage(stage, 0, round(began_s * S))

    def run(self, users: int, until_s: float) -> None:
        while self.now_ns < round(until_s * S):
            due_ns = self.now_ns + SLEEP_NS
            self.now_ns = due_ns
            self.recorder.woke(due_ns, self.now_ns, 0, users)

    def stop(self, users: int, until_s: float) -> None:
        """It is frozen now, and goes on at that moment."""
        due_ns, self.now_ns = self.now_ns + SLEEP_NS, round(until_s * S)
        self.recorder.woke(due_ns, self.now_ns, 0, users)


def ledger_of(stage: Stage, workers: Iterable[VirtualWorker], timelines: Sequence[Timeline] = ()) -> Ledger:
    """A run of one level, all reports of which have come."""
    ledger = Ledger(Objectives())
    ledger.begin_stage(stage, 0.0)
    for worker in workers:
        for timeline in timelines:
            worker.recorder.record(timeline)
        ledger.apply(Report.decode(worker.recorder.take_report().encode()))
    ledger.close(stage.level_time_s or worker.now_ns / 1e9)
    return ledger


@pytest.fixture
def level(stage: Callable[..., Stage]) -> Stage:
    """Ten users, ramp to 2 s, hold to 42 s."""
    return stage(level_time_s=42.0)


def two_workers(level: Stage) -> tuple[VirtualWorker, VirtualWorker]:
    workers = VirtualWorker(0), VirtualWorker(1)
    for worker in workers:
        worker.begin(level)
    return workers


def load_reasons(ledger: Ledger) -> list[str]:
    return [reason for reason in reasons_to_suspect(ledger) if "users were there for" in reason]


def test_users_that_were_all_there_are_no_reason(level: Stage) -> None:
    workers = two_workers(level)
    for worker in workers:
        worker.run(5, 45)
    ledger = ledger_of(level, workers)
    found = ledger.concurrency(ledger.levels[0])
    assert found is not None
    assert (found.requested, found.seconds, found.min, found.short_s) == (10, 40, pytest.approx(10), 0)
    assert found.mean == pytest.approx(10)
    assert load_reasons(ledger) == []


@pytest.mark.parametrize(
    ("frozen", "until_s", "short_s", "mean", "least"),
    [
        ((0, 1), 22.0, 12, 7.0, 0.0),  # the client of a run in one process, or all of them
        ((1,), 25.0, 15, 8.125, 5.0),  # one worker of two
    ],
)
def test_a_frozen_process_has_no_users_meanwhile(
    level: Stage, frozen: tuple[int, ...], until_s: float, short_s: int, mean: float, least: float
) -> None:
    workers = two_workers(level)
    for number, worker in enumerate(workers):
        worker.run(5, 10)
        if number in frozen:
            worker.stop(5, until_s)
        worker.run(5, 42)
    ledger = ledger_of(level, workers)
    (reason,) = load_reasons(ledger)
    assert f"{short_s} of 40 s" in reason
    summary = level_summary(ledger.levels[0], 42.0, Objectives(), None, ledger.concurrency(ledger.levels[0]))
    assert summary.concurrency is not None
    assert summary.concurrency.mean == pytest.approx(mean, abs=0.02)
    assert summary.concurrency.min == pytest.approx(least, abs=0.2)
    assert summary.concurrency.short_share == pytest.approx(short_s / 40)
    hold, whole = summary_rows([summary])
    assert (hold["users_actual_mean"], hold["users_short_share"]) == (summary.concurrency.mean, short_s / 40)
    assert whole["users_actual_mean"] is None
    assert list(hold)[-3:] == ["users_actual_mean", "users_actual_min", "users_short_share"]


def test_a_rejected_or_silent_worker_with_users_of_the_level_is_a_reason(level: Stage) -> None:
    """Locust gave it half of them; it takes no part, and what it does nobody knows."""
    first, _ = two_workers(level)
    first.run(5, 42)
    (reason,) = load_reasons(ledger_of(level, [first]))
    assert "40 of 40 s" in reason and "mean 5.0, minimum 5.0" in reason


@pytest.mark.parametrize(("without_s", "suspect"), [(1, False), (2, False), (4, True)])
def test_a_rolling_update_counts_by_how_long_its_users_were_away(level: Stage, without_s: int, suspect: bool) -> None:
    """One worker leaves, another takes its users over some seconds later."""
    first, second = two_workers(level)
    third = VirtualWorker(2, 20.0 + without_s)
    third.begin(level)
    first.run(5, 42)
    second.run(5, 20)
    third.run(5, 42)
    ledger = ledger_of(level, [first, second, third])
    found = ledger.concurrency(ledger.levels[0])
    assert found is not None
    assert (found.short_s, found.min) == (without_s, pytest.approx(5))
    assert bool(load_reasons(ledger)) is suspect


def test_a_loop_that_is_late_for_less_than_a_second_is_there(level: Stage) -> None:
    (worker, other) = two_workers(level)
    other.run(5, 42)
    worker.run(5, 10)
    worker.stop(5, 10.9)
    worker.run(5, 42)
    ledger = ledger_of(level, [worker, other])
    assert load_reasons(ledger) == []
    found = ledger.concurrency(ledger.levels[0])
    assert found is not None and found.min == pytest.approx(10)


def test_users_missing_in_ramp_and_drain_and_after_a_stop_are_none_of_the_hold(level: Stage) -> None:
    worker = VirtualWorker(0)
    worker.begin(level)
    worker.run(1, 2)
    worker.run(10, 30)
    ledger = Ledger(Objectives())
    ledger.begin_stage(level, 0.0)
    ledger.apply(worker.recorder.take_report())
    ledger.stop(30.0, interrupted=True)
    ledger.close(55.0)
    found = ledger.concurrency(ledger.levels[0])
    assert found is not None and (found.seconds, found.short_s) == (28, 0)


def test_what_is_not_reported_yet_is_not_missing_yet(level: Stage) -> None:
    """A master hears of users every 3 s: a level that runs is judged by what is 5 s old."""
    worker = VirtualWorker(0)
    worker.begin(level)
    worker.run(10, 20)
    ledger = Ledger(Objectives())
    ledger.begin_stage(level, 0.0)
    ledger.apply(worker.recorder.take_report())
    ledger.observe(10, 22.9)
    assert load_reasons(ledger) == []
    assert ledger.users_of_late == pytest.approx(10)
    ledger.observe(10, 32.0)
    assert "7 of 25 s" in load_reasons(ledger)[0]


def test_each_level_has_its_own_seconds(stage: Callable[..., Stage]) -> None:
    first, second = stage(0), stage(1)
    worker = VirtualWorker(0)
    worker.begin(first)
    worker.run(10, 12)
    worker.begin(second, 12.0)
    worker.run(4, 24)
    report = worker.recorder.take_report()
    assert report.stages == {0, 1}
    assert sum(users for (number, _), users in report.user_seconds.items() if number == 0) == pytest.approx(120)
    assert sum(users for (number, _), users in report.user_seconds.items() if number == 1) == pytest.approx(48)


def test_a_hold_without_a_whole_second_has_no_concurrency() -> None:
    assert concurrency_of({0: 1.0, 1: 1.0}, 1, 0.2, 1.4) is None
    found = concurrency_of({0: 1.0, 1: 1.0}, 1, 0.0, 2.0)
    assert found is not None and found.seconds == 2


def test_windows_without_a_token_are_named(level: Stage, timeline: MakeTimeline) -> None:
    """Tokens to 13 s and again from 31 s on: three whole windows had users and nothing else."""
    arrivals_s = [[each + step / 5 for step in range(5)] for each in [*range(3, 13), *range(31, 42)]]
    timelines = [timeline(arrivals, sent_s=arrivals[0] - 0.1) for arrivals in arrivals_s]
    worker = VirtualWorker(0)
    worker.begin(level)
    worker.run(10, 42)
    (reason,) = reasons_to_suspect(ledger_of(level, [worker], timelines))
    assert "no token arrived in 3 windows" in reason
    assert "15 to 20 s, 20 to 25 s, 25 to 30 s" in reason
    frozen = VirtualWorker(0)
    frozen.begin(level)
    frozen.run(10, 13)
    frozen.stop(10, 31)
    frozen.run(10, 42)
    reasons = reasons_to_suspect(ledger_of(level, [frozen], timelines))
    assert not any("no token" in reason for reason in reasons)  # nobody was there


def test_answers_that_are_slow_by_themselves_leave_windows_empty(level: Stage, timeline: MakeTimeline) -> None:
    slow = [timeline((12.0, 12.1, 31.0, 31.1), sent_s=4.0), timeline((31.0, 31.1), sent_s=15.0)]
    worker = VirtualWorker(0)
    worker.begin(level)
    worker.run(10, 42)
    assert reasons_to_suspect(ledger_of(level, [worker], slow)) == []


@pytest.mark.parametrize(("late_ms", "ttft_s", "suspect"), [(240, 0.1, False), (270, 0.1, True), (270, 6.0, False)])
def test_a_loop_that_is_late_changes_the_load_whoever_stamped_the_times(
    level: Stage, timeline: MakeTimeline, late_ms: int, ttft_s: float, suspect: bool
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
    ledger = ledger_of(level, [worker], timelines)
    (of_worker,) = worker_summaries(ledger)
    for reasons in (reasons_to_suspect(ledger), of_worker.validity.reasons):
        assert bool([reason for reason in reasons if "loop was late" in reason]) is suspect


def test_a_loop_that_is_stuck_beyond_the_hold_was_late_in_the_hold(level: Stage) -> None:
    worker = VirtualWorker(0)
    worker.begin(level)
    worker.run(10, 35)
    worker.stop(10, 45)
    ledger = ledger_of(level, [worker])
    assert ledger.levels[0].parts[Part.HOLD].loop_lag_s.maximum == pytest.approx(9.98, rel=0.01)


def test_a_stage_on_another_clock_keeps_its_seconds(stage: Callable[..., Stage]) -> None:
    """A worker's clock is some seconds off the master's: seconds count from when the stage began on its own."""
    recorder = Recorder(0)
    recorder.start(1_000 * S, 0)
    recorder.begin_stage(stage(), 995 * S, 1_000 * S)
    assert recorder.current_stage == Begun(stage(), 995 * S, 1_000 * S)
    recorder.woke(1_000 * S + SLEEP_NS, 1_000 * S + SLEEP_NS, 0, 3)
    assert recorder.take_report().user_seconds == {(0, 0): pytest.approx(3 * LAG_SLEEP_S)}


def test_a_mean_of_users_has_the_seconds_of_its_window_and_no_other(books: Callable[..., Ledger]) -> None:
    level = books([]).levels[0]
    level.user_seconds = dict.fromkeys(range(7), 8.0) | {7: 4.0}
    assert level.users_between(0, 5 + 1e-9) == pytest.approx(8)
    assert level.users_between(5, 7.5) == pytest.approx(8)
