"""Whether the outputs of a level arrived in lumps, so that its gaps, TPOT and rates are not those of single tokens."""

from __future__ import annotations

from collections.abc import Iterator

from tokenswarm.metrics.lumps import BURST_OUTPUTS
from tokenswarm.metrics.quantiles import quantile, share_interval
from tokenswarm.metrics.timeline import Outcome
from tokenswarm.recording.scope_stats import ScopeStats
from tokenswarm.run_folder.schema import IssueKind, ValidityIssue

#: What counts of requests in messages are of, as the figures beside them are of the hold.
WHOLE_LEVEL = "whole level, not only its hold"
#: Bursts shorter than this may be the client's: with many streams it looks for arrivals once a millisecond.
_LEAST_BURST_S = 0.005
#: Answers that came at once matter where significantly more than this share of a level's are (the 95 % interval of
#: their share lies above it), and at least so many.
_AT_ONCE_SHARE = 0.05
_FEWEST_AT_ONCE = 2


def lump_issues(scope: ScopeStats) -> Iterator[ValidityIssue]:
    """What is to be said of the lumps, with their numbers; nothing where tokens arrived one by one."""
    yield from _burst_issues(scope)
    yield from _at_once_issues(scope)


def _burst_issues(scope: ScopeStats) -> Iterator[ValidityIssue]:
    """Outputs held back and passed on together, by a gateway or the server; not what a late client read together."""
    outputs, gap = scope.outputs_per_arrival, quantile(scope.gap_s, 0.5)
    if outputs is None or outputs < BURST_OUTPUTS or gap is None:
        return
    held_back_s, late_s = gap.value * (1 - 1 / outputs), _client_lateness_s(scope)
    if held_back_s <= max(_LEAST_BURST_S, late_s):
        return
    yield ValidityIssue(
        kind=IssueKind.OUTPUT_BURSTS,
        message=f"outputs came in bursts, {outputs:,.1f} at once and {gap.value * 1000:,.0f} ms apart (median): a "
        f"gateway or the server holds them back, as the client was late by {late_s * 1000:,.1f} ms only (p99); TTFT "
        "and gaps are those of the bursts",
        values={"outputs_per_arrival": outputs, "gap_p50_s": gap.value, "client_late_p99_s": late_s},
    )


def _client_lateness_s(scope: ScopeStats) -> float:
    """How late (p99) this process may have read: what it reads late, it reads together."""
    late = (quantile(scope.client_delay_s, 0.99), quantile(scope.loop_lag_s, 0.99))
    return max((found.value for found in late if found is not None), default=0.0)


def _at_once_issues(scope: ScopeStats) -> Iterator[ValidityIssue]:
    """Answers whose tokens came in one arrival for the most part: they have no time per output token."""
    at_once, ok = scope.requests_without_tpot, scope.outcomes[Outcome.OK]
    if at_once < _FEWEST_AT_ONCE or share_interval(at_once, ok)[0] <= _AT_ONCE_SHARE:
        return
    tokens, late_s = scope.tokens_per_event or 0.0, _client_lateness_s(scope)
    how = (
        f"events hold {tokens:,.1f} tokens on average"
        if tokens >= BURST_OUTPUTS
        else "many events were received at once"
    )
    yield ValidityIssue(
        kind=IssueKind.MOST_TOKENS_AT_ONCE,
        message=f"most tokens of {at_once:,} of {ok:,} responses ({WHOLE_LEVEL}) came in one arrival, as {how}: "
        "they have no TPOT and no token rate of one user, and their TTFT is the time of that arrival; "
        f"{_at_once_advice(tokens, late_s)}",
        values={"responses": at_once, "ok": ok, "tokens_per_event": tokens, "client_late_p99_s": late_s},
    )


def _at_once_advice(tokens_per_event: float, late_s: float) -> str:
    """What may be the cause: outputs in separate events may also have waited for a client that read late."""
    late = f"the client read up to {late_s * 1000:,.1f} ms late (p99)"
    if tokens_per_event >= BURST_OUTPUTS:
        return "the server, or a gateway before it, puts several tokens into an event"
    if late_s > _LEAST_BURST_S:
        return (
            f"{late}, so this machine may have gathered them: stop other programs on it. If it stays so, a "
            "gateway or proxy before the server buffers streams"
        )
    return (
        f"{late}, too little to gather them: check whether a gateway or proxy before the server buffers streams "
        "(tokenswarm probe shows each arrival)"
    )
