"""Whether the server's prefix cache held what it should have held."""

from __future__ import annotations

from collections.abc import Iterator

from tokenswarm.recording.aggregator import LevelStats
from tokenswarm.run_folder.schema import IssueKind, ValidityIssue


def cache_issues(level: LevelStats) -> Iterator[ValidityIssue]:
    """Of one level."""
    if level.level.cache_flushed is False:
        yield ValidityIssue(
            kind=IssueKind.CACHE_NOT_FLUSHED,
            message="the server refused to flush its prefix cache before the level (--cache flush): it may hold "
            "earlier prompts",
        )
