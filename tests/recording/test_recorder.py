"""The worker's side of the books."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tokenswarm.metrics.level import Level, Phase
from tokenswarm.metrics.objectives import Objectives
from tokenswarm.metrics.timeline import Outcome, Timeline
from tokenswarm.recording.aggregator import Aggregator
from tokenswarm.recording.recorder import Recorder
from tokenswarm.recording.worker_report import MOST_ROWS, Report

S = 1_000_000_000


@pytest.fixture
def recorder(a_level: Callable[..., Level]) -> Recorder:
    """Worker 3, whose run began at 90 s and whose stage began at 100 s of its own clock."""
    recorder = Recorder(worker=3)
    recorder.begin_level(a_level(), 90 * S, 100 * S)
    return recorder


def test_a_row_is_told_in_the_runs_time_and_in_durations_from_the_sending(
    recorder: Recorder, timeline: Callable[..., Timeline]
) -> None:
    row = recorder.record(
        timeline(
            (103.1, 103.3, 103.4),
            sent_s=103.0,
            over_s=103.5,
            delays_ns=[20_000, 70_000, 30_000],
            headers_ns=103 * S + 40_000_000,
            connect_ns=3_000_000,
            tokens=6,
        )
    )
    assert (row.id, row.user, row.level_index, row.phase, row.outcome) == ("3-1", "0.1", 0, "hold", "ok")
    assert (row.scheduled_ns, row.sent_ns, row.ended_ns) == (13 * S, 13 * S, 13 * S + 500_000_000)
    assert (row.connect_ns, row.headers_ns) == (3_000_000, 40_000_000)
    assert (row.ttft_ns, row.ttfvt_ns, row.e2e_ns, row.duration_ns) == (
        *(100_000_000, 100_000_000, 400_000_000, 500_000_000),
    )
    assert (row.tpot_ns, row.token_rate) == (60_000_000.0, pytest.approx(1000 / 60))
    assert (row.gap_max_ns, row.client_delay_max_ns, row.stamps) == (200_000_000, 70_000, "kernel")
    assert (row.reads, row.reads_with_kernel_time) == (3, 3)
    assert (row.output_tokens, row.output_events, row.output_arrivals) == (6, 3, 3)
    assert row.tokens_by_scope == {"hold": 6.0, "whole": 6.0}


def test_a_row_of_a_failure_leaves_open_what_did_not_happen(
    recorder: Recorder, timeline: Callable[..., Timeline]
) -> None:
    row = recorder.record(timeline((), sent_s=103.0, outcome=Outcome.REFUSED, status=None, error="refused"))
    undefined = (row.status, row.headers_ns, row.ttft_ns, row.tpot_ns, row.e2e_ns, row.duration_ns, row.gap_max_ns)
    assert undefined == (None,) * 7
    assert (row.tokens_by_scope, row.error) == ({}, "refused")


def test_reports_are_numbered_and_hold_what_came_since_the_last(
    recorder: Recorder, timeline: Callable[..., Timeline]
) -> None:
    recorder.record(timeline((103.1,), sent_s=103.0))
    recorder.record(timeline((103.2,), sent_s=103.0))
    first = recorder.take_report()
    recorder.record(timeline((103.3,), sent_s=103.0))
    recorder.in_flight, recorder.output_events = 5, 77
    second, third = recorder.take_report(), recorder.take_report()
    assert [report.number for report in (first, second, third)] == [1, 2, 3]
    assert [report.ended for report in (first, second, third)] == [2, 3, 3]
    assert [[row.number for row in report.rows] for report in (first, second, third)] == [[1, 2], [3], []]
    assert (second.in_flight, second.output_events, second.worker) == (5, 77, 3)
    assert third.tokens_by_window == {}
    assert (third.gaps, third.delays) == ({}, {})


def test_events_of_running_streams_are_counted_at_once(recorder: Recorder) -> None:
    recorder.saw_output(3)
    recorder.saw_output(4)
    assert recorder.take_report().output_events == 7


def test_windows_are_counted_from_the_stages_own_beginning(
    recorder: Recorder, timeline: Callable[..., Timeline]
) -> None:
    recorder.record(timeline((104.9, 105.0, 111.0), sent_s=103.0))
    recorder.record(timeline((105.1, 105.2), sent_s=103.0))
    assert recorder.take_report().tokens_by_window == {(0, 0): 1.0, (0, 1): 3.0, (0, 2): 1.0}


def test_gaps_and_delays_belong_to_the_phase_that_the_request_was_sent_in(
    recorder: Recorder, timeline: Callable[..., Timeline], a_level: Callable[..., Level]
) -> None:
    """Whenever its output came: of the first, two of three arrivals are in the hold."""
    recorder.record(timeline((101.5, 103.0, 103.5), sent_s=101.0))
    recorder.record(timeline((103.1, 103.2), sent_s=103.0))
    recorder.record(timeline((112.4, 112.5), sent_s=112.0))
    recorder.begin_level(a_level(1), 90 * S, 200 * S)
    recorder.record(timeline((203.1, 203.4), sent_s=203.0, level_index=1))
    report = recorder.take_report()
    assert {place: (histogram.count, histogram.sum) for place, histogram in report.gaps.items()} == {
        (0, Phase.RAMP): (2, pytest.approx(1.5 + 0.5)),
        (0, Phase.HOLD): (1, pytest.approx(0.1)),
        (0, Phase.DRAIN): (1, pytest.approx(0.1)),
        (1, Phase.HOLD): (1, pytest.approx(0.3)),
    }
    assert {place: (histogram.count, histogram.sum) for place, histogram in report.delays.items()} == {
        (0, Phase.RAMP): (3, pytest.approx(60e-6)),
        (0, Phase.HOLD): (2, pytest.approx(40e-6)),
        (0, Phase.DRAIN): (2, pytest.approx(40e-6)),
        (1, Phase.HOLD): (2, pytest.approx(40e-6)),
    }
    assert {type(phase) for _stage, phase in [*report.gaps, *report.delays]} == {Phase}


def test_durations_are_rounded_to_microseconds_and_not_cut(
    recorder: Recorder, timeline: Callable[..., Timeline]
) -> None:
    """A delay of 0.6 µs is one of 1 µs; halves go to the even neighbour."""
    recorder.record(timeline((103.1,), sent_s=103.0, delays_ns=[499, 600, 1_499, 1_500, 2_500, 2_501]))
    recorder.record(timeline((103.1, 103.2000006, 103.3000010), sent_s=103.0, delays_ns=[]))
    report = recorder.take_report()
    assert report.delays[0, Phase.HOLD].sum == pytest.approx((0 + 1 + 1 + 2 + 2 + 3) * 1e-6)
    assert report.gaps[0, Phase.HOLD].sum == pytest.approx(100_001e-6 + 100_000e-6, abs=1e-9)


def test_a_report_has_the_gaps_of_all_its_requests_however_many_there_are(
    recorder: Recorder, timeline: Callable[..., Timeline]
) -> None:
    outputs_s = [103.0 + 0.001 * number * (number + 1) / 2 for number in range(61)]
    requests = 400
    for _ in range(requests):
        recorder.record(timeline(outputs_s, sent_s=102.0))
    (histogram,) = recorder.take_report().gaps.values()
    assert histogram.count == 60 * requests > 2 * 8192
    assert histogram.sum == pytest.approx(requests * 0.001 * sum(range(1, 61)))


def test_gaps_are_told_of_requests_that_were_ok_and_delays_of_all(
    recorder: Recorder, timeline: Callable[..., Timeline]
) -> None:
    recorder.record(timeline((103.1, 103.2), sent_s=103.0, outcome=Outcome.STREAM_ERROR))
    report = recorder.take_report()
    assert report.gaps == {}
    assert {place: histogram.count for place, histogram in report.delays.items()} == {(0, Phase.HOLD): 2}


def test_a_request_belongs_to_the_stage_it_was_sent_in_even_when_the_next_has_begun(
    recorder: Recorder, timeline: Callable[..., Timeline], a_level: Callable[..., Level]
) -> None:
    recorder.begin_level(a_level(1), 90 * S, 120 * S)
    assert recorder.current_level is not None
    assert recorder.current_level.level.index == 1
    row = recorder.record(timeline((103.1, 121.0), sent_s=103.0))
    assert (row.level_index, row.phase, row.tokens_by_scope) == (0, "hold", {"hold": 1.0, "whole": 1.0})


def test_a_request_that_cannot_be_entered_is_counted_and_has_no_row(
    recorder: Recorder, timeline: Callable[..., Timeline]
) -> None:
    """Whoever keeps the books then sees that one is missing."""
    with pytest.raises(KeyError):
        recorder.record(timeline(level_index=7))
    with pytest.raises(TypeError):
        recorder.record(timeline((103.1,), sent_ns=None))
    told = recorder.take_report()
    assert (told.ended, told.rows) == (2, [])


def test_before_any_stage_nothing_shall_be_sent() -> None:
    assert Recorder(worker=0).current_level is None


@pytest.mark.slow
def test_no_report_is_too_large_for_a_master_however_long_the_servers_errors_are(
    recorder: Recorder, timeline: Callable[..., Timeline], a_level: Callable[..., Level]
) -> None:
    failed = timeline(
        (), sent_s=103.0, outcome=Outcome.HTTP_ERROR, error="\U0001f4a7" * 500, finish_reason="\U0001f4a7" * 100
    )
    requests = 2 * MOST_ROWS + 1
    for _ in range(requests):
        recorder.record(failed)
    aggregator = Aggregator(Objectives())
    aggregator.begin_level(a_level(), 0.0)
    sent = recorder.take_reports()
    for report in sent:
        aggregator.apply(Report.decode(report.encode()))
    assert [report.number for report in sent] == [1, 2, 3]
    assert [report.ended for report in sent] == [MOST_ROWS, 2 * MOST_ROWS, requests]
    assert (aggregator.recorded, aggregator.ended) == (requests, requests)
    assert recorder.take_report().number == 4


def test_what_has_ended_is_known_as_a_number_of_reports(recorder: Recorder, timeline: Callable[..., Timeline]) -> None:
    recorder.most_rows = 2
    pending = []
    for _ in range(5):
        recorder.record(timeline((103.1, 103.3), sent_s=103.0, over_s=103.5))
        pending.append(recorder.pending_reports)
    assert pending == [1, 1, 2, 2, 3]
    assert [len(recorder.take_report().rows) for _ in range(3)] == [2, 2, 1]
    assert recorder.pending_reports == 0
