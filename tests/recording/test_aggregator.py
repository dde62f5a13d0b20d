"""The books: what is entered where, and how often."""

from __future__ import annotations

from array import array
from collections.abc import Callable

import pytest

from metrics.ledger import Ledger, PartBooks, WindowBooks
from metrics.objectives import Objectives
from metrics.recorder import Recorder
from metrics.records import Report, ReportError
from metrics.stage import Part, Stage
from metrics.timeline import Outcome, Timeline, TokenSource

S = 1_000_000_000
Books = Callable[..., Ledger]
Timelines = Callable[..., Timeline]


def part_of(ledger: Ledger, part: Part = Part.HOLD, stage: int = 0) -> PartBooks:
    return ledger.levels[stage].parts[part]


def test_a_request_sent_in_the_hold_is_in_hold_and_whole(books: Books, timeline: Timelines) -> None:
    ledger = books([timeline((3.1, 3.2, 3.4), sent_s=3.0)])
    for part in Part:
        told = part_of(ledger, part)
        assert (told.requests, told.outcomes, told.output_tokens) == (1, {"ok": 1}, pytest.approx(3.0))
        assert [h.count for h in (told.ttft_s, told.ttfvt_s, told.tpot_s, told.e2e_s, told.request_token_rate)] == [
            1
        ] * 5
        assert told.ttft_s.sum == pytest.approx(0.1)
        assert told.tpot_s.sum == pytest.approx(0.15)
        assert told.e2e_s.sum == pytest.approx(0.4)
        assert told.request_token_rate.sum == pytest.approx(6.667)
        assert (told.gap_s.count, told.gap_s.sum) == (2, pytest.approx(0.3))
        assert (told.client_delay_s.count, told.client_delay_s.sum) == (3, pytest.approx(60e-6))
        assert (told.token_sources, told.stamps) == ({"usage": 1}, {"kernel": 1})


def test_a_request_sent_in_the_ramp_gives_the_hold_its_tokens_but_not_its_latency(
    books: Books, timeline: Timelines
) -> None:
    """Sent at 1 s of a ramp of 2 s; of its four tokens three arrive in the hold."""
    ledger = books([timeline((1.5, 2.0, 3.0, 4.0), sent_s=1.0)])
    hold, whole = part_of(ledger), part_of(ledger, Part.WHOLE)
    assert (hold.requests, hold.ttft_s.count, hold.gap_s.count, hold.output_tokens) == (0, 0, 0, pytest.approx(3.0))
    assert (whole.requests, whole.ttft_s.count, whole.gap_s.count, whole.output_tokens) == (1, 1, 3, pytest.approx(4.0))


def test_a_request_that_ends_in_the_drain_keeps_its_latency_and_loses_the_late_tokens(
    books: Books, timeline: Timelines
) -> None:
    """Sent at 11.5 s of a level of 12 s: not censored for being slow, but its last two tokens are nobody's."""
    ledger = books([timeline((11.9, 12.0, 15.0), sent_s=11.5)])
    for part in Part:
        told = part_of(ledger, part)
        assert (told.requests, told.e2e_s.sum, told.gap_s.count) == (1, pytest.approx(3.5), 2)
        assert told.output_tokens == pytest.approx(1.0)
    assert ledger.levels[0].output_tokens == 3


def test_a_request_that_slipped_out_in_the_drain_is_in_whole_alone(books: Books, timeline: Timelines) -> None:
    """Sent as the level's time was up: it is counted and has its latency, but its tokens came too late for a rate."""
    ledger = books([timeline((12.1, 12.3), sent_s=12.0), timeline((3.1, 3.2), sent_s=3.0)])
    hold, whole = part_of(ledger), part_of(ledger, Part.WHOLE)
    assert (hold.requests, hold.outcomes, hold.ttft_s.count, hold.gap_s.count) == (1, {"ok": 1}, 1, 1)
    assert (whole.requests, whole.outcomes, whole.ttft_s.count, whole.gap_s.count) == (2, {"ok": 2}, 2, 2)
    assert (hold.client_delay_s.count, whole.client_delay_s.count) == (2, 4)
    assert whole.gap_s.sum == pytest.approx(0.3)
    assert (hold.output_tokens, whole.output_tokens) == (pytest.approx(2.0), pytest.approx(2.0))
    assert (ledger.recorded, ledger.levels[0].output_tokens) == (2, 4)


