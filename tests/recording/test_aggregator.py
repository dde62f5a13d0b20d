"""The aggregator: what is counted where, and how often."""

from __future__ import annotations

from array import array
from collections.abc import Callable

import pytest

from tokenswarm.metrics.level import Level, Scope
from tokenswarm.metrics.objectives import Objectives
from tokenswarm.metrics.timeline import Outcome, Timeline
from tokenswarm.metrics.token_counts import TokenSource
from tokenswarm.recording.aggregator import Aggregator
from tokenswarm.recording.recorder import Recorder
from tokenswarm.recording.scope_stats import ScopeStats
from tokenswarm.recording.window_stats import WindowStats
from tokenswarm.recording.worker_report import Report, UnusableReport

S = 1_000_000_000
Books = Callable[..., Aggregator]
Timelines = Callable[..., Timeline]


def part_of(aggregator: Aggregator, part: Scope = Scope.HOLD, stage: int = 0) -> ScopeStats:
    return aggregator.levels[stage].scopes[part]


def test_a_request_sent_in_the_hold_is_in_hold_and_whole(books: Books, timeline: Timelines) -> None:
    aggregator = books([timeline((3.1, 3.2, 3.4), sent_s=3.0)])
    for part in Scope:
        told = part_of(aggregator, part)
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
    aggregator = books([timeline((1.5, 2.0, 3.0, 4.0), sent_s=1.0)])
    hold, whole = part_of(aggregator), part_of(aggregator, Scope.WHOLE)
    assert (hold.requests, hold.ttft_s.count, hold.gap_s.count, hold.output_tokens) == (0, 0, 0, pytest.approx(3.0))
    assert (whole.requests, whole.ttft_s.count, whole.gap_s.count, whole.output_tokens) == (1, 1, 3, pytest.approx(4.0))


def test_a_request_that_ends_in_the_drain_keeps_its_latency_and_loses_the_late_tokens(
    books: Books, timeline: Timelines
) -> None:
    """Sent at 11.5 s of a level of 12 s: not censored for being slow, but its last two tokens are nobody's."""
    aggregator = books([timeline((11.9, 12.0, 15.0), sent_s=11.5)])
    for part in Scope:
        told = part_of(aggregator, part)
        assert (told.requests, told.e2e_s.sum, told.gap_s.count) == (1, pytest.approx(3.5), 2)
        assert told.output_tokens == pytest.approx(1.0)
    assert aggregator.levels[0].output_tokens == 3


def test_a_request_that_slipped_out_in_the_drain_is_in_whole_alone(books: Books, timeline: Timelines) -> None:
    """Sent as the level's time was up: it is counted and has its latency, but its tokens came too late for a rate."""
    aggregator = books([timeline((12.1, 12.3), sent_s=12.0), timeline((3.1, 3.2), sent_s=3.0)])
    hold, whole = part_of(aggregator), part_of(aggregator, Scope.WHOLE)
    assert (hold.requests, hold.outcomes, hold.ttft_s.count, hold.gap_s.count) == (1, {"ok": 1}, 1, 1)
    assert (whole.requests, whole.outcomes, whole.ttft_s.count, whole.gap_s.count) == (2, {"ok": 2}, 2, 2)
    assert (hold.client_delay_s.count, whole.client_delay_s.count) == (2, 4)
    assert whole.gap_s.sum == pytest.approx(0.3)
    assert (hold.output_tokens, whole.output_tokens) == (pytest.approx(2.0), pytest.approx(2.0))
    assert (aggregator.recorded, aggregator.levels[0].output_tokens) == (2, 4)


def test_a_failure_is_counted_and_has_no_latency(books: Books, timeline: Timelines) -> None:
    aggregator = books([timeline((3.1, 3.2), outcome=Outcome.STREAM_ERROR), timeline((3.1, 3.2))])
    told = part_of(aggregator)
    assert told.outcomes == {"stream_error": 1, "ok": 1}
    assert (told.ttft_s.count, told.gap_s.count, aggregator.failures) == (1, 1, 1)
    assert (told.output_tokens, told.good_output_tokens) == (pytest.approx(4.0), pytest.approx(2.0))
    assert told.token_sources == {"usage": 1}


