"""Deltas of the OpenAI chat stream, as vLLM, llama.cpp and their kin send it."""

import json
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tokenswarm.engines import ENGINES, Delta, StreamBroken
from tokenswarm.engines.openai import OpenAICompatible, OpenAIDecoder

DONE = Delta(done=True)
Reading = tuple[list[Delta], str | None]
Read = Callable[[bytes], list[Delta]]


def read(pieces: list[bytes]) -> Reading:
    """The deltas of a stream, and what broke it."""
    decoder, deltas = OpenAIDecoder(), list[Delta]()
    try:
        for piece in pieces:
            deltas += decoder.feed(piece)
        deltas += decoder.end()
    except StreamBroken as broken:
        return deltas, str(broken)
    return deltas, None


@pytest.fixture
def reading(three_ways: Callable[..., Reading]) -> Callable[[bytes], Reading]:
    return lambda data: three_ways(data, read)


@pytest.fixture
def deltas(reading: Callable[[bytes], Reading]) -> Read:
    """The deltas of a stream that must not break."""

    def of(data: bytes) -> list[Delta]:
        found, broken = reading(data)
        assert broken is None
        return found

    return of


def event(**chunk: object) -> bytes:
    return f"data: {json.dumps(chunk)}\n\n".encode()


def piece(**delta: object) -> bytes:
    return event(choices=[{"index": 0, "delta": delta, "finish_reason": None}])


def outputs(found: list[Delta]) -> list[Delta]:
    return [delta for delta in found if delta.text or delta.reasoning or delta.tool_arguments]


# Streams as real servers send them, shortened.

VLLM_STREAM = (
    b'data: {"id":"chatcmpl-9","object":"chat.completion.chunk","created":179538,"model":"tiny","choices":[{"index":0,'
    b'"delta":{"role":"assistant","content":""},"logprobs":null,"finish_reason":null}],"prompt_token_ids":null,'
    b'"prompt_text":null}\n\n'
    b'data: {"id":"chatcmpl-9","object":"chat.completion.chunk","created":179538,"model":"tiny","choices":[{"index":0,'
    b'"delta":{"content":"per"},"logprobs":null,"finish_reason":null,"token_ids":null}]}\n\n'
    b'data: {"id":"chatcmpl-9","object":"chat.completion.chunk","created":179538,"model":"tiny","choices":[{"index":0,'
    b'"delta":{"content":" exceptress"},"logprobs":null,"finish_reason":null,"token_ids":null}]}\n\n'
    b'data: {"id":"chatcmpl-9","object":"chat.completion.chunk","created":179538,"model":"tiny","choices":[{"index":0,'
    b'"delta":{"content":" rap"},"logprobs":null,"finish_reason":"length","stop_reason":null,"token_ids":null}]}\n\n'
    b'data: {"id":"chatcmpl-9","object":"chat.completion.chunk","created":179538,"model":"tiny","choices":[],"usage":'
    b'{"prompt_tokens":22,"total_tokens":26,"completion_tokens":4},"system_fingerprint":"vllm-0.32.0-0bf6630a"}\n\n'
    b"data: [DONE]\n\n"
)

LLAMA_CPP_STREAM = (
    b'data: {"choices":[{"finish_reason":null,"index":0,"delta":{"role":"assistant","content":null}}],"created":179538,'
    b'"id":"chatcmpl-e","model":"tiny","system_fingerprint":"b0-unknown","object":"chat.completion.chunk"}\n\n'
    b'data: {"choices":[{"finish_reason":null,"index":0,"delta":{"content":" row"}}],"created":179538,'
    b'"id":"chatcmpl-e","model":"tiny","system_fingerprint":"b0-unknown","object":"chat.completion.chunk"}\n\n'
    b":\n\n"
    b'data: {"choices":[{"finish_reason":null,"index":0,"delta":{"content":"\xef\xbf\xbd"}}],"created":179538,'
    b'"id":"chatcmpl-e","model":"tiny","system_fingerprint":"b0-unknown","object":"chat.completion.chunk"}\n\n'
    b'data: {"choices":[{"finish_reason":"length","index":0,"delta":{}}],"created":179538,"id":"chatcmpl-e",'
    b'"model":"tiny","system_fingerprint":"b0-unknown","object":"chat.completion.chunk"}\n\n'
    b'data: {"choices":[],"created":179538,"id":"chatcmpl-e","model":"tiny","system_fingerprint":"b0-unknown",'
    b'"object":"chat.completion.chunk","usage":{"completion_tokens":2,"prompt_tokens":43,"total_tokens":45,'
    b'"prompt_tokens_details":{"cached_tokens":42}},"timings":{"cache_n":42,"prompt_n":1,"prompt_ms":8.393,'
    b'"prompt_per_token_ms":8.393,"prompt_per_second":119.14690813773382,"predicted_n":2,"predicted_ms":12.395}}\n\n'
    b"data: [DONE]\n\n"
)

