"""Figures of an open loop, from requests whose times can be added up in the head."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from tests.run_fixtures import S, issues_of, make_timeline
from tokenswarm.metrics.level import LEAD_S, Arrivals, Level, Phase
from tokenswarm.metrics.objectives import Objectives
from tokenswarm.metrics.timeline import Timeline
from tokenswarm.recording.aggregator import Aggregator
from tokenswarm.recording.open_loop import open_loop_figures
from tokenswarm.recording.recorder import Recorder
from tokenswarm.recording.request_flow import RequestFlow
from tokenswarm.recording.summary import capacities, level_summary
from tokenswarm.recording.worker_report import RequestRow
from tokenswarm.run_folder.open_loop_figures import NotSent
from tokenswarm.run_folder.schema import IssueKind, LevelSummary
from tokenswarm.run_folder.summary_csv import summary_rows
from tokenswarm.shapes.splits import Splits

Rows = Callable[..., RequestRow]


def due(scheduled_s: float, *, lag_s: float = 0.0, ttft_s: float = 0.1, e2e_s: float = 0.5, **more: object) -> Timeline:
    sent_s = scheduled_s + lag_s
    return make_timeline(
        (sent_s + ttft_s, sent_s + e2e_s),
        sent_s=sent_s,
        over_s=sent_s + e2e_s,
        **{"scheduled_ns": round(scheduled_s * S), **more},  # type: ignore[arg-type]
    )


def books_of(timelines: list[Timeline], **changes: object) -> Aggregator:
    """A run of one request a second for ten seconds, announced so that the level begins at 0 s."""
    aggregator, recorder = empty_books(**changes), Recorder(0)
    recorder.begin_level(aggregator.levels[0].level, 0, 0)
    for timeline in timelines:
        recorder.record(timeline)
    for report in recorder.take_reports():
        aggregator.apply(report)
    aggregator.close(12.0)
    return aggregator


def empty_books(**changes: object) -> Aggregator:
    """The same, before any request has ended."""
    arrivals = Arrivals("constant", ((0.0, 1.0),), 1.0, **changes)  # type: ignore[arg-type]
    aggregator = Aggregator(Objectives.parse(""))
    aggregator.begin_level(Level(0, "off", "1/s", level_time_s=10.0, arrivals=arrivals), -LEAD_S)
    return aggregator


def summary_of(aggregator: Aggregator) -> LevelSummary:
    return level_summary(aggregator.levels[0], 12.0, aggregator.objectives)


def test_times_from_scheduled_hold_the_lag() -> None:
    hold = summary_of(books_of([due(second, lag_s=0.25) for second in range(10)])).hold
    found = (hold.lag_s, hold.ttft_s, hold.ttft_scheduled_s, hold.e2e_s, hold.e2e_scheduled_s)
    means = [each.mean for each in found if each is not None]
    assert means == pytest.approx([0.25, 0.1, 0.35, 0.5, 0.75], rel=1e-3)


def test_summary_csv_has_the_figures_of_an_open_loop() -> None:
    hold, whole = summary_rows([summary_of(books_of([due(second, lag_s=0.25) for second in range(10)]))])
    assert (hold["offered"], hold["sent_rate"], whole["offered"]) == (10, 1.0, None)
    assert hold["lag_s_mean"] == pytest.approx(0.25, rel=1e-3)


def test_a_request_belongs_to_the_phase_that_it_was_due_in() -> None:
    """What a backlog sends after the level's end would else leave the hold."""
    level = summary_of(books_of([*(due(second) for second in range(9)), due(9.0, lag_s=1.5)]))
    assert (level.hold.requests, level.whole.requests) == (10, 10)
    assert level.open_loop is not None
    assert (level.open_loop.offered, level.open_loop.not_sent, level.open_loop.sent_rate) == (10, 0, 0.9)


