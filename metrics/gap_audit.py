"""Whether times follow an arrival process: the Kolmogorov-Smirnov distance of their gaps from the process's own
distribution, and the index of dispersion of their counts. Pure.

Times are operational ones: the mean number of arrivals before them, so that any rate over time becomes a rate of 1.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import exp, sqrt

import numpy as np

from tokenswarm.metrics.intervals import Series

#: The share of gaps that are at most each of these, of a process at rate 1.
GapDistribution = Callable[[Series], Series]

#: Fewer gaps than these are not judged.
FEWEST_GAPS = 100
#: Gaps that such chance would hardly make are not those of the process.
LEAST_CHANCE = 0.001
#: The dispersion is of counts of so many arrivals in the mean.
_ARRIVALS_PER_BIN = 10.0
_FEWEST_BINS = 10
#: Terms of Kolmogorov's series; its 20th is below 1e-300 where the first is not 1.
_TERMS = 20


@dataclass(frozen=True, slots=True)
class GapFit:
    """distance: largest difference between the distribution of `gaps` gaps and the process's, 0 to 1; chance: how
    probable such a distance, or a larger one, is where the gaps are of the process, 0 to 1."""

    gaps: int
    distance: float
    chance: float

    @property
    def is_enough(self) -> bool:
        """Whether there are enough gaps to judge them."""
        return self.gaps >= FEWEST_GAPS


def gap_fit(gaps: Series, distribution: GapDistribution, tolerance: Series | float = 0.0) -> GapFit | None:
    """Of gaps of a mean of 1. tolerance: by so much each gap may differ in either direction from one of the process's
    (0: not at all). None without gaps."""
    n = len(gaps)
    if not n:
        return None
    steps = np.arange(1, n + 1) / n
    above = steps - distribution(np.sort(gaps + tolerance))
    below = distribution(np.sort(gaps - tolerance)) - (steps - 1 / n)
    distance = float(min(1.0, max(0.0, above.max(), below.max())))
    return GapFit(n, distance, kolmogorov_tail(distance, n))


def kolmogorov_tail(distance: float, n: int) -> float:
    """How probable a distance of at least this is between n independent values and their distribution.

    Kolmogorov's series (Sulla determinazione empirica di una legge di distribuzione, 1933), with Stephens' correction
    for small n (Journal of the Royal Statistical Society B 32, 1970): within 0.001 of the exact values (Marsaglia,
    Tsang and Wang, Journal of Statistical Software 8, 2003) from n = 100 on.
    """
    root = sqrt(n)
    scaled = distance * (root + 0.12 + 0.11 / root)
    if scaled < 0.3:  # the series converges slowly there, and its sum is 1 to the fourth digit
        return 1.0
    tail = sum((1.0 if k % 2 else -1.0) * exp(-2.0 * (k * scaled) ** 2) for k in range(1, _TERMS + 1))
    return min(1.0, max(0.0, 2.0 * tail))


def dispersion(counts: Series) -> float | None:
    """Index of dispersion of counts in bins of one mean: their variance divided by it; 1 for a Poisson process, 0 for a
    constant one. None where there are fewer than 10 bins, or nothing in them."""
    if len(counts) < _FEWEST_BINS or not counts.mean():
        return None
    return float(counts.var(ddof=1) / counts.mean())


def counts_per_bin(times: Series, from_time: float, until_time: float) -> Series:
    """Arrivals in each whole bin between two operational times: 10 in the mean. times: in order."""
    bins = int((until_time - from_time) / _ARRIVALS_PER_BIN + 1e-9)
    edges = from_time + _ARRIVALS_PER_BIN * np.arange(bins + 1)
    counts: Series = np.diff(np.searchsorted(times, edges)).astype(np.float64)
    return counts
