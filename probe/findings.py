"""What the stories say of a server: which options it follows, and what would mislead a measurement there."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import msgspec

from probe.story import Story

#: What is shorter than this is no finding.
_NOTICEABLE_S = 0.001
_NOTICEABLE_SHARE = 0.05
_CLOCK_S = 2.0
#: A prompt that was seen before has to be answered in this share of the time for a cache to be behind it.
_WARM_SHARE = 0.7
_WARM_S = 0.005
#: What servers answer to a field of a wrong type.
_TYPE_REFUSED = {400, 422}


class Option(msgspec.Struct, frozen=True):
    """Whether the server follows an option: yes, no, or unknown; and why it seems so."""

    name: str
    followed: str
    because: str


@dataclass(frozen=True, slots=True)
class Stories:
    """The answers that were asked for.

    plain: to the question alone. brief: to one that wants a short answer. exact: the same, told to be exactly
    `exact_tokens` long; None where the dialect cannot say so. mistyped: the same, with a value of a wrong type for the
    option of an exact length; None where `brief` ends by itself before `exact_tokens`, and so needs none. unasked:
    without asking for usage; None where the dialect never asks. cold, warm: with a system prompt never sent before, and
    the same again. cached_tokens: found in the cache for `warm` by the server's own count, None where it does not tell.
    """

    plain: Story
    brief: Story
    exact: Story | None
    exact_tokens: int
    mistyped: Story | None
    unasked: Story | None
    cold: Story
    warm: Story
    cached_tokens: float | None


def options_followed(stories: Stories) -> list[Option]:
    """What the server does of what it was told."""
    return [_exact_length(stories), _usage(stories), _system_prompt(stories)]


def _exact_length(stories: Stories) -> Option:
    name, exact, wanted = "--ignore-eos", stories.exact, stories.exact_tokens
    if exact is None:
        return Option(name, "no", "this dialect has no way to ask for an exact length")
    tokens = exact.best_tokens
    if tokens is None or set(exact.tokens) == {"events"}:
        return Option(name, "unknown", "nobody counted the tokens")
    if tokens != wanted:
        told = f" ({exact.error})" if exact.error and not tokens else ""
        return Option(name, "no", f"of {wanted} tokens asked for came {tokens}{told}")
    if reaches_the_limit(stories.brief, wanted):
        if stories.mistyped is not None and stories.mistyped.status in _TYPE_REFUSED:
            return Option(name, "yes", f"{wanted} tokens came, and the server knows the option: it checks its type")
        return Option(name, "unknown", f"{wanted} tokens came, but without it no fewer did")
    return Option(name, "yes", f"{wanted} tokens came, {stories.brief.best_tokens} without it")


def reaches_the_limit(brief: Story, limit: int) -> bool:
    """Whether the answer is as long as it may be by itself: an exact length then shows nothing."""
    return (brief.best_tokens or 0) >= limit


def _usage(stories: Stories) -> Option:
    name = "usage"
    if "usage" not in stories.plain.tokens:
        return Option(name, "no", "no count of tokens came with the answer")
    if stories.unasked is None:
        return Option(name, "yes", "it comes without being asked for")
    if "usage" in stories.unasked.tokens:
        return Option(name, "yes", "it comes asked for or not")
    return Option(name, "yes", "it comes where stream_options ask for it, as a run always does")


def _system_prompt(stories: Stories) -> Option:
    name, plain, cold = "system prompt", stories.plain.prompt_tokens, stories.cold.prompt_tokens
    if plain is None or cold is None:
        return Option(name, "unknown", "the server does not count the prompt's tokens")
    if cold > plain:
        return Option(name, "yes", f"the prompt has {cold} tokens with it and {plain} without")
    return Option(name, "no", f"the prompt has {cold} tokens with it and {plain} without")


def prefix_cache(stories: Stories) -> Option:
    """Whether a prompt that was seen before costs less."""
    name, cached = "prefix cache", stories.cached_tokens
    cold_s, warm_s = stories.cold.first_output_s, stories.warm.first_output_s
    if cold_s is None or warm_s is None:
        return Option(name, "unknown", "the question with a system prompt was not answered")
    times = f"TTFT {_ms(cold_s)} at first, {_ms(warm_s)} when repeated"
    if cached:
        return Option(name, "yes", f"{cached:.0f} tokens found there by the server's own count; {times}")
    if cached is None and warm_s < _WARM_SHARE * cold_s and cold_s - warm_s > _WARM_S:
        return Option(name, "yes", times)
    return Option(name, "no" if cached == 0 else "unknown", times)


def misleading(stories: Stories, kept_alive: bool, counted_by_us: bool) -> list[str]:
    """A sentence for each trap. kept_alive: whether the connection was still there for the next question."""
    plain = stories.plain
    found = [*_times(plain), *_counts(plain, counted_by_us), *_ends(plain, kept_alive)]
    if prefix_cache(stories).followed == "yes":
        found.append(
            "What a prompt begins with is not computed again where it was seen before: prompts must differ, or TTFT is "
            "that of the cache."
        )
    return found


def _times(story: Story) -> Iterator[str]:
    first_s, headers_s, event_s = story.first_output_s, story.headers_s, story.first_event_s
    if first_s is None or headers_s is None or event_s is None:
        return
    if first_s - event_s > max(_NOTICEABLE_S, _NOTICEABLE_SHARE * first_s):
        yield (
            f"The first event comes {_ms(first_s - event_s)} before the first output: a client that takes any event "
            "for a token shows a TTFT that much too short."
        )
    if headers_s > 10 * _NOTICEABLE_S and first_s - headers_s < max(_NOTICEABLE_S, 0.1 * first_s):
        yield (
            "Headers come only with the first token: the time to headers says nothing of the network, and a time limit "
            "on headers is one on the first token."
        )
    if story.comments:
        yield (
            f"{story.comments} comment lines come before the first output: the first byte of the body is not the first "
            "token."
        )
    if story.outputs_in_largest_read * 2 > story.output_events >= 8:
        yield (
            f"{story.outputs_in_largest_read} of {story.output_events} outputs came at once: something on the way "
            "holds them back (a proxy that buffers?), so that neither TTFT nor gaps are the engine's."
        )
    if without := story.reads - story.reads_with_kernel_time:
        yield (
            f"{without} of {story.reads} reads have no receive time of the kernel's: "
            "under load, times would hold this client's own delay."
        )
    if story.clock_ahead_s is not None and abs(story.clock_ahead_s) > _CLOCK_S:
        side = "ahead of" if story.clock_ahead_s > 0 else "behind"
        yield (
            f"The server's clock is {abs(story.clock_ahead_s):.0f} s {side} this machine's: its logs cannot be laid "
            "over a run by their times (no figure of ours uses it)."
        )


def _counts(story: Story, counted_by_us: bool) -> Iterator[str]:
    tokens, events = story.best_tokens, story.output_events
    if not {"usage", "engine"} & set(story.tokens) and not counted_by_us:
        yield "The server counts no tokens: give --tokenizer, or events are counted in their stead."
    if tokens is None or not events or set(story.tokens) == {"events"}:
        return
    if tokens > 1.1 * events and tokens - events > 2:
        yield (
            f"An event holds {tokens / events:.1f} tokens on average: gaps between events are not times between "
            "tokens, and events are no count of tokens."
        )
    told, counted = story.tokens.get("usage"), story.tokens.get("tokenizer")
    if told and counted and abs(told - counted) > max(2, 0.05 * told):
        yield f"The server counts {told} tokens, --tokenizer {counted}: it is not this model's, or some are not shown."


def _ends(story: Story, kept_alive: bool) -> Iterator[str]:
    if story.keep_alive_promised and not kept_alive:
        yield (
            "The server promises to keep the connection and closes it: each request pays for a new one (timed apart, "
            "as connect_ms)."
        )
    if story.finish_reason is None:
        yield "No finish reason comes: an answer that the server broke off can look like a whole one."


def _ms(seconds: float) -> str:
    return f"{seconds * 1000:.1f} ms"
