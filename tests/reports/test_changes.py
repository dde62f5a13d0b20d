"""What changed between runs: intervals that cover it with what differs from run to run in them."""

from __future__ import annotations

import numpy as np
import pytest

from tokenswarm.metrics.intervals import Estimate, student_t, student_tail
from tokenswarm.reports.stats.changes import change_between

RUNS = 2000


def estimate(value: float, half: float = 0.01) -> Estimate:
    return Estimate(value, value - half, value + half, 400)


def test_the_ratio_is_that_of_the_means() -> None:
    change = change_between([estimate(1.0), estimate(3.0)], [estimate(5.0), estimate(1.0)], share=False)
    assert change is not None
    assert change.estimate.value == pytest.approx(1.5)
    shares = change_between([estimate(0.1), estimate(0.3)], [estimate(0.5), estimate(0.1)], share=True)
    assert shares is not None
    assert shares.estimate.value == pytest.approx(0.1)


def test_a_figure_of_nothing_has_no_ratio_and_a_difference() -> None:
    nothing = Estimate(0.0, 0.0, 0.01, 400)
    assert change_between([nothing], [estimate(1.0)], share=False) is None
    assert change_between([estimate(1.0)] * 3, [estimate(1.0), estimate(1.0), nothing], share=False) is None
    assert change_between([nothing], [nothing], share=True) is not None


@pytest.mark.slow
@pytest.mark.parametrize("runs", [(2, 2), (3, 3), (5, 5), (1, 4), (3, 2)])
@pytest.mark.parametrize("variation", [0.01, 0.1])
def test_the_interval_of_several_runs_covers_the_true_change(runs: tuple[int, int], variation: float) -> None:
    random, covered = np.random.default_rng(sum(runs)), 0
    for _ in range(RUNS):
        base, new = (
            [
                Estimate(value, value * 0.98, value * 1.02, 400)
                for value in np.exp(middle + random.normal(0, np.hypot(variation, 0.01), count))
            ]
            for middle, count in zip((0.0, 0.2), runs, strict=True)
        )
        change = change_between(base, new, share=False)
        assert change is not None
        assert not change.assumed
        covered += not change.estimate.excludes(np.exp(0.2))
    assert covered / RUNS >= 0.935


def test_runs_that_happen_to_agree_are_not_taken_for_exact() -> None:
    """Each knows its own value to 10 % only."""
    same = [estimate(1.0, 0.1)] * 3
    change = change_between(same, [estimate(1.05, 0.1)] * 3, share=False)
    assert change is not None
    assert not change.estimate.excludes(1.0)


def test_a_single_run_whose_own_variation_is_not_known_proves_nothing_against_three() -> None:
    base = [Estimate(value, value * 0.97, value * 1.03, 400) for value in (0.099, 0.1, 0.101)]
    known = change_between(base, [Estimate(0.14, 0.13, 0.15, 400)], share=False)
    unknown = change_between(base, [Estimate(0.14, None, None, 4)], share=False)
    vague = change_between(base, [Estimate(0.14, 0.07, 0.28, 20)], share=False)
    assert known is not None and unknown is not None and vague is not None
    assert known.chance is not None and known.chance < 0.025
    assert (unknown.chance, unknown.estimate.low, unknown.estimate.high) == (None, None, None)
    assert vague.chance is not None and vague.chance > 0.1
    assert vague.estimate.low is not None and vague.estimate.low < 1


def test_one_run_a_side_is_given_the_assumed_variation() -> None:
    base, new = [estimate(1.0)], [estimate(1.1)]
    change = change_between(base, new, share=False, variation=0.05)
    assert change is not None
    assert change.assumed
    assert change.within.excludes(1.0)
    assert not change.estimate.excludes(1.0)
    assert change.chance is not None
    assert change.chance_within is not None
    assert change.chance_within < 0.025 < change.chance
    assert change.estimate.high == pytest.approx(1.1 * np.exp(1.96 * 0.05 * 2**0.5), rel=0.01)
    none = change_between(base, new, share=False, variation=0.0)
    assert none is not None
    assert (none.estimate, none.assumed) == (none.within, False)


def test_an_end_that_is_missing_leaves_the_chance_unknown() -> None:
    open_ended = Estimate(1.0, 0.9, None, 40)
    change = change_between([open_ended], [estimate(2.0)], share=False)
    assert change is not None
    assert (change.estimate.low, change.chance) == (None, None)


def test_a_share_of_none_or_all_is_given_no_variation() -> None:
    change = change_between([estimate(0.0)], [estimate(0.0)], share=True)
    assert change is not None
    assert change.estimate == change.within


@pytest.mark.parametrize("degrees", [1, 2, 3, 4, 7, 10, 30])
def test_the_tail_of_student_s_t_is_the_inverse_of_its_point(degrees: int) -> None:
    assert student_tail(student_t(degrees), degrees) == pytest.approx(0.025, abs=0.0002)
    assert student_tail(0.0, degrees) == pytest.approx(0.5)
    tails = [student_tail(t, degrees) for t in np.linspace(0, 8, 100)]
    assert tails == sorted(tails, reverse=True)


def test_the_tail_of_student_s_t_is_that_of_the_tables() -> None:
    for degrees, point, tail in ((1, 6.3138, 0.05), (2, 9.9248, 0.005), (4, 3.7469, 0.01), (5, 5.8934, 0.001)):
        assert student_tail(point, degrees) == pytest.approx(tail, rel=1e-3)
