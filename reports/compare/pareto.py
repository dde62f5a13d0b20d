"""What each server delivers at each level in two figures at once, and which of these points others leave behind."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import NamedTuple

from tokenswarm.metrics import intervals
from tokenswarm.metrics.intervals import Estimate, Pooled
from tokenswarm.metrics.pareto import on_front
from tokenswarm.reports.compare.comparison import (
    TOKEN_RATE,
    TTFT,
    TTFT_P95,
    USER_RATE,
    Compared,
    ComparedLevel,
    ComparedServer,
    RunComparison,
    Standing,
)


class ParetoPlane(NamedTuple):
    """Two figures set against each other. key: letters and digits, for identifiers; words: what `across` is."""

    key: str
    across: Compared
    up: Compared
    words: str


#: In the order of the charts.
PLANES = (
    ParetoPlane("user", USER_RATE, TOKEN_RATE, "tokens/s per user"),
    ParetoPlane("ttftp50", TTFT, TOKEN_RATE, "TTFT p50"),
    ParetoPlane("ttftp95", TTFT_P95, TOKEN_RATE, "TTFT p95"),
)


@dataclass(frozen=True, slots=True)
class ParetoPoint:
    """A server at a level. up: its token rate, by GPU where `per_gpu` says so. on_front: no other point of its plane is
    better in one figure and not worse in the other, by the values alone. dominated: another one is significantly better
    in both figures."""

    server: ComparedServer
    level: ComparedLevel
    across: Pooled
    up: Pooled
    on_front: bool = False
    dominated: bool = False


def per_gpu(comparison: RunComparison) -> bool:
    """Whether token rates are divided by GPUs: every run says how many its server has."""
    return all(run.results.summary.hardware for server in comparison.servers for run in server.runs)


def pareto_points(comparison: RunComparison, plane: ParetoPlane, mode: str) -> list[ParetoPoint]:
    """The points of a plane under a system-prompt mode, server by server in the order of the load; none where a server
    has no value of one of the figures. Raises ReportError."""
    found = [
        ParetoPoint(server, level, across, up)
        for server in comparison.servers
        for level in sorted(comparison.levels, key=lambda level: level.load)
        if level.system_prompt == mode
        and (across := comparison.pooled(plane.across, level, server)) is not None
        and (up := _rate(comparison, plane.up, level, server)) is not None
    ]
    front = on_front([(_goodness(plane.across, one.across), _goodness(plane.up, one.up)) for one in found])
    return [
        replace(one, on_front=first, dominated=any(_leaves_behind(comparison, plane, other, one) for other in found))
        for one, first in zip(found, front, strict=True)
    ]


def _rate(comparison: RunComparison, up: Compared, level: ComparedLevel, server: ComparedServer) -> Pooled | None:
    if not per_gpu(comparison):
        return comparison.pooled(up, level, server)
    found = [
        _divided(estimate, hardware.gpus)
        for run, of_run in server.levels(level)
        if (estimate := comparison.estimate(run, of_run, up)) and (hardware := run.results.summary.hardware)
    ]
    return intervals.pooled(found) if found else None


def _divided(run: Estimate, by: int) -> Estimate:
    low, high = (None if end is None else end / by for end in (run.low, run.high))
    return Estimate(run.value / by, low, high, run.count)


def _goodness(compared: Compared, pooled: Pooled) -> float:
    return pooled.estimate.value if compared.higher_is_better else -pooled.estimate.value


def _leaves_behind(comparison: RunComparison, plane: ParetoPlane, other: ParetoPoint, one: ParetoPoint) -> bool:
    """Whether the other point is significantly better in both figures."""
    return (
        other is not one
        and comparison.standing(plane.across, one.across, other.across) is Standing.WORSE
        and comparison.standing(plane.up, one.up, other.up) is Standing.WORSE
    )
