"""The sessions of a level as summary.json has them."""

from __future__ import annotations

from math import inf
from typing import Any

from tokenswarm.recording.distributions import distribution
from tokenswarm.recording.session_stats import FEWEST_UNCACHED, LAST_TURN, DepthStats, SessionStats, TurnStats
from tokenswarm.run_folder.session_figures import DepthFigures, SessionFigures, TurnFigures, UncachedFigures


def session_figures(stats: SessionStats) -> SessionFigures | None:
    """None where requests belong to no sessions."""
    if not stats.started:
        return None
    slope_ns = stats.uncached.fit.slope
    return SessionFigures(
        started=stats.started,
        completed=stats.completed,
        failed=stats.failed,
        abandoned=stats.abandoned,
        unfinished=stats.unfinished,
        turns_mean=_mean(stats.completed_turns, stats.completed),
        duration_s=distribution(stats.duration_s),
        waited_s=distribution(stats.waited_s),
        out_of_order=stats.out_of_order,
        overlapping=stats.overlapping,
        empty_answers=stats.empty_answers,
        turns=tuple(_turn_figures(turn, found) for turn, found in sorted(stats.turns.items())),
        uncached=tuple(
            UncachedFigures(least, (2 * least if least else FEWEST_UNCACHED) - 1, found.count, distribution(found))
            for least, found in sorted(stats.uncached.by_least.items())
        ),
        ttft_per_uncached_token_s=None if slope_ns is None else slope_ns / 1e9,
        overflowed=stats.overflowed,
        ran_dry_s=None if stats.ran_dry_s == inf else stats.ran_dry_s,
        repeated=stats.repeated,
        depths=tuple(_depth_figures(depth, found) for depth, found in sorted(stats.depths.items())),
    )


def _turn_figures(turn: int, found: TurnStats) -> TurnFigures:
    return TurnFigures(turn=turn, and_later=turn == LAST_TURN, **_of_requests(found))


def _depth_figures(depth: int, found: DepthStats) -> DepthFigures:
    return DepthFigures(
        depth=depth,
        agents=found.agents,
        joins=found.join_s.count,
        join_s=distribution(found.join_s),
        **_of_requests(found.requests),
    )


def _of_requests(found: TurnStats) -> dict[str, Any]:
    return {
        "requests": found.requests,
        "failures": found.failures,
        "prompt_tokens_mean": _mean(found.prompt_tokens, found.prompts),
        "cached_share": _mean(found.cached_tokens, found.tokens_of_usages),
        "uncached_tokens_mean": _mean(found.tokens_of_usages - found.cached_tokens, found.usages),
        "ttft_s": distribution(found.ttft_s),
        "e2e_s": distribution(found.e2e_s),
    }


def _mean(total: int, count: int) -> float | None:
    return total / count if count else None
