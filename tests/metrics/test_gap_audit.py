"""Gaps are held against a distribution: known critical values, and chance as often as it should be."""

from __future__ import annotations

from math import erf, exp, sqrt

import numpy as np
import pytest

from tokenswarm.metrics.gamma import gamma_below
from tokenswarm.metrics.gap_audit import FEWEST_GAPS, counts_per_bin, dispersion, gap_fit, kolmogorov_tail
from tokenswarm.metrics.intervals import Series


def exponential(gaps: Series) -> Series:
    shares: Series = -np.expm1(-np.maximum(gaps, 0.0))
    return shares


@pytest.mark.parametrize(
    ("n", "distance", "chance"),
    [(100, 0.13403, 0.05), (100, 0.16081, 0.01), (10_000, 0.013581, 0.05), (10_000, 0.019495, 0.001), (100, 0.01, 1.0)],
)
def test_the_tail_has_the_published_critical_values(n: int, distance: float, chance: float) -> None:
    assert kolmogorov_tail(distance, n) == pytest.approx(chance, abs=0.001)


def test_gaps_of_the_process_have_a_small_chance_as_seldom_as_it_says() -> None:
    random = np.random.default_rng(1)
    chances = [gap_fit(random.exponential(1.0, 500), exponential) for _ in range(400)]
    below = sum(fit is not None and fit.chance < 0.1 for fit in chances)
    assert 20 <= below <= 62  # 40 and three standard deviations and a half


def test_the_distance_is_the_largest_difference_between_the_distributions() -> None:
    fit = gap_fit(np.array([0.5, 0.25]), lambda gaps: np.clip(gaps, 0.0, 1.0))
    assert fit is not None
    assert (fit.gaps, fit.distance, fit.is_enough) == (2, 0.5, False)


def test_gaps_that_differ_by_less_than_the_tolerance_do_not_count() -> None:
    """No two requests leave within 0.2 of a gap: each waits for the one before."""
    times = np.cumsum(np.random.default_rng(1).exponential(1.0, 5000))
    for place in range(1, len(times)):
        times[place] = max(times[place], times[place - 1] + 0.2)
    exact, tolerant = gap_fit(np.diff(times), exponential), gap_fit(np.diff(times), exponential, 0.25)
    assert exact is not None
    assert tolerant is not None
    assert exact.distance == pytest.approx(1 - exp(-0.2), abs=0.03)
    assert exact.chance < 1e-6
    assert tolerant.chance > 0.05


def test_a_constant_process_is_told_from_a_random_one_and_no_gaps_are_no_fit() -> None:
    fit = gap_fit(np.ones(FEWEST_GAPS), exponential)
    assert fit is not None and fit.is_enough and fit.chance < 1e-6
    assert gap_fit(np.empty(0), exponential) is None


def test_dispersion_of_a_constant_a_poisson_and_a_bursty_process() -> None:
    random = np.random.default_rng(2)
    poisson, bursty = (np.cumsum(random.gamma(k, 1 / k, 12_000)) for k in (1.0, 0.2))
    found = [dispersion(counts_per_bin(times, 0.0, 11_000.0)) for times in (np.arange(12_000.0), poisson, bursty)]
    assert found[:2] == pytest.approx([0.0, 1.0], abs=0.1)
    assert found[2] is not None and found[2] > 3
    assert dispersion(counts_per_bin(poisson, 0.0, 99.0)) is None


def test_the_gamma_distribution_equals_its_closed_forms() -> None:
    values = np.array([-1.0, 0.0, 1e-6, 0.1, 0.5, 1.0, 1.5, 2.0, 3.0, 10.0, 40.0])
    positive = np.maximum(values, 0.0)
    for shape, share in (
        (1.0, lambda x: 1 - exp(-x)),
        (2.0, lambda x: 1 - (1 + x) * exp(-x)),
        (0.5, lambda x: erf(sqrt(x))),
    ):
        np.testing.assert_allclose(gamma_below(shape, values), [share(x) for x in positive], atol=1e-11)
    assert gamma_below(1000.0, np.array([1000 - 1 / 3]))[0] == pytest.approx(0.5, abs=1e-5)
    assert gamma_below(0.05, np.array([1e-12, 50.0])) == pytest.approx([0.2582, 1.0], abs=1e-3)
