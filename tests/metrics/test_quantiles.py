"""Percentiles and their intervals: ranks known by hand, exact coverage, and coverage as it is measured."""

from __future__ import annotations

import random
from math import comb
from statistics import NormalDist

import numpy as np
import pytest

from tokenswarm.metrics.histogram import Histogram
from tokenswarm.metrics.quantiles import (
    Quantile,
    correlated_ranks,
    fewest_for_interval,
    interval_ranks,
    nearest_rank,
    quantile,
)


def counted_up_to(n: int) -> Histogram:
    """The values 1, 2, …, n units: each is its own rank."""
    histogram = Histogram(1.0)
    histogram.record_many(np.arange(1, n + 1, dtype=np.int64))
    return histogram


def test_the_median_of_ten_lies_between_the_second_and_the_ninth() -> None:
    assert interval_ranks(10, 0.5) == (2, 9)
    assert correlated_ranks(100, 0.5, 10) == (20, 90)
    assert quantile(counted_up_to(100), 0.5, 10) == Quantile(50.0, 20.0, 90.0, certified=True)


@pytest.mark.parametrize(("p", "least"), [(0.9, 29), (0.95, 59), (0.99, 299)])
def test_a_percentile_is_certified_from_the_first_worth_that_allows_it(p: float, least: int) -> None:
    assert p ** (least - 1) > 0.05 >= p**least
    enough, too_few = (quantile(counted_up_to(300), p, worth) for worth in (least, least - 1))
    assert enough is not None
    assert too_few is not None
    assert (enough.certified, enough.high) == (True, 300.0)
    assert (too_few.certified, too_few.high) == (False, None)


def test_a_low_percentile_is_certified_from_the_worth_that_has_a_lower_end() -> None:
    """Of as many as the 95th percentile has an upper end from: 0.95^59 is the first below 5 %."""
    enough, too_few = (quantile(counted_up_to(118), 0.05, worth) for worth in (59, 58))
    assert enough is not None
    assert too_few is not None
    assert (enough.value, enough.low, enough.certified) == (6.0, 2.0, True)
    assert (too_few.low, too_few.certified) == (0.0, False)


def test_fewer_than_40_values_have_no_interval() -> None:
    """They do not show how similar successive ones are."""
    assert quantile(counted_up_to(40), 0.5, 40) == Quantile(20.0, 14.0, 27.0, certified=True)
    assert quantile(counted_up_to(39), 0.5, 39) == Quantile(20.0, None, None, certified=False)
    assert quantile(counted_up_to(39), 0.5) == Quantile(20.0, None, None, certified=False)
    assert [fewest_for_interval(p) for p in (0.5, 0.9, 0.95, 0.99)] == [40, 40, 59, 299]


def test_a_median_takes_an_end_on_either_side() -> None:
    enough, too_few = (quantile(counted_up_to(300), 0.5, worth) for worth in (6, 5))
    assert enough is not None
    assert too_few is not None
    assert (enough.low, enough.high, enough.certified) == (50.0, 300.0, True)
    assert (too_few.low, too_few.high, too_few.certified) == (0.0, 300.0, False)


def test_where_no_value_is_surely_below_zero_is_the_lower_end() -> None:
    assert quantile(counted_up_to(40), 0.5, 1) == Quantile(20.0, 0.0, None, certified=False)


def test_values_whose_order_is_not_known_have_a_percentile_without_an_interval() -> None:
    assert quantile(counted_up_to(299), 0.99) == Quantile(297.0, None, None, certified=True)
    assert quantile(counted_up_to(298), 0.99) == Quantile(296.0, None, None, certified=False)


def test_values_that_are_worth_half_as_many_have_the_ranks_of_half_as_many() -> None:
    assert quantile(counted_up_to(80), 0.5, 40.2) == Quantile(40.0, 28.0, 54.0, certified=True)
    assert quantile(counted_up_to(100), 0.95, 58) == Quantile(95.0, 87.0, None, certified=False)


