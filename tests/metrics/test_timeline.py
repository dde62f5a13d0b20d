"""Every definition of docs/metrics.md, by timelines whose figures were worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest

from tokenswarm.metrics.timeline import Outcome, Timeline
from tokenswarm.metrics.timeline_builder import TimelineBuilder
from tokenswarm.metrics.token_counts import TokenSource

MS = 1_000_000


def builder(sent_ms: int = 1000) -> TimelineBuilder:
    """A request tried at 990 ms that left at `sent_ms`, after 3 ms of connecting."""
    begun = TimelineBuilder("0.1", 4, 990 * MS)
    begun.sent(sent_ms * MS, 3 * MS)
    return begun


def answer(*arrivals_ms: int, usage: int | None = None, reasoning: int = 0) -> Timeline:
    """An answer whose outputs arrived so; the first `reasoning` of them were reasoning."""
    told = builder()
    for place, arrived_ms in enumerate(arrivals_ms):
        told.output(arrived_ms * MS, place >= reasoning, None)
    told.usage(7, usage)
    return told.finish(Outcome.OK, 1450 * MS, headers_ns=1040 * MS, end_ns=1450 * MS)


def test_ttft_is_from_the_first_byte_sent_to_the_first_output_and_leaves_connecting_out() -> None:
    told = answer(1100, 1150)
    assert (told.ttft_ns, told.connect_ns) == (100 * MS, 3 * MS)


def test_ttfvt_waits_for_the_first_output_that_is_not_reasoning() -> None:
    told = answer(1100, 1150, 1200, reasoning=2)
    assert (told.ttft_ns, told.ttfvt_ns) == (100 * MS, 200 * MS)


def test_ttfvt_of_an_answer_that_only_reasoned_is_undefined() -> None:
    told = answer(1100, 1150, reasoning=2)
    assert (told.ttft_ns, told.ttfvt_ns) == (100 * MS, None)


def test_tpot_divides_the_time_after_the_first_token_by_the_tokens_after_it() -> None:
    told = answer(1100, 1200, 1400, usage=9)
    assert told.tpot_ns == 37.5 * MS  # (1400 − 1100) / 8
    assert told.token_rate == pytest.approx(1000 / 37.5)


def test_tpot_and_token_rate_are_undefined_below_two_tokens() -> None:
    told = answer(1100, 1200, usage=1)
    assert (told.tpot_ns, told.token_rate) == (None, None)


def test_tpot_of_two_tokens_is_the_time_between_them() -> None:
    assert answer(1100, 1130).tpot_ns == 30 * MS


def test_an_answer_that_came_in_one_arrival_has_neither_tpot_nor_rate_nor_gaps() -> None:
    told = answer(1100, 1100, 1100)
    assert (told.tpot_ns, told.token_rate, told.gaps_ns.tolist()) == (None, None, [])
    assert answer(1100, usage=50).tpot_ns is None


@pytest.mark.parametrize(
    ("arrivals_ms", "tpot_ms"),
    [
        ((1100, 1200, 1200, 1200, 1300), None),  # three of five at once
        ((1100, 1200, 1200, 1300), 200 / 3),  # half of them
        ((1100, 1100, 1100, 1400), None),
        ((1100, 1200, 1200, 1300, 1400), 75.0),
    ],
)
def test_tpot_is_not_available_where_most_tokens_came_in_one_arrival(
    arrivals_ms: tuple[int, ...], tpot_ms: float | None
) -> None:
    told = answer(*arrivals_ms)
    assert told.tpot_ns == (None if tpot_ms is None else pytest.approx(tpot_ms * MS))
    assert told.in_one_arrival is (tpot_ms is None)


def test_reads_of_a_stream_that_was_not_watched_are_no_arrivals() -> None:
    """Its last token has its own time: TPOT stays true however few the reads were."""
    told = builder()
    told.read(0, kernel=True)
    told.output(1100 * MS, True, None)
    told.gaps_measured = False
    told.read(None, kernel=True)
    for _ in range(10):
        told.output(1300 * MS, True, None)
    assert told.finish(Outcome.OK, 1300 * MS).tpot_ns == 20 * MS


def by_engine(*arrivals: tuple[int, int]) -> Timeline:
    """Outputs that arrived so (ms), with so many tokens by the engine's own count."""
    told = builder()
    for arrived_ms, tokens in arrivals:
        told.output(arrived_ms * MS, True, tokens)
    return told.finish(Outcome.OK, 1900 * MS)


