"""How --rate, --arrivals and --rate-schedule are written. Text in, records out. Pure.

rate           a number of arrivals a second, or `inf`: all at once
rates          rates with commas between them: 5,10,20
arrivals       constant | poisson | gamma:SHAPE | weibull:SHAPE | FILE
rate schedule  TIME:RATE TIME:RATE … such as `0s:5 60s:20 120s:5`, or JSON as AIPerf writes it:
               {"points": [{"time_s": 0, "qps": 5}, {"time_s": 60, "qps": 20}]}, or its list alone
file of times  a time in seconds on each line, in order; empty lines and lines that begin with # do not count
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from itertools import pairwise
from math import inf, isinf
from typing import Annotated

import msgspec
import numpy as np

from tokenswarm.command_line import PointedError, TimespanError, did_you_mean, nearest_names, parse_timespan
from tokenswarm.shapes.arrival_process import ArrivalProcess, Constant, Gamma, Poisson, Times, Weibull
from tokenswarm.shapes.rate_schedule import RatePoint, RateSchedule

RATE, ARRIVALS, RATE_SCHEDULE = "--rate", "--arrivals", "--rate-schedule"
#: Arrivals a second: no client sends more, and a mistyped number would fill the memory.
MOST_RATE = 1_000_000
_LEAST_SHAPE, _MOST_SHAPE = 0.05, 1000
_PLAIN: dict[str, Callable[[], ArrivalProcess]] = {"constant": Constant, "poisson": Poisson}
_SHAPED: dict[str, Callable[[float], ArrivalProcess]] = {"gamma": Gamma, "weibull": Weibull}
_FORMS = "constant, poisson, gamma:SHAPE, weibull:SHAPE or a file of times"
_NUMBER = re.compile(r"\d+(?:\.\d*)?(?:[eE][+-]?\d+)?|\.\d+", re.ASCII)
_WORD = re.compile(r"\S+")


class ArrivalsError(ValueError):
    """A file or JSON of times or rates cannot be used; the text says where, what was expected and what came."""


@dataclass(frozen=True, slots=True)
class ArrivalsFile:
    """Arrivals at the times of a file."""

    path: str


class _JsonPoint(msgspec.Struct, forbid_unknown_fields=True):
    time_s: Annotated[float, msgspec.Meta(ge=0)]
    qps: Annotated[float, msgspec.Meta(ge=0, le=MOST_RATE)]


class _JsonPoints(msgspec.Struct, forbid_unknown_fields=True):
    points: list[_JsonPoint]


def parse_rates(text: str, option: str = RATE) -> tuple[float, ...]:
    """The rate of each level, in arrivals a second, from `5,10,20`. option: that has the text. Raises PointedError."""
    text = text.replace("\n", " ")
    rates: list[float] = []
    place = 0
    for word in text.split(","):
        begin = place + len(word) - len(word.lstrip())
        rate = _rate(option, text, begin, word.strip(), allow_inf=True)
        if rate in rates:
            raise PointedError(option, text, begin, f"{rate:g} is there twice: the results could not be distinguished")
        rates.append(rate)
        place += len(word) + 1
    return tuple(rates)


def parse_arrivals(text: str) -> ArrivalProcess | ArrivalsFile:
    """The process that `poisson`, `gamma:0.5` or a file's path stands for. Raises PointedError."""
    text = text.replace("\n", " ")
    name, colon, shape = text.partition(":")
    if name in _PLAIN and not colon:
        return _PLAIN[name]()
    if name in _PLAIN:
        raise PointedError(ARRIVALS, text, len(name), f"{name} takes no shape")
    if name in _SHAPED:
        place = len(name) + 1
        if not _NUMBER.fullmatch(shape) or not _LEAST_SHAPE <= float(shape) <= _MOST_SHAPE:
            example = f"like {name}:0.5 (in bursts), {name}:1 (as poisson) or {name}:4 (even)"
            expected = f"expected a shape from {_LEAST_SHAPE:g} to {_MOST_SHAPE:,}, {example}"
            raise PointedError(ARRIVALS, text, min(place, len(text)), f"{expected}, got {shape!r}")
        return _SHAPED[name](float(shape))
    if "/" in text or "." in text:
        return ArrivalsFile(text)
    near = did_you_mean(nearest_names(name, [*_PLAIN, *_SHAPED])) or f"; for a file of that name write ./{text}"
    raise PointedError(ARRIVALS, text, 0, f"expected {_FORMS}, got {text!r}{near}")


