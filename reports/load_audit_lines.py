"""Requested and measured load in words: a line for each level, and the columns of its table."""

from __future__ import annotations

from tokenswarm.metrics.level import arrivals_in_words, has_random_arrivals
from tokenswarm.reports import units
from tokenswarm.reports.level_names import level_name
from tokenswarm.run_folder.load_audit import GapAudit, LoadAudit
from tokenswarm.run_folder.reader import Results
from tokenswarm.run_folder.schema import IssueKind, LevelSummary

_OF_ARRIVALS = (
    *("arrivals: K-S distance", "K-S p", "burstiness", "burstiness of the schedule"),
    *("lag p50", "lag p99", "lag max", "result"),
)
#: By what a level's load is counted in: the columns of its row.
HEADINGS = {
    "users": (
        *("level", "users requested", "users on average", "fewest in a second"),
        *("time below 95 % of the requested users", "result"),
    ),
    "requests/s": ("level", "requests/s requested", "requests/s sent", *_OF_ARRIVALS),
    "sessions/s": ("level", "sessions/s requested", "sessions/s begun", *_OF_ARRIVALS),
}
_AS_REQUESTED = "as requested"
_GAP_FIGURES = ("distance", "chance", "dispersion", "dispersion_requested")
NOTES = {
    "requests/s": (
        "Whether requests were sent with the requested times between them. K-S distance (Kolmogorov-Smirnov): the "
        "largest difference between the measured and the requested distribution of these times, from 0 to 1. K-S p: "
        "how probable a distance at least as large is if all is as requested. Burstiness: the variance of the number "
        "of requests in intervals that should hold 10, divided by 10: 1 for poisson, 0 for constant arrivals; of the "
        "schedule: the same of the times at which requests were due. Lag: time sent minus time due."
    ),
}
NOTES["sessions/s"] = f"Requests: sessions' first turns. {NOTES['requests/s']}"


def load_lines(results: Results) -> list[str]:
    """The heading and a line for each level whose load was measured; none where no level's was."""
    late = levels_sent_late(results)
    lines = [
        f"  {level_name(level)}: {_line(level, level.load_audit, late=level.index in late)}"
        for level in results.summary.levels
        if level.load_audit is not None
    ]
    return ["Requested and measured load:", *lines] if lines else []


def levels_sent_late(results: Results) -> frozenset[int | None]:
    """Those whose requests the client sent too late, by their index."""
    issues = results.summary.validity.issues
    return frozenset(issue.level for issue in issues if issue.kind == IssueKind.SEND_LAG)


def load_cells(level: LevelSummary, audit: LoadAudit, *, late: bool) -> list[str]:
    """The cells of a level's row, but for its name. late: whether its requests were sent too late."""
    load = [units.rate(audit.requested), units.rate(audit.measured)]
    if audit.unit == "users":
        short = level.concurrency.short_share if level.concurrency else None
        return [*load, units.rate(audit.measured_min), units.percentage(short), _result(audit, late)]
    judged = audit.gaps if audit.gaps is not None and audit.gaps.as_requested is not None else None
    gaps = [getattr(judged, name, None) for name in _GAP_FIGURES]
    lags = (audit.lag_p50_s, audit.lag_p99_s, audit.lag_max_s)
    return [*load, *map(units.statistic, gaps), *map(units.duration, lags), _result(audit, late)]


def _result(audit: LoadAudit, late: bool) -> str:
    if not (audit.as_requested and (audit.gaps is None or audit.gaps.as_requested is not False)):
        return "NOT AS REQUESTED"
    return "SENT LATE" if late else _AS_REQUESTED


def _line(level: LevelSummary, audit: LoadAudit, *, late: bool) -> str:
    result = _result(audit, late)
    loud = "" if result == _AS_REQUESTED else f"{result}: "
    if audit.unit == "users":
        requested = round(audit.requested)
        mean, least = (units.users_of(users, requested) for users in (audit.measured, audit.measured_min or 0.0))
        return f"{loud}{mean} of {units.amount(audit.requested)} users on average, at least {least} in any second"
    verb = "begun" if audit.unit == "sessions/s" else "sent"
    due = level.open_loop.offered_rate if level.open_loop else None
    random = audit.gaps is not None and has_random_arrivals(level.level, audit.gaps.process)
    schedule = "the random schedule happened to have" if random else "the schedule had"
    by_schedule = f"; in the hold {schedule} {units.rate(due)}" if due is not None else ""
    parts = [f"requested {units.rate(audit.requested)} {audit.unit}{by_schedule}, {verb} {units.rate(audit.measured)}"]
    if audit.gaps is not None:
        parts.append(_gaps_in_words(audit.gaps, level.level))
    if audit.lag_p99_s is not None:
        parts.append(f"lag p99 {units.duration(audit.lag_p99_s)}, largest {units.duration(audit.lag_max_s)}")
    return loud + "; ".join(parts)


def _gaps_in_words(gaps: GapAudit, level: str) -> str:
    if gaps.as_requested is None:
        return "too few requests to test the times between them"
    beginning = "as in" if gaps.as_requested else "not as in"
    return f"times between requests {beginning} {arrivals_in_words(level, gaps.process)}"