def test_the_first_event_s_tokens_are_none_of_those_that_took_time() -> None:
    """(1500 − 1100) / (9 − 5): the first five came together."""
    told = by_engine((1100, 5), (1300, 2), (1500, 2))
    assert (told.first_event_tokens, told.output_tokens) == (5, 9)
    assert told.tpot_ns is None  # more than half
    told = by_engine((1100, 4), (1300, 2), (1500, 2))
    assert (told.tpot_ns, told.token_rate) == (100 * MS, pytest.approx(10.0))
    assert by_engine((1100, 1), (1300, 6)).tpot_ns is None
    assert by_engine((1100, 1), (1300, 2), (1300, 2), (1400, 3)).tpot_ns == pytest.approx(300 * MS / 7)


def test_usage_that_comes_with_each_event_says_what_the_first_one_held() -> None:
    told = builder()
    for place in range(3):
        told.output((1100 + 100 * place) * MS, True, None)
        told.usage(7, 4 * (place + 1))
    timeline = told.finish(Outcome.OK, 1400 * MS, bytes_received=900)
    assert (timeline.first_event_tokens, timeline.output_tokens) == (4, 12)
    assert timeline.tpot_ns == 25 * MS  # 200 / (12 − 4)


def test_gaps_are_between_arrivals_and_never_divided_among_tokens() -> None:
    gaps_ns = answer(1100, 1150, 1200, 1400, usage=400).gaps_ns
    assert gaps_ns.tolist() == [50 * MS, 50 * MS, 200 * MS]
    assert gaps_ns.dtype == np.int64


def test_events_of_one_read_are_one_arrival_with_the_tokens_of_each() -> None:
    told = answer(1100, 1150, 1150, 1150, 1200, usage=9)
    assert list(told.outputs_ns) == [1100 * MS, *[1150 * MS] * 3, 1200 * MS]
    assert (told.output_events, told.output_arrivals, told.gaps_ns.tolist()) == (5, 3, [50 * MS, 50 * MS])
    assert told.tokens_per_event == 1.8  # 9 tokens in 5 events


def test_e2e_ends_with_the_last_output_and_duration_with_the_streams_end() -> None:
    told = answer(1100, 1400)
    assert (told.e2e_ns, told.duration_ns) == (400 * MS, 450 * MS)


def test_events_without_output_are_of_the_answer_too_but_of_no_latency_of_ours() -> None:
    """A ping, the role, two outputs, the reason to finish: what others count from, kept beside what we do."""
    told = builder()
    told.body(1050 * MS)
    told.body(1060 * MS)
    told.bare_event(1060 * MS)
    told.output(1100 * MS, True, None)
    told.output(1150 * MS, True, None)
    told.bare_event(1170 * MS)
    timeline = told.finish(Outcome.OK, 1200 * MS, end_ns=1200 * MS)
    assert (timeline.ttft_ns, timeline.e2e_ns, timeline.output_events) == (100 * MS, 150 * MS, 2)
    assert (timeline.first_body_ns, timeline.first_event_ns) == (1050 * MS, 1060 * MS)
    assert (timeline.last_event_ns, timeline.events) == (1170 * MS, 4)


def test_where_every_event_holds_output_the_first_and_the_last_are_those() -> None:
    told = answer(1100, 1150)
    assert (told.first_event_ns, told.last_event_ns, told.events) == (1100 * MS, 1150 * MS, 2)
    nothing = builder().finish(Outcome.TIMEOUT, 1200 * MS)
    assert (nothing.first_body_ns, nothing.first_event_ns, nothing.last_event_ns, nothing.events) == (
        None,
        None,
        None,
        0,
    )


def test_a_stream_without_its_proper_end_has_no_duration() -> None:
    told = builder()
    told.output(1100 * MS, True, None)
    cut_short = told.finish(Outcome.TRUNCATED, 1500 * MS)
    assert (cut_short.e2e_ns, cut_short.duration_ns, cut_short.over_ns) == (100 * MS, None, 1500 * MS)