def parse_rate_schedule(text: str, source: str = "") -> RateSchedule:
    """The rates over time that `0s:5 60s:20` or JSON says. source: the file that held it, for errors. Raises
    PointedError, ArrivalsError."""
    if text.lstrip().startswith(("{", "[")):
        return _json_schedule(text, source)
    text = text.replace("\n", " ")
    points: list[RatePoint] = []
    places: list[int] = []
    for word in _WORD.finditer(text):
        points.append(_point(text, word.start(), word[0]))
        places.append(word.start())
    if not points:
        raise PointedError(RATE_SCHEDULE, text, 0, "expected TIME:RATE TIME:RATE …, like 0s:5 60s:20 120s:5")
    for place, message in _defects(points):
        raise PointedError(RATE_SCHEDULE, text, places[place], message)
    return RateSchedule(tuple(points))


def parse_times(lines: Iterable[str], source: str) -> Times:
    """The times of a file of arrivals, in seconds. source: its name, for errors. Raises ArrivalsError."""
    times: list[float] = []
    for number, line in enumerate(lines, 1):
        word = line.strip()
        if not word or word.startswith("#"):
            continue
        if not _NUMBER.fullmatch(word) or isinf(float(word)):
            raise ArrivalsError(
                f"{ARRIVALS}: line {number} of {source}: expected a time in seconds, got {word[:40]!r}."
            )
        time_s = float(word)
        if times and time_s < times[-1]:
            order = f"expected a time of at least {times[-1]:g} s, that of the arrival before, got {time_s:g}"
            raise ArrivalsError(f"{ARRIVALS}: line {number} of {source}: {order}. Sort the file.")
        times.append(time_s)
    if not times:
        raise ArrivalsError(f"{ARRIVALS}: {source} holds no time: write one in seconds on each line.")
    found = np.array(times)
    found.setflags(write=False)
    return found


def _point(text: str, place: int, word: str) -> RatePoint:
    time, colon, rate = word.partition(":")
    if not colon:
        raise PointedError(RATE_SCHEDULE, text, place, f"expected TIME:RATE, like 60s:20, got {word!r}")
    try:
        time_s = parse_timespan(RATE_SCHEDULE, time)
    except TimespanError:
        raise PointedError(
            RATE_SCHEDULE, text, place, f"expected a time like 500ms, 20s, 5m or 1h30m, got {time!r}"
        ) from None
    return RatePoint(time_s, _rate(RATE_SCHEDULE, text, place + len(time) + 1, rate, allow_zero=True))


def _rate(option: str, text: str, place: int, word: str, *, allow_inf: bool = False, allow_zero: bool = False) -> float:
    if allow_inf and word == "inf":
        return inf
    if _NUMBER.fullmatch(word):
        rate = float(word)
        if rate > MOST_RATE:
            raise PointedError(option, text, place, f"expected at most {MOST_RATE:,} arrivals a second, got {word}")
        if rate or allow_zero:
            return rate
    wanted = "arrivals a second, 0 or more" if allow_zero else "arrivals a second, more than 0"
    raise PointedError(option, text, min(place, len(text)), f"expected {wanted}, got {word!r}")


def _json_schedule(text: str, source: str) -> RateSchedule:
    where = f"{RATE_SCHEDULE}: {source}" if source else RATE_SCHEDULE
    try:
        if text.lstrip().startswith("{"):
            read = msgspec.json.decode(text, type=_JsonPoints).points
        else:
            read = msgspec.json.decode(text, type=list[_JsonPoint])
    except msgspec.DecodeError as error:
        form = '{"points": [{"time_s": 0, "qps": 5}, {"time_s": 60, "qps": 20}]}'
        raise ArrivalsError(f"{where}: expected JSON like {form}: {error}.") from None
    points = [RatePoint(point.time_s, point.qps) for point in read]
    if not points:
        raise ArrivalsError(f"{where}: expected at least one point, got none.")
    for place, message in _defects(points):
        raise ArrivalsError(f"{where}: point {place + 1}: {message}.")
    return RateSchedule(tuple(points))


def _defects(points: list[RatePoint]) -> Iterable[tuple[int, str]]:
    """(index of the point, what is wrong with it)."""
    if points[0].time_s:
        yield 0, f"expected the first point at 0s, got {points[0].time_s:g}s"
    for place in range(1, len(points)):
        before, time_s = points[place - 1].time_s, points[place].time_s
        if time_s < before:
            yield place, f"expected a time of at least {before:g}s, that of the point before, got {time_s:g}s"
        if place > 1 and time_s == points[place - 2].time_s:
            yield place, f"expected at most two points at {time_s:g}s: the rates before and after a jump"
    if not points[-1].rate and not any(
        one.time_s < other.time_s and (one.rate or other.rate) for one, other in pairwise(points)
    ):
        yield len(points) - 1, "expected a rate above 0 at some time"
