"""What counts as a whole answer: finish reasons, failures outside of the data, wrong content types, odd events."""

from __future__ import annotations

import json

import pytest

from tests.client.test_engines_reported import requested, response
from tests.engines.streams import DONE, stream_of
from tokenswarm.metrics.timeline import Outcome, Timeline

OK, STREAM_ERROR, ABORTED = Outcome.OK, Outcome.STREAM_ERROR, Outcome.ABORTED
WORDS = "the slot ran out of context"


def event(**chunk: object) -> bytes:
    return f"data: {json.dumps(chunk)}\n\n".encode()


def word(text: object, reason: str | None = None, **more: object) -> bytes:
    return event(choices=[{"index": 0, "delta": {"content": text}, "finish_reason": reason} | more])


def of(body: bytes, engine: str = "openai", content_type: str = "text/event-stream") -> Timeline:
    """The same request, however its response is cut."""
    data = response(body, content_type)
    whole = requested(engine, data, max_tokens=64)
    assert whole.error is None or len(whole.error) < 400
    return whole


@pytest.mark.parametrize(
    ("engine", "reason", "outcome"),
    [
        *(("vllm", reason, OK) for reason in ("stop", "length", "tool_calls", "function_call", "content_filter", "")),
        *(("vllm", reason, ABORTED) for reason in ("abort", "error", "timeout", "repetition", "parse_error")),
        *(("openai", reason, OK) for reason in ("end_turn", "MAX_TOKENS", "eos_token", "model_length")),
        *(("openai", reason, ABORTED) for reason in ("cancelled", "unknown", "insufficient_quota")),
        *(("tgi", reason, OK) for reason in ("eos_token", "stop_sequence", "length")),
        ("tgi", "end_turn", ABORTED),
        ("sglang", "abort", ABORTED),
    ],
)
def test_only_the_reasons_of_a_whole_answer_are_a_success(engine: str, reason: str, outcome: Outcome) -> None:
    timeline = of(word("a") + word("b", reason) + DONE, engine)
    assert timeline.outcome is outcome
    assert timeline.finish_reason == (reason or None)
    assert outcome is OK or reason in (timeline.error or "")


@pytest.mark.parametrize(("reason", "outcome"), [("end_turn", OK), ("refusal", OK), ("stop", ABORTED)])
def test_anthropic_has_reasons_of_its_own(reason: str, outcome: Outcome) -> None:
    stream = stream_of("anthropic")
    assert b'"end_turn"' in stream
    timeline = of(stream.replace(b'"end_turn"', b'"%b"' % reason.encode()), "anthropic")
    assert timeline.outcome is outcome


@pytest.mark.parametrize(
    "failure",
    [
        pytest.param(b'error: {"code": 500, "message": "%b"}\n\n', id="a field error"),
        pytest.param(b"error: %b\n\n", id="a field error of plain text"),
        pytest.param(b'error:{"error":{"message":"%b"}}\n\n', id="a field error, no space"),
        pytest.param(b'error: {"message": "%b"}', id="a field error at the body's end"),
        pytest.param(b'event: error\ndata: {"message": "%b"}\n\n', id="an event error"),
        pytest.param(b"event: error\ndata: %b\n\n", id="an event error of plain text"),
        pytest.param(b'event:error\r\ndata: {"error": "%b"}\r\n\r\n', id="an event error with an error"),
        pytest.param(b'data: "%b"\nevent: error\n\n', id="an event error, its name last"),
        pytest.param(b'{"error": {"message": "%b", "code": 500}}\n\n', id="a bare JSON line"),
        pytest.param(b'{"error": "%b"}\n', id="a bare JSON line at the body's end"),
        pytest.param(b'{"detail": "%b"}', id="a bare JSON line of FastAPI"),
        pytest.param(b'{\n  "object": "error",\n  "message": "%b"\n}\n', id="bare JSON over several lines"),
        pytest.param(b'data: {"error": {"message": "%b"}}', id="an error without its blank line"),
        pytest.param(
            b'data: {"choices":[{"delta":{"content":""},"finish_reason":"error","error":{"message":"%b"}}]}\n\n',
            id="an error in a choice",
        ),
        pytest.param(b'data: {"choices":[{"error":"%b"}]}\n\n', id="an error in a choice without a delta"),
    ],
)
@pytest.mark.parametrize("behind", [DONE, b""], ids=["then [DONE]", "then nothing"])
def test_a_failure_is_a_stream_error_in_the_server_s_words_wherever_it_stands(failure: bytes, behind: bytes) -> None:
    failure = failure % WORDS.encode()
    behind = behind if failure.endswith(b"\n\n") else b""
    for before in (word("a") + word("b"), b""):
        timeline = of(before + failure + behind)
        assert (timeline.outcome, timeline.error) == (STREAM_ERROR, WORDS)


