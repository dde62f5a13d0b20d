"""From what a level records of its arrivals to the times at which its requests are due."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from functools import lru_cache
from math import inf
from pathlib import Path
from typing import NamedTuple

import numpy as np

from tokenswarm.metrics.level import Arrivals, Level
from tokenswarm.metrics.trace_replay import TraceReplay
from tokenswarm.prompts.traces.replay_plan import replay_plan
from tokenswarm.prompts.traces.trace_records import TRACE, TraceError
from tokenswarm.shapes.arrival_notation import ARRIVALS, ArrivalsError, ArrivalsFile, parse_arrivals, parse_times
from tokenswarm.shapes.arrival_process import Times, seed_of
from tokenswarm.shapes.arrival_schedule import (
    ArrivalCount,
    ArrivalSchedule,
    DueTimes,
    GeneratedSchedule,
    RecordedSchedule,
)
from tokenswarm.shapes.rate_schedule import RatePoint, RateSchedule


def schedule_of(level: Level) -> ArrivalSchedule:
    """When the requests of an open-loop level are due. Raises ArrivalsError where its file cannot be read any more, or
    has changed."""
    arrivals = level.arrivals
    assert arrivals is not None
    duration_s = inf if level.level_time_s is None else level.level_time_s
    if arrivals.at_once:
        return RecordedSchedule(np.zeros(level.requests or 0))
    if arrivals.trace is not None:
        return RecordedSchedule(_replay_times(arrivals.trace, arrivals.file_sha256), duration_s, level.requests)
    if arrivals.file_sha256:
        times, sha256 = read_times(arrivals.process)
        if sha256 != arrivals.file_sha256:
            raise ArrivalsError(f"{ARRIVALS}: {arrivals.process} has changed since the run began.")
        return RecordedSchedule(times, duration_s, level.requests)
    process = parse_arrivals(arrivals.process)
    assert not isinstance(process, ArrivalsFile)
    seed = seed_of(arrivals.seed, level.index)
    return GeneratedSchedule(process, rates_of(arrivals), seed, duration_s, level.requests)


def _replay_times(replay: TraceReplay, sha256: str) -> Times:
    try:
        plan = replay_plan(replay)
    except TraceError as error:
        raise ArrivalsError(str(error)) from None
    if plan.trace.sha256 != sha256:
        raise ArrivalsError(
            f"{TRACE}: the file {replay.path} has changed since the run began, or is another one on this machine."
        )
    return plan.times_s


def time_of(level: Level, number: int) -> float | None:
    """When the request of this number, from 0, of an open-loop level is due, in seconds; None where it has not so many.
    Raises ArrivalsError."""
    times = DueTimes(schedule_of(level))
    times.forget(number)
    return times.due_s(number)


class ArrivalLaw(NamedTuple):
    """What the arrivals of a level are drawn from. rates: over its time; gaps_below, gap_variance: of its gaps in
    operational time, whose mean is 1, see ArrivalProcess. The times of a file are their own law, without chance."""

    rates: RateSchedule
    gaps_below: Callable[[Times], Times]
    gap_variance: float


def arrival_law(level: Level) -> ArrivalLaw:
    """Of an open-loop level. Raises ArrivalsError where its file cannot be read any more, or has changed."""
    arrivals = level.arrivals
    assert arrivals is not None
    if arrivals.file_sha256:
        rates = RateSchedule.constant(arrivals.mean_rate)
        recorded = np.concatenate(list(schedule_of(level).blocks()))
        gaps = np.sort(np.diff(recorded)) * arrivals.mean_rate
        return ArrivalLaw(rates, lambda found: _share_below(gaps, found), 0.0)
    process = parse_arrivals(arrivals.process)
    assert not isinstance(process, ArrivalsFile)
    return ArrivalLaw(rates_of(arrivals), process.gaps_below, process.gap_variance)


def _share_below(ascending: Times, values: Times) -> Times:
    shares: Times = np.searchsorted(ascending, values, side="right") / max(1, len(ascending))
    return shares


def rates_of(arrivals: Arrivals) -> RateSchedule:
    """The rate schedule that generated arrivals follow."""
    return RateSchedule(tuple(RatePoint(time_s, rate) for time_s, rate in arrivals.rates))


def read_times(path: str) -> tuple[Times, str]:
    """The times of a file of arrivals, in seconds, and the SHA-256 of the file, hexadecimal. Raises ArrivalsError."""
    try:
        content = Path(path).read_bytes()
        text = content.decode()
    except OSError as error:
        raise ArrivalsError(f"{ARRIVALS}: {path} cannot be read: {error.strerror or error}.") from None
    except UnicodeDecodeError:
        raise ArrivalsError(f"{ARRIVALS}: {path} is no text: expected a time in seconds on each line.") from None
    return parse_times(text.splitlines(), path), hashlib.sha256(content).hexdigest()


class DueRequests:
    """How many requests of an open-loop level are due before times of it. The level's times are computed once, where
    calls are in order of time; the counts of whole seconds are remembered."""

    def __init__(self, level: Level) -> None:
        self._level = level
        self._known: dict[float, int] = {}
        self._count: ArrivalCount | None = None
        self._reached_s = 0.0
        self._is_unreadable = False

    def before(self, time_s: float) -> int | None:
        """The requests due before this time of the level, in seconds; None where the level's file cannot be read any
        more."""
        if (known := self._known.get(time_s)) is not None:
            return known
        if self._is_unreadable:
            return None
        if self._count is None or time_s < self._reached_s:
            try:
                self._count = ArrivalCount(schedule_of(self._level))
            except ArrivalsError:
                self._is_unreadable = True
                return None
        self._reached_s = time_s
        found = self._count.before(time_s)
        if time_s.is_integer():
            self._known[time_s] = found
        return found


@lru_cache(maxsize=64)
def due_times_s(level: Level, first: int, last: int) -> tuple[float, float] | None:
    """When these two arrivals of an open-loop level are due, in seconds of it; None where the level's file cannot be
    read any more."""
    try:
        first_s, last_s = time_of(level, first), time_of(level, last)
    except ArrivalsError:
        return None
    return None if first_s is None or last_s is None else (first_s, last_s)
