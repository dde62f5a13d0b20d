"""Whether another client loads the server too: the server's own counts of a hold against what this run sent.

Conservative bounds: engines sample, count and round in their own ways, and requests that are under way at the edges of
a hold are counted in it by one side and not by the other.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil, floor
from statistics import median_low

from tokenswarm.metrics.level import Scope
from tokenswarm.metrics.timeline import Outcome
from tokenswarm.metrics.token_counts import TokenSource
from tokenswarm.recording.aggregator import Aggregator, LevelStats
from tokenswarm.recording.server_samples import READ_WITHIN_S, ServerSample, ServerSamples, growth
from tokenswarm.run_folder.schema import IssueKind, ValidityIssue

#: The server runs more requests than this many times those of the run, in most of at least so many samples.
_MOST_RUNNING = 1.2
_FEWEST_SAMPLES = 3
#: Seconds of users, added up by second, are this exact.
_ROUNDING = 0.01
#: The server counts more tokens or requests than this many times those of the run, edges of the hold left out.
_MOST_COUNTED = 1.25
#: Counters are compared over at least this time.
_SHORTEST_SPAN_S = 5.0
#: Requests whose end the server may not notice: it may still run them.
_CANCELLED = (Outcome.CUT, Outcome.TIMEOUT, Outcome.ABORTED, Outcome.ABANDONED)
_UNITS = {
    "requests_running": ("request at once", "requests at once"),
    "output_tokens_per_s": ("token/s", "tokens/s"),
    "requests_per_s": ("request/s", "requests/s"),
}


def other_load(aggregator: Aggregator, level: LevelStats, server: ServerSamples) -> ValidityIssue | None:
    """The issue, where the server was clearly more loaded in the level's hold than this run explains. None too where it
    does not report enough, and before all requests of the level are reported."""
    if level.ended_s is None or level.ended_s > aggregator.reported_until_s:
        return None
    began_s, ends_s = (level.began_s + edge_s for edge_s in level.hold_s(level.ended_s))
    if ends_s <= began_s:
        return None
    span = server.within(began_s, ends_s + READ_WITHIN_S)
    sent_at_once = _most_at_once(aggregator, level)
    pairs = {
        "requests_running": _running(server.within(began_s, ends_s), sent_at_once + _abandoned_at_once(level)),
        "output_tokens_per_s": _token_rates(span, level, ends_s - began_s, sent_at_once),
        "requests_per_s": _request_rates(span, level, ends_s - began_s, sent_at_once),
    }
    if not any(pair[2] for pair in pairs.values() if pair):
        return None
    values = {
        f"{side}_{name}": value
        for name, pair in pairs.items()
        if pair
        for side, value in (("server", pair[0]), ("run", pair[1]))
    }
    return ValidityIssue(kind=IssueKind.OTHER_LOAD, message=_message(values, aggregator), values=values)


#: (by the server, by this run, whether the first clearly exceeds the second)
_Pair = tuple[float, float, bool]


def _running(samples: Sequence[ServerSample], sent_at_once: int) -> _Pair | None:
    running = [sample.values["requests_running"] for sample in samples if "requests_running" in sample.values]
    if len(running) < _FEWEST_SAMPLES:
        return None
    usual = median_low(running)
    return usual, float(sent_at_once), usual >= sent_at_once + 1 and usual > _MOST_RUNNING * sent_at_once


def _token_rates(samples: Sequence[ServerSample], level: LevelStats, hold_s: float, sent_at_once: int) -> _Pair | None:
    """None where this run's tokens are events: an event may hold several tokens."""
    hold, whole = level.scopes[Scope.HOLD], level.scopes[Scope.WHOLE]
    if whole.token_sources[TokenSource.EVENTS] or not whole.outcomes[Outcome.OK]:
        return None
    per_request = level.output_tokens / whole.outcomes[Outcome.OK]
    unread = hold.outcomes[Outcome.ABANDONED] * per_request  # an engine may generate these answers to their end
    return _rates(samples, "output_tokens_total", hold.output_tokens / hold_s, sent_at_once * per_request + unread)


def _request_rates(
    samples: Sequence[ServerSample], level: LevelStats, hold_s: float, sent_at_once: int
) -> _Pair | None:
    hold = level.scopes[Scope.HOLD]
    return _rates(samples, "ttft_seconds_count", (hold.requests + hold.retries) / hold_s, sent_at_once + 2)


def _rates(samples: Sequence[ServerSample], metric: str, run_rate: float, at_edges: float) -> _Pair | None:
    """at_edges: how much more the server may have counted in the span than the run, by requests at the hold's edges."""
    grown = growth(samples, metric)
    if grown is None or grown[1] < _SHORTEST_SPAN_S:
        return None
    by_server, span_s = grown
    return by_server / span_s, run_rate, by_server > _MOST_COUNTED * run_rate * span_s + at_edges


def _most_at_once(aggregator: Aggregator, level: LevelStats) -> int:
    """Requests that this run can have had under way at once: one per user; where there are none, as many as may have
    been in flight."""
    ended_s = level.ended_s or level.began_s
    windows = aggregator.windows_of(level, ended_s)
    arrived = level.flow.most_at_once(ceil(level.hold_s(ended_s)[1])) if level.level.arrivals is not None else 0
    there = ceil(max(level.user_seconds.values(), default=0.0) - _ROUNDING)  # of an own shape, which no level counts
    return max([level.level.users, arrived, there, *(max(window.users, window.in_flight) for window in windows)])


def _abandoned_at_once(level: LevelStats) -> int:
    """How many requests that users had left the server may still run at once: for as long as the longest answer."""
    whole = level.scopes[Scope.WHOLE]
    seconds = level.seconds(Scope.WHOLE, level.ended_s or level.began_s)
    if not whole.outcomes[Outcome.ABANDONED] or seconds <= 0:
        return 0
    return ceil(whole.outcomes[Outcome.ABANDONED] / seconds * min(seconds, whole.e2e_s.maximum or seconds))


def _message(values: dict[str, float], aggregator: Aggregator) -> str:
    known = [(name, units) for name, units in _UNITS.items() if f"server_{name}" in values]
    by_server, by_run = (
        [_counted(values[f"{side}_{name}"], *units) for name, units in known] for side in ("server", "run")
    )
    cancelled = any(
        level.scopes[Scope.WHOLE].outcomes[outcome] for level in aggregator.levels.values() for outcome in _CANCELLED
    )
    cause = ", or it still runs requests that were cancelled" if cancelled else ""
    return (
        f"other load: the server had {_list(by_server)}; this run had {_list(by_run)}: another client seems to "
        f"use the server too{cause}"
    )


def _counted(value: float, one: str, several: str) -> str:
    return f"{_number(value)} {one if value == 1 else several}"


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 or value == floor(value) else f"{value:.3g}"


def _list(words: Sequence[str]) -> str:
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"
