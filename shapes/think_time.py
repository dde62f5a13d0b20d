"""How --think-time is written: how long a user waits between the end of a request and its next one. Pure.

2s                  always 2 s
exp(2s)             exponential: mean
u(1s,3s)            each time from 1 s to 3 s, equally likely
ln(8s,p95=60s)      lognormal: median, and a percentile above p50
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from math import exp, log1p
from statistics import NormalDist
from typing import Protocol

from tokenswarm.command_line import PERCENTILE, Argument, ArgumentReader, PointedError, TimespanError, parse_timespan
from tokenswarm.metrics.level import ThinkTime

THINK_TIME = "--think-time"
_FORMS = "a time like 2s, exp(MEAN), u(MIN,MAX) or ln(MEDIAN,p95=VALUE)"
_TOKEN = re.compile(r"(?P<number>(?:\d+(?:\.\d+)?(?:ms|h|m|s)?)+)|(?P<name>[A-Za-z][A-Za-z0-9]*)|(?P<sign>[(),=])")
#: A day: a longer wait is a mistyped number.
_MOST_S = 86_400.0


class ThinkDistribution(Protocol):
    """mean_s: the expected think time; seconds_at: the think time at the quantile u (0 to 1, both excluded)."""

    @property
    def mean_s(self) -> float: ...

    def seconds_at(self, u: float) -> float: ...


@dataclass(frozen=True, slots=True)
class FixedTime:
    """Always the same time."""

    seconds: float

    @property
    def mean_s(self) -> float:
        return self.seconds

    def seconds_at(self, u: float) -> float:
        """See ThinkDistribution."""
        return self.seconds


@dataclass(frozen=True, slots=True)
class ExponentialTime:
    """An exponential distribution."""

    mean_s: float

    def seconds_at(self, u: float) -> float:
        """See ThinkDistribution."""
        return -self.mean_s * log1p(-u)


@dataclass(frozen=True, slots=True)
class UniformTime:
    """Each time from least_s to most_s, equally likely."""

    least_s: float
    most_s: float

    @property
    def mean_s(self) -> float:
        return (self.least_s + self.most_s) / 2

    def seconds_at(self, u: float) -> float:
        """See ThinkDistribution."""
        return self.least_s + u * (self.most_s - self.least_s)


@dataclass(frozen=True, slots=True)
class LognormalTime:
    """A lognormal distribution. stddev: of the logarithm."""

    median_s: float
    stddev: float

    @property
    def mean_s(self) -> float:
        return self.median_s * exp(self.stddev**2 / 2)

    def seconds_at(self, u: float) -> float:
        """See ThinkDistribution."""
        return self.median_s * exp(self.stddev * NormalDist().inv_cdf(u))


def think_time_of(text: str, seed: str) -> ThinkTime | None:
    """What a level records of --think-time; None for an empty text and for a time of 0. Raises PointedError."""
    if not text.strip():
        return None
    found = parse_think_time(text)
    return ThinkTime(text.strip(), found.mean_s, seed) if found.mean_s else None


@lru_cache(maxsize=64)
def parse_think_time(text: str) -> ThinkDistribution:
    """The distribution that `exp(2s)` and the like stand for. Raises PointedError."""
    return _Parser(text.replace("\n", " ")).parse()


class _Parser(ArgumentReader):
    _TOKENS = _TOKEN

    def parse(self) -> ThinkDistribution:
        place = self._here()
        kind, word = self._token(_FORMS)
        made: dict[str, Callable[[list[Argument], int], ThinkDistribution]] = {
            "exp": self._exponential,
            "u": self._uniform,
            "ln": self._lognormal,
        }
        if kind == "number":
            found: ThinkDistribution = FixedTime(self._number(word, place))
        elif word in made:
            found = made[word](self._arguments(word), place)
        else:
            raise self._wrong(place, f"expected {_FORMS}; got {word!r}")
        if self._skip_space():
            raise self._wrong(self._place, f"expected nothing after the time, got {self._text[self._place]!r}")
        return found

    def _exponential(self, arguments: list[Argument], place: int) -> ThinkDistribution:
        if len(arguments) != 1 or arguments[0].name:
            raise self._wrong(place, "expected one mean, like exp(2s)")
        return ExponentialTime(arguments[0].value)

    def _uniform(self, arguments: list[Argument], place: int) -> ThinkDistribution:
        if len(arguments) != 2 or any(each.name for each in arguments):
            raise self._wrong(place, "expected two bounds, like u(1s,3s)")
        least, most = (each.value for each in arguments)
        if most < least:
            raise self._wrong(arguments[1].place, f"expected a maximum of at least {least:g} s, got {most:g} s")
        return UniformTime(least, most)

    def _lognormal(self, arguments: list[Argument], place: int) -> ThinkDistribution:
        if len(arguments) != 2 or arguments[0].name or not PERCENTILE.fullmatch(arguments[1].name):
            raise self._wrong(place, "expected a median and a percentile, like ln(8s,p95=60s)")
        median, percentile = arguments
        if not median.value:
            raise self._wrong(median.place, "expected a median above 0")
        return LognormalTime(median.value, self._spread(percentile, median.value, logarithmic=True))

    def _number(self, token: str, place: int) -> float:
        try:
            seconds = parse_timespan(THINK_TIME, token)
        except TimespanError:
            raise self._wrong(place, f"expected a time like 500ms, 20s, 5m or 1h30m, got {token!r}") from None
        if seconds > _MOST_S:
            raise self._wrong(place, f"expected at most 24h, got {token}")
        return seconds

    def _wrong(self, place: int, message: str) -> PointedError:
        return PointedError(THINK_TIME, self._text, place, message)
