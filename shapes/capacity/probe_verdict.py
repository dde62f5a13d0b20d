"""When a probe of a capacity search is decided: from the share of good requests with its interval, and from whether the
server keeps up. Pure.

The interval is looked at six times, each look further off than the last. Who looks often enough finds what he looks for
by chance: the chance of an error of 2.5 % to either side is divided among the looks, so that it counts for the whole
probe. Requests of one moment have similar latencies: the interval is of as many independent requests as their
correlation in time leaves.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from tokenswarm.metrics.intervals import (
    MOST_COSINES,
    Series,
    correlation_inflation,
    low_frequency_inflation,
    student_t_beyond,
)
from tokenswarm.metrics.quantiles import rank, score_interval
from tokenswarm.shapes.capacity.search import Verdict

#: How often a probe is looked at.
LOOKS = 6
#: Time of a look / time of the one before.
_SPACING = 1.6
#: Chance that a server exactly at the target is given a pass, and the same of a fail.
_ERROR = 0.025
#: Standard errors that the interval of a share reaches: its variance is measured on so many low frequencies.
_REACH = student_t_beyond(_ERROR / LOOKS, MOST_COSINES)
#: Where the scores themselves are worth fewer independent ones than this, the probe may have met a good moment only.
_FEWEST_MOMENTS = 10
#: Fewer requests than this decide nothing.
FEWEST_REQUESTS = 30
#: Where all requests take less than this share of their bounds, the slowest of them say nothing of how misses come.
_NEAR_BOUND = 0.25


class Stability(StrEnum):
    """Whether the server keeps up with the load. SUSPECT: what it shows might be chance, yet no pass rests on it.
    GROWING: it is not, as far as one look goes; the last one decides, as several would find it by chance more often."""

    STEADY = "steady"
    SUSPECT = "suspect"
    GROWING = "growing"


@dataclass(frozen=True, slots=True)
class ShareBounds:
    """The share of good requests (0 to 1): of those that are known, with the ends of the interval. Requests that run
    and have missed nothing so far are taken for misses at the lower end and for good ones at the upper end. requests:
    all of them; independent: as many as they are worth."""

    share: float
    low: float
    high: float
    requests: int
    independent: float


@dataclass(frozen=True, slots=True)
class Decision:
    """What a look has found. verdict: None where the probe goes on."""

    verdict: Verdict | None
    bounds: ShareBounds | None
    stability: Stability


def look_times(longest_s: float) -> tuple[float, ...]:
    """When to look at a probe of so many seconds at most, in seconds since its hold began. The last look is its
    end."""
    return tuple(longest_s / _SPACING**before for before in range(LOOKS - 1, -1, -1))


def share_bounds(scores: Series, target: float) -> ShareBounds | None:
    """Of requests in the order in which they were sent. scores: of each the largest of its figures / their bounds: up
    to 1 for a good one, inf for one that failed, NaN for one that runs and has missed nothing so far. None without
    requests.

    The correlation of requests of one moment is seen where most are good too: by whether each is among the slowest, as
    many of which as may miss.
    """
    n = len(scores)
    if not n:
        return None
    open_requests = np.isnan(scores)
    good = scores <= 1.0
    known = scores[~open_requests]
    slowest = float(np.sort(known)[rank(len(known), target) - 1]) if len(known) else 0.0
    slow = scores > max(slowest, _NEAR_BOUND)
    independent = n / max(map(_inflation, (slow, known <= 1.0)))
    optimistic = good | open_requests
    # Of none and of all the end is exact; the sums miss it by their rounding.
    low = score_interval(float(good.mean()), independent, _REACH)[0] if good.any() else 0.0
    high = 1.0 if optimistic.all() else score_interval(float(optimistic.mean()), independent, _REACH)[1]
    return ShareBounds(float((known <= 1.0).mean()) if len(known) else 0.0, low, high, n, independent)


def decide(
    scores: Series, target: float, stability: Stability, *, fewest: int = FEWEST_REQUESTS, last: bool = False
) -> Decision:
    """What a look shows. scores: as `share_bounds` has them; target: the share of good requests that is needed, below
    1; fewest: requests that a decision needs at least; last: whether the probe ends with it."""
    bounds = share_bounds(scores, target)
    inconclusive = Verdict.INCONCLUSIVE if last else None
    if bounds is None or bounds.requests < fewest:
        return Decision(inconclusive, bounds, stability)
    if bounds.high < target or (last and stability is Stability.GROWING):
        return Decision(Verdict.FAIL, bounds, stability)
    if bounds.low > target and stability is Stability.STEADY and _moments(scores) >= _FEWEST_MOMENTS:
        return Decision(Verdict.PASS, bounds, stability)
    return Decision(inconclusive, bounds, stability)


def _moments(scores: Series) -> float:
    """How many independent scores they are worth; how far a score is above twice the bound is no matter."""
    known = np.minimum(scores[~np.isnan(scores)], 2.0)
    return len(known) / correlation_inflation(known) if len(known) else 0.0


def _inflation(marked: NDArray[np.bool_]) -> float:
    """How many times more requests than independent ones there are, at least 1, from whether each is marked: by their
    autocorrelations, or by the variance at low frequencies where that is larger."""
    series = marked.astype(np.float64)
    slow_part = low_frequency_inflation(series, MOST_COSINES) if len(series) > 2 * MOST_COSINES else 1.0
    return max(1.0, slow_part, correlation_inflation(series))
