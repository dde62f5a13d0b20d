"""What the table says of an open loop: rates, requests in flight, and times from when requests were due."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

from tokenswarm.metrics.level import SESSION_RATE_UNIT
from tokenswarm.metrics.quantiles import Quantile
from tokenswarm.reports import units
from tokenswarm.reports.level_names import level_name
from tokenswarm.run_folder.distribution import Distribution
from tokenswarm.run_folder.open_loop_figures import NotSent, OpenLoopFigures
from tokenswarm.run_folder.schema import LevelSummary

OPEN_LOOP_NOTE = (
    "Open loop: requests are sent when they are due, whether or not earlier ones have ended. All rates are averages "
    "over the hold. Offered: requests due by the schedule. Completed: requests that ended without error. In flight: "
    "requests that were sent and have not ended, averaged over each second; mean and most are the mean and the "
    "largest of these averages. Backlog, where it is shown: UNSTABLE if the number in flight kept growing over the "
    "hold, so that the server cannot sustain this rate; stable if it did not; a dash if the hold is too short. Lag: "
    "time sent minus time due. TTFT and E2E from schedule count from the time when a request was due, lag included; "
    "all other latencies count from the time when it was sent."
)
#: Stands behind each latency of an unstable level.
UNSTABLE = "~"
OPEN_BASIS_NOTE = (
    "Unless a table says otherwise, figures describe each level's hold: the time in which its requests are due. "
    "Latencies are those of requests that were due in the hold and ended without error, with 95 % intervals. "
    "tokens/s, all: output tokens received per second in the hold; one user: the median of the token rates of single "
    "requests."
)


class OpenLoopColumn(NamedTuple):
    """A column of the open loop's own table."""

    group: str
    head: str
    cell: Callable[[LevelSummary], str]


def latency(level: LevelSummary, found: Quantile | None) -> str:
    """A percentile of a level, with the mark of an unstable one."""
    return units.quantile(found) + (UNSTABLE if found is not None and level.is_unstable else "")


def _load(show: Callable[[OpenLoopFigures], str]) -> Callable[[LevelSummary], str]:
    return lambda level: show(level.open_loop) if level.open_loop else units.UNDEFINED


def _time(of: Callable[[LevelSummary], Distribution | None], percentile: str) -> Callable[[LevelSummary], str]:
    return lambda level: latency(level, getattr(found, percentile) if (found := of(level)) else None)


OPEN_LOOP_COLUMNS = (
    OpenLoopColumn("requests/s", "requested", _load(lambda found: units.rate(found.requested_rate))),
    OpenLoopColumn("requests/s", "offered", _load(lambda found: units.rate(found.offered_rate))),
    OpenLoopColumn("requests/s", "sent", _load(lambda found: units.rate(found.sent_rate))),
    OpenLoopColumn("requests/s", "completed", _load(lambda found: units.rate(found.completed_rate))),
    OpenLoopColumn("in flight", "mean", _load(lambda found: units.rate(found.in_flight_mean))),
    OpenLoopColumn("in flight", "most", _load(lambda found: units.rate(found.in_flight_max))),
    OpenLoopColumn("", "backlog", _load(lambda found: _backlog(found.unstable))),
    OpenLoopColumn("lag", "p50", _time(lambda level: level.hold.lag_s, "p50")),
    OpenLoopColumn("lag", "p99", _time(lambda level: level.hold.lag_s, "p99")),
    OpenLoopColumn("TTFT from schedule", "p50", _time(lambda level: level.hold.ttft_scheduled_s, "p50")),
    OpenLoopColumn("TTFT from schedule", "p99", _time(lambda level: level.hold.ttft_scheduled_s, "p99")),
    OpenLoopColumn("E2E from schedule", "p50", _time(lambda level: level.hold.e2e_scheduled_s, "p50")),
    OpenLoopColumn("E2E from schedule", "p99", _time(lambda level: level.hold.e2e_scheduled_s, "p99")),
)


def open_loop_columns(levels: Sequence[LevelSummary]) -> list[OpenLoopColumn]:
    """The columns, whose rates are of sessions where these arrive."""
    of_sessions = any(_noun(level) == "session" for level in levels)
    return [
        column._replace(group="sessions/s") if of_sessions and column.group == "requests/s" else column
        for column in OPEN_LOOP_COLUMNS
    ]


def _noun(level: LevelSummary) -> str:
    """What arrives."""
    return "session" if level.level.endswith(SESSION_RATE_UNIT) else "request"


def level_heading(levels: Sequence[LevelSummary]) -> str:
    """What the column with the levels' names is headed."""
    return "level" if any(level.open_loop for level in levels) else "users"


def _backlog(unstable: bool | None) -> str:
    return units.UNDEFINED if unstable is None else "UNSTABLE" if unstable else "stable"


def _gap_text(gap: NotSent, noun: str) -> str:
    whose = "no worker was there for" if gap.worker is None else f"worker {gap.worker} did not send"
    span = f"due from {units.duration(gap.from_s)} to {units.duration(gap.until_s)} of the level"
    return f"{whose} {units.counted(gap.requests, noun)} {span}."


def unstable_notes(levels: Sequence[LevelSummary]) -> list[str]:
    """A sentence for each level in which more requests arrived than were answered, and for what was not sent."""
    found = []
    for level in levels:
        load, noun = level.open_loop, _noun(level)
        if load is None:
            continue
        if load.unstable:
            low, high = units.rate(load.in_flight_slope_low), units.rate(load.in_flight_slope_high)
            found.append(
                f"UNSTABLE at {level_name(level)}: {noun}s in flight grew by {units.rate(load.in_flight_slope)} a "
                f"second ({low} to {high}). More arrive than the server answers: its latencies (marked {UNSTABLE}) "
                "describe the length of the level, not the server."
            )
        if load.not_sent:
            found.append(
                f"{level_name(level)}: {units.counted(load.not_sent, noun)} of {units.count(load.offered or 0)} "
                "that were due were not sent before the level's end."
            )
        found += [f"{level_name(level)}: {_gap_text(gap, noun)}" for gap in load.not_sent_by_workers]
    return found
