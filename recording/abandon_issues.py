"""Whether users left the requests that they were to leave."""

from __future__ import annotations

from collections.abc import Iterator

from tokenswarm.metrics.shares import share_deviates
from tokenswarm.recording.abandon_stats import AbandonStats
from tokenswarm.run_folder.schema import IssueKind, ValidityIssue


def abandon_issues(left: AbandonStats | None, levels: int) -> Iterator[ValidityIssue]:
    """Of one level. levels: of the run, all of which are compared."""
    if left is None or not left.requests:
        return
    if share_deviates(left.drawn, left.requests, left.plan.share, max(1, levels)):
        yield ValidityIssue(
            kind=IssueKind.ABANDONMENT,
            message=f"the users of {left.drawn:,} of {left.requests:,} requests of the hold "
            f"({left.drawn / left.requests:.1%}) were to leave them, and {left.plan.share:.1%} were requested "
            "(--abandon): more than chance explains",
            values={"drawn": left.drawn, "requests": left.requests, "requested_share": left.plan.share},
        )
    if left.overstayed:
        yield ValidityIssue(
            kind=IssueKind.ABANDONMENT,
            message=f"{left.overstayed:,} of {left.drawn:,} requests that users were to leave {left.plan.in_words} "
            "(--abandon) were waited for: the client was too busy",
            values={"overstayed": left.overstayed, "drawn": left.drawn},
        )
