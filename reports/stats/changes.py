"""What changed between two sides of one or more runs each, with what differs from run to run in it. Pure.

Two runs of one server with the same options differ by more than chance within them explains: other tenants, clocks,
memory, a cache's state, where a process was placed. From one run on each side that variation cannot be known.

- Measured: with two degrees of freedom or more (runs of both sides − 2: two a side, or one against three), it is the
  spread of the runs' own values, pooled over both sides, never taken to be less than what the variation within the
  runs makes it. Intervals and probabilities are of Student's t.
- Assumed: with fewer, a standard deviation from run to run is assumed, and combined with the intervals from within the
  runs. What stands or falls with that assumption can be seen from `within`.

Ratios are taken on the scale of logarithms, shares (0 to 1) on their own. The variation that is assumed is a share of
a latency or rate, and twice that of a time to first token, which queues and schedulers make. Of a share p it is
6 p (1 − p) times as much, about what such a change of latencies moves a share of requests that are within a bound.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import exp, hypot, log, sqrt
from statistics import NormalDist, fmean

from tokenswarm.metrics.intervals import (
    Estimate,
    difference,
    of_one_correlation,
    plus_minus,
    student_t,
    student_tail,
)
from tokenswarm.reports.checks.conditions import Figure

#: Standard deviation from run to run that is assumed where it is not measured: 5 %.
ASSUMED_VARIATION = 0.05
#: Degrees of freedom from which the spread of the runs' values is trusted.
FEWEST_DEGREES = 2
_Z = NormalDist().inv_cdf(0.975)
_SHARE_FACTOR = 6.0
#: How many times as much as other figures these vary from run to run.
_VARIES_MORE = {"ttft": 2.0, "ttfvt": 2.0, "ttft_scheduled": 2.0}


@dataclass(frozen=True, slots=True)
class Change:
    """A ratio new / base, or a difference new − base of shares.

    estimate: with its 95 % interval, what differs from run to run included. within: the same with the variation within
    the runs alone. chance, chance_within: how probable so large a change in this direction is where there is none
    (one-sided), on the ground of either; None where the end of the interval that is nearer to no change does not exist,
    as where all values are equal.
    assumed: whether the variation from run to run was assumed.
    """

    estimate: Estimate
    within: Estimate
    chance: float | None
    chance_within: float | None
    assumed: bool


def change_between(
    base: Sequence[Estimate], new: Sequence[Estimate], *, share: bool, variation: float = ASSUMED_VARIATION
) -> Change | None:
    """How the new runs' figure stands to the base runs' (one run at least each). variation: assumed from run to run, a
    standard deviation as a share. None where a ratio would be to or of a mean that is not above 0."""
    if not share and (fmean(run.value for run in base) <= 0 or fmean(run.value for run in new) <= 0):
        return None
    runs = of_one_correlation([*base, *new])
    base, new = runs[: len(base)], runs[len(base) :]
    sides = [[run if share else _logarithm(run) for run in runs] for runs in (base, new)]
    if any(run is None for runs in sides for run in runs):
        return None
    base_runs, new_runs = ([run for run in runs if run is not None] for runs in sides)
    middle = _middle(base, share), _middle(new, share)
    within = difference(_mean(new_runs, middle[1]), _mean(base_runs, middle[0]))
    degrees = len(base) + len(new) - 2
    if degrees >= FEWEST_DEGREES:
        return _measured(base_runs, new_runs, within, share)
    p = fmean(run.value for run in (*base, *new))
    spread = variation * (_SHARE_FACTOR * p * (1 - p) if share else 1.0)
    return _assumed(within, spread * sqrt(1 / len(base) + 1 / len(new)), share)


def holm(chances: Sequence[float], overall: float, alone: float) -> set[int]:
    """The places of the chances that are too small to be chance, all of them together (Holm, Scandinavian Journal of
    Statistics, 1979). overall: how often any of them may be found where nothing is there; alone: a single one is held
    against no weaker bound than this."""
    found: set[int] = set()
    for rank, (chance, place) in enumerate(sorted((chance, place) for place, chance in enumerate(chances))):
        if chance > min(alone, overall / (len(chances) - rank)):
            break
        found.add(place)
    return found


def assumed_variation(figure: Figure, variation: float) -> float:
    """The standard deviation from run to run that is assumed of a figure, where `variation` is that of most."""
    return variation * _VARIES_MORE.get(figure.name, 1.0)


def _measured(base: Sequence[Estimate], new: Sequence[Estimate], within: Estimate, share: bool) -> Change:
    degrees = len(base) + len(new) - 2
    squares = sum((run.value - fmean(each.value for each in runs)) ** 2 for runs in (base, new) for run in runs)
    parts = [_error_of_mean(runs, squares / degrees) for runs in (base, new)]
    if None in parts:
        unknown = Estimate(within.value, None, None, within.count)
        return Change(_back(unknown, share), _back(within, share), None, _chance_of(within), assumed=False)
    error = sqrt(sum(part for part in parts if part is not None))
    estimate = plus_minus(within.value, student_t(degrees) * error, within.count, scale=1.0)
    chance = student_tail(abs(within.value) / error, degrees) if estimate.certified else None
    return Change(_back(estimate, share), _back(within, share), chance, _chance_of(within), assumed=False)


def _error_of_mean(runs: Sequence[Estimate], variance: float) -> float | None:
    """The squared standard error of a side's mean. variance: of a run's value, from the spread of both sides' runs; no
    less than what the variation within this side's runs makes it. None for a single run whose own is not known."""
    own = [error**2 for run in runs if (error := _standard_error(run)) is not None]
    if len(runs) == 1 and not own:
        return None
    return max(variance, fmean(own) if own else 0.0) / len(runs)