def test_a_failure_is_counted_and_has_no_latency(books: Books, timeline: Timelines) -> None:
    ledger = books([timeline((3.1, 3.2), outcome=Outcome.STREAM_ERROR), timeline((3.1, 3.2))])
    told = part_of(ledger)
    assert told.outcomes == {"stream_error": 1, "ok": 1}
    assert (told.ttft_s.count, told.gap_s.count, ledger.failures) == (1, 1, 1)
    assert (told.output_tokens, told.good_output_tokens) == (pytest.approx(4.0), pytest.approx(2.0))
    assert told.token_sources == {"usage": 1}


def test_a_cut_request_is_counted_and_no_failure(books: Books, timeline: Timelines) -> None:
    ledger = books([timeline((3.1, 3.2), outcome=Outcome.CUT)])
    assert (part_of(ledger).outcomes, ledger.failures) == ({"cut": 1}, 0)
    told = part_of(ledger)
    assert (told.output_tokens, told.good_output_tokens) == (pytest.approx(2.0), pytest.approx(2.0))
    assert (told.ttft_s.count, told.gap_s.count, told.token_sources) == (0, 0, {})


@pytest.mark.parametrize("outcome", list(Outcome))
def test_tokens_are_good_unless_their_request_failed(outcome: Outcome, books: Books, timeline: Timelines) -> None:
    told = part_of(books([timeline((3.1, 3.2), outcome=outcome)]))
    good = 2.0 if outcome in (Outcome.OK, Outcome.CUT) else 0.0
    assert (told.output_tokens, told.good_output_tokens) == (pytest.approx(2.0), pytest.approx(good))


def test_connecting_is_told_of_new_connections_only(books: Books, timeline: Timelines) -> None:
    ledger = books([timeline(connect_ns=3_000_000), timeline(connect_ns=0)])
    assert (part_of(ledger).connect_s.count, part_of(ledger).connect_s.sum) == (1, pytest.approx(0.003))


def test_goodput_counts_requests_within_every_objective_and_their_tokens(books: Books, timeline: Timelines) -> None:
    ledger = books(
        [
            timeline((3.1, 3.2, 3.3), tokens=30),
            timeline((3.3, 3.4), tokens=20),  # TTFT of 300 ms
            timeline((3.1, 3.2), tokens=10, outcome=Outcome.TRUNCATED),
        ],
        slo="ttft=200ms",
    )
    told = part_of(ledger)
    assert (told.requests, told.requests_within_objectives, told.tokens_within_objectives) == (3, 1, 30)


def test_without_objectives_no_request_is_called_good(books: Books, timeline: Timelines) -> None:
    assert part_of(books([timeline()])).requests_within_objectives == 0


def test_a_report_that_was_entered_before_is_ignored(
    report: Callable[..., Report], timeline: Timelines, stage: Callable[..., Stage]
) -> None:
    ledger = Ledger(Objectives())
    ledger.begin_stage(stage(), 0.0)
    told = report([timeline(), timeline()], [stage()])
    assert ledger.apply(told)
    assert not ledger.apply(told)
    assert (ledger.recorded, ledger.fired, ledger.balanced) == (2, 2, True)
    assert part_of(ledger).gap_s.count == 6
    assert sum(window.output_tokens for window in ledger.windows.values()) == 8


def test_a_report_that_does_not_follow_the_last_is_refused_and_nothing_of_it_entered(
    timeline: Timelines, stage: Callable[..., Stage]
) -> None:
    """Its worker sends again what was not acknowledged: one in the middle can only be missing by a mistake."""
    ledger, recorder = Ledger(Objectives()), Recorder(worker=0)
    ledger.begin_stage(stage(), 0.0)
    recorder.begin_stage(stage(), 0, 0)
    recorder.record(timeline())
    ledger.apply(recorder.take_report())
    assert ledger.balanced
    recorder.record(timeline())
    recorder.take_report()  # never arrives
    assert ledger.balanced  # nobody can know yet
    recorder.record(timeline())
    with pytest.raises(ReportError, match="report 3 came after report 1"):
        ledger.apply(recorder.take_report())
    assert (ledger.fired, ledger.recorded) == (1, 1)


