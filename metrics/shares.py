"""Whether a measured share is the requested one, as far as chance goes. Pure."""

from __future__ import annotations

from math import exp, lgamma, log, log1p
from statistics import NormalDist

#: The chance that a count drawn at the requested share lies so far above it as 3 standard deviations, or below.
_CHANCE = 1 - NormalDist().cdf(3)
#: A sum of chances ends where a term is so much smaller than the sum.
_NEGLIGIBLE = 1e-12


def share_deviates(count: int, of: int, share: float, compared: int = 1) -> bool:
    """Whether `count` of `of` (at least 1) is further from the share (0 to 1) that each was drawn with than 3 standard
    deviations of a binomial. Chances are exact, so that it holds for small counts too. compared: how many shares the
    run compares; each gets a part of the chance, so that chance alone marks one run in 370 at most."""
    if not 0 < share < 1:
        return count != of * share
    if count == of * share:
        return False
    return _tail(count, of, share, upward=count > of * share) < _CHANCE / compared


def _tail(count: int, of: int, share: float, *, upward: bool) -> float:
    """The chance of so many or more (upward), or of so many or fewer."""
    step = 1 if upward else -1
    total = 0.0
    while 0 <= count <= of:
        log_ways = lgamma(of + 1) - lgamma(count + 1) - lgamma(of - count + 1)
        chance = exp(log_ways + count * log(share) + (of - count) * log1p(-share))
        total += chance
        if chance <= total * _NEGLIGIBLE:
            break
        count += step
    return total
