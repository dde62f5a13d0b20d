"""Whether workers left requests of an open loop unsent."""

from __future__ import annotations

from collections.abc import Iterator

from tokenswarm.recording.aggregator import LevelStats
from tokenswarm.run_folder.open_loop_figures import NotSent, OpenLoopFigures
from tokenswarm.run_folder.schema import IssueKind, ValidityIssue


def gap_issues(level: LevelStats, figures: OpenLoopFigures) -> Iterator[ValidityIssue]:
    """One for each worker that owed requests of a level that is over. What waited for the limit of requests in flight
    until the level's end is no gap."""
    arrivals, splits = level.level.arrivals, level.splits
    if arrivals is None or splits is None:
        return
    for gap in figures.not_sent_by_workers:
        if arrivals.max_in_flight is None or gap.worker not in splits.workers:
            yield _gap_issue(gap)


def _gap_issue(gap: NotSent) -> ValidityIssue:
    whose = "no worker was there to send" if gap.worker is None else f"worker {gap.worker} did not send"
    values = {"not_sent": float(gap.requests), "from_s": gap.from_s, "until_s": gap.until_s}
    return ValidityIssue(
        kind=IssueKind.WORKER_GAP,
        message=f"{whose} {gap.requests:,} requests that were due from {gap.from_s:.2f} to {gap.until_s:.2f} s of the "
        "level, and no other worker could",
        values=values if gap.worker is None else values | {"worker": float(gap.worker)},
    )