def test_a_cut_request_is_counted_and_no_failure(books: Books, timeline: Timelines) -> None:
    aggregator = books([timeline((3.1, 3.2), outcome=Outcome.CUT)])
    assert (part_of(aggregator).outcomes, aggregator.failures) == ({"cut": 1}, 0)
    told = part_of(aggregator)
    assert (told.output_tokens, told.good_output_tokens) == (pytest.approx(2.0), pytest.approx(2.0))
    assert (told.ttft_s.count, told.gap_s.count, told.token_sources) == (0, 0, {})


@pytest.mark.parametrize("outcome", list(Outcome))
def test_tokens_are_good_unless_their_request_failed(outcome: Outcome, books: Books, timeline: Timelines) -> None:
    told = part_of(books([timeline((3.1, 3.2), outcome=outcome)]))
    good = 2.0 if outcome in (Outcome.OK, Outcome.CUT, Outcome.ABANDONED, Outcome.REFUSED_BY_LIMIT) else 0.0
    assert (told.output_tokens, told.good_output_tokens) == (pytest.approx(2.0), pytest.approx(good))


def test_connecting_is_told_of_new_connections_only(books: Books, timeline: Timelines) -> None:
    aggregator = books([timeline(connect_ns=3_000_000), timeline(connect_ns=0)])
    assert (part_of(aggregator).connect_s.count, part_of(aggregator).connect_s.sum) == (1, pytest.approx(0.003))


def test_goodput_counts_requests_within_every_objective_and_their_tokens(books: Books, timeline: Timelines) -> None:
    aggregator = books(
        [
            timeline((3.1, 3.2, 3.3), tokens=30),
            timeline((3.3, 3.4), tokens=20),  # TTFT of 300 ms
            timeline((3.1, 3.2), tokens=10, outcome=Outcome.TRUNCATED),
        ],
        slo="ttft=200ms",
    )
    told = part_of(aggregator)
    assert (told.requests, told.requests_within_objectives, told.tokens_within_objectives) == (3, 1, 30)


def test_without_objectives_no_request_is_called_good(books: Books, timeline: Timelines) -> None:
    assert part_of(books([timeline()])).requests_within_objectives == 0


def test_a_report_that_was_entered_before_is_ignored(
    report: Callable[..., Report], timeline: Timelines, a_level: Callable[..., Level]
) -> None:
    aggregator = Aggregator(Objectives())
    aggregator.begin_level(a_level(), 0.0)
    told = report([timeline(), timeline()], [a_level()])
    assert aggregator.apply(told)
    assert not aggregator.apply(told)
    assert (aggregator.recorded, aggregator.ended, aggregator.complete) == (2, 2, True)
    assert part_of(aggregator).gap_s.count == 6
    assert sum(window.output_tokens for window in aggregator.windows.values()) == 8


def test_a_report_that_does_not_follow_the_last_is_refused_and_nothing_of_it_entered(
    timeline: Timelines, a_level: Callable[..., Level]
) -> None:
    """Its worker sends again what was not acknowledged: one in the middle can only be missing by a mistake."""
    aggregator, recorder = Aggregator(Objectives()), Recorder(worker=0)
    aggregator.begin_level(a_level(), 0.0)
    recorder.begin_level(a_level(), 0, 0)
    recorder.record(timeline())
    aggregator.apply(recorder.take_report())
    assert aggregator.complete
    recorder.record(timeline())
    recorder.take_report()  # never arrives
    assert aggregator.complete  # nobody can know yet
    recorder.record(timeline())
    with pytest.raises(UnusableReport, match="report 3 came after report 1"):
        aggregator.apply(recorder.take_report())
    assert (aggregator.ended, aggregator.recorded) == (1, 1)


