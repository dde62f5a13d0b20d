"""The abandoned requests of a level as summary.json has them, and what the server went on to do for them.

Two of the server's own figures show that. Requests that it runs or queues at the moment of a sample, less those that
were under way here at that moment, are requests that nobody waits for. By Little's law their mean number, times the
length of the hold, divided by the abandonments in it, is how long the server goes on with each. Tokens that it
generated in the hold, less those that arrived here in it, are tokens that nobody read. Load of another client is in
both.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from tokenswarm.metrics.intervals import rate_of
from tokenswarm.metrics.level import Scope
from tokenswarm.metrics.shares import share_deviates
from tokenswarm.metrics.token_counts import TokenSource
from tokenswarm.recording.abandon_stats import AbandonStats
from tokenswarm.recording.aggregator import LevelStats
from tokenswarm.recording.server_samples import READ_WITHIN_S, ServerSample, ServerSamples
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
    tokens = _tokens(server.samples, level, left, (began_s, ends_s))
    running = _running(inside, left, ends_s - began_s, is_sure=bool(tokens and tokens["tokens_low"]))
    if running is None and tokens is None:
        return None, (
            f"fewer than {FEWEST_SAMPLES} samples of the server's metrics in the hold have its running requests, and "
            "its tokens cannot be compared with those that arrived"
        )
    return WasteFigures(samples=len(inside), **(running or {}), **(tokens or {})), ""


def _running(
    samples: Sequence[ServerSample], left: AbandonStats, hold_s: float, *, is_sure: bool
) -> dict[str, float | None] | None:
    """None where the server does not say how many requests it runs. is_sure: whether its tokens prove that it went on:
    the time is then the likeliest one, though the running requests alone would allow none."""
    known = [sample for sample in samples if "requests_running" in sample.values]
    if len(known) < FEWEST_SAMPLES:
        return None
    at_server = np.array([s.values["requests_running"] + s.values.get("requests_waiting", 0.0) for s in known])
    here = left.in_flight(np.array([sample.time_s for sample in known]))
    found = rate_of(at_server - here)
    assert found is not None
    none_measured = not is_sure and found.low is not None and found.low <= 0
    return {
        "running_mean": found.value,
        "running_mean_low": found.low,
        "running_mean_high": found.high,
        "seconds_per_request": 0.0 if none_measured else max(0.0, found.value) * hold_s / left.abandoned,
    }


def _tokens(
    samples: Sequence[ServerSample], level: LevelStats, left: AbandonStats, hold_s: tuple[float, float]
) -> dict[str, float | None] | None:
    """None where the server does not count its tokens, and where those that arrived are not counted as it does."""
    hold = level.scopes[Scope.HOLD]
    edges = [_counter_at(samples, edge_s) for edge_s in hold_s]
    if edges[0] is None or edges[1] is None or hold.token_sources[TokenSource.EVENTS]:
        return None
    if left.counted_by_events and abs((hold.tokens_per_event or 0.0) - 1) > _ONE:
        return None
    began, ended = edges[0], edges[1]
    generated = ended.likely - began.likely
    low, high = (max(0.0, grown - hold.output_tokens) for grown in (ended.low - began.high, ended.high - began.low))
    wasted = max(0.0, generated - hold.output_tokens) if low else 0.0
    share = wasted / generated if generated > 0 else None
    return {"tokens": wasted, "tokens_low": low, "tokens_high": high, "share": share}


class _Counter(NamedTuple):
    """A counter at a moment between two samples: interpolated, and what it was at the two."""

    low: float
    likely: float
    high: float


def _counter_at(samples: Sequence[ServerSample], when_s: float) -> _Counter | None:
    """The server's count of generated tokens; None where it was set back, and where the sample next to the moment is
    further away than READ_WITHIN_S and on one side only."""
    name = "output_tokens_total"
    known = [(each.time_s, each.values[name]) for each in samples if name in each.values]
    times_s, counts = np.array(known).reshape(-1, 2).T
    if len(known) < 2 or (np.diff(counts) < 0).any():
        return None
    after = int(np.searchsorted(times_s, when_s))
    outside_s = max(times_s[0] - when_s, when_s - times_s[-1])
    if outside_s > READ_WITHIN_S:
        return None
    after = min(max(after, 1), len(known) - 1)
    rate = (counts[after] - counts[after - 1]) / max(1e-9, times_s[after] - times_s[after - 1])
    likely = counts[after] + rate * (when_s - times_s[after])
    low, high = counts[after - 1], counts[after]
    if outside_s > 0:  # as far again as the rate beside it carries
        beyond = 2 * rate * outside_s
        low, high = (counts[0] - beyond, counts[0]) if when_s < times_s[0] else (counts[-1], counts[-1] + beyond)
    return _Counter(float(low), float(likely), float(high))
