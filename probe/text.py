"""What was told of a server, as text for a terminal."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator

from probe.inquiry import Told
from probe.story import TOKEN_SOURCES, Story
from reports import units

_INDENT = 17


def told_as_text(told: Told, width: int = 100) -> str:
    """Lines of at most `width` characters unless a word is longer, without a line end at the last."""
    blocks = [_who(told), _times(told), _amounts(told.story), _options(told), _traps(told, width)]
    return "\n\n".join("\n".join(block) for block in blocks)


def _who(told: Told) -> list[str]:
    version = f" {told.version}" if told.version else ""
    gateway = f" behind {told.gateway}" if told.gateway and told.engine != "bentoml" else ""
    return [
        f"{told.host}",
        _line("engine", f"{told.engine}{version}{gateway}"),
        *(_line("", evidence) for evidence in told.evidence),
        _line("model", told.model or units.UNDEFINED),
        _line("server", told.story.headers.get("server", units.UNDEFINED)),
        _line("own metrics", told.server_metrics or "none found"),
    ]


def _times(told: Told) -> list[str]:
    dialed, story = told.dialed, told.story
    return [
        f"Connecting to {dialed.address}",
        _line("name", units.duration(dialed.name_s)),
        _line("TCP", units.duration(dialed.tcp_s)),
        *([_line("TLS", units.duration(dialed.tls_s))] if dialed.tls_s is not None else []),
        "",
        "One answer, from its sending",
        _line("headers", units.duration(story.headers_s)),
        _line("first byte", units.duration(story.first_byte_s)),
        _line("first event", units.duration(story.first_event_s)),
        _line("first output", f"{units.duration(story.first_output_s)}   (TTFT)"),
        _line("last output", units.duration(story.last_output_s)),
        _line("end", units.duration(story.end_s)),
    ]


def _amounts(story: Story) -> list[str]:
    told = ", ".join(f"{story.tokens[source]} by {source}" for source in TOKEN_SOURCES if source in story.tokens)
    chunks = f"{units.counted(story.http_chunks, 'HTTP chunk')}, " if story.http_chunks is not None else ""
    events = f"{units.counted(story.events, 'event')}, {story.output_events} with output"
    return [
        "What it was made of",
        _line("body", f"{units.counted(story.body_bytes, 'byte')} in {chunks}{units.counted(story.reads, 'read')}"),
        _line("events", events),
        _line("tokens", told),
        _line("prompt tokens", str(units.UNDEFINED if story.prompt_tokens is None else story.prompt_tokens)),
        _line("finish reason", story.finish_reason or units.UNDEFINED),
    ]


def _options(told: Told) -> list[str]:
    return ["What it follows", *(_line(option.name, f"{option.followed}: {option.because}") for option in told.options)]


def _traps(told: Told, width: int) -> Iterator[str]:
    if not told.misleading:
        yield "Nothing was found that would mislead a measurement there."
        return
    yield "What would mislead a measurement there"
    for sentence in told.misleading:
        yield from textwrap.wrap(sentence, width, initial_indent="  - ", subsequent_indent="    ")


def _line(name: str, value: str) -> str:
    return f"  {name:<{_INDENT}}{value}"
