"""Percentiles and shares with 95 % intervals: order statistics, and Wilson's score interval."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from functools import lru_cache
from itertools import accumulate
from math import ceil, exp, floor, lgamma, log, sqrt
from statistics import NormalDist

import msgspec

from tokenswarm.metrics.histogram import Histogram

_Z = NormalDist().inv_cdf(0.975)
_EXACT_BELOW = 2000
#: Fewer values carry no interval: they do not show how similar successive ones are.
FEWEST = 40


class Quantile(msgspec.Struct, frozen=True):
    """A percentile and its 95 % interval. `high` is None, and the figure not certified, where the sample is worth too
    few independent values for the interval's upper end to exist (p^n > 0.05: p99 needs n ≥ 299).
    Where the lower end does not exist `low` is 0, and the figure not certified. `low` and `high` are None
    of fewer than 40 values, and where the order of the values in time was not kept (gaps, the client's own delays), so
    that none can be known."""

    value: float
    low: float | None
    high: float | None
    certified: bool


def rank(n: int, p: float) -> int:
    """The nearest rank of the p-quantile (0 < p ≤ 1) of n ≥ 1 values: ceil(p n), from 1 to n."""
    return max(1, ceil(p * n))


def nearest_rank(ascending: Sequence[int], p: float) -> int | None:
    """The p-quantile (0 < p ≤ 1) of values in ascending order: the one of the nearest rank. None without values."""
    return ascending[rank(len(ascending), p) - 1] if ascending else None


def quantile(histogram: Histogram, p: float, independent: float | None = None) -> Quantile | None:
    """The p-quantile (0 < p < 1) of what was recorded: the value of rank ceil(p n). None for an empty histogram.
    independent: how many independent values these are worth; None where that is not known."""
    n = histogram.count
    if not n:
        return None
    low_rank, high_rank = correlated_ranks(n, p, n if independent is None else independent)
    value = histogram.value_at_rank(rank(n, p))
    certified = n >= FEWEST and high_rank <= n and low_rank > 0
    if independent is None or n < FEWEST:
        return Quantile(value, None, None, certified)
    low = histogram.value_at_rank(low_rank) if low_rank else 0.0
    return Quantile(value, low, histogram.value_at_rank(high_rank) if high_rank <= n else None, certified)


def correlated_ranks(n: int, p: float, independent: float) -> tuple[int, int]:
    """As `interval_ranks`, for n values that are worth so many independent ones, at most n: the ranks of these, spread
    over all."""
    worth = max(1, min(n, round(independent)))
    low, high = interval_ranks(worth, p)
    scale = n / worth
    return floor(low * scale), min(n, ceil(high * scale)) if high <= worth else n + 1


@lru_cache(maxsize=4096)
def interval_ranks(n: int, p: float) -> tuple[int, int]:
    """Ranks (l, u): the p-quantile lies between the l-th and the u-th smallest of n values with at least 95 %.

    The number of values below the quantile is binomial(n, p). Each tail is given at most 2.5 %; where the upper one
    is smaller than the largest value can give, it gets up to 5 % and the lower tail what is left. l = 0 says that
    there is no lower end (0 bounds any latency), u = n + 1 that there is no upper one. Below the median the ranks are
    those of the quantile as far above it, counted from the other end. Above 2,000 values the binomial is taken as
    normal.
    """
    if p < 0.5:
        low, high = interval_ranks(n, 1 - p)
        return n + 1 - high, n + 1 - low
    if n > _EXACT_BELOW:
        middle, spread = n * p, _Z * sqrt(n * p * (1 - p))
        return max(0, floor(middle - spread)), min(n + 1, ceil(middle + spread) + 1)
    at_most = list(accumulate(_binomial_probabilities(n, p)))  # at_most[k] = P(B <= k)
    above_all = p**n  # the chance that even the largest value lies below the quantile
    lower_tail = upper_tail = 0.025
    if 0.025 < above_all <= 0.05:
        lower_tail, upper_tail = 0.05 - above_all, above_all + 1e-12
    low = bisect_right(at_most, lower_tail)
    high = bisect_left(at_most, 1 - upper_tail) + 1
    return low, high


def fewest_for_interval(p: float) -> int:
    """How many values the p-quantile (0 < p < 1) takes at least for its interval: 40 for 0.5, 299 for 0.99."""
    return max(FEWEST, ceil(log(0.05) / log(max(p, 1 - p))))


def share_interval(number: int, of: int) -> tuple[float, float]:
    """The ends (0 to 1) of Wilson's score interval of a share: `number` of `of`, which is at least 1."""
    low, high = score_interval(number / of, of)
    # Of none and of all the end is exact; the sums miss it by their rounding.
    return 0.0 if number == 0 else low, 1.0 if number == of else high


def score_interval(share: float, independent: float, z: float = _Z) -> tuple[float, float]:
    """The ends of Wilson's score interval of a share (0 to 1) of so many independent values (above 0). z: how many
    standard errors it reaches to each side; 95 % where none is given."""
    z2 = z * z
    middle = (share + z2 / (2 * independent)) / (1 + z2 / independent)
    half = z / (1 + z2 / independent) * sqrt(share * (1 - share) / independent + z2 / (4 * independent * independent))
    return middle - half, middle + half


def _binomial_probabilities(n: int, p: float) -> list[float]:
    log_p, log_q, log_n = log(p), log(1 - p), lgamma(n + 1)
    return [exp(log_n - lgamma(k + 1) - lgamma(n - k + 1) + k * log_p + (n - k) * log_q) for k in range(n + 1)]
