"""What one worker has reported so far."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import reduce

from tokenswarm.metrics.client_health import CoreUse, SelfCheck, WorkerHealth
from tokenswarm.metrics.histogram import Histogram
from tokenswarm.metrics.level import LevelPhase


@dataclass(slots=True)
class WorkerStats:
    """What one worker said last, and how it fared so far. completed: requests that ended ok; latest_use: of the core,
    in its last report; self_check: None where none was made."""

    reports: int = 0
    ended: int = 0
    completed: int = 0
    in_flight: int = 0
    output_events: int = 0
    reads: int = 0
    reads_with_kernel_time: int = 0
    self_check: SelfCheck | None = None
    loop_lag_s: Histogram = field(default_factory=Histogram)
    client_delay_s: Histogram = field(default_factory=Histogram)
    core_use: dict[LevelPhase, CoreUse] = field(default_factory=dict)
    latest_use: CoreUse = field(default_factory=CoreUse)

    def add_health(self, health: WorkerHealth) -> None:
        """How it fared since its last report."""
        for lag in health.loop_lag.values():
            self.loop_lag_s.add(lag)
        for place, use in health.core_use.items():
            self.core_use[place] = self.core_use.get(place, CoreUse()).plus(use)
        if health.core_use:
            self.latest_use = _sum_of(health.core_use.values())

    @property
    def whole_use(self) -> CoreUse:
        """Of the core, over the run."""
        return _sum_of(self.core_use.values())


def _sum_of(uses: Iterable[CoreUse]) -> CoreUse:
    return reduce(CoreUse.plus, uses, CoreUse())