def test_a_report_of_a_stage_that_never_began_is_refused_and_nothing_of_it_entered(
    report: Callable[..., Report], timeline: Timelines, a_level: Callable[..., Level]
) -> None:
    aggregator = Aggregator(Objectives())
    aggregator.begin_level(a_level(), 0.0)
    with pytest.raises(UnusableReport, match="level 1, which never began"):
        aggregator.apply(report([timeline(), timeline(level_index=1)], [a_level(), a_level(1)]))
    assert (aggregator.ended, aggregator.recorded, aggregator.levels[0].scopes[Scope.WHOLE].requests) == (0, 0, 0)


def test_workers_are_told_apart_and_their_counts_added_up(
    report: Callable[..., Report], timeline: Timelines, a_level: Callable[..., Level]
) -> None:
    aggregator = Aggregator(Objectives())
    aggregator.begin_level(a_level(), 0.0)
    for worker, requests in ((0, 2), (1, 3)):
        told = report([timeline()] * requests, [a_level()], worker=worker)
        told.in_flight = 10 + worker
        assert aggregator.apply(told)
    assert (aggregator.ended, aggregator.recorded, aggregator.in_flight) == (5, 5, 21)
    assert part_of(aggregator).requests == 5


def test_books_do_not_balance_while_a_request_is_under_way(timeline: Timelines, a_level: Callable[..., Level]) -> None:
    """A worker that was lost with requests under way said so last."""
    aggregator, recorder = Aggregator(Objectives()), Recorder(worker=0)
    aggregator.begin_level(a_level(), 0.0)
    recorder.begin_level(a_level(), 0, 0)
    recorder.in_flight = 1
    recorder.record(timeline())
    aggregator.apply(recorder.take_report())
    assert (aggregator.ended, aggregator.recorded, aggregator.in_flight, aggregator.complete) == (1, 1, 1, False)
    recorder.in_flight = 0
    recorder.record(timeline())
    aggregator.apply(recorder.take_report())
    assert (aggregator.ended, aggregator.recorded, aggregator.in_flight, aggregator.complete) == (2, 2, 0, True)


def test_levels_follow_each_other_and_keep_their_own_requests(
    report: Callable[..., Report], timeline: Timelines, a_level: Callable[..., Level]
) -> None:
    aggregator = Aggregator(Objectives())
    assert aggregator.running_level is None
    aggregator.begin_level(a_level(0), 0.0)
    aggregator.begin_level(a_level(1, system_prompt="on"), 14.5)
    assert aggregator.running_level is aggregator.levels[1]
    aggregator.apply(
        report([timeline(level_index=0), timeline(level_index=1), timeline(level_index=1)], [a_level(0), a_level(1)])
    )
    aggregator.end_level(20.5)
    assert [part_of(aggregator, Scope.WHOLE, number).requests for number in (0, 1)] == [1, 2]
    assert [(level.began_s, level.ended_s) for level in aggregator.levels.values()] == [(0.0, 14.5), (14.5, 20.5)]
    assert aggregator.running_level is None
    aggregator.end_level(99.0)
    assert aggregator.levels[1].ended_s == 20.5


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
    ended_s: float, hold_s: float, whole_s: float, complete: bool, a_level: Callable[..., Level]
) -> None:
    aggregator = Aggregator(Objectives())
    aggregator.begin_level(a_level(), 100.0)
    level = aggregator.levels[0]
    assert (level.seconds(Scope.HOLD, ended_s), level.seconds(Scope.WHOLE, ended_s)) == (hold_s, whole_s)
    assert not level.complete
    aggregator.end_level(ended_s)
    assert (level.seconds(Scope.HOLD, 999.0), level.seconds(Scope.WHOLE, 999.0)) == (hold_s, whole_s)
    assert level.complete is complete


def test_a_level_with_an_open_end_is_complete_once_it_is_over(a_level: Callable[..., Level]) -> None:
    aggregator = Aggregator(Objectives())
    aggregator.begin_level(a_level(level_time_s=None), 0.0)
    assert not aggregator.levels[0].complete
    aggregator.end_level(500.0)
    assert aggregator.levels[0].complete
    assert aggregator.levels[0].seconds(Scope.HOLD, 0.0) == 498.0


