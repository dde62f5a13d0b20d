"""--warm-up: load before each level that no figure counts, for a time or a number of requests."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import inf

from tokenswarm.command_line import TimespanError, parse_timespan
from tokenswarm.metrics.level import Arrivals
from tokenswarm.shapes.plan import PlanError, PlannedLevel
from tokenswarm.shapes.request_limit import MOST_REQUESTS, limit_requests

WARM_UP = "--warm-up"
_NUMBER = re.compile(r"\d+", re.ASCII)


@dataclass(frozen=True, slots=True)
class WarmUp:
    """How long the load before a level lasts: in seconds, or requests; the other one is None."""

    seconds: float | None = None
    requests: int | None = None


def parse_warm_up(text: str) -> WarmUp | None:
    """What `30s` or `50` says; None for an empty text and for 0. A number alone is one of requests. Raises
    PlanError."""
    text = text.strip()
    if _NUMBER.fullmatch(text):
        if (requests := int(text)) > MOST_REQUESTS:
            raise PlanError(f"{WARM_UP} takes up to {MOST_REQUESTS:,} requests, got {text}.")
        return WarmUp(requests=requests) if requests else None
    if not text:
        return None
    try:
        seconds = parse_timespan(WARM_UP, text)
    except TimespanError:
        raise PlanError(f"{WARM_UP} takes a time like 30s or a number of requests like 50, got {text!r}.") from None
    return WarmUp(seconds=seconds) if seconds else None


def with_warm_ups(levels: Sequence[PlannedLevel], warm_up: WarmUp | None) -> tuple[PlannedLevel, ...]:
    """The levels with a warm-up before each; indexes are of the new order. Raises PlanError, ArrivalsError."""
    if warm_up is None:
        return tuple(levels)
    pairs = ((_before(level, warm_up), level) for level in levels)
    return tuple(replace(level, index=index) for index, level in enumerate(each for pair in pairs for each in pair))


def _before(level: PlannedLevel, warm_up: WarmUp) -> PlannedLevel:
    """The warm-up of a level: its users, its requests at once, or its arrivals at the rate that it begins with."""
    warming = replace(level, warm_up=True, probe=False)
    arrivals = level.arrivals
    if arrivals is None:
        time_s = level.level_time_s if warm_up.seconds is None else warm_up.seconds
        return replace(warming, requests=warm_up.requests, level_time_s=time_s, ramp_s=min(level.ramp_s, time_s))
    if arrivals.at_once:
        if warm_up.requests is None:
            raise PlanError(f"{WARM_UP} takes a number of requests like 50 beside --rate inf, not a time.")
        at_once = Arrivals(arrivals.process, (), float(warm_up.requests), arrivals.seed, arrivals.max_in_flight)
        return replace(warming, requests=warm_up.requests, arrivals=at_once)
    rate = (arrivals.rates[0][1] if arrivals.rates else 0.0) or arrivals.mean_rate
    process = "poisson" if arrivals.file_sha256 else arrivals.process
    most, sessions = arrivals.max_in_flight, arrivals.sessions
    steady = Arrivals(process, ((0.0, rate),), rate, arrivals.seed, most, sessions=sessions)
    time_s = inf if warm_up.seconds is None else warm_up.seconds
    return limit_requests(replace(warming, arrivals=steady, level_time_s=time_s), warm_up.requests or 0)
