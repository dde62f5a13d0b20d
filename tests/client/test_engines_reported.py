"""Each engine's stream as a whole request: outcome, tokens and where their number came from."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, cast

import pytest

from tests.client.replayed import Replayed
from tests.engines.streams import SPECS, STREAMS, WORDS, stream_of, triton_event
from tokenswarm.client.request_spec import RequestSpec
from tokenswarm.client.streaming_request import StreamingRequest
from tokenswarm.client.timeouts import Timeouts
from tokenswarm.engines import ENGINES, ChatRequest
from tokenswarm.metrics.timeline import Outcome, Timeline
from tokenswarm.metrics.token_counts import TokenSource
from tokenswarm.wire import StreamClient

PATIENT = Timeouts(connect_s=60.0, first_token_s=60.0, idle_s=60.0, total_s=60.0)
CUT_SHORT = "the connection ended inside the response's body"


class Told(NamedTuple):
    outcome: Outcome
    error: str | None
    tokens: int
    source: TokenSource
    finish_reason: str | None
    ended_properly: bool


def response(body: bytes, content_type: str = "text/event-stream", status: str = "200 OK", end: bool = True) -> bytes:
    head = f"HTTP/1.1 {status}\r\nContent-Type: {content_type}\r\nTransfer-Encoding: chunked\r\n\r\n".encode()
    framed = b"%x\r\n%s\r\n" % (len(body), body) if body else b""
    return head + framed + (b"0\r\n\r\n" if end else b"")


def requested(
    engine: str,
    data: bytes,
    *,
    count: Callable[[str], int] | None = None,
    ignore_eos: bool = False,
    max_tokens: int = 3,
) -> Timeline:
    """The request whose response is this."""
    return StreamingRequest(
        cast("StreamClient", Replayed([data], batch=1)),
        RequestSpec(
            SPECS[engine],
            ChatRequest("m", "Why?", None, max_tokens, ignore_eos),
            PATIENT,
            user="0.1",
            level=0,
            prompt_tokens=2,
            prompt_tokens_source="estimate",
            count_tokens=count,
        ),
    ).run()


def told(
    engine: str, data: bytes, *, tokenizer: bool = False, ignore_eos: bool = False, max_tokens: int = 3
) -> tuple[Told, str]:
    """The request, and the text whose tokens were counted ("" where none was)."""
    texts: list[str] = []

    def count(text: str) -> int:
        texts.append(text)
        return 7

    timeline = requested(engine, data, count=count if tokenizer else None, ignore_eos=ignore_eos, max_tokens=max_tokens)
    row = Told(
        timeline.outcome,
        timeline.error,
        timeline.output_tokens,
        timeline.output_tokens_source,
        timeline.finish_reason,
        timeline.end_ns is not None,
    )
    return row, "".join(texts)


@pytest.mark.parametrize(("engine", "stream", "answer"), STREAMS)
def test_a_whole_answer_is_ok_and_its_tokens_are_the_server_s_own_where_it_counts(
    engine: str, stream: bytes, answer: tuple[object, ...]
) -> None:
    row, counted = told(engine, response(stream), tokenizer=True, max_tokens=64)
    tokens, finish_reason = answer[3], answer[4]
    if tokens is None:
        assert counted == WORDS  # over the whole text, once
        assert row == Told(Outcome.OK, None, 7, TokenSource.TOKENIZER, cast("str | None", finish_reason), True)
    else:
        assert counted == ""
        assert row == Told(
            Outcome.OK, None, cast("int", tokens), TokenSource.USAGE, cast("str | None", finish_reason), True
        )


@pytest.mark.parametrize("engine", ["lmdeploy-0.4.0", "tgi-2.0.4", "triton"])
def test_without_count_and_tokenizer_events_are_counted_and_the_source_says_so(engine: str) -> None:
    row, _ = told(engine, response(stream_of(engine)))
    assert (row.tokens, row.source) == (2, TokenSource.EVENTS)


def test_a_stream_of_tgi_that_breaks_off_has_the_engine_s_count_of_what_came() -> None:
    stream = stream_of("tgi-generate")
    row, _ = told("tgi-generate", response(stream[: stream.index(b'data: {"index":4')], end=False))
    assert row == Told(Outcome.TRUNCATED, CUT_SHORT, 3, TokenSource.ENGINE, None, False)


#: Where the finish reason is the stream's end; what has an end marker behind it; what has neither.
ENDED_BY_REASON = {"lmdeploy-interactive", "ollama", "tgi-generate", "tgi-2.0.4", "responses"}
ENDED_BY_BODY = {"triton", "triton-bls", "bentoml"}


def without_last_event(engine: str, stream: bytes) -> bytes:
    separator = b"\n" if engine in {"lmdeploy-interactive", "ollama"} else b"\n\n"
    return stream[: stream.rstrip().rfind(separator) + len(separator)]


@pytest.mark.parametrize("engine", sorted(ENDED_BY_REASON))
def test_a_clean_end_of_the_body_before_the_stream_s_own_is_truncated(engine: str) -> None:
    row, _ = told(engine, response(without_last_event(engine, stream_of(engine))))
    assert (row.outcome, row.ended_properly) == (Outcome.TRUNCATED, False)
    assert row.error == "the stream ended after 2 outputs without its end"


@pytest.mark.parametrize("engine", [name for name in SPECS if name not in ENDED_BY_REASON | ENDED_BY_BODY])
def test_a_finish_reason_and_a_clean_end_of_the_body_are_an_end_and_the_missing_marker_is_counted(engine: str) -> None:
    timeline = requested(engine, response(without_last_event(engine, stream_of(engine))))
    assert (timeline.outcome, timeline.end_ns is not None) == (Outcome.OK, True)
    assert timeline.deviations == {"missing_end": 1}
    assert requested(engine, response(stream_of(engine))).deviations == {}


@pytest.mark.parametrize("engine", [name for name in SPECS if name not in ENDED_BY_REASON | ENDED_BY_BODY])
def test_a_finish_reason_and_a_broken_body_are_no_end(engine: str) -> None:
    timeline = requested(engine, response(without_last_event(engine, stream_of(engine)), end=False))
    assert (timeline.outcome, timeline.error) == (Outcome.TRUNCATED, CUT_SHORT)


@pytest.mark.parametrize("engine", ["triton", "triton-bls", "bentoml"])
def test_where_the_body_s_end_is_the_stream_s_only_a_broken_body_is_truncated(engine: str) -> None:
    assert told(engine, response(stream_of(engine)))[0].outcome is Outcome.OK
    row, _ = told(engine, response(stream_of(engine), end=False))
    assert (row.outcome, row.error, row.ended_properly) == (Outcome.TRUNCATED, CUT_SHORT, False)


@pytest.mark.parametrize("engine", ["triton", "triton-bls", "bentoml"])
def test_where_the_body_s_end_is_the_stream_s_an_empty_body_is_an_empty_answer(engine: str) -> None:
    row, _ = told(engine, response(b""))
    assert (row.outcome, row.error) == (Outcome.EMPTY, "the stream ended properly but held no output")


@pytest.mark.parametrize(
    ("engine", "data", "outcome", "error"),
    [
        pytest.param(
            "lmdeploy-0.4.0",
            response(b'{"object":"error","message":"The model `x` does not exist.","code":404}', "application/json"),
            Outcome.STREAM_ERROR,
            "expected text/event-stream, got application/json: The model `x` does not exist.",
            id="an error under 200",
        ),
        pytest.param(
            "mlc",
            response(
                b'"{\\"object\\":\\"error\\",\\"message\\":\\"prompt too long\\",\\"code\\":400}"',
                "application/json",
                "400 Bad Request",
            ),
            Outcome.CONTEXT_OVERFLOW,
            "HTTP 400: prompt too long",
            id="an error encoded twice",
        ),
        pytest.param(
            "bentoml",
            response(b'[{"error":"not ready"}]', "application/json", "400 Bad Request"),
            Outcome.HTTP_ERROR,
            "HTTP 400: not ready",
            id="an error in an array",
        ),
        pytest.param(
            "bentoml",
            response(b'Hi{"status":"error","message":"out of memory"}'),
            Outcome.STREAM_ERROR,
            "out of memory",
            id="an error as text",
        ),
        pytest.param(
            "bentoml",
            response(b"caf\xc3"),
            Outcome.TRUNCATED,
            r"the text ended inside a character: b'\xc3'",
            id="an end inside a character",
        ),
        pytest.param(
            "triton",
            response(b'{"error":"unknown model"}', "application/json", "404 Not Found"),
            Outcome.HTTP_ERROR,
            "HTTP 404: unknown model",
            id="an error with its status",
        ),
        pytest.param(
            "triton",
            response(triton_event("Hi") + b'data: {"error":"engine failed"}\n\n'),
            Outcome.STREAM_ERROR,
            "engine failed",
            id="an error behind output",
        ),
        pytest.param(
            "tgi-generate",
            response(b'data: {"error":"Model is overloaded","error_type":"overloaded"}\n\n'),
            Outcome.STREAM_ERROR,
            "Model is overloaded",
            id="overload under 200",
        ),
        pytest.param(
            "anthropic",
            response(
                b'{"type":"error","error":{"type":"overloaded_error","message":"Overloaded"}}',
                "application/json",
                "529 x",
            ),
            Outcome.HTTP_ERROR,
            "HTTP 529: Overloaded",
            id="overload with its status",
        ),
        pytest.param(
            "ollama",
            response(b'{"error":"model not found"}\n', "application/x-ndjson"),
            Outcome.STREAM_ERROR,
            "model not found",
            id="an error line",
        ),
    ],
)
def test_a_failure_has_its_outcome_and_the_server_s_words(
    engine: str, data: bytes, outcome: Outcome, error: str
) -> None:
    row, _ = told(engine, data)
    assert (row.outcome, row.error) == (outcome, error)


# Exact lengths.


@pytest.mark.parametrize("engine", [name for name, engine in ENGINES.items() if engine.honours_ignore_eos])
def test_an_answer_shorter_than_the_length_it_shall_have_is_truncated_where_the_server_counts(engine: str) -> None:
    data = response(stream_of(engine))
    assert told(engine, data, ignore_eos=True, max_tokens=3)[0].outcome is Outcome.OK
    row, _ = told(engine, data, ignore_eos=True, max_tokens=5)
    if engine in {"lmdeploy-0.4.0", "triton", "triton-bls"}:  # nobody counted
        assert row.outcome is Outcome.OK
    else:
        assert (row.outcome, row.tokens) == (Outcome.TRUNCATED, 3)
        assert row.error == "the stream ended after 3 of the 5 tokens that --ignore-eos requests"


def test_a_usage_that_is_one_short_at_the_full_length_is_no_truncation() -> None:
    """Some servers do not count the last token; one that ended for another reason did end early."""
    data = response(stream_of("vllm"))
    assert told("vllm", data, ignore_eos=True, max_tokens=4)[0].outcome is Outcome.OK
    stopped = response(stream_of("vllm").replace(b'"length"', b'"stop"'))
    assert told("vllm", stopped, ignore_eos=True, max_tokens=4)[0].outcome is Outcome.TRUNCATED


# Counts that cannot be.

COUNTING = [name for name in SPECS if name not in {"lmdeploy-0.4.0", "tgi-2.0.4", "triton", "triton-bls"}]


@pytest.mark.parametrize("engine", [name for name, *_ in (each.values for each in STREAMS) if name in COUNTING])
def test_more_tokens_than_were_allowed_are_no_count(engine: str) -> None:
    """The next source counts: the tokenizer where there is one, else the events."""
    data = response(stream_of(engine))
    row, counted = told(engine, data, tokenizer=True, max_tokens=2)
    assert (row.outcome, row.tokens, row.source) == (Outcome.OK, 7, TokenSource.TOKENIZER)
    assert counted == WORDS
    row, _ = told(engine, data, max_tokens=2)
    assert row.source is TokenSource.EVENTS


@pytest.mark.parametrize(("tokens", "source"), [(400, TokenSource.USAGE), (4_000, TokenSource.EVENTS)])
def test_more_tokens_than_the_response_has_bytes_are_no_count(tokens: int, source: TokenSource) -> None:
    stream = stream_of("vllm").replace(b'"completion_tokens":3', b'"completion_tokens":%d' % tokens)
    assert str(tokens).encode() in stream
    data = response(stream)
    assert 400 < len(data) < 4_000
    row, _ = told("vllm", data, max_tokens=100_000)
    assert (row.outcome, row.source) == (Outcome.OK, source)
    assert row.tokens == (tokens if source is TokenSource.USAGE else 2)


def test_an_answer_may_be_shorter_than_a_cap() -> None:
    assert told("vllm", response(stream_of("vllm")), max_tokens=4)[0].outcome is Outcome.OK
