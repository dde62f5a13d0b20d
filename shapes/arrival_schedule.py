"""When a level's requests are due. Pure: every process computes the same times from the same options."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from math import inf
from typing import NamedTuple, Protocol

import numpy as np

from tokenswarm.shapes.arrival_process import BLOCK, ArrivalProcess, Times
from tokenswarm.shapes.rate_schedule import RateSchedule


class DueArrival(NamedTuple):
    """A request that is due. number: 0, 1, 2, … of its level; due_s: time of the level, in seconds."""

    number: int
    due_s: float


class ArrivalSchedule(Protocol):
    """blocks: the times at which a level's requests are due, in order and in blocks, before its end. In seconds."""

    def blocks(self) -> Iterator[Times]: ...


@dataclass(frozen=True)
class GeneratedSchedule:
    """A process at the rates of a schedule: arrivals of the process at rate 1, mapped through the inverse of the mean
    number of arrivals.

    seed: of the level (`seed_of`). duration_s: arrivals are due before it. most: the number of them, None for no limit
    but the time; a limit is required of one at an infinite rate.
    """

    process: ArrivalProcess
    rates: RateSchedule
    seed: int
    duration_s: float = inf
    most: int | None = None

    def blocks(self) -> Iterator[Times]:
        """See ArrivalSchedule."""
        return _limited(map(self.rates.times_of, self.process.unit_arrivals(self.seed)), self.duration_s, self.most)


@dataclass(frozen=True, eq=False)
class RecordedSchedule:
    """Times as they were recorded, in seconds from the level's beginning, in order."""

    times_s: Times
    duration_s: float = inf
    most: int | None = None

    def blocks(self) -> Iterator[Times]:
        """See ArrivalSchedule."""
        pieces = (self.times_s[first : first + BLOCK] for first in range(0, len(self.times_s), BLOCK))
        return _limited(pieces, self.duration_s, self.most)


def _limited(blocks: Iterator[Times], duration_s: float, most: int | None) -> Iterator[Times]:
    left = inf if most is None else most
    for times in blocks:
        number = int(min(np.searchsorted(times, duration_s, side="left"), left))
        if number:
            yield times[:number]
        left -= number
        if number < len(times):
            return


def arrivals(schedule: ArrivalSchedule) -> Iterator[DueArrival]:
    """All of them, one by one."""
    number = 0
    for times in schedule.blocks():
        for due_s in times.tolist():
            yield DueArrival(number, due_s)
            number += 1


class DueTimes:
    """When arrivals are due, by their number."""

    def __init__(self, schedule: ArrivalSchedule) -> None:
        self._blocks = schedule.blocks()
        #: Of the last arrivals that were computed: (number of the first one, times).
        self._kept: deque[tuple[int, Times]] = deque()
        self._end = self._forgotten = 0

    def due_s(self, number: int) -> float | None:
        """In seconds of the level; None where there are not so many. number: not one that is forgotten."""
        while self._end <= number:
            following = next(self._blocks, None)
            if following is None:
                return None
            if self._end + len(following) > self._forgotten:
                self._kept.append((self._end, following))
            self._end += len(following)
        first, times = next(block for block in reversed(self._kept) if block[0] <= number)
        return float(times[number - first])

    def forget(self, before: int) -> None:
        """No arrival with a lower number is needed any more: memory stays the same however many there are."""
        self._forgotten = before
        while self._kept and self._kept[0][0] + len(self._kept[0][1]) <= before:
            self._kept.popleft()


class ArrivalCount:
    """How many arrivals are due before a time, for times that never fall."""

    def __init__(self, schedule: ArrivalSchedule) -> None:
        self._blocks = schedule.blocks()
        self._times: Times = np.empty(0)
        self._before = 0

    def before(self, time_s: float) -> int:
        """The arrivals due before this time: the number of the first that is not."""
        while not len(self._times) or self._times[-1] < time_s:
            following = next(self._blocks, None)
            if following is None:
                break
            self._before += len(self._times)
            self._times = following
        return self._before + int(np.searchsorted(self._times, time_s, side="left"))
