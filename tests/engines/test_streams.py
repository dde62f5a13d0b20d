"""The same answer from each dialect's stream (tests/engines/streams.py) however it is cut, and what goes wrong."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest

from tests.engines.streams import (
    COUNTED,
    DONE,
    OLLAMA,
    RESPONSES_BEGIN,
    RESPONSES_USAGE,
    SPECS,
    STREAMS,
    TGI_GENERATE,
    WORDS,
    Answer,
    answer_of,
    deltas_of,
    responses_delta,
    responses_event,
    stream_of,
    triton_event,
)
from tokenswarm.engines import Delta

Read = Callable[[str, bytes], Answer]


@pytest.fixture
def read(three_ways: Callable[..., Answer]) -> Read:
    return lambda engine, data: three_ways(data, lambda pieces: answer_of(engine, pieces))


def outputs(engine: str, data: bytes) -> list[str]:
    """What each event with output added."""
    deltas, _ = deltas_of(engine, [data])
    return [delta.reasoning + delta.text for delta in deltas if delta.reasoning or delta.text]


def test_every_engine_has_its_stream_here() -> None:
    assert {param.values[0] for param in STREAMS} == set(SPECS)


@pytest.mark.slow
@pytest.mark.parametrize(("engine", "stream", "answer"), STREAMS)
def test_a_whole_stream(read: Read, engine: str, stream: bytes, answer: Answer) -> None:
    assert read(engine, stream) == answer


@pytest.mark.parametrize(("engine", "stream"), [param.values[:2] for param in STREAMS if param.values[0] != "bentoml"])
def test_each_output_is_an_event_and_nothing_else_is(engine: str, stream: bytes) -> None:
    """Roles, pings, usage, empty texts, special tokens and ends are no output: none of them is a first token."""
    expected = [" Hi", "th", "ére!"] if engine == "triton-bls" else [" Hi", "thére!"]
    assert outputs(engine, stream) == expected


@pytest.mark.slow
@pytest.mark.parametrize("engine", [name for name in SPECS if name not in {"triton", "triton-bls", "bentoml"}])
def test_an_end_of_the_body_before_the_stream_s_is_no_end(read: Read, engine: str) -> None:
    stream = stream_of(engine)
    separator = b"\n" if engine in {"lmdeploy-interactive", "ollama"} else b"\n\n"
    whole_but_the_end = stream[: stream.rstrip().rfind(separator) + len(separator)]
    answer = read(engine, whole_but_the_end)
    assert (answer.text, answer.done, answer.error, answer.broken) == (WORDS, False, None, None)


@pytest.mark.parametrize("engine", [name for name in SPECS if name != "bentoml"])
def test_an_end_inside_an_event_is_a_broken_stream(read: Read, engine: str) -> None:
    stream = stream_of(engine)
    middle = stream.find(b"u00e9" if engine in {"lmdeploy", "koboldcpp"} else "thére".encode())
    answer = read(engine, stream[:middle])
    assert answer.text == (" Hith" if engine == "triton-bls" else " Hi")
    assert answer.broken is not None
    assert answer.broken.startswith("the stream ended inside an event: ")


@pytest.mark.parametrize("engine", ["lmdeploy-interactive", "ollama"])
def test_a_last_line_without_its_line_end_is_the_end_all_the_same(read: Read, engine: str) -> None:
    stream = stream_of(engine)
    assert read(engine, stream[:-1]) == COUNTED


# Failures inside a 200.

FAILURES = [
    pytest.param(
        "vllm",
        b'data: {"error":{"message":"EngineCore died","type":"InternalServerError","param":null,"code":500}}\n\n'
        + DONE,
        "EngineCore died",
        id="vllm",
    ),
    pytest.param("lmdeploy", b'data: {"error": {"message": "out of cache"}}\n\n' + DONE, "out of cache", id="lmdeploy"),
    pytest.param("sglang", b'data: {"error":{"message":"aborted"}}\n\n' + DONE, "aborted", id="sglang"),
    pytest.param("llamacpp", b'data: {"error":{"code":500,"message":"no slot"}}\n\n', "no slot", id="llamacpp"),
    pytest.param(
        "tgi",
        b'data: {"error":{"message":"Model is overloaded","http_status_code":422}}\n\n' + DONE,
        "Model is overloaded",
        id="tgi",
    ),
    pytest.param(
        "tgi-generate",
        b'data: {"error":"Model is overloaded","error_type":"overloaded"}\n\n',
        "Model is overloaded",
        id="tgi-generate",
    ),
    pytest.param(
        "tgi-generate",
        b'data:{"error":"Model is overloaded","error_type":"overloaded"}\n\n',
        "Model is overloaded",
        id="tgi-generate of 2.0.4",
    ),
    pytest.param(
        "tgi-2.0.4",
        b'data:{"error":"Model is overloaded","error_type":"overloaded"}\n\n',
        "Model is overloaded",
        id="tgi-2.0.4",
    ),
    pytest.param(
        "triton", b'data: {"error":"in ensemble, the engine failed"}\n\n', "in ensemble, the engine failed", id="triton"
    ),
    pytest.param("triton-bls", b'data: {"error":"cancelled"}\n\n', "cancelled", id="triton-bls"),
    pytest.param(
        "triton", b'data: {"error":""}\n\n', "the server reported an error without a message", id="triton, no words"
    ),
    pytest.param(
        "ollama",
        b'{"error":"model runner has unexpectedly stopped"}\n',
        "model runner has unexpectedly stopped",
        id="ollama",
    ),
    pytest.param(
        "anthropic",
        b'event: error\ndata: {"type":"error","error":{"type":"overloaded_error","message":"Overloaded"}}\n\n',
        "Overloaded",
        id="anthropic",
    ),
    pytest.param("completions", b'data: {"error":{"message":"no slot"}}\n\n', "no slot", id="completions"),
    pytest.param(
        "responses",
        responses_event("response.failed", response={"status": "failed", "error": {"code": "x", "message": "Lost."}}),
        "Lost.",
        id="responses",
    ),
    pytest.param(
        "responses", responses_event("error", code="x", message="Lost.", param=None), "Lost.", id="responses, flat"
    ),
    pytest.param(
        "responses", responses_event("error", error={"message": "Lost."}), "Lost.", id="responses, an object inside"
    ),
    pytest.param(
        "responses", b'data: {"error":{"message":"no slot","code":500}}\n\n', "no slot", id="responses, as chat has it"
    ),
    pytest.param("responses", b'{"error":{"message":"no slot"}}\n\n', "no slot", id="responses, without data"),
    pytest.param(
        "responses",
        responses_event("response.failed", response={"status": "failed", "error": None}),
        "the server reported an error without a message",
        id="responses, no words",
    ),
    pytest.param(
        "lmdeploy-interactive",
        b'{"object":"error","message":"no such session","code":400}\n',
        "no such session",
        id="lmdeploy-interactive",
    ),
]


@pytest.mark.parametrize(("engine", "event", "words"), FAILURES)
def test_a_failure_in_mid_stream_is_told_in_the_server_s_words(
    read: Read, engine: str, event: bytes, words: str
) -> None:
    stream = stream_of(engine)
    separator = b"\n" if engine in {"lmdeploy-interactive", "ollama"} else b"\n\n"
    begun = stream[: stream.find(separator, stream.find(b" Hi")) + len(separator)]
    answer = read(engine, begun + event)
    assert (answer.text, answer.error, answer.broken) == (" Hi", words, None)
    assert read(engine, event).error == words


@pytest.mark.parametrize("engine", [name for name in SPECS if name != "bentoml"])
def test_an_event_that_is_not_json_is_a_broken_stream(read: Read, engine: str) -> None:
    line = b"<html>oops\n" if engine in {"lmdeploy-interactive", "ollama"} else b"data: <html>oops\n\n"
    answer = read(engine, line)
    assert answer.broken is not None
    assert answer.broken.startswith("event 1 ")
    assert answer.broken.endswith(": '<html>oops'")


# What is peculiar to one dialect.


def test_tgi_counts_a_token_without_text_with_the_next_that_has_some() -> None:
    """So that a stream that breaks off has its count too."""
    deltas, _ = deltas_of("tgi-generate", [TGI_GENERATE])
    assert [delta.tokens for delta in deltas] == [1, None, 2, None]


def test_tgi_pings_before_the_first_token_are_nothing(read: Read) -> None:
    assert read("tgi-generate", b":\n\n:\n\n" + TGI_GENERATE).text == WORDS
    assert deltas_of("tgi-generate", [b":\n\n:\n\n"]) == ([], None)


def test_tgi_ends_with_a_token_where_the_cap_ended_it(read: Read) -> None:
    last = (
        b'data: {"index":1,"token":{"id":1,"text":" Hi","logprob":-0.1,"special":false},"generated_text":" Hi",'
        b'"details":{"finish_reason":"length","generated_tokens":1,"seed":null,"input_length":9}}\n\n'
    )
    assert read("tgi-generate", last) == Answer(" Hi", "", 9, 1, "length", None, True)


@pytest.mark.parametrize("framing", ["data: ", "data:", "event: message_delta\ndata: "])
def test_anthropic_events_are_known_by_what_their_data_says(read: Read, framing: str) -> None:
    data = b'{"type":"message_delta","delta":{"stop_reason":"end_turn"},"usage":{"output_tokens":3}}\n\n'
    assert read("anthropic", framing.encode() + data) == Answer(output_tokens=3, finish_reason="end_turn")


def test_anthropic_thinking_and_tool_arguments_are_output_and_unknown_events_are_nothing() -> None:
    stream = b"".join(
        b"event: content_block_delta\ndata: %s\n\n" % json.dumps({"type": kind, "delta": delta}).encode()
        for kind, delta in [
            ("content_block_delta", {"type": "thinking_delta", "thinking": "Hm"}),
            ("content_block_delta", {"type": "signature_delta", "signature": "x"}),
            ("content_block_delta", {"type": "input_json_delta", "partial_json": '{"a'}),
            ("of_the_future", {"type": "text_delta", "text": "no"}),
        ]
    )
    assert deltas_of("anthropic", [stream])[0] == [
        Delta(reasoning="Hm"),
        Delta(),
        Delta(tool_arguments='{"a'),
        Delta(),
    ]


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["reasoning_text", "reasoning_summary_text", "reasoning"])
def test_reasoning_of_a_response_is_reasoning(read: Read, kind: str) -> None:
    stream = stream_of("responses").replace(RESPONSES_BEGIN, RESPONSES_BEGIN + responses_delta(kind, "Hm."))
    assert read("responses", stream) == COUNTED._replace(reasoning="Hm.")


@pytest.mark.slow
def test_a_refusal_is_text_and_arguments_are_tool_arguments(read: Read) -> None:
    refused = stream_of("responses").replace(b"output_text.delta", b"refusal.delta")
    assert read("responses", refused) == COUNTED
    called = responses_delta("function_call_arguments", '{"a":') + responses_delta("custom_tool_call_input", "1}")
    deltas, _ = deltas_of("responses", [called])
    assert [delta.tool_arguments for delta in deltas] == ['{"a":', "1}"]


@pytest.mark.parametrize(
    ("kind", "response", "finish_reason"),
    [
        ("completed", {"status": "completed"}, "stop"),
        ("completed", {}, "stop"),
        ("incomplete", {"status": "incomplete", "incomplete_details": {"reason": "content_filter"}}, "content_filter"),
        ("incomplete", {"status": "incomplete", "incomplete_details": {"reason": "max_tokens"}}, "length"),
        ("incomplete", {"status": "incomplete", "incomplete_details": None}, "incomplete"),
        ("completed", {"status": "cancelled"}, "cancelled"),
        ("cancelled", {"status": "cancelled"}, "cancelled"),
    ],
)
def test_a_response_ends_for_the_reason_that_it_gives(
    read: Read, kind: str, response: dict[str, object], finish_reason: str
) -> None:
    end = responses_event(f"response.{kind}", response=response | {"usage": RESPONSES_USAGE})
    answer = read("responses", RESPONSES_BEGIN + responses_delta("output_text", " Hi") + end)
    assert answer == COUNTED._replace(text=" Hi", finish_reason=finish_reason)


def test_details_of_a_response_s_usage_are_read() -> None:
    deltas, _ = deltas_of("responses", [stream_of("responses")])
    assert (deltas[-1].cached_tokens, deltas[-1].reasoning_tokens) == (4, 1)


@pytest.mark.slow
def test_a_ping_that_is_no_json_is_passed_over(read: Read) -> None:
    ping = b"event: ping\ndata: 12:00:03\n\n"
    assert read("responses", ping + stream_of("responses").replace(RESPONSES_BEGIN, RESPONSES_BEGIN + ping)) == COUNTED


def test_ollama_thinking_is_reasoning(read: Read) -> None:
    assert read("ollama", b'{"message":{"content":"","thinking":"Hm"},"done":false}\n') == Answer(reasoning="Hm")


def test_accumulated_text_taken_for_new_text_is_found_out(read: Read) -> None:
    stream = b"".join(triton_event("word " * times) for times in range(1, 9))
    answer = read("triton", stream)
    assert answer.broken.endswith("--engine triton-bls")


def test_new_text_taken_for_accumulated_text_is_found_out(read: Read) -> None:
    answer = read("triton-bls", triton_event("one") + triton_event(" two"))
    assert answer.text == "one"
    assert answer.broken.startswith("event 2 ")
    assert answer.broken.endswith("--engine triton")


def test_new_text_may_repeat_itself_by_chance(read: Read) -> None:
    stream = b"".join(triton_event(text) for text in ["a", "ab", "abc", "abcd", "x", "xy", "xyz", "xyz!", "xyz!?"])
    assert read("triton", stream).text == "aababcabcdxxyxyzxyz!xyz!?"


def test_an_incomplete_character_at_the_very_end_of_accumulated_text_is_part_of_it(read: Read) -> None:
    assert read("triton-bls", triton_event("a") + triton_event("a\ufffd")) == Answer("a\ufffd", done=True)


def test_text_that_ends_inside_a_character_is_truncated(read: Read) -> None:
    answer = read("bentoml", b"caf\xc3")
    assert (answer.text, answer.done) == ("caf", False)
    assert answer.broken.endswith(repr(b"\xc3"))


@pytest.mark.parametrize("bad", [b"\xff", b"\xe4\xb8", b"\xed\xa0"])
def test_text_before_bytes_that_are_not_utf_8_is_kept(read: Read, bad: bytes) -> None:
    answer = read("bentoml", b"caf\xc3\xa9" + bad + b"abc")
    assert (answer.text, answer.done) == ("café", False)
    assert "UTF-8" in answer.broken
    assert answer.broken.endswith(repr(bad[:1] if bad[:1] == bytes([0xED]) else bad))


@pytest.mark.parametrize("line_ends", [b"\n\n", b"\n\n\n", b"\r\n\r\n\n"])
def test_bytes_that_are_not_utf_8_in_a_field_that_is_not_read_are_the_same_in_every_split(
    read: Read, line_ends: bytes
) -> None:
    event = b'data: {"id":"\xff","choices":[{"delta":{"content":"Hi"}}]}'
    assert read("vllm", (event + line_ends) * 3 + DONE) == Answer("HiHiHi", done=True)


@pytest.mark.parametrize(
    "text", ["data: x\n\ndata: x\n\n", " \n", "[DONE]", '{"status":"ok"}', 'He said {"status":"error" and left']
)
def test_text_that_looks_like_a_frame_is_text(read: Read, text: str) -> None:
    assert read("bentoml", text.encode()) == Answer(text, done=True)


@pytest.mark.parametrize("before", ["", "Hi there"])
@pytest.mark.parametrize(
    "error",
    [
        '{"status":"error","message":"Request failed: out of memory"}',
        '{ "status": "error", "message": "Request failed: out of memory" }',
    ],
)
def test_an_engine_s_error_yielded_as_text_is_a_failure(read: Read, before: str, error: str) -> None:
    answer = read("bentoml", (before + error).encode())
    assert answer.error == "Request failed: out of memory"


@pytest.mark.parametrize("engine", ["ollama", "lmdeploy-interactive"])
def test_an_endless_line_is_a_broken_stream_and_not_a_full_memory(engine: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tokenswarm.engines.sse.MAX_EVENT_BYTES", 1000)
    assert answer_of(engine, [b"x" * 100] * 11).broken.endswith("1000 bytes")


def test_blank_lines_between_json_lines_are_nothing(read: Read) -> None:
    assert read("ollama", OLLAMA.replace(b"\n", b"\r\n\r\n")) == COUNTED


def test_two_decoders_share_nothing() -> None:
    for param in STREAMS:
        engine, stream = param.values[0], param.values[1]
        assert isinstance(engine, str)
        assert isinstance(stream, bytes)
        one, other = SPECS[engine].decoder(), SPECS[engine].decoder()
        one.feed(stream[: len(stream) // 2])
        assert "".join(delta.text for delta in [*other.feed(stream), *other.end()]) == WORDS
