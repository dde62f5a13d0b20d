"""Distributions of lengths in tokens. Each turns a uniform number (0 to 1, both excluded) into a length of at least 1.

Normal and lognormal lengths are continuous values rounded to the nearest whole number, truncated to least … most:
values outside are not moved to the bounds, the others become more frequent in proportion.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from math import exp, floor, inf, log
from statistics import NormalDist
from typing import Protocol

_STANDARD = NormalDist()


class LengthDistribution(Protocol):
    """least, most: bounds of its lengths, both inclusive; most is None where there is none."""

    @property
    def least(self) -> int: ...
    @property
    def most(self) -> int | None: ...

    def length_at(self, u: float) -> int:
        """The length at the quantile u."""
        ...

    def share_at_most(self, tokens: int) -> float:
        """The share of lengths of at most so many tokens, 0 to 1."""
        ...


@dataclass(frozen=True, slots=True)
class Fixed:
    """Always the same length."""

    tokens: int

    @property
    def least(self) -> int:
        return self.tokens

    @property
    def most(self) -> int:
        return self.tokens

    def length_at(self, u: float) -> int:
        """See LengthDistribution."""
        return self.tokens

    def share_at_most(self, tokens: int) -> float:
        """See LengthDistribution."""
        return float(tokens >= self.tokens)


@dataclass(frozen=True, slots=True)
class Uniform:
    """Each whole number from least to most, equally often."""

    least: int
    most: int

    def length_at(self, u: float) -> int:
        """See LengthDistribution."""
        return self.least + floor(u * (self.most - self.least + 1))

    def share_at_most(self, tokens: int) -> float:
        """See LengthDistribution."""
        return min(1.0, max(0.0, (tokens - self.least + 1) / (self.most - self.least + 1)))


@dataclass(frozen=True, slots=True)
class Normal:
    """A normal distribution, or a lognormal one (`of_logarithm`): then mean and stddev are those of the logarithm."""

    mean: float
    stddev: float
    least: int = 1
    most: int | None = None
    of_logarithm: bool = False

    def length_at(self, u: float) -> int:
        """See LengthDistribution."""
        low, high = self._below(self.least - 0.5), 1.0 if self.most is None else self._below(self.most + 0.5)
        share = min(max(low + u * (high - low), 1e-300), 1 - 2**-53)
        value = self.mean + self.stddev * _STANDARD.inv_cdf(share)
        rounded = floor((exp(min(value, 700.0)) if self.of_logarithm else value) + 0.5)
        return int(min(max(rounded, self.least), inf if self.most is None else self.most))

    def share_at_most(self, tokens: int) -> float:
        """See LengthDistribution."""
        low, high = self._below(self.least - 0.5), 1.0 if self.most is None else self._below(self.most + 0.5)
        return min(1.0, max(0.0, (self._below(tokens + 0.5) - low) / (high - low)))

    @property
    def share_within_bounds(self) -> float:
        """The share of the distribution that its bounds leave, 0 to 1."""
        return (1.0 if self.most is None else self._below(self.most + 0.5)) - self._below(self.least - 0.5)

    def _below(self, value: float) -> float:
        if self.of_logarithm:
            if value <= 0:
                return 0.0
            value = log(value)
        return _STANDARD.cdf((value - self.mean) / self.stddev)


@dataclass(frozen=True, slots=True)
class Weighted:
    """Some lengths, each with its share. At the same quantile, two distributions of equal weights give values of the
    same position: so pairs of lengths are drawn."""

    lengths: tuple[int, ...]
    upper_shares: tuple[float, ...]

    @classmethod
    def of(cls, lengths: Sequence[int], weights: Sequence[float]) -> Weighted:
        """weights: at least 0, of any sum above 0; one for each length."""
        total = sum(weights)
        return cls(tuple(lengths), tuple(weight / total for weight in accumulate(weights)))

    @property
    def least(self) -> int:
        return min(self.lengths)

    @property
    def most(self) -> int:
        return max(self.lengths)

    def length_at(self, u: float) -> int:
        """See LengthDistribution."""
        return self.lengths[min(bisect_right(self.upper_shares, u), len(self.lengths) - 1)]

    def share_at_most(self, tokens: int) -> float:
        """See LengthDistribution."""
        lower = 0.0
        share = 0.0
        for length, upper in zip(self.lengths, self.upper_shares):
            share += (upper - lower) * (length <= tokens)
            lower = upper
        return min(1.0, share)
