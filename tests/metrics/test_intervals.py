"""Intervals that cover what they promise: nominal 95 %, measured by seeded simulation of known distributions."""

from __future__ import annotations

from collections.abc import Callable
from math import exp, log

import numpy as np
import pytest

from tokenswarm.metrics.drift import drift_of
from tokenswarm.metrics.intervals import (
    Estimate,
    Series,
    correlation_inflation,
    difference,
    long_run_variance,
    long_run_variance_of_mean,
    mean_of,
    pooled,
    quantile_of,
    rate_of,
    ratio,
    share_of,
    share_within,
    student_t,
)

RUNS = 1000
#: What 95 % may come out as.
NOMINAL = (0.92, 0.98)

Draw = Callable[[np.random.Generator, int], Series]


def lognormal(random: np.random.Generator, n: int) -> Series:
    return random.lognormal(-2, 0.6, n)


def exponential(random: np.random.Generator, n: int) -> Series:
    return random.exponential(0.1, n)


def bimodal(random: np.random.Generator, n: int) -> Series:
    """A prefix cache that hits seven times of ten."""
    return np.where(random.random(n) < 0.7, random.normal(0.05, 0.005, n), random.normal(0.3, 0.03, n))


def autoregressive(random: np.random.Generator, n: int, correlation: float, runs: int = 1) -> Series:
    """Runs of standard normal values, each correlated with the one before it."""
    noise = random.standard_normal((runs, n))
    values = np.empty_like(noise)
    values[:, 0] = noise[:, 0]
    for i in range(1, n):
        values[:, i] = correlation * values[:, i - 1] + np.sqrt(1 - correlation**2) * noise[:, i]
    return values


def holds(estimate: Estimate | None, truth: float) -> bool:
    """An end that is not there excludes nothing."""
    assert estimate is not None
    return not estimate.excludes(truth)


DISTRIBUTIONS = [lognormal, exponential, bimodal]


def truth(draw: Draw, p: float) -> float:
    return float(np.quantile(draw(np.random.default_rng(0), 1_000_000), p))


@pytest.mark.parametrize("p", [0.5, 0.95])
@pytest.mark.parametrize("draw", DISTRIBUTIONS)
def test_a_quantile_s_interval_covers_it_95_times_of_a_hundred(draw: Draw, p: float) -> None:
    random, true = np.random.default_rng(1), truth(draw, p)
    covered = sum(holds(quantile_of(draw(random, 200), p), true) for _ in range(RUNS)) / RUNS
    assert NOMINAL[0] <= covered <= NOMINAL[1]


@pytest.mark.parametrize("correlation", [0.3, 0.6])
def test_latencies_that_come_in_bursts_get_a_wider_interval(correlation: float) -> None:
    random = np.random.default_rng(2)
    runs = np.exp(-2 + 0.6 * autoregressive(random, 400, correlation, runs=RUNS))
    covered = sum(holds(quantile_of(run, 0.5), exp(-2)) for run in runs) / RUNS
    assert NOMINAL[0] <= covered <= NOMINAL[1]


@pytest.mark.parametrize("p", [0.5, 0.95])
@pytest.mark.parametrize("draw", DISTRIBUTIONS)
def test_a_ratio_of_quantiles_covers_the_true_ratio(draw: Draw, p: float) -> None:
    random = np.random.default_rng(3)
    covered = 0
    for _ in range(RUNS):
        new, base = quantile_of(1.2 * draw(random, 400), p), quantile_of(draw(random, 400), p)
        assert new is not None
        assert base is not None
        covered += holds(ratio(new, base), 1.2)
    assert 0.92 * RUNS <= covered <= 0.99 * RUNS


@pytest.mark.parametrize("correlation", [0.0, 0.3, 0.5, 0.7])
@pytest.mark.parametrize("windows", [20, 56, 116])
def test_a_token_rate_s_interval_covers_it_though_its_windows_are_correlated(windows: int, correlation: float) -> None:
    runs = 3000 + 150 * autoregressive(np.random.default_rng(4), windows, correlation, runs=RUNS)
    covered = sum(holds(rate_of(run), 3000) for run in runs) / RUNS
    assert NOMINAL[0] <= covered <= NOMINAL[1]


@pytest.mark.slow
def test_a_difference_of_token_rates_covers_the_true_one() -> None:
    random = np.random.default_rng(5)
    covered = 0
    for _ in range(RUNS):
        new, base = (rate_of(rate + 150 * autoregressive(random, 56, 0.5)[0]) for rate in (3200, 3000))
        assert new is not None
        assert base is not None
        covered += holds(difference(new, base), 200)
    # Two intervals of few degrees of freedom each make one that is a little too wide.
    assert 0.92 * RUNS <= covered <= 0.99 * RUNS


@pytest.mark.parametrize("share", [0.1, 0.15, 0.5])
def test_a_share_s_interval_covers_it(share: float) -> None:
    marked = np.random.default_rng(6).random((RUNS, 400)) < share
    covered = sum(holds(share_of(each), share) for each in marked) / RUNS
    assert NOMINAL[0] <= covered <= NOMINAL[1]


def test_a_quantile_is_the_value_of_its_rank() -> None:
    estimate = quantile_of(np.arange(100.0, 0.0, -1.0), 0.95)
    assert estimate is not None
    assert estimate.value == 95.0
    assert estimate.count == 100