def test_an_empty_histogram_has_no_percentile() -> None:
    assert quantile(Histogram(), 0.5) is None


@pytest.mark.parametrize(
    ("n", "p", "value"),
    [(100, 0.5, 50), (100, 0.9, 90), (100, 0.95, 95), (100, 0.99, 99), (101, 0.5, 51), (45, 0.99, 45)],
)
def test_a_percentile_is_the_value_of_rank_ceil_pn(n: int, p: float, value: int) -> None:
    told = quantile(counted_up_to(n), p, n)
    assert told is not None
    assert told.value == value
    assert told.low is not None
    assert told.low <= value


@pytest.mark.parametrize("p", [0.5, 0.9, 0.95, 0.99])
def test_the_exact_chance_to_cover_is_at_least_95_percent(p: float) -> None:
    """P(l <= B < u) for B binomial(n, p); a missing end is infinitely far away. 0.9499 leaves room for rounding."""
    for n in [*range(1, 400), 500, 750, 1000]:
        low, high = interval_ranks(n, p)
        chance = sum(comb(n, k) * p**k * (1 - p) ** (n - k) for k in range(low, min(high, n + 1)))
        assert chance >= 0.9499, f"n = {n}: ranks {low} and {high} cover with {chance:.4f}"


@pytest.mark.parametrize(
    ("n", "p"),
    [(5, 0.5), (10, 0.5), (29, 0.9), (59, 0.95), (299, 0.99), (300, 0.99), (1000, 0.9), (2001, 0.99), (2500, 0.5)],
)
def test_measured_coverage_of_nominal_95_percent_is_at_least_94(n: int, p: float) -> None:
    trials = 2000
    samples = np.sort(np.random.default_rng(seed=n).random((trials, n)), axis=1)  # the p-quantile of [0, 1) is p
    low, high = interval_ranks(n, p)
    assert high <= n
    below = samples[:, low - 1] <= p if low else np.ones(trials, dtype=bool)
    assert np.mean(below & (samples[:, high - 1] >= p)) >= 0.94


def test_coverage_holds_for_latencies_that_went_through_a_histogram() -> None:
    draw, trials, n, p = random.Random(7), 300, 320, 0.9
    true_s = np.exp(11 + NormalDist().inv_cdf(p)) * 1e-6
    covered = 0
    for _ in range(trials):
        histogram = Histogram()
        histogram.record_many(np.array([round(draw.lognormvariate(11, 1)) for _ in range(n)], dtype=np.int64))
        told = quantile(histogram, p, n)
        assert told is not None
        assert told.low is not None
        assert told.high is not None
        covered += told.low <= true_s <= told.high
    assert covered / trials >= 0.94


@pytest.mark.parametrize("p", [0.5, 0.9, 0.95, 0.99])
def test_the_ranks_of_large_samples_continue_those_of_small_ones(p: float) -> None:
    """At 2,000 values the reckoning changes from binomial to normal: by a rank or two."""
    low, high = interval_ranks(2000, p)
    next_low, next_high = interval_ranks(2001, p)
    assert abs(next_low - low) <= 2
    assert abs(next_high - high) <= 2


@pytest.mark.parametrize(("p", "expected"), [(0.01, 10), (0.5, 20), (0.51, 30), (0.75, 30), (0.99, 40), (1.0, 40)])
def test_the_nearest_rank_of_a_few_values(p: float, expected: int) -> None:
    assert nearest_rank([10, 20, 30, 40], p) == expected
    assert nearest_rank([], p) is None


@pytest.mark.parametrize("p", [0.01, 0.05, 0.1, 0.25, 0.75, 0.9, 0.95, 0.99])
def test_the_fewest_values_with_an_interval_are_the_first_with_both_its_ends(p: float) -> None:
    def has_interval(n: int) -> bool:
        found = quantile(counted_up_to(n), p, n)
        return found is not None and found.certified

    fewest = fewest_for_interval(p)
    assert has_interval(fewest)
    assert not any(has_interval(n) for n in range(1, fewest))
