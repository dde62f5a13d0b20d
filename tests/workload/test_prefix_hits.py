"""Prompt tokens that a prefix cache without a limit would hold."""

from __future__ import annotations

import pytest

from tokenswarm.workload.prefix_hits import Beginning, PrefixHits

GROUP = Beginning("group", 100, 100)


def test_a_beginning_is_found_once_it_was_sent_in_whole_blocks() -> None:
    hits = PrefixHits(16)
    for _ in range(4):
        hits.add(150, (GROUP,), (GROUP,))
    assert hits.ratios == (3 * 96 / 600, 3 * 96 / 600)


def test_the_longest_known_beginning_counts_and_the_last_token_is_computed() -> None:
    hits = PrefixHits(10)
    whole = Beginning("whole", 200, 200)
    hits.add(200, (GROUP, whole), (GROUP, whole))
    hits.add(200, (GROUP, whole), ())
    assert (hits.least, hits.most) == (190, 190)
    hits.add(120, (GROUP, Beginning("other", 115, 115)), ())
    assert hits.least == 190 + 100


def test_what_may_be_in_the_cache_is_found_at_most() -> None:
    hits = PrefixHits(1)
    first = Beginning(("turn", 1), 100, 150)
    hits.add(100, (), (first,))
    hits.add(300, (first,), ())
    assert hits.ratios == (pytest.approx(100 / 400), pytest.approx(150 / 400))


def test_a_flushed_cache_holds_nothing() -> None:
    hits = PrefixHits(1)
    assert hits.ratios is None
    hits.add(150, (GROUP,), (GROUP,))
    hits.flush()
    hits.add(150, (GROUP,), (GROUP,))
    assert hits.ratios == (0, 0)
