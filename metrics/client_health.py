"""How a worker itself fares: its loop's lag and its use of a core while it sends load, its own error before."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import NamedTuple

import msgspec

from tokenswarm.metrics.histogram import Histogram, histogram_at
from tokenswarm.metrics.level import LevelPhase

#: How long the sleep is whose overshoot is the loop's lag.
LAG_SLEEP_S = 0.02
_LAG_SLEEP_US = round(LAG_SLEEP_S * 1e6)


class ErrorSpread(msgspec.Struct, frozen=True):
    """Absolute errors, in seconds."""

    p50: float
    p99: float
    max: float


class SelfCheck(msgspec.Struct, frozen=True):
    """What a worker's client reported of a server that logs its own sends, against that log.

    users: how many streamed at once. answers: how many they requested and got while they were all there. gap_error_s:
    of each answer's longest gap; None where no stream's gaps are measured.
    """

    users: int
    answers: int
    ttft_error_s: ErrorSpread
    gap_error_s: ErrorSpread | None


#: By worker, where none was requested.
NO_SELF_CHECKS: Mapping[int, SelfCheck] = MappingProxyType({})


class CoreUse(NamedTuple):
    """CPU time of the process, all threads, system time included, and the time in which it was taken; in seconds."""

    cpu_s: float = 0.0
    wall_s: float = 0.0

    def plus(self, other: CoreUse) -> CoreUse:
        """Both together."""
        return CoreUse(self.cpu_s + other.cpu_s, self.wall_s + other.wall_s)

    @property
    def utilization(self) -> float | None:
        """Share of one core, 0 to 1 (more where several threads worked); None where no time has passed."""
        return self.cpu_s / self.wall_s if self.wall_s > 0 else None


@dataclass(slots=True)
class WorkerHealth:
    """A worker's health since its last report, by the place in the run that it was noted in."""

    loop_lag: dict[LevelPhase, Histogram] = field(default_factory=dict)
    core_use: dict[LevelPhase, CoreUse] = field(default_factory=dict)


class HealthMeter:
    """Notes down what a greenlet finds that sleeps LAG_SLEEP_S, again and again. Pure: the caller reads the clocks."""

    def __init__(self) -> None:
        self._now_ns = self._cpu_ns = 0
        self._pending = WorkerHealth()

    def start(self, now_ns: int, cpu_ns: int) -> None:
        """What is noted counts from now. now_ns: perf_counter_ns; cpu_ns: process_time_ns."""
        self._now_ns, self._cpu_ns = now_ns, cpu_ns

    def woke(self, place: LevelPhase, due_ns: int, now_ns: int, cpu_ns: int) -> None:
        """The sleep that should have ended at due_ns ended now.

        While the loop was stuck, sleeps that were due could not even begin: they are counted as well, each as late as
        it would have been (the correction for coordinated omission). So the histogram shows how late something is
        noticed that comes at any moment, not how late the sleeper was.
        """
        lag_us = max(0, now_ns - due_ns) // 1000
        histogram = histogram_at(self._pending.loop_lag, place)
        for late_us in range(lag_us, -1, -_LAG_SLEEP_US):  # nearly always one
            histogram.record(late_us)
        use = CoreUse((cpu_ns - self._cpu_ns) / 1e9, (now_ns - self._now_ns) / 1e9)
        self._pending.core_use[place] = self._pending.core_use.get(place, CoreUse()).plus(use)
        self._now_ns, self._cpu_ns = now_ns, cpu_ns

    def take(self) -> WorkerHealth:
        """All since the last time."""
        health, self._pending = self._pending, WorkerHealth()
        return health
