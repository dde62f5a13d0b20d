"""How a request ended: its outcome from the response, or from the error that ended it. Pure."""

from __future__ import annotations

from codecs import BOM_UTF8

from tokenswarm.engines import EngineError, EngineSpec, StreamBroken, is_basic, is_context_overflow
from tokenswarm.metrics.timeline import Outcome
from tokenswarm.sanitize import BASIC_CHALLENGE, UNAUTHORIZED
from tokenswarm.wire import ClientLimitReached, ConnectFailed, ConnectTimedOut, ResponseParser, WireError

#: Finish reasons of answers that are as long as they may be.
FULL_LENGTH = {"length", "max_tokens"}
#: The first that fits counts. EngineError: of a chat template that refuses this prompt.
_OUTCOMES: dict[type[Exception], Outcome] = {
    ClientLimitReached: Outcome.CLIENT_LIMIT,
    ConnectFailed: Outcome.REFUSED,
    ConnectTimedOut: Outcome.TIMEOUT,
    StreamBroken: Outcome.STREAM_ERROR,
    EngineError: Outcome.STREAM_ERROR,
    WireError: Outcome.TRUNCATED,
}


class NotOk(Exception):
    """A request that is not ok; the text is one sentence."""

    def __init__(self, outcome: Outcome, message: str) -> None:
        super().__init__(message)
        self.outcome = outcome


def outcome_of(error: Exception) -> Outcome | None:
    """The outcome of a request that an error ended; None for a defect of this program."""
    if isinstance(error, NotOk):
        return error.outcome
    return next((outcome for kind, outcome in _OUTCOMES.items() if isinstance(error, kind)), None)


def promises_stream(response: ResponseParser) -> bool:
    """Whether the response's head fits a stream: a 200 whose body is compressed, JSON or a web page does not."""
    content_type = response.headers.get("content-type", "").lower()
    return (
        response.status == 200
        and not content_type.startswith(("application/json", "text/html"))
        and not compression_of(response)
    )


def is_stream(response: ResponseParser, start: bytes, engine: EngineSpec) -> bool | None:
    """Whether a response is a stream, by its head and, as that may be wrong, by its body's first bytes. start: the body
    so far; None while it is too short to say."""
    promised, begins = promises_stream(response), engine.stream_starts
    if response.status != 200 or compression_of(response) or not begins:
        return promised
    start = start.removeprefix(BOM_UTF8).lstrip()
    if not start:
        return None
    if promised:
        return not looks_like_a_page(start)
    if start.startswith(begins):
        return True
    return None if any(begin.startswith(start) for begin in begins) else False


def looks_like_a_page(body: bytes) -> bool:
    """Whether a body is markup, whatever its head calls it."""
    return body.lstrip().startswith(b"<")


def compression_of(response: ResponseParser) -> str:
    """The body's encoding, "" where there is none."""
    encoding = response.headers.get("content-encoding", "").lower()
    return "" if encoding == "identity" else encoding


def refuse_compression(response: ResponseParser) -> None:
    """At once, and without unpacking: a compressor holds events back until it has a block, so that no time would be
    exact. Raises NotOk."""
    if response.status == 200 and (encoding := compression_of(response)):
        message = f"the server compressed the stream (Content-Encoding: {encoding}) although identity was requested"
        raise NotOk(Outcome.STREAM_ERROR, message)


def not_a_stream(response: ResponseParser, body: bytes, engine: EngineSpec, path: str) -> NotOk:
    """What a whole response is that came instead of a stream. body: its beginning. path: of the request."""
    reason = _reason(response, body, engine, path)
    if response.status != 200:
        overflows = is_context_overflow(reason, response.status, body)
        return NotOk(Outcome.CONTEXT_OVERFLOW if overflows else Outcome.HTTP_ERROR, f"HTTP {response.status}: {reason}")
    got = response.headers.get("content-type", "no content type")
    if promises_stream(response):
        got = "a web page"
    return NotOk(Outcome.STREAM_ERROR, f"expected {engine.content_type}, got {got}: {reason}")


def _reason(response: ResponseParser, body: bytes, engine: EngineSpec, path: str) -> str:
    location = response.headers.get("location", "").split("?")[0]  # a query may hold a secret
    if location and 300 <= response.status < 400:
        address = location.removesuffix(path)
        found = "://" in location and address != location
        return f"redirected to {location}; give {address if found else 'the address that answers'} as --host"
    if response.status == UNAUTHORIZED and is_basic(response.headers):
        return f"{BASIC_CHALLENGE}: {engine.error_message(body)}"
    if 200 < response.status < 300:
        return "a stream comes with status 200"
    if encoding := compression_of(response):
        return f"the server compressed its error ({encoding}) although identity was requested"
    return engine.error_message(body)


def check_ending(engine: EngineSpec, finish_reason: str | None, tokens: int | None, exact_tokens: int | None) -> None:
    """A whole stream may still be no whole response. tokens: as the server reports them. exact_tokens: the length that
    was requested, None where any is right; a server that sends fewer ignored the option, or lost the rest. One that
    reports one fewer and the length as its reason does not count the last. Raises NotOk."""
    reason = (finish_reason or "").lower()
    if reason and reason not in engine.finish_reasons:
        raise NotOk(Outcome.ABORTED, f"the server ended the response with finish reason {finish_reason!r}")
    if exact_tokens is None or tokens is None or tokens >= exact_tokens:
        return
    if tokens == exact_tokens - 1 and reason in FULL_LENGTH:
        return
    raise NotOk(
        Outcome.TRUNCATED,
        f"the stream ended after {tokens} of the {exact_tokens} tokens that --ignore-eos requests",
    )
