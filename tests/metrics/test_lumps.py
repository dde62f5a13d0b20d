"""Outputs that arrive several at once, or hold several tokens, and what remains of TPOT then."""

from __future__ import annotations

import pytest

from tokenswarm.metrics.lumps import in_first_arrival, largest_arrival_share
from tokenswarm.metrics.timeline import Outcome, Timeline
from tokenswarm.metrics.timeline_builder import TimelineBuilder

MS = 1_000_000


def answer(*outputs: tuple[int, int], tokens: int, reasoning_tokens: int = 0, usage_each: bool = False) -> Timeline:
    """Outputs that arrived so (ms), with so many bytes of text; the server counts `tokens` in its usage."""
    told = TimelineBuilder("0.1", 0, 1_000 * MS)
    for place, (arrived_ms, size_bytes) in enumerate(outputs, start=1):
        told.output(arrived_ms * MS, True, None, size_bytes)
        if usage_each:
            told.usage(9, tokens * place // len(outputs))
    told.usage(9, tokens, reasoning_tokens=reasoning_tokens)
    return told.finish(Outcome.OK, outputs[-1][0] * MS, bytes_received=100_000)


@pytest.mark.parametrize(
    ("times", "sizes", "tokens", "share"),
    [
        ([1, 2, 3, 4], [5, 5, 5, 5], 4, 0.25),
        ([1, 2, 3, 4], [], 64, 0.25),  # sizes not known
        ([1, 1, 3, 4], [5, 5, 5, 5], 4, 0.5),
        ([1, 2, 3, 4, 5], [360, 1, 1, 1, 1], 65, pytest.approx((1 + 59 * 360 / 364) / 64)),
        ([1, 2], [2, 7], 3, 0.5),  # a token more than outputs is the end's
        ([7], [4], 9, 1.0),
    ],
)
def test_tokens_beyond_the_outputs_are_where_the_text_is(
    times: list[int], sizes: list[int], tokens: int, share: float
) -> None:
    assert largest_arrival_share(times, sizes, tokens) == share


def test_outputs_that_arrive_with_the_first() -> None:
    assert [in_first_arrival(times) for times in ([1], [1, 2], [1, 1, 1, 2, 2])] == [1, 1, 3]


def test_a_first_event_with_most_of_the_text_leaves_no_tpot() -> None:
    told = answer((1100, 360), *((1100 + 20 * place, 1) for place in range(1, 5)), tokens=64)
    assert told.in_one_arrival
    assert (told.tpot_ns, told.token_rate) == (None, None)


def test_a_last_event_with_most_of_the_text_leaves_none_either() -> None:
    assert answer((1100, 2), (1120, 2), (1140, 200), tokens=40).tpot_ns is None


def test_events_of_equal_text_keep_their_tpot_however_many_tokens_they_hold() -> None:
    told = answer(*((1100 + 60 * place, 14) for place in range(8)), tokens=24)
    assert told.tpot_ns == pytest.approx(420 * MS / 23)


def test_of_bursts_tpot_counts_what_came_after_the_first() -> None:
    """16 at once every 320 ms are 20 ms a token: 960 ms for the 48 tokens behind the first burst."""
    told = answer(*((1320 + 320 * burst, 4) for burst in range(4) for _ in range(16)), tokens=64)
    assert told.in_bursts
    assert told.tpot_ns == 20 * MS


def test_one_first_read_of_two_outputs_is_no_burst() -> None:
    told = answer((1100, 4), (1100, 4), *((1100 + 20 * place, 4) for place in range(1, 9)), tokens=10)
    assert not told.in_bursts
    assert told.tpot_ns == pytest.approx(160 * MS / 9)


def test_reasoning_that_was_not_sent_took_no_time_after_the_first_output() -> None:
    times = [(1100 + 20 * place, 4) for place in range(11)]
    told = answer(*times, tokens=511, reasoning_tokens=500)
    assert (told.unstreamed_tokens, told.output_tokens) == (500, 511)
    assert told.tpot_ns == 20 * MS


def test_reasoning_that_was_sent_is_no_less_than_text() -> None:
    told = TimelineBuilder("0.1", 0, 1_000 * MS)
    for place in range(11):
        told.output((1100 + 20 * place) * MS, place > 5, None, 4)
    told.usage(9, 11, reasoning_tokens=5)
    timeline = told.finish(Outcome.OK, 1300 * MS, bytes_received=9_000)
    assert (timeline.unstreamed_tokens, timeline.tpot_ns) == (0, 20 * MS)


@pytest.mark.parametrize("prompt_tokens", [0, -1])
def test_a_prompt_of_no_tokens_is_no_usage(prompt_tokens: int) -> None:
    told = TimelineBuilder("0.1", 0, 1_000 * MS)
    told.prompt_tokens(40, "estimate")
    told.usage(prompt_tokens, 3)
    timeline = told.finish(Outcome.OK, 1_100 * MS)
    assert (timeline.prompt_tokens, timeline.prompt_tokens_source) == (40, "estimate")