def test_rates_and_requests_in_flight() -> None:
    load = summary_of(books_of([due(second, e2e_s=2.0) for second in range(10)])).open_loop
    assert load is not None
    assert (load.requested_rate, load.offered_rate, load.sent_rate, load.completed_rate) == (1.0, 1.0, 1.0, 0.8)
    assert (load.in_flight_mean, load.in_flight_max) == pytest.approx((1.9, 2.0))


def test_requests_in_flight_are_exact_within_a_second() -> None:
    flow = RequestFlow()
    for sent_s, ended_s in ((2.25, 4.25), (1.25, 1.75)):
        flow.begin(sent_s)
        flow.end(ended_s, completed=True)
    np.testing.assert_allclose(flow.in_flight(6), [0, 0.5, 0.75, 1, 0.25, 0])


def test_sessions_are_in_flight_from_their_first_turn_to_their_end() -> None:
    """One a second, each of two turns of 0.5 s with 2 s between them; the last ones are not over with the level."""
    rows = []
    for number in range(10):
        rows.append(due(number, session=str(number), turn=1, session_turns=2))
        if number < 7:
            rows.append(due(number + 2.5, session=str(number), turn=2, session_turns=2, think_ns=2 * S))
    level = summary_of(books_of(sorted(rows, key=lambda row: row.over_ns), sessions=True))
    load, audit, sessions = level.open_loop, level.load_audit, level.sessions
    assert load is not None
    assert audit is not None
    assert sessions is not None
    assert (load.offered, load.not_sent, load.sent_rate, load.completed_rate) == (10, 0, 1.0, 0.7)
    assert load.in_flight_max == pytest.approx(3.0)
    assert (audit.unit, audit.requested, audit.measured, audit.as_requested) == ("sessions/s", 1.0, 1.0, True)
    assert (sessions.started, sessions.completed, sessions.unfinished) == (10, 7, 3)
    assert level.hold.requests == 17
    assert level.think_time is not None
    assert (level.think_time.pauses, level.think_time.actual_mean_s) == (7, pytest.approx(2.0))


def backlog_of_sessions(level_time_s: float, think_s: Callable[[int], float], wait_s: Callable[[int], float]) -> object:
    """Of a level in which two sessions a second begin, each of two turns: whether it is unstable. think_s, wait_s:
    between the turns of the session of a number, and of each of its turns."""
    arrivals = Arrivals("constant", ((0.0, 2.0),), 2.0, sessions=True)
    level = Level(0, "off", "2 sessions/s", level_time_s=level_time_s, arrivals=arrivals)
    aggregator, recorder = Aggregator(Objectives.parse("")), Recorder(0)
    aggregator.begin_level(level, -LEAD_S)
    recorder.begin_level(level, 0, 0)
    rows = []
    for number in range(round(2 * level_time_s)):
        begins_s, lasts_s = number / 2, wait_s(number)
        turns = (begins_s, begins_s + lasts_s + think_s(number))
        rows += [
            due(when_s, e2e_s=lasts_s, session=str(number), turn=turn, session_turns=2)
            for turn, when_s in enumerate(turns, start=1)
            if when_s < level_time_s
        ]
    for row in sorted(rows, key=lambda row: row.over_ns):
        recorder.record(row)
    for report in recorder.take_reports():
        aggregator.apply(report)
    aggregator.close(10 * level_time_s)
    load = level_summary(aggregator.levels[0], 10 * level_time_s, aggregator.objectives).open_loop
    assert load is not None
    return load.unstable


@pytest.mark.slow
def test_sessions_under_way_are_judged_where_they_can_have_filled_the_level() -> None:
    spread = [float(value) for value in np.random.default_rng(4).uniform(5, 200, 2400)]
    assert backlog_of_sessions(120.0, spread.__getitem__, lambda _: 0.5) is None
    assert backlog_of_sessions(1200.0, spread.__getitem__, lambda _: 0.5) is False
    assert backlog_of_sessions(120.0, lambda _: 1.0, lambda number: 0.5 + number / 10) is True