def test_a_sample_too_small_for_its_upper_end_is_not_certified() -> None:
    random = np.random.default_rng(7)
    few, enough = (quantile_of(random.permutation(float(n) * np.arange(n)), 0.99) for n in (298, 299))
    assert few is not None
    assert enough is not None
    assert (few.high, few.certified) == (None, False)
    assert enough.certified
    assert not few.excludes(1e9)  # what has no upper end excludes nothing above


def test_a_few_windows_have_a_mean_and_no_interval() -> None:
    for few in (np.array([1.0, 2.0, 3.0]), np.arange(11.0)):
        assert rate_of(few) == mean_of(few) == Estimate(few.mean(), None, None, len(few))
    assert rate_of(np.arange(12.0)).certified  # type: ignore[union-attr]


def test_of_nothing_there_is_no_figure() -> None:
    nothing = np.empty(0)
    assert quantile_of(nothing, 0.5) is None
    assert mean_of(nothing) is None
    assert rate_of(nothing) is None
    assert share_within(nothing, 1.0) is None
    assert share_of(nothing) is None


@pytest.mark.parametrize("value", [5.0, 0.1, 1234.567])
def test_equal_values_show_nothing_of_their_variation(value: float) -> None:
    """An interval of no width would be a certainty that nothing speaks for. Order statistics need no variation."""
    for estimate in (mean_of(np.full(56, value)), rate_of(np.full(56, value))):
        assert estimate == Estimate(pytest.approx(value), None, None, 56)
    assert pooled([Estimate(value, None, None, 9)] * 3).estimate == Estimate(pytest.approx(value), None, None, 27)
    drift = drift_of(np.full(56, value))
    assert drift is not None
    assert (drift.course, drift.change.low, drift.change.high) == ("steady", None, None)
    assert quantile_of(np.full(100, 5.0), 0.5) == Estimate(5.0, 5.0, 5.0, 100)


def test_a_difference_is_what_the_intervals_of_both_allow() -> None:
    new, base = Estimate(10.0, 7.0, 14.0, 50), Estimate(4.0, 3.0, 8.0, 60)
    assert difference(new, base) == Estimate(6.0, 6.0 - 5.0, 6.0 + np.hypot(4.0, 1.0), 50)


def test_an_end_that_is_missing_is_missing_in_what_is_made_of_it() -> None:
    new, base = Estimate(10.0, 9.0, None, 50), Estimate(4.0, 3.0, 5.0, 60)
    assert difference(new, base).high is None
    assert difference(new, base).low is not None
    assert difference(base, new).low is None
    reaches_zero = ratio(new, Estimate(4.0, 0.0, 5.0, 60))
    assert reaches_zero is not None
    assert reaches_zero.high is None
    assert ratio(new, Estimate(0.0, 0.0, 0.0, 60)) is None


def test_a_ratio_is_symmetric_on_its_own_scale() -> None:
    one, other = Estimate(10.0, 8.0, 12.5, 50), Estimate(5.0, 4.0, 6.25, 50)
    there, back = ratio(one, other), ratio(other, one)
    assert there is not None
    assert back is not None
    assert (there.value, back.value) == (2.0, 0.5)
    assert there.low == pytest.approx(1 / back.high)  # type: ignore[operator]
    assert log(there.high / there.value) == pytest.approx(log(1.25) * 2**0.5)  # type: ignore[operator]


def test_repeated_runs_are_judged_by_their_own_spread() -> None:
    runs = [Estimate(value, value - 0.1, value + 0.1, 100) for value in (9.0, 10.0, 11.0)]
    three = pooled(runs)
    half = 4.3027 / 3**0.5
    assert three.estimate == Estimate(10.0, pytest.approx(10 - half), pytest.approx(10 + half), 300)
    assert (three.smallest, three.largest) == (9.0, 11.0)
    assert pooled(runs[:2]).estimate == Estimate(9.5, None, None, 200)
    assert pooled(runs[:1]).estimate == runs[0]


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("values", [[], [1.0], [2.0, 2.0]])
def test_values_too_few_or_all_equal_show_no_correlation(values: list[float]) -> None:
    assert correlation_inflation(np.array(values)) == 1.0


def test_independent_values_are_not_thought_correlated() -> None:
    random = np.random.default_rng(8)
    inflations = [correlation_inflation(random.standard_normal(400)) for _ in range(200)]
    assert np.mean([inflation == 1.0 for inflation in inflations]) > 0.95
    correlated = correlation_inflation(autoregressive(random, 20_000, 0.5)[0])
    assert correlated == pytest.approx(3.0, rel=0.15)  # (1 + ρ) / (1 − ρ)


@pytest.mark.parametrize(
    ("degrees", "point"), [(1, 12.706), (2, 4.303), (4, 2.776), (5, 2.571), (10, 2.228), (30, 2.042), (1000, 1.962)]
)
def test_student_s_t_is_that_of_the_tables(degrees: int, point: float) -> None:
    assert student_t(degrees) == pytest.approx(point, abs=0.004)


@pytest.mark.parametrize("n", [8, 9, 56, 301])
def test_the_transform_finds_the_variance_that_the_cosines_themselves_find(n: int) -> None:
    series = np.random.default_rng(n).lognormal(size=n).cumsum()
    for cosines in (2, n // 3):
        slow = long_run_variance(series, cosines, [np.ones(n)])
        assert long_run_variance_of_mean(series, cosines) == pytest.approx(slow)
