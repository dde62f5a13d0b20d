"""Arrivals at a mean rate of 1: gaps of the distribution that was chosen, from the first moment on."""

from __future__ import annotations

from collections.abc import Callable
from itertools import islice
from math import erf, exp, gamma, sqrt

import numpy as np
import pytest

from tokenswarm.shapes.arrival_process import (
    BLOCK,
    ArrivalProcess,
    Constant,
    Gamma,
    Poisson,
    Times,
    Weibull,
    seed_of,
)

NUMBER = 5 * BLOCK
Cdf = Callable[[float], float]

#: Each process with the distribution of its gaps and their variance, both for a mean of 1.
PROCESSES: list[tuple[ArrivalProcess, Cdf, float]] = [
    (Poisson(), lambda gap: 1 - exp(-gap), 1.0),
    (Gamma(1.0), lambda gap: 1 - exp(-gap), 1.0),
    (Gamma(0.5), lambda gap: erf(sqrt(gap / 2)), 2.0),
    (Gamma(2.0), lambda gap: 1 - exp(-2 * gap) * (1 + 2 * gap), 0.5),
    (Weibull(1.0), lambda gap: 1 - exp(-gap), 1.0),
    (Weibull(0.5), lambda gap: 1 - exp(-sqrt(2 * gap)), 5.0),
    (Weibull(2.0), lambda gap: 1 - exp(-((gap * gamma(1.5)) ** 2)), 1 / gamma(1.5) ** 2 - 1),
]
RANDOM = [process for process, _, _ in PROCESSES]


def arrivals_of(process: ArrivalProcess, seed: int, number: int = NUMBER) -> Times:
    return np.concatenate(list(islice(process.unit_arrivals(seed), -(-number // BLOCK))))[:number]


def ks_p_value(gaps: Times, cdf: Cdf) -> float:
    """Of the Kolmogorov-Smirnov test, by its asymptotic distribution."""
    shares = np.array([cdf(float(gap)) for gap in np.sort(gaps)])
    places = np.arange(len(gaps) + 1) / len(gaps)
    distance = max((shares - places[:-1]).max(), (places[1:] - shares).max()) * sqrt(len(gaps))
    return 2 * sum((-1) ** (k - 1) * exp(-2 * (k * distance) ** 2) for k in range(1, 100))


@pytest.mark.parametrize("seed", [1, 2])
@pytest.mark.parametrize(("process", "cdf", "variance"), PROCESSES)
def test_gaps_have_the_distribution_the_mean_and_the_variance_of_their_process(
    process: ArrivalProcess, cdf: Cdf, variance: float, seed: int
) -> None:
    times = arrivals_of(process, seed)
    gaps = np.diff(times)
    assert times[0] >= 0
    assert (gaps >= 0).all()
    assert ks_p_value(gaps, cdf) > 0.01
    assert gaps.mean() == pytest.approx(1.0, abs=4 * sqrt(variance / len(gaps)))
    assert gaps.var() == pytest.approx(variance, rel=0.2)


def test_a_poisson_process_has_a_dispersion_of_one() -> None:
    counts, _ = np.histogram(arrivals_of(Poisson(), 3), bins=NUMBER // 10, range=(0, NUMBER * 0.95))
    assert counts.var() / counts.mean() == pytest.approx(1.0, abs=0.1)


@pytest.mark.slow
@pytest.mark.parametrize("process", [Gamma(0.3), Gamma(5.0), Weibull(0.5), Weibull(3.0), Poisson()])
def test_the_mean_rate_holds_from_the_first_moment_on(process: ArrivalProcess) -> None:
    """Where a gap began at 0, bursty arrivals would be too many at first, and even ones too few."""
    counts = np.array([np.searchsorted(next(process.unit_arrivals(seed)), 0.5) for seed in range(2000)])
    assert counts.mean() == pytest.approx(0.5, abs=4 * counts.std() / sqrt(len(counts)))


def test_constant_arrivals_are_exact() -> None:
    assert (arrivals_of(Constant(), 1) == np.arange(NUMBER)).all()


@pytest.mark.parametrize("process", RANDOM)
def test_the_same_seed_gives_the_same_arrivals_and_another_gives_others(process: ArrivalProcess) -> None:
    assert (arrivals_of(process, 7) == arrivals_of(process, 7)).all()
    assert (arrivals_of(process, 7) != arrivals_of(process, 8)).any()


def test_arrivals_stay_as_they_are_from_version_to_version() -> None:
    """A run that is repeated with its seed has the same load; nodes with other versions of numpy too."""
    assert arrivals_of(Poisson(), 1, 3).tolist() == pytest.approx([1.0730290, 1.3814822, 6.7569190], abs=1e-6)


def test_levels_of_a_run_have_arrivals_of_their_own() -> None:
    assert len({seed_of("run", 0), seed_of("run", 1), seed_of("other", 0)}) == 3
    assert seed_of("run", 0) == seed_of("run", 0)