VLLM_ENGINE_KILLED = (
    b'data: {"id":"chatcmpl-3","object":"chat.completion.chunk","created":179538,"model":"tiny","choices":[{"index":0,'
    b'"delta":{"content":" 200"},"logprobs":null,"finish_reason":null,"token_ids":null}]}\n\n'
    b'data: {"error": {"message": "EngineCore encountered an issue. See stack trace (above) for the root cause.",'
    b' "type": "InternalServerError", "param": null, "code": 500}}\n\n'
    b"data: [DONE]\n\n"
)


def test_a_stream_of_vllm(deltas: Read) -> None:
    assert deltas(VLLM_STREAM) == [
        Delta(),
        Delta(text="per"),
        Delta(text=" exceptress"),
        Delta(text=" rap", finish_reason="length"),
        Delta(prompt_tokens=22, output_tokens=4),
        DONE,
    ]


def test_a_stream_of_llama_cpp(deltas: Read) -> None:
    assert deltas(LLAMA_CPP_STREAM) == [
        Delta(),
        Delta(text=" row"),
        Delta(text="\ufffd"),
        Delta(finish_reason="length"),
        Delta(prompt_tokens=43, output_tokens=2, cached_tokens=42),
        DONE,
    ]


def test_vllm_tells_of_its_engines_death_and_still_says_done(deltas: Read) -> None:
    assert deltas(VLLM_ENGINE_KILLED) == [
        Delta(text=" 200"),
        Delta(error="EngineCore encountered an issue. See stack trace (above) for the root cause."),
        DONE,
    ]


def test_every_engine_of_this_dialect_reads_it() -> None:
    for engine in ENGINES.values():
        if isinstance(engine, OpenAICompatible):
            assert engine.decoder().feed(VLLM_STREAM)[1] == Delta(text="per")


def test_two_decoders_share_nothing() -> None:
    one, other = ENGINES["vllm"].decoder(), ENGINES["vllm"].decoder()
    one.feed(b"data: [DO")
    assert other.feed(b"data: [DONE]\n\n") == [DONE]
    assert one.feed(b"NE]\n\n") == [DONE]


# What is output, and what is not.


@pytest.mark.parametrize("content", ["", None])
def test_a_role_only_chunk_is_no_output(deltas: Read, content: str | None) -> None:
    assert deltas(piece(role="assistant", content=content)) == [Delta()]


def test_a_role_without_content_is_no_output_and_a_role_beside_content_does_not_hide_it(deltas: Read) -> None:
    found = deltas(piece(role="assistant") + piece(role="assistant", content="Hi"))
    assert found == [Delta(), Delta(text="Hi")]


def test_a_usage_chunk_without_choices_is_no_output(deltas: Read) -> None:
    found = deltas(event(choices=[], usage={"prompt_tokens": 9, "total_tokens": 11, "completion_tokens": 2}))
    assert found == [Delta(prompt_tokens=9, output_tokens=2)]
    assert outputs(found) == []


def test_usage_on_every_chunk_comes_with_the_text_and_counts_from_zero(deltas: Read) -> None:
    stream = b"".join(
        event(
            choices=[{"index": 0, "delta": {"content": text}}], usage={"prompt_tokens": 22, "completion_tokens": tokens}
        )
        for tokens, text in enumerate(["", "a", "b"])
    )
    assert deltas(stream) == [
        Delta(prompt_tokens=22, output_tokens=0),
        Delta(text="a", prompt_tokens=22, output_tokens=1),
        Delta(text="b", prompt_tokens=22, output_tokens=2),
    ]


