"""Whether the requests of a level had the requested lengths."""

from __future__ import annotations

from collections.abc import Iterator

from tokenswarm.metrics.lengths import TOLERANCE_SHARE, TOLERANCE_TOKENS, LengthComparison
from tokenswarm.recording.lump_issues import WHOLE_LEVEL
from tokenswarm.recording.scope_stats import ScopeStats
from tokenswarm.run_folder.schema import IssueKind, ValidityIssue

#: Up to this share of the requests may have another length than the requested one.
_DEVIATING_SHARE = 0.01


def length_issues(scope: ScopeStats) -> Iterator[ValidityIssue]:
    """One for each of the two lengths that too many requests differ in."""
    yield from _of_length(IssueKind.INPUT_LENGTHS, "input", scope.input_lengths)
    yield from _of_length(IssueKind.OUTPUT_LENGTHS, "output", scope.output_lengths)


def _of_length(kind: IssueKind, name: str, found: LengthComparison) -> Iterator[ValidityIssue]:
    if found.deviating <= _DEVIATING_SHARE * found.requests:
        return
    requested, actual = found.requested_tokens / found.requests, found.actual_tokens / found.requests
    yield ValidityIssue(
        kind=kind,
        message=f"the {name} length of {found.deviating:,} of {found.requests:,} requests ({WHOLE_LEVEL}) "
        f"differs from the requested one by more than {TOLERANCE_TOKENS} token and {TOLERANCE_SHARE:.0%} (requested "
        f"{requested:,.1f} on average, actual {actual:,.1f})",
        values={
            "deviating": found.deviating,
            "requests": found.requests,
            "requested_mean": requested,
            "actual_mean": actual,
        },
    )
