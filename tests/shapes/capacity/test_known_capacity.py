"""Whole searches in virtual time, on servers whose capacity is known."""

from __future__ import annotations

from math import exp, log

import numpy as np
import pytest

from tests.shapes.capacity.servers import CliffServer, LatencyServer, run_search, words
from tokenswarm.shapes.capacity.search import MOST_PROBES, CapacitySearch, Conclusion
from tokenswarm.shapes.capacity.search_range import FEW_LOADS, SearchRange

SEEDS = range(40)
RATES = SearchRange(1, 1000, 0.05, whole=False)
USERS = SearchRange(1, 1000, 0.05)


def capacity_of(seed: int, low: float = 5, high: float = 900) -> float:
    return exp(np.random.default_rng(1000 + seed).uniform(log(low), log(high)))


def holds(search: CapacitySearch, capacity: float) -> bool:
    return search.best is not None and search.failing is not None and search.best <= capacity <= search.failing


@pytest.mark.slow
def test_the_bracket_holds_the_capacity_and_is_as_narrow_as_asked_for() -> None:
    """In 38 of 40 searches at least. A probe is one load; each edge's repeat continues it."""
    held = unsteady = 0
    for seed in SEEDS:
        capacity = capacity_of(seed)
        search, _ = run_search(LatencyServer(capacity, seed, steepness=6, memory_s=0.2).probe, RATES, 900)
        held += holds(search, capacity)
        unsteady += bool(search.unsteady)
        assert search.conclusion is Conclusion.BRACKET, words(search)
        assert search.best is not None
        assert search.failing is not None
        assert search.failing / search.best <= 1.05 + 1e-9, words(search)
        assert len({outcome.load for outcome in search.outcomes}) <= FEW_LOADS, words(search)
    assert held >= 38
    assert unsteady <= 2


@pytest.mark.slow
def test_short_probes_of_a_sluggish_server_make_the_bracket_wider_and_not_wrong() -> None:
    """Requests are correlated over 2 s and the share falls slowly with the load: nearby loads cannot be decided."""
    held = 0
    for seed in range(20):
        capacity = capacity_of(seed, 20)
        search, _ = run_search(LatencyServer(capacity, seed, steepness=3, memory_s=2).probe, USERS, 300)
        held += holds(search, capacity)
    assert held >= 19


def test_a_cliff_is_found_to_the_user() -> None:
    for capacity in (5, 63, 700):
        search, _ = run_search(CliffServer(capacity).probe, USERS, 300)
        assert search.best == capacity or (search.best or 0) <= capacity < (search.failing or 0)
        assert search.conclusion is Conclusion.BRACKET


@pytest.mark.slow
@pytest.mark.parametrize("capacity", [0.3, 5000.0])
def test_a_capacity_out_of_range_is_said_to_be(capacity: float) -> None:
    for seed in range(10):
        search, _ = run_search(LatencyServer(capacity, seed).probe, USERS, 1800)
        # A request every two seconds: at 1 user the probe just has as many as a fail takes.
        assert search.conclusion is (Conclusion.NO_PASS if capacity < 1 else Conclusion.NO_FAIL), words(search)


@pytest.mark.slow
def test_a_server_whose_speed_varies_from_probe_to_probe_ends_the_search() -> None:
    """By 20 %. The repeats of most searches show it, and the bracket is off by no more than the speed varies."""
    near = unsteady = 0
    for seed in SEEDS:
        capacity = capacity_of(seed, 20)
        search, _ = run_search(LatencyServer(capacity, seed, memory_s=0.2, unsteady=0.2).probe, USERS, 900)
        assert len(search.outcomes) <= MOST_PROBES
        unsteady += bool(search.unsteady)
        near += search.best is not None and abs(log(search.best / capacity)) < 3 * 0.2
    assert near >= 36
    assert unsteady >= 20