def test_a_request_without_output_has_no_latency_at_all() -> None:
    told = builder().finish(Outcome.HTTP_ERROR, 1200 * MS, status=500, error="HTTP 500: no")
    undefined = (told.ttft_ns, told.ttfvt_ns, told.tpot_ns, told.token_rate, told.e2e_ns, told.duration_ns)
    assert undefined == (None,) * 6
    assert (told.gaps_ns.tolist(), told.tokens_per_event, told.output_tokens) == ([], 0.0, 0)
    assert told.gaps_ns.dtype == np.int64


def test_a_request_that_never_got_a_connection_counts_as_sent_when_it_was_tried() -> None:
    told = TimelineBuilder("0.1", 4, 990 * MS).finish(Outcome.REFUSED, 995 * MS, error="refused")
    assert (told.sent_ns, told.scheduled_ns, told.connect_ns) == (990 * MS, 990 * MS, 0)


def test_in_the_closed_loop_a_request_is_due_when_it_is_sent() -> None:
    told = answer(1100)
    assert told.scheduled_ns == told.sent_ns == 1000 * MS


def test_a_request_sent_again_on_a_new_connection_counts_from_the_first_time() -> None:
    told = TimelineBuilder("0.1", 4, 990 * MS)
    told.sent(1000 * MS, 0)
    told.retried()
    told.sent(1010 * MS, 5 * MS)
    told.output(1100 * MS, True, None)
    again = told.finish(Outcome.OK, 1100 * MS)
    assert (again.ttft_ns, again.connect_ns, again.retries) == (100 * MS, 5 * MS, 1)


@pytest.mark.parametrize(
    ("usage", "engine", "counted", "tokens", "source"),
    [
        (5, 2, 7, 5, TokenSource.USAGE),
        (None, 2, 7, 6, TokenSource.ENGINE),
        (None, None, 7, 7, TokenSource.TOKENIZER),
        (None, None, None, 3, TokenSource.EVENTS),
        (0, 2, 7, 6, TokenSource.ENGINE),
        (-7, None, None, 3, TokenSource.EVENTS),
        (10**25, None, 7, 7, TokenSource.TOKENIZER),
    ],
    ids=[
        *("usage first", "then the engine's", "then a tokenizer's", "then the events"),
        *("a usage of 0 cannot be", "a usage below 0 neither", "nor one of more tokens than there are"),
    ],
)
def test_token_counts_come_from_the_best_source_there_is(
    usage: int | None, engine: int | None, counted: int | None, tokens: int, source: TokenSource
) -> None:
    told = builder()
    for arrived_ms in (1100, 1200, 1300):
        told.output(arrived_ms * MS, True, engine)
    told.usage(None, usage)
    if counted is not None:
        told.token_counts.tokenizer = counted
    answered = told.finish(Outcome.OK, 1300 * MS)
    assert (answered.output_tokens, answered.output_tokens_source) == (tokens, source)


@pytest.mark.parametrize(
    ("usage", "max_tokens", "bytes_received", "tokens", "rejected"),
    [
        pytest.param(64, 64, 64, 64, None, id="as many as were allowed, a byte each"),
        pytest.param(65, 64, 9_000, 3, 65, id="more than were allowed"),
        pytest.param(65, None, 9_000, 65, None, id="as many as it likes"),
        pytest.param(60, 64, 59, 3, 60, id="more than there are bytes"),
    ],
)
def test_a_usage_that_cannot_be_is_rejected(
    usage: int, max_tokens: int | None, bytes_received: int, tokens: int, rejected: int | None
) -> None:
    told = TimelineBuilder("0.1", 4, 990 * MS, max_tokens)
    told.sent(1000 * MS, 3 * MS)
    for arrived_ms in (1100, 1200, 1300):
        told.output(arrived_ms * MS, True, None)
    told.usage(7, usage)
    answered = told.finish(Outcome.OK, 1300 * MS, bytes_received=bytes_received)
    assert (answered.output_tokens, answered.output_tokens_rejected) == (tokens, rejected)


def test_an_engine_that_counts_only_some_events_is_taken_at_its_word() -> None:
    told = builder()
    told.output(1100 * MS, True, 4)
    told.output(1200 * MS, True, None)
    answered = told.finish(Outcome.OK, 1200 * MS)
    assert (answered.output_tokens, answered.output_tokens_source) == (4, TokenSource.ENGINE)