@pytest.mark.parametrize("name", ["reasoning", "reasoning_content"])
def test_reasoning_of_either_name_is_output_but_not_text(deltas: Read, name: str) -> None:
    assert deltas(piece(**{name: "Hmm"}) + piece(content="Hi")) == [Delta(reasoning="Hmm"), Delta(text="Hi")]


def test_reasoning_under_both_names_at_once_is_not_doubled(deltas: Read) -> None:
    assert deltas(piece(reasoning="Hmm", reasoning_content="Hmm")) == [Delta(reasoning="Hmm")]


@pytest.mark.parametrize("nothing", ["", None])
def test_an_empty_reasoning_does_not_hide_a_filled_one(deltas: Read, nothing: str | None) -> None:
    assert deltas(piece(reasoning=nothing, reasoning_content="Hmm")) == [Delta(reasoning="Hmm")]
    assert deltas(piece(reasoning="Hmm", reasoning_content=nothing)) == [Delta(reasoning="Hmm")]


def test_tool_calls_name_first_then_argument_fragments(deltas: Read) -> None:
    named = {"index": 0, "id": "call-1", "type": "function", "function": {"name": "weather", "arguments": ""}}
    stream = piece(tool_calls=[named])
    for fragment in ('{"city": "', 'Bern"}'):
        stream += piece(tool_calls=[{"index": 0, "function": {"arguments": fragment}}])
    found = deltas(stream)
    assert [delta.tool_arguments for delta in found] == ["", '{"city": "', 'Bern"}']
    assert outputs(found) == found[1:]


def test_several_tool_calls_in_one_event_are_all_output(deltas: Read) -> None:
    calls = [{"index": at, "function": {"arguments": text}} for at, text in enumerate("ab")]
    assert deltas(piece(tool_calls=calls)) == [Delta(tool_arguments="ab")]


def test_several_tokens_in_one_event_are_one_delta(deltas: Read) -> None:
    assert deltas(piece(content=" HTMLormallushtc")) == [Delta(text=" HTMLormallushtc")]


def test_two_choices_stream_side_by_side(deltas: Read) -> None:
    stream = b""
    for index, text, reason in [(0, "a", None), (1, "b", None), (0, "c", "length"), (1, "d", "stop")]:
        stream += event(choices=[{"index": index, "delta": {"content": text}, "finish_reason": reason}])
    assert deltas(stream) == [
        Delta(text="a"),
        Delta(text="b"),
        Delta(text="c", finish_reason="length"),
        Delta(text="d", finish_reason="stop"),
    ]


def test_two_choices_in_one_event_are_one_delta(deltas: Read) -> None:
    choices = [
        {"index": 0, "delta": {"content": "a"}, "finish_reason": "stop"},
        {"index": 1, "delta": {"content": "b"}, "finish_reason": None},
    ]
    assert deltas(event(choices=choices)) == [Delta(text="ab", finish_reason="stop")]


@pytest.mark.parametrize(
    "chunk",
    [
        {"choices": None, "usage": None, "error": None, "object": None, "message": None},
        {"choices": [{"index": None, "delta": None, "finish_reason": None, "logprobs": None}]},
        {"choices": [{"delta": dict.fromkeys(["role", "content", "reasoning", "reasoning_content", "tool_calls"])}]},
        {"choices": [{"delta": {"tool_calls": [{"index": None, "function": None}]}}]},
        {"choices": [{"delta": {"tool_calls": [{"function": {"name": None, "arguments": None}}]}}]},
        {"choices": [], "usage": {"prompt_tokens": None, "completion_tokens": None}},
        {},
    ],
)
def test_null_is_nothing_wherever_it_stands(deltas: Read, chunk: dict[str, object]) -> None:
    assert deltas(event(**chunk)) == [Delta()]


def test_unknown_keys_of_any_type_are_passed_over(deltas: Read) -> None:
    stream = (
        b'data: {"obfuscation": "xY3", "service_tier": {"a": [1, 2.5, true]}, "choices": [{"extra": [], '
        b'"delta": {"content": "Hi", "refusal": null, "annotations": [{"b": 1}]}, "matched_stop": 128009}]}\n\n'
    )
    assert deltas(stream) == [Delta(text="Hi")]


