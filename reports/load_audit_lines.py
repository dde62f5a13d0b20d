"""Requested and measured load in words: a line for each level, and the columns of its table."""

from __future__ import annotations

from collections.abc import Sequence

from tokenswarm.reports import units
from tokenswarm.reports.level_names import level_name
from tokenswarm.run_folder.load_audit import GapAudit, LoadAudit
from tokenswarm.run_folder.schema import LevelSummary

_OF_ARRIVALS = (
    *("gaps: distance", "chance", "dispersion", "dispersion of the schedule"),
    *("lag p50", "lag p99", "lag max", "result"),
)
#: By what a level's load is counted in: the columns of its row, and what they mean.
HEADINGS = {
    "users": ("level", "users requested", "users on average", "fewest users", "result"),
    "requests/s": ("level", "requests/s requested", "requests/s sent", *_OF_ARRIVALS),
    "sessions/s": ("level", "sessions/s requested", "sessions/s begun", *_OF_ARRIVALS),
}
_GAP_FIGURES = ("distance", "chance", "dispersion", "dispersion_requested")
NOTES = {
    "users": "Average and fewest: of the users that were there in the hold.",
    "requests/s": (
        "Sent: in the hold. Gaps: distance of the times between requests from those of the requested arrivals, 0 to 1 "
        "(Kolmogorov-Smirnov); chance: how likely so large a distance is if they follow them. Dispersion: variance of "
        "the number of requests in intervals that should hold 10, divided by 10: 1 for poisson, 0 for constant "
        "arrivals. Lag: sent - scheduled."
    ),
}
NOTES["sessions/s"] = f"Begun: their first turns, in the hold. {NOTES['requests/s'].partition('hold. ')[2]}"


def load_lines(levels: Sequence[LevelSummary]) -> list[str]:
    """The heading and a line for each level whose load was measured; none where no level's was."""
    lines = [f"  {level_name(level)}: {_line(level.load_audit)}" for level in levels if level.load_audit is not None]
    return ["Requested and measured load:", *lines] if lines else []


def load_cells(audit: LoadAudit) -> list[str]:
    """The cells of a level's row, but for its name."""
    result = "as requested" if is_as_requested(audit) else "NOT AS REQUESTED"
    load = [units.rate(audit.requested), units.rate(audit.measured)]
    if audit.unit == "users":
        return [*load, units.rate(audit.measured_min), result]
    gaps = [getattr(audit.gaps, name, None) for name in _GAP_FIGURES]
    lags = (audit.lag_p50_s, audit.lag_p99_s, audit.lag_max_s)
    return [*load, *map(units.statistic, gaps), *map(units.duration, lags), result]


def is_as_requested(audit: LoadAudit) -> bool:
    """Whether the load was the requested one, as far as it can be judged."""
    return audit.as_requested and (audit.gaps is None or audit.gaps.as_requested is not False)


def _line(audit: LoadAudit) -> str:
    loud = "" if is_as_requested(audit) else "NOT AS REQUESTED: "
    if audit.unit == "users":
        least = units.users(audit.measured_min or 0.0)
        mean = units.users_of(audit.measured, round(audit.requested))
        return f"{loud}{mean} of {units.amount(audit.requested)} users on average, never fewer than {least}"
    verb = "begun" if audit.unit == "sessions/s" else "sent"
    parts = [f"{units.rate(audit.measured)} of {units.rate(audit.requested)} {audit.unit} {verb}"]
    if audit.gaps is not None:
        parts += _of_gaps(audit.gaps)
    if audit.lag_p99_s is not None:
        parts.append(f"lag p99 {units.duration(audit.lag_p99_s)}, at most {units.duration(audit.lag_max_s)}")
    return loud + "; ".join(parts)


def _of_gaps(gaps: GapAudit) -> list[str]:
    distance, chance, found, requested = (units.statistic(getattr(gaps, name)) for name in _GAP_FIGURES)
    parts = []
    if gaps.distance is not None:
        parts.append(f"gaps {distance} from {gaps.process} (chance {chance})")
    if gaps.dispersion is not None:
        parts.append(f"dispersion {found} (schedule {requested})")
    return parts
