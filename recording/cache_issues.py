"""Whether the server's prefix cache held what it should have held."""

from __future__ import annotations

from collections.abc import Iterator

from tokenswarm.metrics.level import Scope
from tokenswarm.recording.aggregator import Aggregator, LevelStats
from tokenswarm.recording.cache_audit import FEWEST_REQUESTS, HITS_BOUND, beyond_expected
from tokenswarm.recording.server_samples import ServerSamples
from tokenswarm.run_folder.prompt_figures import PromptFigures
from tokenswarm.run_folder.schema import IssueKind, ServerFigures, ValidityIssue


def cache_issues(level: LevelStats, aggregator: Aggregator, server: ServerSamples) -> Iterator[ValidityIssue]:
    """Of one level. Hits are judged when it is over and all its requests are reported."""
    if level.ended_s is not None and level.ended_s <= aggregator.reported_until_s:
        prompts = level.scopes[Scope.HOLD].prompts.figures()
        if prompts.expected_share_max is None:
            yield from _texts_sent_before(prompts)
        else:
            yield from _unexplained_hits(prompts, server.figures(level, Scope.HOLD, level.ended_s))
    if level.level.cache_flushed is False:
        yield ValidityIssue(
            kind=IssueKind.CACHE_NOT_FLUSHED,
            message="the server refused to flush its prefix cache before the level (--cache flush): it may hold "
            "earlier prompts",
        )


def _texts_sent_before(prompts: PromptFigures) -> Iterator[ValidityIssue]:
    """Whether the cache held whole texts that the run had not sent before."""
    share = prompts.first_sent_cached_share
    if share is None or share <= HITS_BOUND or prompts.first_sent < FEWEST_REQUESTS:
        return
    yield ValidityIssue(
        kind=IssueKind.PREFIX_HITS,
        message=f"prompts were served from cache: {share:.1%} of the {prompts.first_sent:,} requests of the hold that "
        "sent a text for the first time in this run found all of it in the server's prefix cache: an earlier run, or "
        "another client, had sent them; give --cache bust, in place of --prompt-reuse, or --cache flush",
        values={"first_sent": prompts.first_sent, "first_sent_cached_share": share},
    )


def _unexplained_hits(prompts: PromptFigures, seen: ServerFigures | None) -> Iterator[ValidityIssue]:
    """Whether the cache held more than the run itself had put there. seen: by the server's own metrics."""
    share, most = prompts.cached_share, prompts.expected_share_max
    if share is None and seen is not None:
        share = seen.prefix_cache_hit_ratio
    if share is None or most is None or beyond_expected(share, prompts) <= 0:
        return
    yield ValidityIssue(
        kind=IssueKind.PREFIX_HITS,
        message=f"prompts were served from cache: {share:.1%} of the prompt tokens of the hold were in the server's "
        f"prefix cache, and what the run had sent before explains {most:.1%} at most: an earlier run with the same "
        "seed and nonce, or another client, had sent them; give --cache bust or flush, or another --prompt-nonce",
        values={"cached_share": share, "expected_share_max": most},
    )
