"""Arrival processes at a mean rate of 1: how evenly or how much in bursts requests arrive. Pure.

Random gaps are independent and have a mean of exactly 1. The first arrival is drawn as an observer sees it who comes at
a random moment (the residual gap of a stationary process), so that the expected number of arrivals is the time, from
the beginning on: without this, a bursty process would have more arrivals at its beginning.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from hashlib import blake2b
from math import gamma
from typing import Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from tokenswarm.metrics.gamma import gamma_below

Times: TypeAlias = NDArray[np.float64]

#: Arrivals that are computed together: memory stays the same however many a level has.
BLOCK = 4096
#: A float's error in a gap of 1.
_ROUNDING = 1e-9


class ArrivalProcess(Protocol):
    """unit_arrivals: blocks of the arrivals' times at a mean rate of 1, never falling, without end. The same seed gives
    the same times. gap_variance: of its gaps, whose mean is 1; gaps_below: the share of gaps that are at most so
    long."""

    @property
    def gap_variance(self) -> float: ...
    def unit_arrivals(self, seed: int) -> Iterator[Times]: ...
    def gaps_below(self, gaps: Times) -> Times: ...


@dataclass(frozen=True, slots=True)
class Constant:
    """Arrivals at 0, 1, 2, …"""

    @property
    def gap_variance(self) -> float:
        """See ArrivalProcess."""
        return 0.0

    def gaps_below(self, gaps: Times) -> Times:
        """See ArrivalProcess."""
        return (gaps >= 1 - _ROUNDING).astype(np.float64)

    def unit_arrivals(self, seed: int) -> Iterator[Times]:
        """See ArrivalProcess."""
        first = 0
        while True:
            yield np.arange(first, first + BLOCK, dtype=np.float64)
            first += BLOCK


@dataclass(frozen=True, slots=True)
class Poisson:
    """Exponential gaps: arrivals that know nothing of each other."""

    @property
    def gap_variance(self) -> float:
        """See ArrivalProcess."""
        return 1.0

    def gaps_below(self, gaps: Times) -> Times:
        """See ArrivalProcess."""
        return -np.expm1(-np.maximum(gaps, 0.0))

    def unit_arrivals(self, seed: int) -> Iterator[Times]:
        """See ArrivalProcess."""
        random = _generator(seed)
        return _sums(None, lambda: random.standard_exponential(BLOCK))  # its residual gap is as its gaps


@dataclass(frozen=True, slots=True)
class Gamma:
    """Gaps of a gamma distribution. shape below 1: bursts; 1: as Poisson; above 1: more even. The gaps' variance is
    1/shape."""

    shape: float

    @property
    def gap_variance(self) -> float:
        """See ArrivalProcess."""
        return 1.0 / self.shape

    def gaps_below(self, gaps: Times) -> Times:
        """See ArrivalProcess."""
        return gamma_below(self.shape, gaps * self.shape)

    def unit_arrivals(self, seed: int) -> Iterator[Times]:
        """See ArrivalProcess."""
        random, shape = _generator(seed), self.shape
        residual = random.random() * random.standard_gamma(shape + 1) / shape
        return _sums(residual, lambda: random.standard_gamma(shape, BLOCK) / shape)


@dataclass(frozen=True, slots=True)
class Weibull:
    """Gaps of a Weibull distribution. shape below 1: bursts with a long tail; 1: as Poisson; above 1: more even."""

    shape: float

    @property
    def gap_variance(self) -> float:
        """See ArrivalProcess."""
        return gamma(1 + 2 / self.shape) / gamma(1 + 1 / self.shape) ** 2 - 1

    def gaps_below(self, gaps: Times) -> Times:
        """See ArrivalProcess."""
        return -np.expm1(-((np.maximum(gaps, 0.0) * gamma(1 + 1 / self.shape)) ** self.shape))

    def unit_arrivals(self, seed: int) -> Iterator[Times]:
        """See ArrivalProcess."""
        random, shape = _generator(seed), self.shape
        mean = gamma(1 + 1 / shape)
        residual = random.random() * random.standard_gamma(1 + 1 / shape) ** (1 / shape) / mean
        return _sums(residual, lambda: random.standard_exponential(BLOCK) ** (1 / shape) / mean)


def seed_of(seed: str, level: int) -> int:
    """The seed of a level's arrivals, from the run's. Arrivals of different levels are independent."""
    return int.from_bytes(blake2b(f"{seed}\0arrivals\0{level}".encode(), digest_size=16).digest(), "big")


def _generator(seed: int) -> np.random.Generator:
    return np.random.Generator(np.random.PCG64(seed))


def _sums(first: float | None, draw_gaps: Callable[[], Times]) -> Iterator[Times]:
    """The first arrival (None: after a gap), and each that follows after a gap."""
    gaps = draw_gaps()
    if first is not None:
        gaps[0] = first
    reached = 0.0
    while True:
        times = np.cumsum(gaps) + reached
        yield times
        reached = float(times[-1])
        gaps = draw_gaps()