@pytest.mark.parametrize("engine", ["vllm", "tgi-generate", "triton", "anthropic"])
@pytest.mark.parametrize("failure", [b'error: {"message": "%b"}\n\n', b"event: error\ndata: %b\n\n"])
def test_every_dialect_of_events_reads_failures_outside_of_its_data(engine: str, failure: bytes) -> None:
    timeline = of(failure % WORDS.encode() + stream_of(engine), engine)
    assert (timeline.outcome, timeline.error) == (STREAM_ERROR, WORDS)


@pytest.mark.parametrize("failure", [b"event: error\n\n", b"error\n\n", b"error:\n\n", b"event: error\ndata: null\n\n"])
def test_a_failure_without_words_is_one_all_the_same(failure: bytes) -> None:
    timeline = of(word("a") + failure + DONE)
    assert (timeline.outcome, timeline.error) == (STREAM_ERROR, "the server reported an error without a message")


@pytest.mark.parametrize("nothing", [False, "", {}, [], 0, None])
def test_an_empty_error_beside_an_answer_is_none(nothing: object) -> None:
    chunks = [event(choices=[{"delta": {"content": text}}], error=nothing) for text in "ab"]
    in_choice = word("c", error=nothing)
    usage = event(choices=[], error=nothing, usage={"prompt_tokens": 9, "completion_tokens": 3})
    timeline = of(b"".join(chunks) + in_choice + usage + DONE)
    assert (timeline.outcome, timeline.output_events, timeline.output_tokens) == (OK, 3, 3)


@pytest.mark.parametrize(
    ("engine", "before", "after"),
    [
        ("ollama", b'"message"', b'"error":"","message"'),
        ("tgi-generate", b'{"index"', b'{"error":false,"index"'),
        ("triton", b'"text_output"', b'"error":{},"text_output"'),
        ("lmdeploy-interactive", b'{"text"', b'{"error":[],"text"'),
    ],
)
def test_an_empty_error_beside_an_answer_is_none_in_any_dialect(engine: str, before: bytes, after: bytes) -> None:
    stream = stream_of(engine).replace(before, after)
    assert after in stream
    assert of(stream, engine).outcome is OK


PINGS = (
    b"event: ping\ndata: {}\n\n",
    b"event: keep-alive\ndata: 2026-11-29T12:00:00Z\n\n",
    b"event: keepalive\n\n",
    b'event: metadata\ndata: {"request_id": "r-1", "queue_ms": 12}\n\n',
    b'data: {"type": "ping"}\nevent: ping\nid: 7\n\n',
)


@pytest.mark.parametrize("ping", PINGS)
def test_named_events_that_are_no_part_of_the_answer_are_passed_over_and_counted(ping: bytes) -> None:
    timeline = of(ping + word("a") + ping + word("b", "stop") + ping + DONE)
    assert (timeline.outcome, timeline.output_events, timeline.events) == (OK, 2, 2)
    assert timeline.deviations == {"named_events": 3}


@pytest.mark.parametrize("name", [b"message", b"chat.completion.chunk", b"data", b"delta"])
def test_named_events_with_the_answer_s_chunks_are_the_answer(name: bytes) -> None:
    events = (word("a") + word("b", "stop") + DONE).replace(b"data: ", b"event: %b\ndata: " % name)
    timeline = of(events)
    assert (timeline.outcome, timeline.output_events, timeline.deviations) == (OK, 2, {})


@pytest.mark.parametrize(
    ("parts", "reasoning"),
    [
        ([{"type": "thinking", "thinking": [{"type": "text", "text": "Hm"}]}], True),
        ([{"type": "thinking", "thinking": "Hm"}], True),
        ([{"type": "reasoning", "text": "Hm"}], True),
        ([{"type": "text", "text": "Hi"}], False),
        ([{"type": "output_text", "text": "Hi"}, {"type": "reference", "reference_ids": [1]}], False),
        ([{"type": "thinking", "thinking": "Hm"}, {"type": "text", "text": "Hi"}], False),
        ({"type": "text", "text": "Hi"}, False),
        (["Hi"], False),
    ],
)
def test_a_content_of_parts_is_read_and_thinking_is_reasoning(parts: object, reasoning: bool) -> None:
    timeline = of(word(parts) + word("b", "stop") + DONE)
    assert (timeline.outcome, timeline.output_events) == (OK, 2)
    assert timeline.first_ns is not None
    assert timeline.first_visible_ns is not None
    body = of(word(parts, "length") + DONE)
    assert (body.first_visible_ns is None) is reasoning


@pytest.mark.parametrize("parts", [[], [{"type": "text", "text": ""}], [{"type": "image_url", "image_url": {}}], [5]])
def test_parts_without_text_are_no_output(parts: object) -> None:
    assert of(word(parts) + word("b", "stop") + DONE).output_events == 1


