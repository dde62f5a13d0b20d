"""The two ways of reading events are compared over the same bytes, and find the same."""

from __future__ import annotations

import pytest

from benchmarks import parsing
from tokenswarm.simulator.paced_answers import answer_events


@pytest.mark.parametrize("events_a_read", [1, 10, 100])
def test_both_ways_find_the_same_data_and_the_same_text(events_a_read):
    pieces = parsing.reads(answer_events(250), events_a_read)
    assert parsing.split_with_ours(pieces) == parsing.split_with_sseclient(pieces)
    texts = parsing.texts_with_ours(pieces)
    assert len(texts) == 250
    assert texts == parsing.texts_with_sseclient(pieces)


def test_reads_hold_all_bytes_in_their_order():
    assert parsing.reads([b"a", b"b", b"c"], 2) == [b"ab", b"c"]


def test_every_comparison_is_made_with_every_size_of_reads():
    made = [(of.what, of.events_a_read) for of in parsing.compare(events=20, turns=1)]
    assert made == [(what, size) for what in ("finding the data", "getting the text") for size in (1, 10, 100)]
