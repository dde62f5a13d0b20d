"""An arrival rate over time, in straight pieces, and the exact time at which so many arrivals are due. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from math import inf, isinf

import numpy as np
from numpy.typing import NDArray

from tokenswarm.shapes.arrival_process import Times


@dataclass(frozen=True)
class RatePoint:
    """So many arrivals a second at this time of the level, in seconds."""

    time_s: float
    rate: float


@dataclass(frozen=True)
class RateSchedule:
    """Between two points the rate changes linearly; after the last it stays. Two points at one time are a jump.

    points: the first at 0 s, in order of time, not all of rate 0. One point is a constant rate; then it may be inf: all
    arrivals at once.
    """

    points: tuple[RatePoint, ...]

    @classmethod
    def constant(cls, rate: float) -> RateSchedule:
        """The same rate all the time."""
        return cls((RatePoint(0.0, rate),))

    def expected(self, time_s: float) -> float:
        """The mean number of arrivals before this time of the level: the integral of the rate."""
        place = int(np.searchsorted(self._times, time_s, side="right")) - 1
        since_s = time_s - float(self._times[place])
        if not since_s:
            return float(self._sums[place])
        return float(self._sums[place] + self._rates[place] * since_s + self._slopes[place] * since_s**2 / 2)

    def expected_of(self, times_s: Times) -> Times:
        """The same of many times, at a finite rate: operational time, in which the rate is 1."""
        places, since_s = self._pieces_of(times_s)
        expected: Times = self._sums[places] + self._rates[places] * since_s + self._slopes[places] * since_s**2 / 2
        return expected

    def rate_at(self, times_s: Times) -> Times:
        """The rate at each of these times of the level."""
        places, since_s = self._pieces_of(times_s)
        rates: Times = self._rates[places] + self._slopes[places] * since_s
        return rates

    def _pieces_of(self, times_s: Times) -> tuple[NDArray[np.intp], Times]:
        places = np.searchsorted(self._times, times_s, side="right") - 1
        return places, times_s - self._times[places]

    def times_of(self, expected: Times) -> Times:
        """When the mean number of arrivals reaches each of these: the inverse of `expected`, in seconds. inf where it
        never does."""
        places = np.searchsorted(self._sums, expected, side="right") - 1
        missing = expected - self._sums[places]
        rates, slopes = self._rates[places], self._slopes[places]
        # The root of rate·x + slope·x²/2 = missing in the form that loses no digits, whatever the slope's sign.
        roots = rates + np.sqrt(np.maximum(rates**2 + 2 * slopes * missing, 0.0))
        with np.errstate(divide="ignore", invalid="ignore"):
            since_s = np.where(roots > 0, 2 * missing / roots, 0.0)
        times: Times = self._times[places] + since_s
        # Rounding must not carry an arrival over its piece's end, where another rate holds.
        times = np.minimum(times, self._ends[places])
        times[(places == len(self.points) - 1) & (rates == 0)] = inf
        return times

    @cached_property
    def _times(self) -> Times:
        return np.array([point.time_s for point in self.points], dtype=np.float64)

    @cached_property
    def _ends(self) -> Times:
        """Where each piece ends."""
        return np.append(self._times[1:], inf)

    @cached_property
    def _rates(self) -> Times:
        """At each piece's beginning."""
        return np.array([point.rate for point in self.points], dtype=np.float64)

    @cached_property
    def _slopes(self) -> Times:
        """Of each piece, in arrivals a second per second."""
        spans, rises = np.diff(self._times), np.diff(self._rates)
        return np.append(np.divide(rises, spans, out=np.zeros_like(rises), where=spans > 0), 0.0)

    @cached_property
    def _sums(self) -> Times:
        """The mean number of arrivals before each piece."""
        if isinf(self.points[0].rate):
            return np.zeros(1)
        means = (self._rates[1:] + self._rates[:-1]) / 2
        return np.concatenate(([0.0], np.cumsum(means * np.diff(self._times))))