def test_what_was_due_and_not_sent_is_counted_and_makes_the_run_suspect() -> None:
    books = books_of([due(second) for second in range(7)])
    load = summary_of(books).open_loop
    assert load is not None and load.not_sent == 3
    (issue,) = issues_of(books)
    assert (issue.kind, issue.values) == (IssueKind.NOT_SENT, {"not_sent": 3, "offered": 10})


def test_a_level_that_was_stopped_owes_no_requests() -> None:
    books = books_of([due(second) for second in range(4)])
    books.levels[0].ended_s = books.levels[0].stopped_s = 4.5
    load = summary_of(books).open_loop
    assert load is not None and (load.offered, load.not_sent) == (5, None)
    assert IssueKind.NOT_SENT not in [issue.kind for issue in issues_of(books)]


@pytest.mark.parametrize(
    ("lag_s", "limit", "kinds"),
    [(0.004, None, []), (0.006, None, [IssueKind.SEND_LAG]), (0.006, 5, [])],
    ids=["below 5 %", "above 5 %", "delayed by the limit"],
)
def test_a_lag_above_a_share_of_the_ttft_makes_the_run_suspect(
    lag_s: float, limit: int | None, kinds: list[IssueKind]
) -> None:
    books = books_of([due(second, lag_s=lag_s) for second in range(10)], max_in_flight=limit)
    issues = issues_of(books)
    assert [issue.kind for issue in issues] == kinds
    for issue in issues:
        assert issue.values["bound_s"] == pytest.approx(0.05 * issue.values["median_s"])


@pytest.mark.parametrize(("growth", "unstable"), [(0.0, False), (0.6, True)])
def test_a_growing_backlog_makes_a_level_unstable_and_no_capacity(growth: float, unstable: bool) -> None:
    """Each request takes so many seconds longer than the one before: less and less of what arrives is answered."""
    arrivals = Arrivals("constant", ((0.0, 1.0),), 1.0)
    level = Level(0, "off", "1/s", level_time_s=60.0, arrivals=arrivals)
    aggregator, recorder = Aggregator(Objectives.parse("ttft<1s")), Recorder(0)
    aggregator.begin_level(level, -LEAD_S)
    recorder.begin_level(level, 0, 0)
    for second in range(60):
        recorder.record(due(second, e2e_s=2.0 + growth * second))
    for report in recorder.take_reports():
        aggregator.apply(report)
    aggregator.close(130.0)
    load = open_loop_figures(aggregator.levels[0], 130.0)
    summary = level_summary(aggregator.levels[0], 130.0, aggregator.objectives)
    assert load is not None and load.unstable is unstable
    assert summary.meets_objectives is not unstable
    assert [each.level for each in capacities([summary])] == [None if unstable else "1/s"]


def books_of_workers(
    splits: Splits, begun: dict[int, int], *, ended_s: float | None = None, **changes: object
) -> Aggregator:
    """Ten arrivals in ten seconds, of which each worker has begun its own before begun[worker], and all have ended.
    ended_s: of a level that was stopped."""
    aggregator = empty_books(**changes)
    level = aggregator.levels[0]
    level.splits = splits
    for worker, end in begun.items():
        recorder = Recorder(worker)
        recorder.begin_level(level.level, 0, 0)
        for number in range(end):
            if splits.owner(number) == worker:
                recorder.request_began(0, number)
                recorder.record(due(number))
        assert aggregator.apply(recorder.take_report())
    aggregator.close(12.0)
    if ended_s is not None:
        level.ended_s = level.stopped_s = ended_s
    return aggregator


