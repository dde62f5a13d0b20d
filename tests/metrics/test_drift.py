"""A fall within a level is called out; a steady level is not."""

from __future__ import annotations

import numpy as np
import pytest

from tests.simulator.closed_loop import level
from tokenswarm.metrics.drift import FEWEST_WINDOWS, drift_of
from tokenswarm.metrics.intervals import Series
from tokenswarm.simulator.profiles import PROFILES

FIVE_MINUTES = 56  # windows of a hold of 280 s


def noise(random: np.random.Generator, windows: int, correlation: float) -> Series:
    fresh = random.standard_normal(windows)
    values = np.empty(windows)
    values[0] = fresh[0]
    for i in range(1, windows):
        values[i] = correlation * values[i - 1] + np.sqrt(1 - correlation**2) * fresh[i]
    return values


@pytest.mark.parametrize("correlation", [0.0, 0.3, 0.5, 0.7])
@pytest.mark.parametrize("windows", [20, FIVE_MINUTES])
def test_a_steady_level_is_said_to_fall_one_time_in_twenty_at_most(windows: int, correlation: float) -> None:
    random = np.random.default_rng(1)
    courses = [drift_of(3300 * (1 + 0.04 * noise(random, windows, correlation))) for _ in range(1000)]
    falls = sum(drift is not None and drift.course == "falls" for drift in courses)
    assert falls <= 55  # 50, and what a thousand draws may be off by


@pytest.mark.parametrize(
    ("course", "name"),
    [
        (np.linspace(3500, 3100, FIVE_MINUTES), "slope"),
        (np.where(np.arange(FIVE_MINUTES) < 28, 3500.0, 3100.0), "step"),
        (3100 + 400 * np.exp(-np.arange(FIVE_MINUTES) / 15), "decay"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_fall_from_3500_to_3100_tokens_a_second_is_called_out(course: Series, name: str) -> None:
    random = np.random.default_rng(2)
    drifts = [drift_of(course + 3300 * 0.02 * noise(random, FIVE_MINUTES, 0.3)) for _ in range(20)]
    assert [drift.course for drift in drifts if drift] == ["falls"] * 20


@pytest.mark.slow
def test_mlc_is_called_out_as_its_profile_falls() -> None:
    """The simulator's own batching in virtual time, 100 users for five minutes. Of 20 seeds, all fall; of LMDeploy's
    steady profile one does."""
    for seed in range(1, 6):
        steps = np.array(level(PROFILES["mlc-llama3-8b"], 100, 300, 20, seed).steps)
        tokens, _ = np.histogram(steps[:, 0], np.arange(20, 301, 5), weights=steps[:, 1])
        drift = drift_of(tokens / 5)
        assert drift is not None
        assert drift.course == "falls"
        assert drift.change.value == pytest.approx(-0.096, abs=0.03)


def test_the_change_is_that_of_the_fifths_and_relative_to_the_first() -> None:
    rates = np.concatenate([np.full(4, 1000.0), np.linspace(1000, 900, 12), np.full(4, 900.0)])
    drift = drift_of(rates)
    assert drift is not None
    assert (drift.first, drift.last, drift.change.count) == (1000.0, 900.0, 20)
    assert drift.change.value == pytest.approx(-0.1)
    assert drift.course == "falls"
    backwards = drift_of(rates[::-1])
    assert backwards is not None
    assert backwards.course == "rises"


def test_a_constant_rate_is_steady() -> None:
    drift = drift_of(np.full(30, 250.0))
    assert drift is not None
    assert drift.course == "steady"


def test_too_few_windows_or_none_with_tokens_are_not_judged() -> None:
    assert drift_of(np.linspace(2, 1, FEWEST_WINDOWS - 1)) is None
    assert drift_of(np.zeros(FEWEST_WINDOWS)) is None
