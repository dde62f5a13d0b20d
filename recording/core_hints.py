"""Whether a worker needs more than its one core, and what to do about it."""

from __future__ import annotations

from tokenswarm.metrics.client_health import CoreUse
from tokenswarm.metrics.level import Phase
from tokenswarm.recording.aggregator import Aggregator
from tokenswarm.recording.validity import NEGLIGIBLE_SHARE, level_name
from tokenswarm.recording.worker_stats import WorkerStats

#: A worker that uses more than this of a core in a hold has nothing left for simultaneous arrivals.
_FULL_CORE = 0.9
#: A shorter hold, or the beginning of one, is too short to judge the core by.
_SHORTEST_HOLD_S = 3.0
#: Half of all events noticed later than this: the event loop never catches up.
_SATURATED_LAG_S = 0.02


def hints(aggregator: Aggregator) -> dict[int, str]:
    """By worker that needs more than its core: the figure, and what to do."""
    found = {number: _hint(worker, aggregator) for number, worker in aggregator.workers.items()}
    return {number: f"worker {number} {hint}" for number, hint in found.items() if hint}


def fullest_hold(worker: WorkerStats) -> tuple[int, CoreUse] | None:
    """(level index, use of the core) of the hold in which the worker used most of it; None where none lasted long
    enough."""
    holds = [
        (index, use)
        for (index, phase), use in worker.core_use.items()
        if phase is Phase.HOLD and use.wall_s >= _SHORTEST_HOLD_S
    ]
    return max(holds, key=lambda hold: hold[1].utilization or 0.0, default=None)


def _hint(worker: WorkerStats, aggregator: Aggregator) -> str:
    fullest = fullest_hold(worker)
    if fullest is None:
        return ""
    index, use = fullest
    lag = worker.loop_lag_s.values_at((0.5,))
    if (use.utilization or 0.0) > _FULL_CORE:
        figure = f"used {use.utilization:.0%} of a core in the hold of {level_name(aggregator.levels[index])}"
    elif lag is not None and lag[0] > _SATURATED_LAG_S:
        figure = f"noticed half of all events more than {lag[0] * 1000:.1f} ms late"
    else:
        return ""
    if worker.reads_with_kernel_time >= (1 - NEGLIGIBLE_SHARE) * worker.reads:
        consequence = "timestamps are the kernel's and still correct, but its users sent requests later than they could"
    else:
        consequence = "timestamps are taken in user space, and late"
    return f"{figure}: use more processes (--processes -1: one per core) or more workers; {consequence}"
