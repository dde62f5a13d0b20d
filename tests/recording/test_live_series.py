"""What a page charts of a running run: statistics by window, and tokens by when they arrived."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tokenswarm.metrics.level import Arrivals, Level
from tokenswarm.metrics.objectives import Objectives
from tokenswarm.metrics.timeline import Outcome, Timeline
from tokenswarm.recording.aggregator import Aggregator
from tokenswarm.recording.live_series import LiveSeries, Point
from tokenswarm.recording.recorder import Recorder
from tokenswarm.recording.reported_counts import ReportedTotals
from tokenswarm.recording.window_stats import WindowStats
from tokenswarm.recording.worker_report import Report


@pytest.fixture
def aggregator(a_level: Callable[..., Level]) -> Aggregator:
    """Of a level that began with the run: two seconds of ramp, a hold to the twelfth."""
    books = Aggregator(Objectives())
    books.begin_level(a_level(), 0.0)
    return books


@pytest.fixture
def recorder(a_level: Callable[..., Level]) -> Recorder:
    known = Recorder(worker=1)
    known.begin_level(a_level(), 0, 0)
    return known


def points(series: LiveSeries, aggregator: Aggregator, now_s: float, since: int = 0) -> dict[int, Point]:
    return dict(series.points(aggregator, now_s, since))


def test_a_reports_events_are_spread_over_the_time_since_the_last(aggregator: Aggregator) -> None:
    """Reports each 3 s would put one, then two of them into windows of 5 s: a saw's teeth where the rate is even."""
    series = LiveSeries()
    for number in range(1, 6):
        series.enter_report(1, ReportedTotals(300 * number, 0, 0), 3.0 * number)
    assert [point.tokens_per_s for point in points(series, aggregator, 15.0).values()] == pytest.approx([100.0] * 3)


def test_a_window_that_is_half_told_of_has_the_rate_of_its_told_half(aggregator: Aggregator) -> None:
    series = LiveSeries()
    series.enter_report(1, ReportedTotals(300, 0, 0), 3.0)
    series.enter_report(2, ReportedTotals(100, 0, 0), 2.0)
    (point,) = points(series, aggregator, 4.5).values()
    assert point.tokens_per_s == pytest.approx(100.0 + 50.0)


def test_an_unfinished_window_has_the_rate_of_the_seconds_that_it_has(aggregator: Aggregator) -> None:
    """The last second is not over either: what came in a part of it came at the same rate."""
    series = LiveSeries()
    for tenth in range(1, 65):
        series.enter_report(0, ReportedTotals(28 * tenth, 0, 0), tenth / 10)
        if tenth >= 10:
            assert points(series, aggregator, tenth / 10)[0].tokens_per_s == pytest.approx(280.0)
    assert points(series, aggregator, 6.4)[1].tokens_per_s == pytest.approx(280.0)
    assert series.recent_tokens_per_s(aggregator) == pytest.approx(280.0)


