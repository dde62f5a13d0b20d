"""What the traces show of a server: which options it follows, and what would mislead a measurement there."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import msgspec

from tokenswarm.probe.stream_trace import StreamTrace

#: What is shorter than this is no finding.
_NOTICEABLE_S = 0.001
_NOTICEABLE_SHARE = 0.05
#: Headers this long after the request may have been held back.
_WELL_AFTER_S = 0.01
_CLOCK_S = 2.0
#: A prompt that was seen before has to be answered in this share of the time for a cache to be behind it.
_WARM_SHARE = 0.7
_WARM_S = 0.005
#: What servers answer to a field of a wrong type.
_TYPE_REFUSED = {400, 422}


class OptionFinding(msgspec.Struct, frozen=True):
    """Whether the server follows an option: yes, no, or unknown; and why it seems so."""

    name: str
    followed: str
    because: str


@dataclass(frozen=True, slots=True)
class ProbeTraces:
    """The responses to a probe's requests.

    plain: to the question alone. brief: to a question with a short answer. exact: the same, with the option of exactly
    `exact_tokens` tokens; None where the dialect has none. mistyped: the same, with a value of a wrong type for that
    option; None where `brief` ends by itself before `exact_tokens`, so that it is not needed. without_usage: without
    requesting usage; None where the dialect never requests it. cold, warm: with a system prompt never sent before, and
    the same again. cached_tokens: found in the cache for `warm` by the server's own count, None where it reports none.
    """

    plain: StreamTrace
    brief: StreamTrace
    exact: StreamTrace | None
    exact_tokens: int
    mistyped: StreamTrace | None
    without_usage: StreamTrace | None
    cold: StreamTrace
    warm: StreamTrace
    cached_tokens: float | None


def options_followed(traces: ProbeTraces) -> list[OptionFinding]:
    """Which options the server follows."""
    return [_exact_length(traces), _usage(traces), _system_prompt(traces)]


def _exact_length(traces: ProbeTraces) -> OptionFinding:
    name, exact, wanted = "--ignore-eos", traces.exact, traces.exact_tokens
    if exact is None:
        return OptionFinding(name, "no", "this dialect has no option for an exact length")
    tokens = exact.best_tokens
    if tokens is None or set(exact.tokens) == {"events"}:
        return OptionFinding(name, "unknown", "neither the server nor --tokenizer counted the tokens")
    if tokens != wanted:
        error = f" ({exact.error})" if exact.error and not tokens else ""
        return OptionFinding(name, "no", f"{tokens} of {wanted} requested tokens came{error}")
    if reaches_the_limit(traces.brief, wanted):
        if traces.mistyped is not None and traces.mistyped.status in _TYPE_REFUSED:
            return OptionFinding(
                name, "yes", f"{wanted} tokens came, and the server refuses the option with a wrong type"
            )
        return OptionFinding(name, "unknown", f"{wanted} tokens came, but as many came without it")
    return OptionFinding(name, "yes", f"{wanted} tokens came, {traces.brief.best_tokens} without it")


def reaches_the_limit(brief: StreamTrace, limit: int) -> bool:
    """Whether the answer is as long as it may be by itself: an exact length then shows nothing."""
    return (brief.best_tokens or 0) >= limit


def _usage(traces: ProbeTraces) -> OptionFinding:
    name = "usage"
    if "usage" not in traces.plain.tokens:
        return OptionFinding(name, "no", "no count of tokens came with the answer")
    if traces.without_usage is None:
        return OptionFinding(name, "yes", "it comes without being requested")
    if "usage" in traces.without_usage.tokens:
        return OptionFinding(name, "yes", "it comes requested or not")
    return OptionFinding(name, "yes", "it comes if stream_options request it, which a run always does")


def _system_prompt(traces: ProbeTraces) -> OptionFinding:
    name, plain, cold = "system prompt", traces.plain.prompt_tokens, traces.cold.prompt_tokens
    if plain is None or cold is None:
        return OptionFinding(name, "unknown", "the server does not count the prompt's tokens")
    if cold > plain:
        return OptionFinding(name, "yes", f"the prompt has {cold} tokens with it and {plain} without")
    return OptionFinding(name, "no", f"the prompt has {cold} tokens with it and {plain} without")


def prefix_cache(traces: ProbeTraces) -> OptionFinding:
    """Whether a prompt that was seen before costs less."""
    name, cached = "prefix cache", traces.cached_tokens
    cold_s, warm_s = traces.cold.first_output_s, traces.warm.first_output_s
    if cold_s is None or warm_s is None:
        return OptionFinding(name, "unknown", "the question with a system prompt was not answered")
    times = f"TTFT {_ms(cold_s)} at first, {_ms(warm_s)} when repeated"
    if cached:
        return OptionFinding(name, "yes", f"the server found {cached:.0f} tokens there; {times}")
    if cached is None and warm_s < _WARM_SHARE * cold_s and cold_s - warm_s > _WARM_S:
        return OptionFinding(name, "yes", times)
    return OptionFinding(name, "no" if cached == 0 else "unknown", times)


def misleading(traces: ProbeTraces, kept_alive: bool, counted_by_us: bool) -> list[str]:
    """A sentence for each trap. kept_alive: whether the connection was still there for the next question."""
    plain = traces.plain
    found = [*_times(plain), *_headers(traces), *_counts(plain, counted_by_us), *_ends(plain, kept_alive)]
    if prefix_cache(traces).followed == "yes":
        found.append(
            "The prefix cache is on: what a prompt begins with is computed only once. Send prompts with different "
            "beginnings, as a run does by default, or TTFT measures the cache."
        )
    return found


def _times(trace: StreamTrace) -> Iterator[str]:
    first_s, headers_s, event_s = trace.first_output_s, trace.headers_s, trace.first_event_s
    if first_s is None or headers_s is None or event_s is None:
        return
    if first_s - event_s > max(_NOTICEABLE_S, _NOTICEABLE_SHARE * first_s):
        yield (
            f"The first event comes {_ms(first_s - event_s)} before the first output: a client that takes any event "
            "for a token reports a TTFT that is too short by as much."
        )
    if trace.comments:
        yield (
            f"{trace.comments} comment lines come before the first output: the first byte of the body is not the first "
            "token."
        )
    if trace.outputs_in_largest_read * 2 > trace.output_events >= 8:
        yield (
            f"{trace.outputs_in_largest_read} of {trace.output_events} outputs arrived at once: something on the way "
            "(a proxy that buffers?) holds them back, so TTFT and gaps are not the engine's."
        )
    if without := trace.reads - trace.reads_with_kernel_time:
        yield (
            f"{without} of {trace.reads} reads have no receive time from the kernel: under load, times would include "
            "this client's own delay."
        )
    if trace.clock_ahead_s is not None and abs(trace.clock_ahead_s) > _CLOCK_S:
        side = "ahead of" if trace.clock_ahead_s > 0 else "behind"
        yield (
            f"The server's clock is {abs(trace.clock_ahead_s):.0f} s {side} this machine's: allow for that when its "
            "log is compared with a run. No figure uses that clock."
        )


def _headers(traces: ProbeTraces) -> Iterator[str]:
    """A client that is late reads headers and first token at once though they left apart: one response alone shows
    nothing."""
    if not _headers_with_first_output(traces.plain):
        return
    others = (traces.brief, traces.exact, traces.without_usage, traces.cold, traces.warm)
    shown = {_headers_with_first_output(trace) for trace in others if trace is not None} - {None}
    if shown == {True}:
        yield (
            "Headers come only with the first token: the time to headers says nothing about the network, and a time "
            "limit on headers is a limit on the first token."
        )
    else:
        yield (
            "Headers and first token were read together, so it is not known whether the server sent them together. "
            "Repeat the probe on a machine with less load."
        )


def _headers_with_first_output(trace: StreamTrace) -> bool | None:
    """Whether both came together, well after the request; None where both came too soon to show it, or not at all."""
    first_s, headers_s = trace.first_output_s, trace.headers_s
    if first_s is None or headers_s is None:
        return None
    if first_s - headers_s >= max(_NOTICEABLE_S, 0.1 * first_s):
        return False
    return True if headers_s > _WELL_AFTER_S else None


def _counts(trace: StreamTrace, counted_by_us: bool) -> Iterator[str]:
    tokens, events = trace.best_tokens, trace.output_events
    if not {"usage", "engine"} & set(trace.tokens) and not counted_by_us:
        yield "The server reports no token counts: give --tokenizer, or events are counted instead of tokens."
    if tokens is None or not events or set(trace.tokens) == {"events"}:
        return
    if tokens > 1.1 * events and tokens - events > 2:
        yield (
            f"An event holds {tokens / events:.1f} tokens on average: gaps between events are not gaps between tokens, "
            "and the number of events is not the number of tokens."
        )
    reported, counted = trace.tokens.get("usage"), trace.tokens.get("tokenizer")
    if reported and counted and abs(reported - counted) > max(2, 0.05 * reported):
        yield (
            f"The server counts {reported} tokens, --tokenizer {counted}: the tokenizer is not this model's, or the "
            "server does not send all tokens."
        )


def _ends(trace: StreamTrace, kept_alive: bool) -> Iterator[str]:
    if trace.keep_alive_promised and not kept_alive:
        yield (
            "The server promises to keep the connection open and closes it: each request needs a new one (its time is "
            "in connect_ms and in no other figure)."
        )
    if trace.finish_reason is None:
        yield "The server sends no finish reason: a response that it broke off can look like a complete one."


def _ms(seconds: float) -> str:
    return f"{seconds * 1000:.1f} ms"
