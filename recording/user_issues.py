"""Whether users of a level sent their requests as they should have: with their think times, and turn by turn."""

from __future__ import annotations

from collections.abc import Iterator

from tokenswarm.metrics.think_pauses import ThinkPauses
from tokenswarm.recording.session_stats import SessionStats
from tokenswarm.run_folder.schema import IssueKind, ValidityIssue


def user_issues(think: ThinkPauses, sessions: SessionStats) -> Iterator[ValidityIssue]:
    """Of one level."""
    yield from _think_time_issues(think)
    yield from _session_issues(sessions)


def _think_time_issues(found: ThinkPauses) -> Iterator[ValidityIssue]:
    """Whether users waited between their requests as they should have."""
    requested_s, actual_s = found.requested_mean_s, found.actual_mean_s
    if requested_s is None or actual_s is None or found.as_requested:
        return
    yield ValidityIssue(
        kind=IssueKind.THINK_TIME,
        message=f"users waited {_ms(actual_s)} on average between a request and the next one, and {_ms(requested_s)} "
        f"was requested ({found.pauses:,} pauses): the client could not keep the think time",
        values={"actual_mean_s": actual_s, "requested_mean_s": requested_s, "pauses": found.pauses},
    )


def _session_issues(found: SessionStats) -> Iterator[ValidityIssue]:
    """Whether the turns of each session were sent one after the other."""
    if not found.out_of_order and not found.overlapping:
        return
    yield ValidityIssue(
        kind=IssueKind.SESSION_ORDER,
        message=f"{found.out_of_order:,} requests were not of the turn that followed in their session, and "
        f"{found.overlapping:,} were sent before the turn before was over: the client is defective, or reports were "
        "lost",
        values={"out_of_order": found.out_of_order, "overlapping": found.overlapping},
    )


def _ms(seconds: float) -> str:
    return f"{seconds * 1000:,.1f} ms"