@pytest.mark.parametrize("content_type", ["application/json", "text/html; charset=utf-8", "application/json; x=y"])
@pytest.mark.parametrize(
    "start", [b"", b": ping\n\n", b"\n\n", b"\xef\xbb\xbf", b"id: 1\n\n", b"event: ping\ndata: {}\n\n"]
)
def test_a_stream_under_a_wrong_content_type_is_one(content_type: str, start: bytes) -> None:
    timeline = of(start + word("a") + word("b", "stop") + DONE, content_type=content_type)
    assert (timeline.outcome, timeline.output_events) == (OK, 2)
    assert timeline.deviations.get("wrong_content_type") == 1


def test_json_lines_under_a_wrong_content_type_are_a_stream() -> None:
    timeline = of(stream_of("ollama"), "ollama", content_type="application/json")
    assert (timeline.outcome, timeline.deviations) == (OK, {"wrong_content_type": 1})


@pytest.mark.parametrize("content_type", ["text/event-stream", "text/html", "application/octet-stream"])
def test_a_page_is_no_stream_whatever_its_content_type(content_type: str) -> None:
    timeline = of(b"\n<!doctype html><title>Please sign in</title>", content_type=content_type)
    assert timeline.outcome is STREAM_ERROR
    assert (timeline.error or "").endswith(": Please sign in")


@pytest.mark.parametrize("content_type", ["text/event-stream", "application/json"])
def test_a_whole_json_error_is_a_stream_error_whatever_its_content_type(content_type: str) -> None:
    timeline = of(b'{"error": {"message": "%b"}}' % WORDS.encode(), content_type=content_type)
    assert timeline.outcome is STREAM_ERROR
    assert (timeline.error or "").endswith(WORDS)


def test_a_stream_under_a_wrong_content_type_is_the_same_byte_by_byte() -> None:
    for body in (word("a") + word("b", "stop") + DONE, b" <html>no", b"dat"):
        head, _, _ = response(b"", "text/html").partition(b"0\r\n")
        cut = head + b"".join(b"1\r\n%b\r\n" % body[at : at + 1] for at in range(len(body))) + b"0\r\n\r\n"
        one, other = requested("openai", cut, max_tokens=64), of(body, content_type="text/html")
        assert (one.outcome, one.error, one.output_events) == (other.outcome, other.error, other.output_events)
        assert one.deviations == other.deviations


USAGE = event(choices=[], usage={"prompt_tokens": 9, "completion_tokens": 2})
FINISHED = event(choices=[{"index": 0, "delta": {}, "finish_reason": "stop"}])


@pytest.mark.parametrize("engine", ["openai", "vllm", "sglang", "llamacpp"])
@pytest.mark.parametrize(
    ("ending", "tokens"),
    [
        pytest.param(FINISHED, 2, id="after the reason"),
        pytest.param(FINISHED + USAGE, 2, id="after the usage"),
        pytest.param(FINISHED + b": bye\n\n", 2, id="after a comment"),
        pytest.param(FINISHED + USAGE + b"event: ping\ndata: {}\n\n", 2, id="after a ping"),
        pytest.param(word("c", "length"), 3, id="after the last output"),
    ],
)
def test_a_reason_and_a_clean_end_are_an_end_without_its_mark(engine: str, ending: bytes, tokens: int) -> None:
    timeline = of(word("a") + word("b") + ending, engine)
    assert (timeline.outcome, timeline.output_tokens) == (OK, tokens)
    assert timeline.deviations["missing_end"] == 1


@pytest.mark.parametrize("ending", [b"", USAGE, b": bye\n\n", b"event: ping\ndata: {}\n\n"])
def test_an_end_without_a_reason_is_none(ending: bytes) -> None:
    timeline = of(word("a") + word("b") + ending)
    assert (timeline.outcome, timeline.finish_reason) == (Outcome.TRUNCATED, None)


@pytest.mark.parametrize("behind", [FINISHED, FINISHED + USAGE])
def test_a_body_that_is_cut_after_its_reason_is_truncated(behind: bytes) -> None:
    whole = response(word("a") + behind, "text/event-stream")
    assert requested("openai", whole[: -len(b"0\r\n\r\n")], max_tokens=64).outcome is Outcome.TRUNCATED


def tool_call(**call: object) -> bytes:
    return event(choices=[{"index": 0, "delta": {"tool_calls": [call]}, "finish_reason": None}])


def test_arguments_of_tool_calls_are_output() -> None:
    body = (
        tool_call(index=0, id="c1", type="function", function={"name": "weather", "arguments": ""})
        + tool_call(index=0, function={"arguments": '{"city":'})
        + tool_call(index=0, function={"arguments": ' "Oslo"}'})
        + event(choices=[{"index": 0, "delta": {}, "finish_reason": "tool_calls"}])
        + event(choices=[], usage={"prompt_tokens": 9, "completion_tokens": 12})
        + DONE
    )
    timeline = of(body, "vllm")
    assert (timeline.outcome, timeline.finish_reason) == (OK, "tool_calls")
    assert (timeline.output_events, timeline.output_tokens, timeline.output_tokens_source) == (2, 12, "usage")
    assert timeline.first_ns is not None