# Framing, as far as this dialect adds to it (test_event_splitter.py has the rest).


def test_several_events_in_one_read_are_several_deltas() -> None:
    assert OpenAIDecoder().feed(piece(content="a") + piece(content="b")) == [Delta(text="a"), Delta(text="b")]


def test_json_over_several_data_lines_is_one_event(deltas: Read) -> None:
    stream = b'data: {"choices":\ndata: [{"delta":\ndata:{"content": "Hi"}}]}\n\n'
    assert deltas(stream) == [Delta(text="Hi")]


def test_data_without_a_space_and_spaces_behind_the_data(deltas: Read) -> None:
    stream = b'data:{"choices":[{"delta":{"content":"Hi"}}]}\n\ndata: {"choices":[]} \n\ndata:[DONE] \n\n'
    assert deltas(stream) == [Delta(text="Hi"), Delta(), DONE]


def test_pings_between_events_are_no_deltas(deltas: Read) -> None:
    assert deltas(b":\n\n: ping\n\n" + piece(content="Hi") + b":\n\n") == [Delta(text="Hi")]


def test_line_separators_inside_text_stay_in_the_text(deltas: Read) -> None:
    text = "a\u2028b\u2029c\x85d"
    stream = f'data: {{"choices":[{{"delta":{{"content":"{text}"}}}}]}}\r\n\r\n'.encode()
    assert deltas(stream) == [Delta(text=text)]


def test_line_ends_inside_text_are_escaped_and_come_out_as_they_are(deltas: Read) -> None:
    assert deltas(piece(content="a\r\n\n\rb")) == [Delta(text="a\r\n\n\rb")]


# Errors inside a 200.


@pytest.mark.parametrize(
    ("chunk", "words"),
    [
        pytest.param({"error": "Model is overloaded", "error_type": "overloaded"}, "Model is overloaded", id="string"),
        pytest.param({"error": {"message": "too  long\nby far", "code": 400}}, "too long by far", id="object"),
        pytest.param({"error": {"error": {"message": "inner"}}}, "inner", id="nested object"),
        pytest.param({"error": {"code": 500}}, '{"code":500}', id="object without a message"),
        pytest.param({"error": {"message": None, "code": 500}}, '{"message":null,"code":500}', id="message null"),
        pytest.param({"error": 500}, "500", id="number"),
        pytest.param({"object": "error", "message": "no such model", "code": 404}, "no such model", id="flat object"),
        pytest.param({"error": ""}, "the server reported an error without a message", id="empty"),
    ],
)
def test_an_error_event_gives_the_servers_words_whatever_its_shape(
    deltas: Read, chunk: dict[str, object], words: str
) -> None:
    assert deltas(event(**chunk) + b"data: [DONE]\n\n") == [Delta(error=words), DONE]


def test_a_flat_error_without_words_is_still_an_error(deltas: Read) -> None:
    (delta,) = deltas(event(object="error", message=None))
    assert delta.error


def test_an_error_as_long_as_a_traceback_is_shortened() -> None:
    ((delta,), broken) = read([event(error={"message": "x" * 5000})])
    assert broken is None
    assert delta.error == "x" * 299 + "…"


# The end, proper and improper.


def test_done_is_the_end(deltas: Read) -> None:
    assert deltas(b"data: [DONE]\n\n") == [DONE]


@pytest.mark.parametrize("stream", [b"data: [DONE]", b"data: [DONE]\n", b"data: [DONE]\r\n", b"\n\ndata: [DONE]\n"])
def test_done_without_its_blank_line_is_the_end_all_the_same(deltas: Read, stream: bytes) -> None:
    assert deltas(stream) == [DONE]


def test_an_end_between_events_leaves_nothing_over(deltas: Read) -> None:
    assert deltas(piece(content="Hi")) == [Delta(text="Hi")]
    assert deltas(b"") == []


