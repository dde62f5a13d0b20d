"""Whether the requests of a level were spread over models and hosts as requested."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from tokenswarm.metrics.mix import MixMember, RunMix
from tokenswarm.metrics.shares import share_deviates
from tokenswarm.recording.mix_stats import MemberStats, MixStats
from tokenswarm.run_folder.schema import IssueKind, ValidityIssue


def mix_issues(stats: MixStats, mix: RunMix, levels: int) -> Iterator[ValidityIssue]:
    """Of one level's requests. levels: of the run, all of which are compared."""
    yield from _issues(IssueKind.MODEL_SHARES, "model", stats.models, mix.models, levels)
    yield from _issues(IssueKind.HOST_SHARES, "host", stats.hosts, mix.hosts, levels)


def _issues(
    kind: IssueKind, noun: str, stats: Sequence[MemberStats], members: Sequence[MixMember], levels: int
) -> Iterator[ValidityIssue]:
    requests = sum(each.requests for each in stats)
    for each, member in zip(stats, members):
        if not requests or member.share is None:
            continue
        compared = max(1, len(members) - 1) * max(1, levels)  # the last share follows from the others
        if share_deviates(each.requests, requests, member.share, compared):
            yield ValidityIssue(
                kind=kind,
                message=f"{noun} {member.name} got {each.requests:,} of {requests:,} requests "
                f"({100 * each.requests / requests:.1f} %), and {100 * member.share:.1f} % were requested: more than "
                "chance explains",
                values={
                    "requests": each.requests,
                    "of": requests,
                    "share": each.requests / requests,
                    "requested_share": member.share,
                },
            )
