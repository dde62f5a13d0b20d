"""--requests: a level ends after so many requests."""

from __future__ import annotations

from dataclasses import replace
from math import ceil, floor, isinf

from msgspec import structs

from tokenswarm.command_line import timespan_text
from tokenswarm.metrics.level import Level
from tokenswarm.shapes.level_arrivals import rates_of, time_of
from tokenswarm.shapes.plan import PlanError, PlannedLevel

REQUESTS = "--requests"
#: A mistyped number would fill the disk.
MOST_REQUESTS = 100_000_000


def check_requests(requests: int) -> None:
    """Raises PlanError."""
    if not 0 <= requests <= MOST_REQUESTS:
        raise PlanError(f"{REQUESTS} takes a number up to {MOST_REQUESTS:,}, or 0 for no limit, got {requests:,}.")


def limit_requests(level: PlannedLevel, requests: int) -> PlannedLevel:
    """The level with so many requests; 0 leaves it as it is. An open loop's level then ends where its next request
    would be due. Raises PlanError, ArrivalsError."""
    check_requests(requests)
    if not requests:
        return level
    limited = replace(level, requests=requests)
    arrivals = level.arrivals
    if arrivals is None or arrivals.at_once:
        return limited
    endless = Level(level.index, level.system_prompt, level.name, arrivals=arrivals)
    if (last_s := time_of(endless, requests - 1)) is None:
        raise PlanError(f"{REQUESTS} {requests:,} is more than the times of {level.name} hold: give a smaller number.")
    following_s = None if arrivals.file_sha256 else time_of(endless, requests)
    end_s = floor(last_s) + 1.0 if following_s is None else following_s
    if arrivals.trace is not None:
        end_s = min(end_s, level.level_time_s)
    if not isinf(level.level_time_s) and end_s > level.level_time_s:
        raise PlanError(
            f"{REQUESTS} {requests:,} at {level.name} takes {timespan_text(ceil(end_s))}, and --level-time is "
            f"{timespan_text(level.level_time_s)}: give a longer --level-time."
        )
    return replace(
        limited, level_time_s=end_s, arrivals=structs.replace(arrivals, mean_rate=_mean_rate(limited, end_s))
    )


def _mean_rate(level: PlannedLevel, end_s: float) -> float:
    """Of a level that ends so many seconds after its beginning, in requests/s."""
    arrivals, requests = level.arrivals, level.requests
    assert arrivals is not None and requests is not None
    if arrivals.file_sha256:
        return requests / end_s
    return arrivals.mean_rate if len(arrivals.rates) == 1 else rates_of(arrivals).expected(end_s) / end_s