def test_of_several_usages_the_last_stands_and_a_missing_count_takes_nothing_back() -> None:
    told = builder()
    told.output(1100 * MS, True, None)
    told.usage(7, 1)
    told.usage(None, 2)
    told.usage(8, None)
    answered = told.finish(Outcome.OK, 1100 * MS)
    assert (answered.prompt_tokens, answered.prompt_tokens_source, answered.output_tokens) == (8, "usage", 2)


def test_the_prompts_own_count_stands_unless_the_server_gives_one() -> None:
    told = builder()
    told.prompt_tokens(42, "estimate")
    told.output(1100 * MS, True, None)
    told.usage(None, 1)
    answered = told.finish(Outcome.OK, 1100 * MS)
    assert (answered.prompt_tokens, answered.prompt_tokens_source) == (42, "estimate")


def test_counting_is_needed_only_for_output_that_nobody_counted() -> None:
    told = builder()
    assert not told.needs_counting
    told.output(1100 * MS, True, None)
    assert told.needs_counting
    told.usage(7, None)
    assert told.needs_counting
    told.usage(7, 1)
    assert not told.needs_counting
    by_engine = builder()
    by_engine.output(1100 * MS, True, 1)
    assert not by_engine.needs_counting


def test_a_proper_end_without_output_is_empty_and_a_failure() -> None:
    told = builder().finish(Outcome.OK, 1200 * MS, end_ns=1200 * MS)
    assert (told.outcome, told.outcome.is_failure) == (Outcome.EMPTY, True)
    assert told.error == "the stream ended properly but held no output"


def test_a_failure_without_output_keeps_its_own_outcome_and_words() -> None:
    told = builder().finish(Outcome.TIMEOUT, 1200 * MS, error="no output within 1 s")
    assert (told.outcome, told.error) == (Outcome.TIMEOUT, "no output within 1 s")


def test_what_is_ok_cut_abandoned_or_refused_by_a_limit_is_no_failure_and_all_else_is() -> None:
    harmless = [outcome for outcome in Outcome if not outcome.is_failure]
    assert harmless == [Outcome.OK, Outcome.REFUSED_BY_LIMIT, Outcome.ABANDONED, Outcome.CUT]
    assert len(Outcome) == 14


@pytest.mark.parametrize(
    ("kernel", "stamps"),
    [([True, True], "kernel"), ([False, False], "user"), ([False, True], "mixed"), ([], "user")],
)
def test_a_timeline_says_whose_receive_times_it_holds(kernel: list[bool], stamps: str) -> None:
    told = builder()
    for by_kernel in kernel:
        told.read(20_000, by_kernel)
    assert told.finish(Outcome.OK, 1200 * MS).stamps == stamps
    told.tapped = True
    assert told.finish(Outcome.OK, 1200 * MS).stamps == {"kernel": "tap"}.get(stamps, stamps)


def test_the_clients_delay_is_kept_only_of_reads_whose_kernel_time_is_known() -> None:
    told = builder()
    told.read(20_000, True)
    told.read(0, False)
    told.read(30_000, True)
    read = told.finish(Outcome.OK, 1200 * MS)
    assert (list(read.delays_ns), read.reads, read.kernel_stamps) == ([20_000, 30_000], 3, 2)


def test_a_builder_tells_of_its_last_output_while_the_stream_runs() -> None:
    told = builder()
    assert (told.last_ns, told.output_events) == (None, 0)
    told.output(1100 * MS, True, None)
    told.output(1200 * MS, True, None)
    assert (told.last_ns, told.output_events) == (1200 * MS, 2)


def test_what_the_response_said_is_told_as_it_was() -> None:
    told = builder()
    told.output(1100 * MS, True, None)
    answered = told.finish(
        Outcome.OK, 1450 * MS, headers_ns=1040 * MS, bytes_received=77, status=200, finish_reason="length"
    )
    assert (answered.headers_ns, answered.bytes_received, answered.status) == (1040 * MS, 77, 200)
    assert (answered.finish_reason, answered.error, answered.user, answered.level_index) == ("length", None, "0.1", 4)


def test_a_timeline_cannot_be_changed() -> None:
    with pytest.raises(AttributeError):
        answer(1100).outcome = Outcome.CUT  # type: ignore[misc]
