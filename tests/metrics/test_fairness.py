"""How evenly users were served, by hand."""

from __future__ import annotations

import numpy as np
import pytest

from tokenswarm.metrics.fairness import fairness_of


def test_users_served_equally_have_an_index_of_one() -> None:
    fairness = fairness_of(np.array([0, 1, 2]), np.full(3, 11.0), np.full(3, 1.0), np.full(3, 0.2))
    assert fairness is not None
    assert (fairness.users, fairness.jain_token_rate, fairness.slowest_ttft_ratio) == (3, pytest.approx(1.0), 1.0)


def test_rates_are_of_users_not_of_requests() -> None:
    """User 0: 20 tokens in 2 s and 20 in 3 s, 8 a second; user 1: 4 a second. Jain: 12² / (2 · 80) = 0.9."""
    fairness = fairness_of(
        np.array([0, 0, 1]), np.array([21.0, 21.0, 5.0]), np.array([2.0, 3.0, 1.0]), np.array([0.1, 0.3, 0.6])
    )
    assert fairness is not None
    assert fairness.jain_token_rate == pytest.approx(0.9)
    assert fairness.slowest_ttft_ratio == pytest.approx(0.6 / 0.4)


def test_requests_without_a_rate_and_lonely_users_say_nothing() -> None:
    assert fairness_of(np.array([0, 1]), np.array([11.0, 1.0]), np.array([1.0, 0.0]), np.array([0.1, 0.1])) is None
    assert fairness_of(np.empty(0), np.empty(0), np.empty(0), np.empty(0)) is None