def test_a_report_of_a_stage_that_never_began_is_refused_and_nothing_of_it_entered(
    report: Callable[..., Report], timeline: Timelines, stage: Callable[..., Stage]
) -> None:
    ledger = Ledger(Objectives())
    ledger.begin_stage(stage(), 0.0)
    with pytest.raises(ReportError, match="it speaks of stage 1, which never began"):
        ledger.apply(report([timeline(), timeline(stage=1)], [stage(), stage(1)]))
    assert (ledger.fired, ledger.recorded, ledger.levels[0].parts[Part.WHOLE].requests) == (0, 0, 0)


def test_workers_are_told_apart_and_their_counts_added_up(
    report: Callable[..., Report], timeline: Timelines, stage: Callable[..., Stage]
) -> None:
    ledger = Ledger(Objectives())
    ledger.begin_stage(stage(), 0.0)
    for worker, requests in ((0, 2), (1, 3)):
        told = report([timeline()] * requests, [stage()], worker=worker)
        told.in_flight = 10 + worker
        assert ledger.apply(told)
    assert (ledger.fired, ledger.recorded, ledger.in_flight) == (5, 5, 21)
    assert part_of(ledger).requests == 5


def test_books_do_not_balance_while_a_request_is_under_way(timeline: Timelines, stage: Callable[..., Stage]) -> None:
    """A worker that was lost with requests under way said so last."""
    ledger, recorder = Ledger(Objectives()), Recorder(worker=0)
    ledger.begin_stage(stage(), 0.0)
    recorder.begin_stage(stage(), 0, 0)
    recorder.in_flight = 1
    recorder.record(timeline())
    ledger.apply(recorder.take_report())
    assert (ledger.fired, ledger.recorded, ledger.in_flight, ledger.balanced) == (1, 1, 1, False)
    recorder.in_flight = 0
    recorder.record(timeline())
    ledger.apply(recorder.take_report())
    assert (ledger.fired, ledger.recorded, ledger.in_flight, ledger.balanced) == (2, 2, 0, True)


def test_levels_follow_each_other_and_keep_their_own_requests(
    report: Callable[..., Report], timeline: Timelines, stage: Callable[..., Stage]
) -> None:
    ledger = Ledger(Objectives())
    assert ledger.running_level is None
    ledger.begin_stage(stage(0), 0.0)
    ledger.begin_stage(stage(1, system_prompt="on"), 14.5)
    assert ledger.running_level is ledger.levels[1]
    ledger.apply(report([timeline(stage=0), timeline(stage=1), timeline(stage=1)], [stage(0), stage(1)]))
    ledger.end_stage(20.5)
    assert [part_of(ledger, Part.WHOLE, number).requests for number in (0, 1)] == [1, 2]
    assert [(level.began_s, level.ended_s) for level in ledger.levels.values()] == [(0.0, 14.5), (14.5, 20.5)]
    assert ledger.running_level is None
    ledger.end_stage(99.0)
    assert ledger.levels[1].ended_s == 20.5


@pytest.mark.parametrize(
    ("ended_s", "hold_s", "whole_s", "complete"),
    [
        (101.0, 0.0, 1.0, False),  # ended in the ramp
        (107.0, 5.0, 7.0, False),
        (112.0, 10.0, 12.0, True),
        (130.0, 10.0, 12.0, True),  # the drain and the settling time belong to no part
    ],
)
def test_a_part_is_as_long_as_its_level_let_it_be(
    ended_s: float, hold_s: float, whole_s: float, complete: bool, stage: Callable[..., Stage]
) -> None:
    ledger = Ledger(Objectives())
    ledger.begin_stage(stage(), 100.0)
    level = ledger.levels[0]
    assert (level.seconds(Part.HOLD, ended_s), level.seconds(Part.WHOLE, ended_s)) == (hold_s, whole_s)
    assert not level.complete
    ledger.end_stage(ended_s)
    assert (level.seconds(Part.HOLD, 999.0), level.seconds(Part.WHOLE, 999.0)) == (hold_s, whole_s)
    assert level.complete is complete


