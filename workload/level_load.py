"""The load of one level of the plan: how many requests, at which times."""

from __future__ import annotations

import numpy as np
from msgspec.structs import replace

from tokenswarm.metrics.gap_audit import counts_per_bin, dispersion
from tokenswarm.metrics.intervals import Series
from tokenswarm.metrics.level import Level
from tokenswarm.shapes.level_arrivals import arrival_law, schedule_of
from tokenswarm.workload.description import LevelFigures

#: Arrivals that gaps are computed of, at most.
_MOST_ARRIVALS = 1_000_000
_FEWEST_GAPS = 2


def level_figures(level: Level) -> LevelFigures:
    """Of a level. Raises ArrivalsError where its file cannot be read."""
    figures = LevelFigures(
        index=level.index,
        system_prompt=level.system_prompt,
        level=level.name,
        warm_up=level.warm_up,
        users=level.users,
        ramp_s=level.ramp_s,
        level_time_s=level.level_time_s,
        requests=level.requests,
        think_time=level.think_time.notation if level.think_time else None,
        think_time_mean_s=level.think_time.mean_s if level.think_time else None,
    )
    return figures if level.arrivals is None else _open(level, figures)


def _open(level: Level, figures: LevelFigures) -> LevelFigures:
    arrivals = level.arrivals
    assert arrivals is not None
    count, times_s = _arrivals_of(level)
    gap_cv = index = None
    if not arrivals.at_once and len(times_s) > _FEWEST_GAPS:
        operational = arrival_law(level).rates.expected_of(times_s)
        gaps = np.diff(operational)
        gap_cv = float(gaps.std() / gaps.mean()) if gaps.mean() else None
        index = dispersion(counts_per_bin(operational, 0.0, float(operational[-1])))
    seconds = level.level_time_s
    return replace(
        figures,
        requests=None if arrivals.sessions else count,
        sessions=count if arrivals.sessions else None,
        process=arrivals.process,
        rate=count / seconds if seconds and not arrivals.at_once else None,
        gap_cv=gap_cv,
        dispersion=index,
        max_in_flight=arrivals.max_in_flight,
    )


def _arrivals_of(level: Level) -> tuple[int, Series]:
    """(how many, the times in seconds of the first of them)."""
    count, kept = 0, [np.empty(0)]
    for times_s in schedule_of(level).blocks():
        if count < _MOST_ARRIVALS:
            kept.append(times_s)
        count += len(times_s)
    return count, np.concatenate(kept)
