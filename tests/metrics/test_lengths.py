"""Requested against actual lengths."""

from __future__ import annotations

from tokenswarm.metrics.lengths import LengthComparison


def test_differences_are_counted_in_both_directions() -> None:
    found = LengthComparison()
    for actual in (*(128,) * 97, 127, 129, 140):
        found.add(128, actual)
    assert (found.requests, found.equal, found.deviating) == (100, 97, 1)
    assert found.actual_tokens == found.requested_tokens + 12
    assert [found.largest_difference(share) for share in (0.97, 0.98, 0.99, 1.0)] == [0, 1, 1, 12]


def test_a_length_deviates_beyond_a_token_and_one_percent() -> None:
    for requested, actual, deviates in ((10, 11, 0), (10, 12, 1), (1000, 1010, 0), (1000, 1011, 1), (1000, 989, 1)):
        found = LengthComparison()
        found.add(requested, actual)
        assert found.deviating == deviates, (requested, actual)


def test_without_requests_there_is_no_difference() -> None:
    assert LengthComparison().largest_difference() == 0