def _assumed(within: Estimate, error: float, share: bool) -> Change:
    value = within.value
    low = None if within.low is None else value - hypot(value - within.low, _Z * error)
    high = None if within.high is None else value + hypot(within.high - value, _Z * error)
    estimate = Estimate(value, low, high, within.count)
    if low == high == value:  # equal values, and no variation assumed: nothing is known of how they vary
        estimate = Estimate(value, None, None, within.count)
    return Change(
        _back(estimate, share), _back(within, share), _chance_of(estimate), _chance_of(within), assumed=error > 0
    )


def _chance_of(change: Estimate) -> float | None:
    nearer = change.low if change.value > 0 else change.high
    if nearer is None:
        return None
    half = abs(change.value - nearer)
    return None if not half else 1 - NormalDist().cdf(_Z * abs(change.value) / half)


def _logarithm(run: Estimate) -> Estimate | None:
    if run.value <= 0:
        return None
    low, high = (None if end is None or end <= 0 else log(end) for end in (run.low, run.high))
    return Estimate(log(run.value), low, high, run.count)


def _middle(runs: Sequence[Estimate], share: bool) -> float:
    """The mean of the runs' values, on the scale of the change: the ratio is then that of the means that are shown."""
    mean = fmean(run.value for run in runs)
    return mean if share else log(mean)


def _mean(runs: Sequence[Estimate], value: float) -> Estimate:
    """The mean of independent runs with the interval that their own make; `value` is the mean itself."""
    below = [None if run.low is None else run.value - run.low for run in runs]
    above = [None if run.high is None else run.high - run.value for run in runs]
    low, high = _root_mean(below), _root_mean(above)
    return Estimate(
        value,
        None if low is None else value - low,
        None if high is None else value + high,
        sum(run.count for run in runs),
    )


def _root_mean(reaches: Sequence[float | None]) -> float | None:
    known = [reach for reach in reaches if reach is not None]
    return sqrt(sum(reach * reach for reach in known)) / len(known) if len(known) == len(reaches) else None


def _standard_error(run: Estimate) -> float | None:
    halves = [abs(end - run.value) for end in (run.low, run.high) if end is not None]
    return fmean(halves) / _Z if halves else None


def _back(change: Estimate, share: bool) -> Estimate:
    if share:
        return change
    low, high = (None if end is None else exp(end) for end in (change.low, change.high))
    return Estimate(exp(change.value), low, high, change.count)