def test_a_level_with_an_open_end_is_complete_once_it_is_over(stage: Callable[..., Stage]) -> None:
    ledger = Ledger(Objectives())
    ledger.begin_stage(stage(level_time_s=None), 0.0)
    assert not ledger.levels[0].complete
    ledger.end_stage(500.0)
    assert ledger.levels[0].complete
    assert ledger.levels[0].seconds(Part.HOLD, 0.0) == 498.0


def test_windows_hold_what_was_sent_what_ended_and_what_arrived_in_each(books: Books, timeline: Timelines) -> None:
    ledger = books(
        [
            timeline((4.0, 6.0), sent_s=3.0, over_s=6.0),
            timeline((5.5,), sent_s=5.2, outcome=Outcome.TIMEOUT, over_s=11.0),
        ]
    )
    first, second, third = (ledger.windows[0, number] for number in range(3))
    assert (first.requests_sent, first.requests_ended, first.failures, first.output_tokens) == (1, 0, 0, 1.0)
    assert (second.requests_sent, second.requests_ended, second.failures, second.output_tokens) == (1, 1, 0, 2.0)
    assert (third.requests_sent, third.requests_ended, third.failures, third.output_tokens) == (0, 1, 1, 0.0)
    assert (first.ttfts_ns, second.ttfts_ns) == (array("q", [1 * S]), array("q"))


def windows_told(ledger: Ledger, now_s: float = 999.0) -> list[tuple[int, int, int, float, list[int]]]:
    return [
        (each.requests_sent, each.requests_ended, each.failures, each.output_tokens, each.ttfts_ns.tolist())
        for each in ledger.windows_of(ledger.levels[0], now_s)
    ]


def test_a_request_that_was_cut_just_behind_a_levels_last_edge_is_in_its_last_window(
    timeline: Timelines, report: Callable[..., Report], stage: Callable[..., Stage]
) -> None:
    """The level's end is read first, the cut request's end half a millisecond later, behind the edge at 10 s."""
    ledger = Ledger(Objectives())
    ledger.begin_stage(stage(), 0.0)
    ledger.apply(report([timeline((9.9,), sent_s=9.8, over_s=10.0005, outcome=Outcome.CUT)], [stage()]))
    ledger.end_stage(10.0)
    assert windows_told(ledger) == [(0, 0, 0, 0.0, []), (1, 1, 0, 1.0, [])]


@pytest.mark.parametrize(
    ("ended_s", "windows"), [(9.9, 2), (10.0, 2), (10.0009, 2), (10.0011, 3), (0.0, 1), (0.0005, 1), (5.0005, 1)]
)
def test_a_rest_of_less_than_a_millisecond_is_no_window(
    ended_s: float, windows: int, timeline: Timelines, report: Callable[..., Report], stage: Callable[..., Stage]
) -> None:
    ledger = Ledger(Objectives())
    ledger.begin_stage(stage(), 0.0)
    ledger.apply(report([timeline((10.0004,), sent_s=10.0002, over_s=10.0005)], [stage()]))
    ledger.end_stage(ended_s)
    told = windows_told(ledger)
    assert told[:-1] == [(0, 0, 0, 0.0, [])] * (windows - 1)
    assert told[-1] == (1, 1, 0, 1.0, [200_000])