def test_windows_hold_what_was_sent_what_ended_and_what_arrived_in_each(books: Books, timeline: Timelines) -> None:
    aggregator = books(
        [
            timeline((4.0, 6.0), sent_s=3.0, over_s=6.0),
            timeline((5.5,), sent_s=5.2, outcome=Outcome.TIMEOUT, over_s=11.0),
        ]
    )
    first, second, third = (aggregator.windows[0, number] for number in range(3))
    assert (first.requests_sent, first.requests_ended, first.failures, first.output_tokens) == (1, 0, 0, 1.0)
    assert (second.requests_sent, second.requests_ended, second.failures, second.output_tokens) == (1, 1, 0, 2.0)
    assert (third.requests_sent, third.requests_ended, third.failures, third.output_tokens) == (0, 1, 1, 0.0)
    assert (first.ttfts_ns, second.ttfts_ns) == (array("q", [1 * S]), array("q"))


def windows_told(aggregator: Aggregator, now_s: float = 999.0) -> list[tuple[int, int, int, float, list[int]]]:
    return [
        (each.requests_sent, each.requests_ended, each.failures, each.output_tokens, each.ttfts_ns.tolist())
        for each in aggregator.windows_of(aggregator.levels[0], now_s)
    ]


def test_a_request_that_was_cut_just_behind_a_levels_last_edge_is_in_its_last_window(
    timeline: Timelines, report: Callable[..., Report], a_level: Callable[..., Level]
) -> None:
    """The level's end is read first, the cut request's end half a millisecond later, behind the edge at 10 s."""
    aggregator = Aggregator(Objectives())
    aggregator.begin_level(a_level(), 0.0)
    aggregator.apply(report([timeline((9.9,), sent_s=9.8, over_s=10.0005, outcome=Outcome.CUT)], [a_level()]))
    aggregator.end_level(10.0)
    assert windows_told(aggregator) == [(0, 0, 0, 0.0, []), (1, 1, 0, 1.0, [])]


@pytest.mark.parametrize(
    ("ended_s", "windows"), [(9.9, 2), (10.0, 2), (10.0009, 2), (10.0011, 3), (0.0, 1), (0.0005, 1), (5.0005, 1)]
)
def test_a_rest_of_less_than_a_millisecond_is_no_window(
    ended_s: float, windows: int, timeline: Timelines, report: Callable[..., Report], a_level: Callable[..., Level]
) -> None:
    aggregator = Aggregator(Objectives())
    aggregator.begin_level(a_level(), 0.0)
    aggregator.apply(report([timeline((10.0004,), sent_s=10.0002, over_s=10.0005)], [a_level()]))
    aggregator.end_level(ended_s)
    told = windows_told(aggregator)
    assert told[:-1] == [(0, 0, 0, 0.0, [])] * (windows - 1)
    assert told[-1] == (1, 1, 0, 1.0, [200_000])


