"""A measured share is distinguished from the requested one only where chance alone does not explain the difference."""

from __future__ import annotations

import numpy as np
import pytest

from tokenswarm.metrics.shares import share_deviates


@pytest.mark.parametrize(
    ("count", "of", "share", "deviates"),
    [
        (700, 1000, 0.7, False),
        (657, 1000, 0.7, False),  # 2.97 standard deviations of 14.5
        (655, 1000, 0.7, True),  # 3.1
        (745, 1000, 0.7, True),
        (0, 3, 0.5, False),
        (0, 1_000_000, 0.0001, True),
        (100_300, 1_000_000, 0.1, False),  # 1.0
        (101_000, 1_000_000, 0.1, True),  # 3.3
        (1, 1, 0.01, False),  # a normal distribution would call this 10 standard deviations
        (0, 10, 1.0, True),
        (10, 10, 1.0, False),
    ],
)
def test_three_standard_deviations_are_the_limit(count: int, of: int, share: float, deviates: bool) -> None:
    assert share_deviates(count, of, share) is deviates


@pytest.mark.slow
@pytest.mark.parametrize(("requests", "share"), [(40, 0.05), (2_000, 0.3)])
def test_chance_alone_is_called_a_difference_as_rarely_as_it_should_be(requests: int, share: float) -> None:
    drawn = np.random.default_rng(7).binomial(requests, share, 20_000)
    alarms = sum(share_deviates(int(count), requests, share) for count in drawn)
    assert alarms / len(drawn) < 0.0027 * 1.3


def test_a_run_of_many_comparisons_is_marked_no_more_often_than_one() -> None:
    """Of 160 counts, one at 3.1 standard deviations is what chance gives in a fifth of all runs."""
    assert share_deviates(655, 1000, 0.7)
    assert not share_deviates(655, 1000, 0.7, compared=160)
    assert share_deviates(600, 1000, 0.7, compared=160)