def test_windows_far_beyond_a_levels_end_are_folded_into_its_last(
    timeline: Timelines, report: Callable[..., Report], stage: Callable[..., Stage]
) -> None:
    """Four windows' worth behind the end of 12 s, as of a machine whose clock is ahead; no hole is left before."""
    ledger = Ledger(Objectives())
    ledger.begin_stage(stage(), 0.0)
    timelines = [
        timeline((11.5, 13.0, 16.0, 31.0), sent_s=11.0, over_s=31.0),
        timeline((), sent_s=27.0, over_s=29.0, outcome=Outcome.TIMEOUT),
        timeline((27.25,), sent_s=27.0, over_s=27.25),
    ]
    ledger.apply(report(timelines, [stage()]))
    ledger.windows[0, 2].users, ledger.windows[0, 2].in_flight = 10, 4
    ledger.end_stage(12.0)
    assert sorted(number for _stage, number in ledger.windows) == [2, 3, 5, 6]
    assert windows_told(ledger) == [(0, 0, 0, 0.0, []), (0, 0, 0, 0.0, []), (3, 3, 1, 5.0, [S // 2, S // 4])]
    last = ledger.windows_of(ledger.levels[0], 999.0)[-1]
    assert (last.users, last.in_flight) == (10, 4)
    assert windows_told(ledger) == windows_told(ledger)  # looking changes nothing
    assert ledger.windows[0, 2] == WindowBooks(10, 4, 1, 0, 0, 2.0, array("q", [S // 2]))


def test_a_running_levels_windows_reach_to_now_and_another_levels_are_not_among_them(
    timeline: Timelines, report: Callable[..., Report], stage: Callable[..., Stage]
) -> None:
    ledger = Ledger(Objectives())
    ledger.begin_stage(stage(0), 0.0)
    ledger.begin_stage(stage(1), 14.0)
    ledger.apply(report([timeline((3.5,), sent_s=3.0, stage=0)], [stage(0), stage(1)]))
    ledger.windows[1, 9] = WindowBooks(output_tokens=7.0)
    assert [len(ledger.windows_of(ledger.levels[1], now_s)) for now_s in (14.0, 16.0, 19.0, 19.1, 34.0)] == [
        *(1, 1, 1, 2, 4),
    ]
    assert [window.output_tokens for window in ledger.windows_of(ledger.levels[1], 21.0)] == [0.0, 7.0]
    assert [window.output_tokens for window in ledger.windows_of(ledger.levels[0], 21.0)] == [1.0, 0.0, 0.0]


def test_the_state_of_things_is_noted_in_the_window_of_its_moment(
    report: Callable[..., Report], stage: Callable[..., Stage]
) -> None:
    ledger = Ledger(Objectives())
    ledger.observe(5, 0.0)  # no level runs
    ledger.begin_stage(stage(), 100.0)
    told = report([], [stage()])
    told.in_flight = 4
    ledger.apply(told)
    ledger.observe(5, 101.0)
    ledger.observe(7, 104.9)
    ledger.observe(9, 105.0)
    assert {place: (window.users, window.in_flight) for place, window in ledger.windows.items()} == {
        (0, 0): (7, 4),
        (0, 1): (9, 4),
    }


def test_token_sources_and_stamps_are_told_apart(books: Books, timeline: Timelines) -> None:
    ledger = books([timeline(), timeline(kernel=False), timeline(source=TokenSource.EVENTS)])
    told = part_of(ledger)
    assert told.token_sources == {"usage": 2, "events": 1}
    assert told.stamps == {"kernel": 2, "user": 1}
    assert (told.reads, told.reads_with_kernel_time) == (12, 8)


def test_reads_are_counted_of_requests_that_were_ok_where_they_were_sent(books: Books, timeline: Timelines) -> None:
    ledger = books(
        [
            timeline((1.1, 1.2), sent_s=1.0, kernel_stamps=1),
            timeline((3.1, 3.2, 3.3), kernel_stamps=2),
            timeline((3.1,), outcome=Outcome.TRUNCATED, kernel=False),
        ]
    )
    hold, whole = part_of(ledger), part_of(ledger, Part.WHOLE)
    assert (hold.reads, hold.reads_with_kernel_time) == (3, 2)
    assert (whole.reads, whole.reads_with_kernel_time) == (5, 3)


def test_latencies_are_rounded_to_microseconds_and_not_cut(books: Books, timeline: Timelines) -> None:
    told = part_of(books([timeline((3.1000006, 3.2000013), connect_ns=1_600)]))
    assert told.ttft_s.sum == pytest.approx(100_001e-6, abs=1e-9)
    assert told.e2e_s.sum == pytest.approx(200_001e-6, abs=1e-9)
    assert told.connect_s.sum == pytest.approx(2e-6, abs=1e-9)
    assert told.gap_s.sum == pytest.approx(100_001e-6, abs=1e-9)