def test_what_a_lost_worker_owed_until_others_had_its_share_is_a_gap() -> None:
    """Worker 1 dies before arrival 3; from arrival 6 on, worker 0 has all."""
    books = books_of_workers(Splits.among([0, 1]).followed_by(6, [0]), {0: 10, 1: 3})
    load = summary_of(books).open_loop
    assert load is not None
    assert (load.offered, load.not_sent, load.sent_rate) == (10, 2, 0.8)
    assert load.not_sent_by_workers == (NotSent(worker=1, requests=2, from_s=3.0, until_s=5.0),)
    gap, total = issues_of(books)
    assert (gap.kind, gap.values) == (
        IssueKind.WORKER_GAP,
        {"worker": 1, "not_sent": 2, "from_s": 3.0, "until_s": 5.0},
    )
    assert (total.kind, total.values) == (IssueKind.NOT_SENT, {"not_sent": 2, "offered": 10})


def test_the_gap_of_a_lost_worker_is_known_of_a_run_that_was_stopped() -> None:
    """What the others have not sent is then no gap: the end of the run stopped it."""
    splits = Splits.among([0, 1]).followed_by(6, [0])
    load = summary_of(books_of_workers(splits, {0: 8, 1: 3}, ended_s=8.5)).open_loop
    assert load is not None
    assert (load.not_sent, load.not_sent_by_workers) == (
        None,
        (NotSent(worker=1, requests=2, from_s=3.0, until_s=5.0),),
    )


def test_a_request_that_a_lost_worker_had_in_flight_was_sent() -> None:
    books = books_of_workers(Splits.among([0, 1]).followed_by(6, [0]), {0: 10, 1: 3})
    books.levels[0].arrivals_begun[1] = 4
    load = summary_of(books).open_loop
    assert load is not None and load.not_sent == 1
    assert load.not_sent_by_workers == (NotSent(worker=1, requests=1, from_s=5.0, until_s=5.0),)


def test_arrivals_without_any_worker_are_a_gap_of_nobody() -> None:
    books = books_of_workers(Splits.among([0]).followed_by(4, []).followed_by(7, [2]), {0: 4, 2: 10})
    load = summary_of(books).open_loop
    assert load is not None
    assert load.not_sent_by_workers == (NotSent(worker=None, requests=3, from_s=4.0, until_s=6.0),)


def test_what_a_limit_of_requests_in_flight_left_waiting_is_no_gap() -> None:
    books = books_of_workers(Splits.among([0, 1]), {0: 9, 1: 8}, max_in_flight=2)
    load = summary_of(books).open_loop
    assert load is not None and load.not_sent == 1
    assert [issue.kind for issue in issues_of(books)] == [IssueKind.NOT_SENT]


def test_requests_in_flight_of_several_workers_are_counted_together() -> None:
    """Worker 0 has most of its requests in flight in the first half, worker 1 in the second: the sum of each one's most
    would be twice as many as there ever were."""
    aggregator = empty_books()
    for worker, began_s in ((0, 0), (1, 5)):
        recorder = Recorder(worker)
        recorder.begin_level(aggregator.levels[0].level, 0, 0)
        for number in range(4):
            recorder.record(due(began_s + number / 100, e2e_s=4.0))
        assert aggregator.apply(recorder.take_report())
    aggregator.close(12.0)
    load = summary_of(aggregator).open_loop
    assert load is not None and load.in_flight_max == pytest.approx(4.0)


def test_scheduled_and_lag_and_ttft_make_the_first_token_though_a_worker_s_clock_is_corrected() -> None:
    recorder = Recorder(0)
    recorder.begin_level(
        Level(0, "off", "1/s", level_time_s=10.0, arrivals=Arrivals("constant", ((0.0, 1.0),), 1.0)), 0, 0
    )
    timeline = due(0.0, lag_s=0.25)
    recorder.shift(120_000)
    row = recorder.record(timeline)
    assert row.phase is Phase.HOLD  # though it was due before the level began, by the better estimate
    assert timeline.first_ns is not None and row.ttft_ns is not None
    lag_ns = row.sent_ns - row.scheduled_ns
    assert row.scheduled_ns + lag_ns + row.ttft_ns == timeline.first_ns - 120_000
    assert lag_ns == 250_000_000
