"""The abandoned requests of a level as summary.json has them, and what the server went on to do for them.

Two of the server's own figures show that. Requests that it runs or queues at the moment of a sample, less those that
were under way here at that moment, are requests that nobody waits for. By Little's law their mean number, times the
length of the hold, divided by the abandonments in it, is how long the server goes on with each. Tokens that it
generated in the hold, less those that arrived here in it, are tokens that nobody read. Load of another client is in
both.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from tokenswarm.metrics.intervals import mean_of
from tokenswarm.metrics.level import Scope
from tokenswarm.metrics.shares import share_deviates
from tokenswarm.metrics.token_counts import TokenSource
from tokenswarm.recording.abandon_stats import AbandonStats
from tokenswarm.recording.aggregator import LevelStats
from tokenswarm.recording.server_samples import READ_WITHIN_S, ServerSample, ServerSamples, growth
from tokenswarm.run_folder.abandon_figures import AbandonFigures, WasteFigures

#: Fewer samples than this say little of a mean.
FEWEST_SAMPLES = 3
#: Events hold one token each where their mean is this close to 1.
_ONE = 0.02


def abandon_figures(level: LevelStats, now_s: float, server: ServerSamples | None) -> AbandonFigures | None:
    """None where users wait for the end of each response. Waste is known once the level is over."""
    left = level.left
    if left is None:
        return None
    (late_p99_s,) = left.late_s.values_at((0.99,)) or (None,)
    waste, note = _waste(level, left, now_s, server)
    return AbandonFigures(
        requested_share=left.plan.share,
        after=left.plan.after,
        requests=left.requests,
        drawn=left.drawn,
        abandoned=left.abandoned,
        share=left.abandoned / left.requests if left.requests else None,
        ended_before=left.ended_before,
        late_p99_s=late_p99_s,
        late_max_s=left.late_s.maximum,
        overstayed=left.overstayed,
        as_requested=is_as_requested(left),
        waste=waste,
        waste_note=note,
    )


def is_as_requested(left: AbandonStats, levels: int = 1) -> bool:
    """Whether chance explains the share of the requests that users were to leave, and they left these. levels: of the
    run, all of which are compared."""
    if not left.requests:
        return True
    return not left.overstayed and not share_deviates(left.drawn, left.requests, left.plan.share, max(1, levels))


def _waste(
    level: LevelStats, left: AbandonStats, now_s: float, server: ServerSamples | None
) -> tuple[WasteFigures | None, str]:
    """(what the server did for abandoned requests, why that is not known)."""
    began_s, ends_s = (level.began_s + edge_s for edge_s in level.hold_s(now_s))
    if level.ended_s is None or ends_s <= began_s:
        return None, "the level is not over"
    if not left.abandoned:
        return None, "no request was abandoned"
    inside = server.within(began_s, ends_s) if server else []
    if not inside or server is None:
        return None, "the server reports no metrics, or none were read in the hold"
    running = _running(inside, left, ends_s - began_s)
    tokens = _tokens(server.within(began_s, ends_s + READ_WITHIN_S), level, left, ends_s - began_s)
    if running is None and tokens is None:
        return None, (
            f"fewer than {FEWEST_SAMPLES} samples of the server's metrics in the hold have its running requests, and "
            "its tokens cannot be compared with those that arrived"
        )
    return WasteFigures(samples=len(inside), **(running or {}), **(tokens or {})), ""


def _running(samples: Sequence[ServerSample], left: AbandonStats, hold_s: float) -> dict[str, float | None] | None:
    """None where the server does not say how many requests it runs."""
    known = [sample for sample in samples if "requests_running" in sample.values]
    if len(known) < FEWEST_SAMPLES:
        return None
    at_server = np.array([s.values["requests_running"] + s.values.get("requests_waiting", 0.0) for s in known])
    here = left.in_flight(np.array([sample.time_s for sample in known]))
    found = mean_of(at_server - here)
    assert found is not None
    return {
        "running_mean": found.value,
        "running_mean_low": found.low,
        "running_mean_high": found.high,
        "seconds_per_request": max(0.0, found.value) * hold_s / left.abandoned,
    }


def _tokens(
    samples: Sequence[ServerSample], level: LevelStats, left: AbandonStats, hold_s: float
) -> dict[str, float | None] | None:
    """None where the server does not count its tokens, and where those that arrived are not counted as it does."""
    hold = level.scopes[Scope.HOLD]
    grown = growth(samples, "output_tokens_total")
    if grown is None or hold.token_sources[TokenSource.EVENTS]:
        return None
    if left.counted_by_events and abs((hold.tokens_per_event or 0.0) - 1) > _ONE:
        return None
    generated = grown[0] / grown[1] * hold_s
    wasted = max(0.0, generated - hold.output_tokens)
    return {"tokens": wasted, "share": wasted / generated if generated else None}