def test_windows_far_beyond_a_levels_end_are_folded_into_its_last(
    timeline: Timelines, report: Callable[..., Report], a_level: Callable[..., Level]
) -> None:
    """Four windows' worth behind the end of 12 s, as of a machine whose clock is ahead; no hole is left before."""
    aggregator = Aggregator(Objectives())
    aggregator.begin_level(a_level(), 0.0)
    timelines = [
        timeline((11.5, 13.0, 16.0, 31.0), sent_s=11.0, over_s=31.0),
        timeline((), sent_s=27.0, over_s=29.0, outcome=Outcome.TIMEOUT),
        timeline((27.25,), sent_s=27.0, over_s=27.25),
    ]
    aggregator.apply(report(timelines, [a_level()]))
    aggregator.windows[0, 2].users, aggregator.windows[0, 2].in_flight = 10, 4
    aggregator.end_level(12.0)
    assert sorted(number for _stage, number in aggregator.windows) == [2, 3, 5, 6]
    assert windows_told(aggregator) == [(0, 0, 0, 0.0, []), (0, 0, 0, 0.0, []), (3, 3, 1, 5.0, [S // 2, S // 4])]
    last = aggregator.windows_of(aggregator.levels[0], 999.0)[-1]
    assert (last.users, last.in_flight) == (10, 4)
    assert windows_told(aggregator) == windows_told(aggregator)  # looking changes nothing
    assert aggregator.windows[0, 2] == WindowStats(10, 4, 1, output_tokens=2.0, ttfts_ns=array("q", [S // 2]))


def test_a_running_levels_windows_reach_to_now_and_another_levels_are_not_among_them(
    timeline: Timelines, report: Callable[..., Report], a_level: Callable[..., Level]
) -> None:
    aggregator = Aggregator(Objectives())
    aggregator.begin_level(a_level(0), 0.0)
    aggregator.begin_level(a_level(1), 14.0)
    aggregator.apply(report([timeline((3.5,), sent_s=3.0, level_index=0)], [a_level(0), a_level(1)]))
    aggregator.windows[1, 9] = WindowStats(output_tokens=7.0)
    assert [len(aggregator.windows_of(aggregator.levels[1], now_s)) for now_s in (14.0, 16.0, 19.0, 19.1, 34.0)] == [
        *(1, 1, 1, 2, 4),
    ]
    assert [window.output_tokens for window in aggregator.windows_of(aggregator.levels[1], 21.0)] == [0.0, 7.0]
    assert [window.output_tokens for window in aggregator.windows_of(aggregator.levels[0], 21.0)] == [1.0, 0.0, 0.0]


def test_the_state_of_things_is_noted_in_the_window_of_its_moment(
    report: Callable[..., Report], a_level: Callable[..., Level]
) -> None:
    aggregator = Aggregator(Objectives())
    aggregator.observe(5, 0.0)  # no level runs
    aggregator.begin_level(a_level(), 100.0)
    told = report([], [a_level()])
    told.in_flight = 4
    aggregator.apply(told)
    aggregator.observe(5, 101.0)
    aggregator.observe(7, 104.9)
    aggregator.observe(9, 105.0)
    assert {place: (window.users, window.in_flight) for place, window in aggregator.windows.items()} == {
        (0, 0): (7, 4),
        (0, 1): (9, 4),
    }


def test_token_sources_and_stamps_are_told_apart(books: Books, timeline: Timelines) -> None:
    aggregator = books([timeline(), timeline(kernel=False), timeline(source=TokenSource.EVENTS)])
    told = part_of(aggregator)
    assert told.token_sources == {"usage": 2, "events": 1}
    assert told.stamps == {"kernel": 2, "user": 1}
    assert (told.reads, told.reads_with_kernel_time) == (12, 8)


def test_reads_are_counted_of_requests_that_were_ok_where_they_were_sent(books: Books, timeline: Timelines) -> None:
    aggregator = books(
        [
            timeline((1.1, 1.2), sent_s=1.0, kernel_stamps=1),
            timeline((3.1, 3.2, 3.3), kernel_stamps=2),
            timeline((3.1,), outcome=Outcome.TRUNCATED, kernel=False),
        ]
    )
    hold, whole = part_of(aggregator), part_of(aggregator, Scope.WHOLE)
    assert (hold.reads, hold.reads_with_kernel_time) == (3, 2)
    assert (whole.reads, whole.reads_with_kernel_time) == (5, 3)


def test_latencies_are_rounded_to_microseconds_and_not_cut(books: Books, timeline: Timelines) -> None:
    told = part_of(books([timeline((3.1000006, 3.2000013), connect_ns=1_600)]))
    assert told.ttft_s.sum == pytest.approx(100_001e-6, abs=1e-9)
    assert told.e2e_s.sum == pytest.approx(200_001e-6, abs=1e-9)
    assert told.connect_s.sum == pytest.approx(2e-6, abs=1e-9)
    assert told.gap_s.sum == pytest.approx(100_001e-6, abs=1e-9)
