"""Requested and measured load in words: a line for each level, and the columns of its table."""

from __future__ import annotations

from tokenswarm.metrics.level import arrivals_in_words, has_random_arrivals
from tokenswarm.reports import units
from tokenswarm.reports.level_names import level_name
from tokenswarm.run_folder.load_audit import GapAudit, LoadAudit
from tokenswarm.run_folder.reader import Results
from tokenswarm.run_folder.schema import IssueKind, LevelSummary, ValidityIssue

_OF_ARRIVALS = (
    *("arrivals: K-S distance", "K-S p", "burstiness", "burstiness of the schedule"),
    *("lag p50", "lag p99", "lag max", "result"),
)
#: By what a level's load is counted in: the columns of its row.
HEADINGS = {
    "users": (
        *("level", "users requested", "users on average", "in the second with the fewest"),
        *("time below 95 % of the requested users", "result"),
    ),
    "requests/s": ("level", "requests/s requested", "requests/s sent", *_OF_ARRIVALS),
    "sessions/s": ("level", "sessions/s requested", "sessions/s begun", *_OF_ARRIVALS),
}
_AS_REQUESTED, _SENT_LATE, _NOT_AS_REQUESTED = "as requested", "SENT LATE", "NOT AS REQUESTED"
_GAP_FIGURES = ("distance", "chance", "dispersion", "dispersion_requested")
NOTES = {
    "requests/s": (
        "The table shows whether the times between requests were as requested. K-S distance (Kolmogorov-Smirnov): the "
        "largest difference between the measured and the requested distribution of these times, from 0 (no difference) "
        "to 1. K-S p: the probability of such a distance, or a larger one, if the times are as requested; the smaller, "
        "the worse. Burstiness: how unevenly requests were sent. The hold is cut into intervals in which 10 requests "
        "are expected; burstiness is the variance of the number sent in an interval, divided by 10. It is about 1 for "
        "poisson and about 0 for constant arrivals. Burstiness of the schedule: the same of the times at which "
        "requests were due. A dash: too few requests to test; constant arrivals have no K-S figures. Lag: time sent "
        "minus time due. Result: whether rate and lag were as requested, and the times between requests where there "
        "were enough of them to test. Such a time counts as requested where it differs by less than 1 ms, or by less "
        "than 5 % of the median TTFT if that is more."
    ),
}
NOTES["sessions/s"] = f"Requests in this note: the first turns of sessions. {NOTES['requests/s']}"


def load_lines(results: Results) -> list[str]:
    """The heading and a line for each level whose load was measured; none where no level's was."""
    late = {issue.level: issue for issue in _of_lag(results)}
    lines = [
        f"  {level_name(level)}: {_line(level, level.load_audit, late.get(level.index))}"
        for level in results.summary.levels
        if level.load_audit is not None
    ]
    return ["Requested and measured load:", *lines] if lines else []


def levels_sent_late(results: Results) -> frozenset[int | None]:
    """Those whose requests the client sent too late, by their index."""
    return frozenset(issue.level for issue in _of_lag(results))


def _of_lag(results: Results) -> list[ValidityIssue]:
    return [issue for issue in results.summary.validity.issues if issue.kind == IssueKind.SEND_LAG]


def load_cells(level: LevelSummary, audit: LoadAudit, *, late: bool) -> list[str]:
    """The cells of a level's row, but for its name. late: whether its requests were sent too late."""
    if audit.unit == "users":
        requested = round(audit.requested)
        users = [units.users_of(measured, requested) for measured in (audit.measured, audit.measured_min or 0.0)]
        short = level.concurrency.short_share if level.concurrency else None
        return [units.count(requested), *users, units.percentage(short), _users_result(level, audit)]
    load = [units.rate(audit.requested), units.rate(audit.measured)]
    judged = audit.gaps if audit.gaps is not None and audit.gaps.as_requested is not None else None
    gaps = [getattr(judged, name, None) for name in _GAP_FIGURES]
    lags = (audit.lag_p50_s, audit.lag_p99_s, audit.lag_max_s)
    return [*load, *map(units.statistic, gaps), *map(units.duration, lags), _result(audit, late)]


def _result(audit: LoadAudit, late: bool) -> str:
    if not (audit.as_requested and (audit.gaps is None or audit.gaps.as_requested is not False)):
        return _NOT_AS_REQUESTED
    return _SENT_LATE if late else _AS_REQUESTED


def _users_result(level: LevelSummary, audit: LoadAudit) -> str:
    """Of a closed loop, in which a short lack of users does not make the level suspect."""
    short = level.concurrency.short_share if level.concurrency else 0.0
    if not audit.as_requested or not short:
        return _result(audit, late=False)
    return f"{_AS_REQUESTED} for {units.percentage(1 - short)} of the hold"


def _line(level: LevelSummary, audit: LoadAudit, issue: ValidityIssue | None) -> str:
    if audit.unit == "users":
        requested = round(audit.requested)
        mean, least = (units.users_of(users, requested) for users in (audit.measured, audit.measured_min or 0.0))
        users = f"{mean} of {units.count(requested)} users on average, {least} in the second with the fewest"
        return f"{_users_result(level, audit)}: {users}"
    result = _result(audit, late=issue is not None)
    lag = () if audit.lag_p99_s is None else (_lag_in_words(audit.lag_p99_s, audit.lag_max_s, issue),)
    gaps = () if audit.gaps is None else (_gaps_in_words(audit.gaps, level.level),)
    rate = (_rate_in_words(level, audit),)
    # What makes the result comes first.
    if result == _NOT_AS_REQUESTED and audit.as_requested:
        parts = [*gaps, *rate, *lag]
    else:
        parts = [*lag, *rate, *gaps] if result == _SENT_LATE else [*rate, *gaps, *lag]
    return f"{result}: {'; '.join(parts)}"


def _rate_in_words(level: LevelSummary, audit: LoadAudit) -> str:
    verb = "begun" if audit.unit == "sessions/s" else "sent"
    sent, requested = f"{verb} {units.rate(audit.measured)} {audit.unit}", units.rate(audit.requested)
    due = units.rate(level.open_loop.offered_rate if level.open_loop else None)
    by_schedule = "" if due == units.UNDEFINED else f", due {due}"
    random = audit.gaps is not None and has_random_arrivals(level.level, audit.gaps.process)
    differs = due not in (requested, units.UNDEFINED)
    why = " (a random schedule differs from the requested rate by chance)" if random and differs else ""
    return f"{sent}{by_schedule}, requested {requested}{why}"


def _lag_in_words(p99_s: float, largest_s: float | None, issue: ValidityIssue | None) -> str:
    """The lag; with the limit that it exceeds, where the issue of the verdict says so."""
    bound_s = None if issue is None else issue.values.get("bound_s")
    bound = "" if bound_s is None else f", the limit is {units.duration(bound_s)}"
    return f"lag p99 {units.duration(p99_s)}{bound}; largest lag {units.duration(largest_s)}"


def _gaps_in_words(gaps: GapAudit, level: str) -> str:
    if gaps.as_requested is None:
        return "too few requests to test the times between them"
    beginning = "as in" if gaps.as_requested else "not as in"
    return f"times between requests {beginning} {arrivals_in_words(level, gaps.process)}"