@pytest.mark.parametrize("rest", [b'data: {"choices":[{"del', b"data: [DON", b'data: {"choices":[]}', b"dat"])
def test_an_end_inside_an_event_is_a_broken_stream(reading: Callable[[bytes], Reading], rest: bytes) -> None:
    found, broken = reading(piece(content="Hi") + rest)
    assert found == [Delta(text="Hi")]
    assert broken is not None
    assert broken.endswith(repr(rest))


def test_an_event_that_is_not_json_is_named_by_its_number_and_its_beginning(
    reading: Callable[[bytes], Reading],
) -> None:
    found, broken = reading(piece(role="assistant") + piece(content="Hi") + b"data: <html>oops\n\n")
    assert found == [Delta(), Delta(text="Hi")]
    assert broken is not None
    assert broken.startswith("event 3 ")
    assert broken.endswith(": '<html>oops'")


@pytest.mark.parametrize("event", [b"5", b"[]", b'{"choices": 5}', b'{"choices": [{"delta": {"content": 5}}]}', b"{"])
def test_json_of_another_shape_is_a_broken_stream(reading: Callable[[bytes], Reading], event: bytes) -> None:
    found, broken = reading(b"data: " + event + b"\n\n")
    assert found == []
    assert broken is not None
    assert broken.startswith("event 1 ")


def test_json_nested_beyond_reason_is_a_broken_stream() -> None:
    found, broken = read([b'data: {"x":' + b"[" * 100_000 + b"\n\n"])
    assert found == []
    assert broken is not None
    assert len(broken) < 300


def test_nothing_is_read_behind_a_broken_event(reading: Callable[[bytes], Reading]) -> None:
    found, broken = reading(piece(content="a") + b"data: oops\n\n" + piece(content="b") + b"data: [DONE]\n\n")
    assert found == [Delta(text="a")]
    assert broken is not None
    assert broken.startswith("event 2 ")


def test_bytes_that_are_not_utf_8_are_a_broken_stream(reading: Callable[[bytes], Reading]) -> None:
    found, broken = reading(piece(content="a") + b'data: {"choices":[{"delta":{"content":"\xe9"}}]}\n\n')
    assert found == [Delta(text="a")]
    assert broken is not None
    assert "UTF-8" in broken


def test_an_endless_event_is_a_broken_stream_and_not_a_full_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tokenswarm.engines.sse.MAX_EVENT_BYTES", 1000)
    for reads, broken in ((10, repr(b"x" * 60)), (11, "1000 bytes")):
        found, reason = read([b"x" * 100] * reads)
        assert (found, (reason or "").endswith(broken)) == ([], True)


# Any deltas, any line ends, any cuts.

COUNT = st.none() | st.integers(0, 2**53)
DELTAS = st.lists(
    st.builds(
        Delta,
        text=st.text(),
        reasoning=st.text(),
        tool_arguments=st.text(),
        tokens=st.none(),
        prompt_tokens=COUNT,
        output_tokens=COUNT,
        finish_reason=st.none() | st.text(min_size=1),
        error=st.none(),
        done=st.just(False),
    )
)


def chunk_of(delta: Delta) -> dict[str, object]:
    return {
        "choices": [
            {
                "delta": {
                    "content": delta.text,
                    "reasoning": delta.reasoning,
                    "tool_calls": [{"function": {"arguments": delta.tool_arguments}}],
                },
                "finish_reason": delta.finish_reason,
            }
        ],
        "usage": {"prompt_tokens": delta.prompt_tokens, "completion_tokens": delta.output_tokens},
    }


@pytest.mark.slow
@settings(max_examples=150)
@given(expected=DELTAS, ascii_only=st.booleans(), line_end=st.sampled_from(["\n", "\r\n", "\r"]), data=st.data())
def test_any_deltas_written_as_events_and_cut_anywhere_are_read_as_they_were(
    expected: list[Delta], ascii_only: bool, line_end: str, data: st.DataObject
) -> None:
    events = [json.dumps(chunk_of(delta), ensure_ascii=ascii_only) for delta in expected] + ["[DONE]"]
    stream = "".join(f"data: {event}{line_end}{line_end}" for event in events).encode()
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=20), label="cuts"))
    pieces = [stream[start:stop] for start, stop in zip([0, *cuts], [*cuts, len(stream)], strict=True)]
    assert read(pieces) == ([*expected, DONE], None)
