"""What a page charts of a run that goes on: the books by window, and tokens by when they arrived."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from metrics.ledger import Ledger
from metrics.live import LiveSeries, Point
from metrics.objectives import Objectives
from metrics.recorder import Recorder
from metrics.records import Report
from metrics.stage import Stage
from metrics.timeline import Outcome, Timeline


@pytest.fixture
def ledger(stage: Callable[..., Stage]) -> Ledger:
    """Of a level that began with the run: two seconds of ramp, a hold to the twelfth."""
    books = Ledger(Objectives())
    books.begin_stage(stage(), 0.0)
    return books


@pytest.fixture
def recorder(stage: Callable[..., Stage]) -> Recorder:
    known = Recorder(worker=1)
    known.begin_stage(stage(), 0, 0)
    return known


def points(series: LiveSeries, ledger: Ledger, now_s: float, since: int = 0) -> dict[int, Point]:
    return dict(series.points(ledger, now_s, since))


def test_a_reports_events_are_spread_over_the_time_since_the_last(ledger: Ledger) -> None:
    """Reports each 3 s would put one, then two of them into windows of 5 s: a saw's teeth where the rate is even."""
    series = LiveSeries()
    for number in range(1, 6):
        series.heard(1, 300 * number, 3.0 * number)
    assert [point.tokens_per_s for point in points(series, ledger, 15.0).values()] == pytest.approx([100.0] * 3)


def test_a_window_that_is_half_told_of_has_the_rate_of_its_told_half(ledger: Ledger) -> None:
    series = LiveSeries()
    series.heard(1, 300, 3.0)
    series.heard(2, 100, 2.0)
    (point,) = points(series, ledger, 4.5).values()
    assert point.tokens_per_s == pytest.approx(100.0 + 50.0)


def test_an_unfinished_window_has_the_rate_of_the_seconds_that_it_has(ledger: Ledger) -> None:
    """The last second is not over either: what came in a part of it came at the same rate."""
    series = LiveSeries()
    for tenth in range(1, 65):
        series.heard(0, 28 * tenth, tenth / 10)
        if tenth >= 10:
            assert points(series, ledger, tenth / 10)[0].tokens_per_s == pytest.approx(280.0)
    assert points(series, ledger, 6.4)[1].tokens_per_s == pytest.approx(280.0)
    assert series.recent_tokens_per_s(ledger) == pytest.approx(280.0)


def test_a_workers_rate_is_steady_though_its_tokens_are_counted_in_lots(ledger: Ledger) -> None:
    """Read 0.6 s at a time and reported each 0.1 s, an even stream shows 0 in most reports and six times its rate in
    the others."""
    series = LiveSeries()
    rates = []
    for tenth in range(1, 201):
        series.heard(0, 168 * (tenth // 6), tenth / 10)
        if tenth >= 60:
            rates.append(series.tokens_per_s(0, ledger))
    assert all(rate == pytest.approx(280.0, rel=0.15) for rate in rates)


def test_a_window_is_shown_when_its_users_have_been_counted(ledger: Ledger) -> None:
    series = LiveSeries()
    ledger.observe(7, 4.9)
    assert [point.users for point in points(series, ledger, 5.9).values()] == [7]
    ledger.observe(8, 5.9)
    assert [point.users for point in points(series, ledger, 6.0).values()] == [7, 8]


def test_a_worker_that_joins_late_did_not_stream_before(ledger: Ledger) -> None:
    series = LiveSeries()
    series.heard(1, 1200, 12.0)
    series.heard(2, 300, 12.0)
    assert points(series, ledger, 12.0)[0].tokens_per_s == 0.0
    assert series.tokens_per_s(2, ledger) == pytest.approx(60.0)


def test_a_silent_worker_is_not_waited_for(ledger: Ledger) -> None:
    series = LiveSeries()
    series.heard(1, 100, 1.0)
    for second in range(1, 15):
        series.heard(2, 10 * second, float(second))
    assert points(series, ledger, 14.0)[2].tokens_per_s == pytest.approx(10.0)


def test_points_are_told_once_and_again_when_they_change(
    ledger: Ledger, recorder: Recorder, timeline: Callable[..., Timeline]
) -> None:
    series = LiveSeries()
    assert list(points(series, ledger, 5.0)) == [0]
    known = series.revision
    assert list(points(series, ledger, 7.0, known)) == [1]
    known = series.revision
    assert points(series, ledger, 7.0, known) == {}
    recorder.record(timeline(sent_s=3.0, arrivals_s=(3.25, 3.5)))  # entered now, into the window that it was sent in
    ledger.apply(recorder.take_report())
    changed = points(series, ledger, 7.0, known)
    assert list(changed) == [0]
    assert changed[0].ttft_p50_s == changed[0].ttft_p99_s == 0.25


def test_gaps_delays_and_failures_stand_where_they_were_told(
    ledger: Ledger, recorder: Recorder, timeline: Callable[..., Timeline]
) -> None:
    series = LiveSeries()
    series.observe(ledger, 0.0)
    recorder.record(timeline(arrivals_s=(3.1, 3.2, 3.3)))
    ledger.apply(recorder.take_report())
    series.observe(ledger, 5.0)
    recorder.record(timeline(arrivals_s=(3.1, 3.4), sent_s=3.0, over_s=6.0))
    recorder.record(timeline(arrivals_s=(), sent_s=3.0, over_s=6.0, outcome=Outcome.TIMEOUT))
    ledger.apply(recorder.take_report())
    series.observe(ledger, 10.0)
    first, second = points(series, ledger, 10.0).values()
    assert (first.gap_p50_s, first.gap_p99_s) == pytest.approx((0.1, 0.1), rel=1e-3)
    assert (second.gap_p50_s, second.gap_p99_s) == pytest.approx((0.3, 0.3), rel=1e-3)
    assert first.client_delay_p99_s == pytest.approx(20e-6, rel=1e-3)
    assert first.failures == {}
    assert second.failures == {"timeout": 1}


def test_events_of_several_tokens_count_as_what_ended_requests_held(
    ledger: Ledger, recorder: Recorder, timeline: Callable[..., Timeline]
) -> None:
    series = LiveSeries()
    recorder.record(timeline(tokens=8))  # in four events
    report: Report = recorder.take_report()
    ledger.apply(report)
    series.heard(1, 20, 5.0)
    assert points(series, ledger, 5.0)[0].tokens_per_s == pytest.approx(8.0)
    assert series.tokens_per_s(1, ledger) == pytest.approx(8.0)
    assert series.tokens_per_s_between(0.0, 5.0, ledger) == pytest.approx(8.0)
