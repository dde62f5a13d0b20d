"""The trace of one streamed response, from its reads. No sockets, no clock."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from email.utils import parsedate_to_datetime
from typing import NamedTuple

import msgspec

from tokenswarm.engines import Delta
from tokenswarm.metrics.timeline import Timeline
from tokenswarm.sanitize import server_text
from tokenswarm.wire import Arrival

#: Headers that the report shows: who answered, and how.
REPORTED_HEADERS = ("content-type", "content-encoding", "transfer-encoding", "server", "via", "connection", "date")
_HEADER_CHARACTERS = 200
#: Of the answer. --max-tokens may be large.
_TEXT_CHARACTERS = 100_000
#: Who counts tokens, the best first: the server's usage, its engine event by event, a tokenizer, the events themselves.
TOKEN_SOURCES = ("usage", "engine", "tokenizer", "events")


class TracedRead(NamedTuple):
    """One read of the body, and the deltas that it completed."""

    arrival: Arrival
    deltas: Sequence[Delta]


class StreamTrace(msgspec.Struct, frozen=True):
    """Times are seconds since the request was sent, None for what did not happen.

    first_byte_s: of the body. first_event_s: the first event of any kind. first_output_s: the first with text,
    reasoning or tool arguments. http_chunks: None where the body is not chunked. reads: of the socket.
    events: of any kind; output_events: those with output. outputs_in_largest_read: how many came at once at most.
    comments: comment lines before the first output. tokens: by everyone who counted. keep_alive_promised: by the head
    of the response. clock_ahead_s: its Date − our clock.
    """

    outcome: str
    error: str | None
    status: int | None
    connect_s: float
    headers_s: float | None
    first_byte_s: float | None
    first_event_s: float | None
    first_output_s: float | None
    last_output_s: float | None
    end_s: float | None
    body_bytes: int
    http_chunks: int | None
    reads: int
    reads_with_kernel_time: int
    events: int
    output_events: int
    outputs_in_largest_read: int
    comments: int
    prompt_tokens: int | None
    tokens: dict[str, int]
    finish_reason: str | None
    keep_alive_promised: bool
    clock_ahead_s: float | None
    headers: dict[str, str]
    text: str

    @property
    def best_tokens(self) -> int | None:
        """The count of the best source that has one."""
        return next((self.tokens[source] for source in TOKEN_SOURCES if source in self.tokens), None)


def trace_of(
    timeline: Timeline,
    reads: Sequence[TracedRead],
    headers: Mapping[str, str],
    http_chunks: int | None,
    keep_alive_promised: bool,
    unix_s: float,
    count_tokens: Callable[[str], int] | None = None,
) -> StreamTrace:
    """`unix_s`: our clock when the head of the response came."""

    def since_sent(when_ns: int | None) -> float | None:
        return None if when_ns is None else (when_ns - timeline.sent_ns) / 1e9

    body = [each for each in reads if each.arrival.data]
    outputs = [sum(map(is_output, each.deltas)) for each in reads]
    deltas = [delta for each in reads for delta in each.deltas]
    text = "".join(delta.reasoning + delta.text + delta.tool_arguments for delta in deltas)
    return StreamTrace(
        outcome=timeline.outcome.value,
        error=timeline.error,
        status=timeline.status,
        connect_s=timeline.connect_ns / 1e9,
        headers_s=since_sent(timeline.headers_ns),
        first_byte_s=since_sent(body[0].arrival.arrived_ns if body else None),
        first_event_s=since_sent(next((each.arrival.arrived_ns for each in body if each.deltas), None)),
        first_output_s=since_sent(timeline.first_ns),
        last_output_s=since_sent(timeline.last_ns),
        end_s=since_sent(timeline.end_ns),
        body_bytes=sum(len(each.arrival.data) for each in body),
        http_chunks=http_chunks,
        reads=len(body),
        reads_with_kernel_time=sum(each.arrival.kernel for each in body),
        events=sum(len(each.deltas) for each in body),
        output_events=sum(outputs),
        outputs_in_largest_read=max(outputs, default=0),
        comments=_comments_before_output(reads),
        prompt_tokens=timeline.prompt_tokens if timeline.prompt_tokens_source == "usage" else None,
        tokens=_tokens(deltas, sum(outputs), text, count_tokens),
        finish_reason=timeline.finish_reason,
        keep_alive_promised=keep_alive_promised,
        clock_ahead_s=_clock_ahead_s(headers.get("date"), unix_s),
        headers={name: server_text(headers[name], _HEADER_CHARACTERS) for name in REPORTED_HEADERS if name in headers},
        text=server_text(text, _TEXT_CHARACTERS, lines=True),
    )


def is_output(delta: Delta) -> bool:
    """Whether it holds anything that a reader would see, reasoning included."""
    return bool(delta.text or delta.reasoning or delta.tool_arguments)


def _tokens(
    deltas: Sequence[Delta], output_events: int, text: str, count_tokens: Callable[[str], int] | None
) -> dict[str, int]:
    counts: dict[str, int] = {}
    usages = [delta.output_tokens for delta in deltas if delta.output_tokens]
    counted = [delta.tokens for delta in deltas if delta.tokens is not None]
    if usages:
        counts["usage"] = usages[-1]
    if counted:
        counts["engine"] = sum(counted)
    if count_tokens is not None:
        counts["tokenizer"] = count_tokens(text)
    return counts | {"events": output_events}


def _comments_before_output(reads: Sequence[TracedRead]) -> int:
    before = b""
    for each in reads:
        if any(map(is_output, each.deltas)):
            break
        before += each.arrival.data
    return sum(line.startswith(b":") for line in before.splitlines())


def _clock_ahead_s(date: str | None, unix_s: float) -> float | None:
    """The header has whole seconds, cut off: a clock that agrees is up to a second behind by it."""
    try:
        return parsedate_to_datetime(date).timestamp() + 0.5 - unix_s if date else None
    except (TypeError, ValueError, OverflowError):
        return None
