"""Whether requests in flight pile up while a level is held: more arrive than the server answers. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from math import sqrt

import numpy as np

from tokenswarm.metrics.intervals import Estimate, Series, long_run_variance, plus_minus, student_t, student_tail

#: Fewer samples than this are not judged.
FEWEST_SAMPLES = 15
#: A growth over the hold that is smaller than these is none that anybody would notice: requests, a share of the mean.
_NOTICED_REQUESTS = 2.0
_NOTICED_SHARE = 0.1
#: Where more than this share of what arrives piles up, and the growth is so many times the square root of the mean, by
#: which the requests in flight of a stable level come and go, the 95 % interval of the slope is enough.
_CLEAR_SHARE = 0.03
_CLEAR_ROOTS = 3.0
#: Otherwise the slope must be one that a stable level shows as seldom as this.
_SELDOM = 0.001
#: A level begins with no requests in flight, and is judged when it has filled: after so many median E2E times, and
#: after the p95; after this share of the hold at most, as E2E times grow too where a backlog does.
_FILLED_AFTER_MEDIANS = 2.0
_MOST_FILLING_SHARE = 0.5


@dataclass(frozen=True, slots=True)
class BacklogGrowth:
    """slope: requests in flight gained in a second, with its 95 % interval. chance: how probable such a slope, or a
    steeper one, is in a stable level, 0 to 1. mean: requests in flight; seconds: of the hold; arriving: requests/s."""

    slope: Estimate
    chance: float
    mean: float
    seconds: float
    arriving: float

    @property
    def is_unstable(self) -> bool:
        """Whether the backlog grows: over the hold by so much that it is noticed, and either clearly with an interval
        above zero, or by so much as one stable level in a thousand would show. Latencies then describe the length of
        the level and not the server."""
        growth = self.slope.value * self.seconds
        if self.slope.low is None or growth <= max(_NOTICED_REQUESTS, _NOTICED_SHARE * self.mean):
            return False
        is_clear = self.slope.value > _CLEAR_SHARE * self.arriving and growth > _CLEAR_ROOTS * sqrt(self.mean)
        return (is_clear and self.slope.low > 0) or self.chance < _SELDOM


def filling_s(e2e_p50_s: float, e2e_p95_s: float, hold_s: float) -> float:
    """How much of the beginning of a hold is not judged, in seconds."""
    return min(max(_FILLED_AFTER_MEDIANS * e2e_p50_s, e2e_p95_s), _MOST_FILLING_SHARE * hold_s)


def backlog_growth(in_flight: Series, step_s: float, arriving: float) -> BacklogGrowth | None:
    """Of a hold, from the requests in flight at moments of equal distance, in order. arriving: requests/s. None for
    fewer than 15 moments.

    The noise is that of the low cosine frequencies beside the straight line: requests in flight are strongly correlated
    from second to second, the more so the nearer the load is to the server's capacity. For how often this is right, see
    benchmarks/backlog.py.
    """
    n = len(in_flight)
    if n < FEWEST_SAMPLES:
        return None
    times: Series = (np.arange(n, dtype=np.float64) - (n - 1) / 2) * step_s
    weights = times / float(times @ times)
    slope = float(weights @ in_flight)
    cosines = max(2, round(0.41 * n ** (2 / 3)))
    variance = long_run_variance(in_flight - slope * times, cosines, [np.ones(n), times])
    mean, seconds = float(in_flight.mean()), n * step_s
    error = sqrt(variance * float(weights @ weights))
    estimate = plus_minus(slope, student_t(cosines) * error, n, scale=mean / seconds)
    chance = student_tail(slope / error, cosines) if slope > 0 and estimate.certified else 1.0
    return BacklogGrowth(estimate, chance, mean, seconds, arriving)