def test_a_workers_rate_is_steady_though_its_tokens_are_counted_in_lots(aggregator: Aggregator) -> None:
    """Read 0.6 s at a time and reported each 0.1 s, an even stream shows 0 in most reports and six times its rate in
    the others."""
    series = LiveSeries()
    rates = []
    for tenth in range(1, 201):
        series.enter_report(0, ReportedTotals(168 * (tenth // 6), 0, 0), tenth / 10)
        if tenth >= 60:
            rates.append(series.tokens_per_s(0, aggregator))
    assert all(rate == pytest.approx(280.0, rel=0.15) for rate in rates)


def test_a_window_is_shown_when_its_users_have_been_counted(aggregator: Aggregator) -> None:
    series = LiveSeries()
    aggregator.observe(7, 4.9)
    assert [point.users for point in points(series, aggregator, 5.9).values()] == [7]
    aggregator.observe(8, 5.9)
    assert [point.users for point in points(series, aggregator, 6.0).values()] == [7, 8]


def test_a_worker_that_joins_late_did_not_stream_before(aggregator: Aggregator) -> None:
    series = LiveSeries()
    series.enter_report(1, ReportedTotals(1200, 0, 0), 12.0)
    series.enter_report(2, ReportedTotals(300, 0, 0), 12.0)
    assert points(series, aggregator, 12.0)[0].tokens_per_s == 0.0
    assert series.tokens_per_s(2, aggregator) == pytest.approx(60.0)


def test_a_silent_worker_is_not_waited_for(aggregator: Aggregator) -> None:
    series = LiveSeries()
    series.enter_report(1, ReportedTotals(100, 0, 0), 1.0)
    for second in range(1, 15):
        series.enter_report(2, ReportedTotals(10 * second, 0, 0), float(second))
    assert points(series, aggregator, 14.0)[2].tokens_per_s == pytest.approx(10.0)


def test_points_are_told_once_and_again_when_they_change(
    aggregator: Aggregator, recorder: Recorder, timeline: Callable[..., Timeline]
) -> None:
    series = LiveSeries()
    assert list(points(series, aggregator, 5.0)) == [0]
    known = series.revision
    assert list(points(series, aggregator, 7.0, known)) == [1]
    known = series.revision
    assert points(series, aggregator, 7.0, known) == {}
    recorder.record(timeline(sent_s=3.0, arrivals_s=(3.25, 3.5)))  # entered now, into the window that it was sent in
    aggregator.apply(recorder.take_report())
    changed = points(series, aggregator, 7.0, known)
    assert list(changed) == [0]
    assert changed[0].ttft_p50_s == changed[0].ttft_p99_s == 0.25


def test_gaps_delays_and_failures_stand_where_they_were_told(
    aggregator: Aggregator, recorder: Recorder, timeline: Callable[..., Timeline]
) -> None:
    series = LiveSeries()
    series.observe(aggregator, 0.0)
    recorder.record(timeline(arrivals_s=(3.1, 3.2, 3.3)))
    aggregator.apply(recorder.take_report())
    series.observe(aggregator, 5.0)
    recorder.record(timeline(arrivals_s=(3.1, 3.4), sent_s=3.0, over_s=6.0))
    recorder.record(timeline(arrivals_s=(), sent_s=3.0, over_s=6.0, outcome=Outcome.TIMEOUT))
    aggregator.apply(recorder.take_report())
    series.observe(aggregator, 10.0)
    first, second = points(series, aggregator, 10.0).values()
    assert (first.gap_p50_s, first.gap_p99_s) == pytest.approx((0.1, 0.1), rel=1e-3)
    assert (second.gap_p50_s, second.gap_p99_s) == pytest.approx((0.3, 0.3), rel=1e-3)
    assert first.client_delay_p99_s == pytest.approx(20e-6, rel=1e-3)
    assert first.failures == {}
    assert second.failures == {"timeout": 1}


def test_request_rates_are_of_what_was_due_and_reported() -> None:
    """Four a second are due from 1.5 s on; two workers have sent and answered a little less, and one reports late."""
    level = Level(0, "off", "4/s", level_time_s=60.0, arrivals=Arrivals("constant", ((0.0, 4.0),), 4.0))
    aggregator, series = Aggregator(Objectives()), LiveSeries()
    aggregator.begin_level(level, 0.0)
    assert series.recent_request_rates(aggregator) is None
    for second in range(2, 12):
        series.enter_report(1, ReportedTotals(0, 2 * second, second), float(second))
        series.enter_report(2, ReportedTotals(0, second, second), second - 0.5)
    assert series.recent_request_rates(aggregator) == pytest.approx((4.0, 3.0, 2.0))
    point = points(series, aggregator, 11.0)[1]
    assert (point.start_s, point.end_s) == (6.5, 11.0)
    assert (point.offered_rate, point.sent_rate, point.completed_rate) == pytest.approx((4.0, 3.0, 2.0))


def test_events_of_several_tokens_count_as_what_ended_requests_held(
    aggregator: Aggregator, recorder: Recorder, timeline: Callable[..., Timeline]
) -> None:
    series = LiveSeries()
    recorder.record(timeline(tokens=8))  # in four events
    report: Report = recorder.take_report()
    aggregator.apply(report)
    series.enter_report(1, ReportedTotals(20, 0, 0), 5.0)
    assert points(series, aggregator, 5.0)[0].tokens_per_s == pytest.approx(8.0)
    assert series.tokens_per_s(1, aggregator) == pytest.approx(8.0)
    assert series.tokens_per_s_between(0.0, 5.0, aggregator) == pytest.approx(8.0)


def test_old_windows_of_a_long_run_are_looked_at_once_a_minute_and_every_page_receives_their_changes() -> None:
    aggregator, series = Aggregator(Objectives()), LiveSeries()
    level = Level(0, "off", "10", 10, 2.0, 4 * 3600.0)
    aggregator.begin_level(level, 0.0)
    shown = points(series, aggregator, 3600.0)
    assert list(shown) == list(range(720))
    aggregator.windows[0, 3], aggregator.windows[0, 600] = WindowStats(), WindowStats()
    aggregator.windows[0, 3].ttfts_ns.append(70_000_000)  # requests that have ended late
    aggregator.windows[0, 600].ttfts_ns.append(80_000_000)
    known = series.revision
    young = points(series, aggregator, 3602.0, known)
    assert {index: point.start_s for index, point in young.items()} == {600: 3000.0, 720: 3600.0}
    late = points(series, aggregator, 3661.0, series.revision)
    assert late[3].ttft_p50_s == pytest.approx(0.07)
    after = series.revision
    other = points(series, aggregator, 3663.0, known)  # a page that did not poll meanwhile
    assert {3, 600} <= set(other)
    assert not {3, 600} & set(points(series, aggregator, 3665.0, after))  # nothing twice
    assert list(points(series, aggregator, 3667.0)) == list(range(734))  # a page that opens now
    aggregator.windows[0, 5] = WindowStats()
    aggregator.windows[0, 5].ttfts_ns.append(90_000_000)
    aggregator.end_level(3670.0)
    assert points(series, aggregator, 3670.0, series.revision)[5].ttft_p50_s == pytest.approx(0.09)
