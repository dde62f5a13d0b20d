"""A backlog that grows is found where more arrives than is answered, and hardly ever where it is not."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.backlog import Server, simulated_level, unanswered_per_s
from tokenswarm.metrics.backlog import FEWEST_SAMPLES, backlog_growth, filling_s

SERVER, HOLD_S, SEEDS = Server(20, 1.0, 0.5), 120, 50


@pytest.mark.parametrize("load", [0.5, 0.8])
def test_a_load_below_the_capacity_is_hardly_ever_unstable(load: float) -> None:
    """`python -m benchmarks.backlog` has more servers and seeds."""
    found = [simulated_level(SERVER, load, HOLD_S, seed).growth for seed in range(SEEDS)]
    assert sum(each is not None and each.is_unstable for each in found) <= 1


def test_a_load_above_the_capacity_is_unstable_with_the_slope_of_what_is_not_answered() -> None:
    levels = [simulated_level(SERVER, 1.2, HOLD_S, seed).growth for seed in range(SEEDS)]
    found = [growth for growth in levels if growth is not None]
    assert sum(growth.is_unstable for growth in found) >= SEEDS - 1
    slope = np.mean([growth.slope.value for growth in found])
    assert slope == pytest.approx(unanswered_per_s(SERVER, 1.2), rel=0.1)


def test_a_load_that_is_a_little_too_high_is_unstable_in_a_long_level() -> None:
    """Of 102 requests two are not answered: less than 3 % of what arrives, and the backlog grows without end."""
    growth = simulated_level(SERVER, 1.02, 1800, 1).growth
    assert growth is not None
    assert growth.slope.value < 0.03 * growth.arriving
    assert growth.is_unstable


def test_requests_in_flight_of_a_simulated_level_are_exact() -> None:
    level = simulated_level(SERVER, 0.8, 10, 1)
    at_s = np.arange(0, 10, 0.001) + 0.0005
    sampled = np.searchsorted(level.arrived_s, at_s) - np.searchsorted(np.sort(level.ended_s), at_s)
    np.testing.assert_allclose(level.in_flight, sampled.reshape(10, 1000).mean(axis=1), atol=0.02)


def test_the_interval_holds_the_slope_of_a_line_with_noise() -> None:
    random = np.random.default_rng(1)
    held = 0
    for _ in range(200):
        growth = backlog_growth(50 + 0.3 * np.arange(60.0) + random.normal(0, 2, 60), 2.0, 10.0)
        assert growth is not None
        assert growth.slope.low is not None
        assert growth.slope.high is not None
        held += growth.slope.low <= 0.15 <= growth.slope.high
    assert held >= 0.92 * 200


def test_a_steady_number_and_a_growth_that_nobody_would_notice_are_stable() -> None:
    steady = backlog_growth(np.full(60, 40.0), 1.0, 10.0)
    small = backlog_growth(400 + np.arange(60.0) * 0.05 + np.tile([0.0, 0.1], 30), 1.0, 10.0)
    assert steady is not None
    assert small is not None
    assert (steady.slope.certified, steady.is_unstable, small.slope.excludes(0), small.is_unstable) == (
        *(False, False),
        *(True, False),
    )


def test_a_level_has_filled_after_two_medians_and_the_p95_and_half_of_it_at_the_latest() -> None:
    assert [filling_s(*each) for each in ((1.0, 1.5, 60.0), (1.0, 5.0, 60.0), (40.0, 50.0, 60.0))] == [2.0, 5.0, 30.0]


def test_a_short_hold_is_not_judged() -> None:
    assert backlog_growth(np.arange(FEWEST_SAMPLES - 1.0), 1.0, 10.0) is None
