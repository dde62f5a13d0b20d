"""The bytes of every dialect, as they are written down for the real servers. `hi` in the chat template is 11 tokens."""

import json
from typing import Any

import pytest

from tokenswarm.simulator.dialect import Dialect, Refusal, Style, Usage
from tokenswarm.simulator.dialects import DIALECTS
from tokenswarm.simulator.engine_stats import State

CREATED_S = 1_700_000_000
CHAT = {"model": "M", "messages": [{"role": "user", "content": "hi"}], "max_tokens": 2, "stream": True}
WITH_USAGE = CHAT | {"stream_options": {"include_usage": True}}
LLAMA = "<|start_header_id|>user<|end_header_id|>\n\nhi<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\n"
GENERATE = {"inputs": LLAMA, "parameters": {"max_new_tokens": 2, "details": True}}
ENSEMBLE = {"text_input": LLAMA, "max_tokens": 2, "stream": True}
ASKS: dict[str, dict[str, Any]] = dict.fromkeys(DIALECTS, CHAT) | {
    "lmdeploy-interactive": {"prompt": "hi", "stream": True, "request_output_len": 2},
    "triton": ENSEMBLE,
    "triton-bls": ENSEMBLE,
    "tgi-generate": GENERATE,
    "bentoml": {"prompt": "hi", "system_prompt": "", "max_tokens": 128},
    "ollama": {"model": "M", "messages": CHAT["messages"], "options": {"num_predict": 2}},
}
HEADERS = {"anthropic-version": "2023-06-01"}


def dialect(name: str, style: Style | None = None, **options: Any) -> Dialect:
    return DIALECTS[name]("M", 2048, CREATED_S, style=style, **options)


def events(
    name: str, body: dict[str, Any], pieces: tuple[str, ...] = ("Hi", " there"), reason: str = "length", **options: Any
) -> list[bytes]:
    """The whole answer, one token at a time."""
    one = dialect(name, **options)
    generation = one.read(json.dumps(body).encode(), HEADERS)
    writer = one.writer(generation, "r1", CREATED_S)
    *first, last = pieces
    uncounted = reason == "stop" and not one.traits.end_token_counts
    usage = Usage(len(generation.prompt), 0, len(pieces) - uncounted, prompt_ns=4_000_000, output_ns=8_000_000)
    found = [writer.opening(), *(writer.tokens([piece], False) for piece in first)]
    return [event for event in [*found, *writer.ending([last], False, reason, usage)] if event]


def refusal(name: str, body: dict[str, Any], **options: Any) -> tuple[int, bytes]:
    with pytest.raises(Refusal) as caught:
        dialect(name, **options).read(json.dumps(body).encode(), HEADERS)
    return caught.value.page.status, caught.value.page.body


def test_vllm_0_4_2_has_a_bare_role_and_usage_in_the_finish_event() -> None:
    start = b'data: {"id":"cmpl-r1","object":"chat.completion.chunk","created":1700000000,"model":"M","choices":['
    assert events("vllm-0.4.2", CHAT) == [
        start + b'{"index":0,"delta":{"role":"assistant"},"logprobs":null,"finish_reason":null}]}\n\n',
        start + b'{"index":0,"delta":{"content":"Hi"},"logprobs":null,"finish_reason":null}]}\n\n',
        start
        + b'{"index":0,"delta":{"content":" there"},"logprobs":null,"finish_reason":"length","stop_reason":null}],'
        b'"usage":{"prompt_tokens":11,"total_tokens":13,"completion_tokens":2}}\n\n',
        b"data: [DONE]\n\n",
    ]


def test_vllm_can_show_usage_in_every_event() -> None:
    body = CHAT | {"stream_options": {"include_usage": True, "continuous_usage_stats": True}}
    role, token, finish, usage, _ = (json.loads(event[6:]) if b"{" in event else {} for event in events("vllm", body))
    assert [event["usage"]["completion_tokens"] for event in (role, token, finish, usage)] == [0, 1, 2, 2]
    assert list(role)[-3:] == ["usage", "prompt_token_ids", "prompt_text"] and list(token)[-1] == "usage"


def test_lmdeploy_writes_spaced_events_and_a_compact_usage_event() -> None:
    start = (
        b'data: {"id": "chatcmpl-r1", "object": "chat.completion.chunk", "created": 1700000000, "model": "M", '
        b'"choices": [{"index": 0, '
    )
    assert events("lmdeploy", WITH_USAGE, ("Hi", " caf\u00e9")) == [
        start + b'"delta": {"role": "assistant", "content": "Hi"}}], "usage": null}\n\n',
        start + b'"delta": {"role": "assistant", "content": " caf\\u00e9"}}], "usage": null}\n\n',
        start + b'"delta": {"role": "assistant", "content": ""}, "finish_reason": "length"}], "usage": null}\n\n',
        b'data: {"id":"chatcmpl-r1","object":"chat.completion.chunk","created":1700000000,"model":"M","choices":[],'
        b'"usage":{"prompt_tokens":11,"total_tokens":13,"completion_tokens":2,'
        b'"prompt_tokens_details":{"cached_tokens":0}}}\n\n',
        b"data: [DONE]\n\n",
    ]
    assert b"usage" not in b"".join(events("lmdeploy", CHAT))


def test_lmdeploy_0_4_0_has_an_early_role_a_number_for_an_id_and_no_usage() -> None:
    start = b'data: {"id":"1","object":"chat.completion.chunk","created":1700000000,"model":"M","choices":['
    assert events("lmdeploy-0.4.0", WITH_USAGE) == [
        b'data: {"id":"1","model":"M","choices":[{"index":0,"delta":{"role":"assistant"},"finish_reason":null}]}\n\n',
        start + b'{"index":0,"delta":{"role":"assistant","content":"Hi"},"logprobs":null,"finish_reason":null}]}\n\n',
        start
        + b'{"index":0,"delta":{"role":"assistant","content":" there"},"logprobs":null,"finish_reason":null}]}\n\n',
        start + b'{"index":0,"delta":{"role":"assistant","content":""},"logprobs":null,"finish_reason":"length"}]}\n\n',
        b"data: [DONE]\n\n",
    ]
    assert DIALECTS["lmdeploy-0.4.0"].traits.role == "early"


def test_lmdeploy_interactive_is_lines_of_json_with_cumulative_counts() -> None:
    assert events("lmdeploy-interactive", ASKS["lmdeploy-interactive"]) == [
        b'{"text":"Hi","tokens":1,"input_tokens":11,"history_tokens":0,"finish_reason":null}\n',
        b'{"text":" there","tokens":2,"input_tokens":11,"history_tokens":0,"finish_reason":null}\n',
        b'{"text":"","tokens":2,"input_tokens":11,"history_tokens":0,"finish_reason":"length"}\n',
    ]
    # The stop token is not counted.
    stopped = events("lmdeploy-interactive", ASKS["lmdeploy-interactive"], ("Hi", ""), "stop")
    assert stopped[1:] == [b'{"text":"","tokens":1,"input_tokens":11,"history_tokens":0,"finish_reason":"stop"}\n']


def mlc_chunk(content: str, finish: str, usage: str) -> bytes:
    choice = (
        f'{{"finish_reason":{finish},"index":0,"delta":{{"content":"{content}","role":"assistant","name":null,'
        f'"tool_calls":null,"tool_call_id":null}},"logprobs":null}}'
    )
    return mlc_event(choice, usage)


def mlc_event(choices: str, usage: str) -> bytes:
    return (
        f'data: {{"id":"chatcmpl-r1","choices":[{choices}],"created":1700000000,"model":"M","system_fingerprint":"",'
        f'"object":"chat.completion.chunk","usage":{usage}}}\n\n'
    ).encode()


def test_mlc_shows_all_nulls_and_drops_events_without_text() -> None:
    assert events("mlc", WITH_USAGE, ("Hi", "", " there")) == [
        mlc_chunk("Hi", "null", "null"),
        mlc_chunk(" there", '"length"', "null"),
        mlc_event("", '{"prompt_tokens":11,"completion_tokens":3,"total_tokens":14,"extra":null}'),
        b"data: [DONE]\n\n",
    ]


def test_mlc_of_2024_counts_in_every_event_those_without_choices_included() -> None:
    def usage(tokens: int) -> str:
        return f'{{"prompt_tokens":11,"completion_tokens":{tokens},"total_tokens":{11 + tokens}}}'

    assert events("mlc-2024", CHAT, ("Hi", "", "")) == [
        mlc_chunk("Hi", "null", usage(1)),
        mlc_event("", usage(2)),
        mlc_chunk("", '"length"', usage(3)),
        b"data: [DONE]\n\n",
    ]


def test_mlc_honours_ignore_eos_only_as_its_server_was_started() -> None:
    body = CHAT | {"debug_config": {"ignore_eos": True}, "ignore_eos": True}
    data = json.dumps(body).encode()
    assert not dialect("mlc").read(data, {}).ignore_eos
    assert dialect("mlc", enable_debug=True).read(data, {}).ignore_eos
    assert dialect("mlc-2024").read(data, {}).ignore_eos


def test_trtllm_has_a_space_after_the_role_event_and_leaves_nulls_out() -> None:
    start = b'data: {"id":"chatcmpl-r1","object":"chat.completion.chunk","created":1700000000,"model":"M","choices":['
    assert events("trtllm", CHAT | {"stream_options": {}}, ("Hi", " you", " there")) == [
        start + b'{"index":0,"delta":{"role":"assistant"}}]} \n\n',
        start + b'{"index":0,"delta":{"content":"Hi","reasoning_content":""}}]}\n\n',
        start + b'{"index":0,"delta":{"content":" you"}}]}\n\n',
        start + b'{"index":0,"delta":{"content":" there"},"finish_reason":"length"}]}\n\n',
        start + b'],"usage":{"prompt_tokens":11,"total_tokens":14,"completion_tokens":3,'
        b'"prompt_tokens_details":{"cached_tokens":0}}}\n\n',
        b"data: [DONE]\n\n",
    ]


def triton_event(model: bytes, text: bytes) -> bytes:
    return (
        b'data: {"context_logits":0.0,"cum_log_probs":0.0,"generation_logits":0.0,"model_name":"%b",'
        b'"model_version":"1","output_log_probs":[0.0],"sequence_end":false,"sequence_id":0,"sequence_start":false,'
        b'"text_output":"%b"}\n\n' % (model, text)
    )


def test_triton_sends_each_token_and_nothing_at_the_end() -> None:
    assert events("triton", ENSEMBLE, ("Hi", " there", ""), "stop") == [
        triton_event(b"ensemble", text) for text in (b"Hi", b" there", b"")
    ]


def test_triton_bls_sends_all_text_so_far() -> None:
    assert events("triton-bls", ENSEMBLE, ("Hi", " there", ""), "stop") == [
        triton_event(b"tensorrt_llm_bls", text) for text in (b"Hi", b"Hi there", b"Hi there")
    ]


def test_triton_is_told_a_length_by_a_minimum_or_an_end_id_that_never_comes() -> None:
    def generation(**fields: Any) -> Any:
        return dialect("triton").read(json.dumps(ENSEMBLE | fields).encode(), {})

    assert not generation().ignore_eos and not generation(end_id=128_009).ignore_eos
    assert (
        generation(min_tokens=2).ignore_eos
        and generation(parameters={"min_length": 2}).ignore_eos
        and generation(end_id=3).ignore_eos
    )


@pytest.mark.parametrize(
    ("space", "start", "more"), [("none", b"data:", b""), ("one", b"data: ", b',"input_length":11')]
)
def test_tgi_generate_ends_with_the_end_token_as_an_event_under_both_framings(
    space: str, start: bytes, more: bytes
) -> None:
    first, last = events("tgi-generate", GENERATE, ("Hi", ""), "stop", style=Style(space=space))
    assert first.startswith(start + b'{"index":1,"token":{"id":')
    assert first.endswith(b',"text":"Hi","logprob":-0.1,"special":false},"generated_text":null,"details":null}\n\n')
    assert last == (
        start + b'{"index":2,"token":{"id":128009,"text":"<|eot_id|>","logprob":-0.2,"special":true},'
        b'"generated_text":"Hi","details":{"finish_reason":"eos_token","generated_tokens":2,"seed":null'
        + more
        + b"}}\n\n"
    )


def test_tgi_generate_at_its_length_has_a_plain_last_token_and_details_only_if_asked() -> None:
    *_, last = events("tgi-generate", {"inputs": "hi", "parameters": {"max_new_tokens": 2}})
    assert last.endswith(
        b'"text":" there","logprob":-0.1,"special":false},"generated_text":"Hi there","details":null}\n\n'
    )


def test_tgi_never_puts_two_tokens_into_one_event() -> None:
    one = dialect("tgi-generate")
    writer = one.writer(one.read(json.dumps(GENERATE).encode(), {}), "r1", CREATED_S)
    assert writer.tokens(["Hi", " there"], False).count(b"\n\n") == 2


def test_tgi_chat_has_the_role_everywhere_and_a_null_for_usage() -> None:
    start = (
        b'data: {"object":"chat.completion.chunk","id":"","created":1700000000,"model":"M",'
        b'"system_fingerprint":"3.3.7-native","choices":['
    )
    assert events("tgi", WITH_USAGE, ("Hi", ""), "stop") == [
        start + b'{"index":0,"delta":{"role":"assistant","content":"Hi"},"logprobs":null,"finish_reason":null}],'
        b'"usage":null}\n\n',
        start + b'{"index":0,"delta":{"role":"assistant","content":""},"logprobs":null,"finish_reason":"stop"}],'
        b'"usage":null}\n\n',
        start + b'],"usage":{"prompt_tokens":11,"completion_tokens":2,"total_tokens":13}}\n\n',
        b"data: [DONE]\n\n",
    ]


def test_tgi_2_0_4_chat_calls_itself_a_completion_and_just_ends() -> None:
    start = (
        b'data:{"id":"","object":"text_completion","created":1700000000,"model":"M",'
        b'"system_fingerprint":"2.0.4-native","choices":['
    )
    assert events("tgi-2.0.4", WITH_USAGE, ("Hi", ""), "stop") == [
        start + b'{"index":0,"delta":{"role":"assistant","content":"Hi"},"logprobs":null,"finish_reason":null}]}\n\n',
        start
        + b'{"index":0,"delta":{"role":"assistant","content":""},"logprobs":null,"finish_reason":"eos_token"}]}\n\n',
    ]


def test_bentoml_is_the_text_and_nothing_else() -> None:
    assert events("bentoml", ASKS["bentoml"], ("Hi", "", " caf\u00e9", ""), "stop") == [b"Hi", b" caf\xc3\xa9"]


def test_sglang_has_the_last_text_and_the_finish_apart() -> None:
    start = b'data: {"id":"r1","object":"chat.completion.chunk","created":1700000000,"model":"M","choices":['
    delta = b'{"index":0,"delta":{"role":%b,"content":%b,"reasoning_content":null,"tool_calls":null},'
    end = b'"logprobs":null,"finish_reason":%b,"matched_stop":%b}],"usage":null}\n\n'
    assert events("sglang", CHAT, ("Hi", ""), "stop") == [
        start + delta % (b'"assistant"', b'""') + end % (b"null", b"null"),
        start + delta % (b"null", b'"Hi"') + end % (b"null", b"null"),
        start + delta % (b"null", b"null") + end % (b'"stop"', b"128009"),
        b"data: [DONE]\n\n",
    ]


def test_llamacpp_puts_the_role_with_the_first_token_and_the_usage_with_the_finish() -> None:
    end = (
        b'"created":1700000000,"id":"chatcmpl-r1","model":"M","system_fingerprint":"b11434-tokenswarm",'
        b'"object":"chat.completion.chunk"'
    )
    choice = b'data: {"choices":[{"finish_reason":null,"index":0,"delta":%b}],' + end + b"}\n\n"
    first, second, finish, done = events("llamacpp", WITH_USAGE)
    assert first == choice % b'{"role":"assistant","content":null}' + choice % b'{"content":"Hi"}'
    assert second == choice % b'{"content":" there"}'
    closing, usage = finish.split(b"\n\n")[:2]
    assert closing == b'data: {"choices":[{"finish_reason":"length","index":0,"delta":{}}],' + end + b"}"
    assert usage.startswith(b'data: {"choices":[],' + end + b',"usage":{"completion_tokens":2,"prompt_tokens":11,')
    timings = json.loads(usage[6:])["timings"]
    assert (timings["prompt_n"], timings["prompt_ms"], timings["predicted_n"], timings["predicted_ms"]) == (11, 4, 2, 8)
    assert done == b"data: [DONE]\n\n"
    assert json.loads(events("llamacpp", CHAT)[-2][6:])["timings"]


def test_koboldcpp_has_the_role_everywhere_and_the_finish_after_the_last_text() -> None:
    start = (
        b'data: {"id": "chatcmpl-Ar1", "object": "chat.completion.chunk", "created": 1700000000, "model": "M", '
        b'"choices": '
    )
    choice = b'[{"index": 0, "finish_reason": %b, "delta": {"role": "assistant", "content": "%b"}}]}\n\n'
    assert events("koboldcpp", WITH_USAGE, ("Hi", " caf\u00e9")) == [
        start + choice % (b"null", b"Hi"),
        start + choice % (b"null", b" caf\\u00e9"),
        start + choice % (b'"length"', b""),
        start + b'[], "usage": {"prompt_tokens": 11, "completion_tokens": 2, "total_tokens": 13}}\n\n',
        b"data: [DONE]\n\n",
    ]
    assert b"usage" not in b"".join(events("koboldcpp", CHAT))


def test_ollama_is_lines_of_json_whose_last_one_counts() -> None:
    start = b'{"model":"M","created_at":"2023-11-14T22:13:20Z","message":{"role":"assistant","content":"%b"},'
    assert events("ollama", ASKS["ollama"]) == [
        start % b"Hi" + b'"done":false}\n',
        start % b" there" + b'"done":false}\n',
        start % b"" + b'"done_reason":"length","done":true,"total_duration":12000000,"load_duration":0,'
        b'"prompt_eval_count":11,"prompt_eval_duration":4000000,"eval_count":2,"eval_duration":8000000}\n',
    ]


def test_openai_has_an_empty_last_delta_and_null_usage_until_the_end() -> None:
    body = WITH_USAGE | {"stream_options": {"include_usage": True, "include_obfuscation": False}}
    start = (
        b'data: {"id":"chatcmpl-r1","object":"chat.completion.chunk","created":1700000000,"model":"M",'
        b'"service_tier":"default","system_fingerprint":"fp_tokenswarm","choices":['
    )
    end = b'"logprobs":null,"finish_reason":%b}],"usage":null}\n\n'
    role, first, second, finish, usage, done = events("openai", body)
    assert role == start + b'{"index":0,"delta":{"role":"assistant","content":"","refusal":null},' + end % b"null"
    assert first == start + b'{"index":0,"delta":{"content":"Hi"},' + end % b"null"
    assert second == start + b'{"index":0,"delta":{"content":" there"},' + end % b"null"
    assert finish == start + b'{"index":0,"delta":{},' + end % b'"length"'
    assert json.loads(usage[6:])["choices"] == [] and json.loads(usage[6:])["usage"]["completion_tokens"] == 2
    assert done == b"data: [DONE]\n\n"
    assert json.loads(events("openai", CHAT)[1][6:])["obfuscation"]


def test_anthropic_has_named_events_in_their_order() -> None:
    assert events("anthropic", CHAT, ("Hi", ""), "stop") == [
        b'event: message_start\ndata: {"type":"message_start","message":{"id":"msg_r1","type":"message",'
        b'"role":"assistant","content":[],"model":"M","stop_reason":null,"stop_sequence":null,'
        b'"usage":{"input_tokens":11,"output_tokens":1}}}\n\n',
        b'event: content_block_start\ndata: {"type":"content_block_start","index":0,'
        b'"content_block":{"type":"text","text":""}}\n\n'
        b'event: ping\ndata: {"type":"ping"}\n\n'
        b'event: content_block_delta\ndata: {"type":"content_block_delta","index":0,'
        b'"delta":{"type":"text_delta","text":"Hi"}}\n\n',
        b'event: content_block_stop\ndata: {"type":"content_block_stop","index":0}\n\n',
        b'event: message_delta\ndata: {"type":"message_delta","delta":{"stop_reason":"end_turn","stop_sequence":null},'
        b'"usage":{"output_tokens":2}}\n\n',
        b'event: message_stop\ndata: {"type":"message_stop"}\n\n',
    ]


def test_anthropics_thinking_is_a_block_before_the_text() -> None:
    one = dialect("anthropic")
    writer = one.writer(one.read(json.dumps(CHAT).encode(), HEADERS), "r1", CREATED_S)
    thought, text = writer.tokens(["so"], True), writer.tokens(["Hi"], False)
    assert b'"content_block":{"type":"thinking","thinking":""}' in thought
    assert b'"delta":{"type":"thinking_delta","thinking":"so"}' in thought
    assert text.startswith(b'event: content_block_stop\ndata: {"type":"content_block_stop","index":0}')
    assert b'"index":1,"content_block":{"type":"text","text":""}' in text and b"ping" not in text


def test_the_head_of_a_stream_leaves_when_the_engine_s_does() -> None:
    late = {name for name, kind in DIALECTS.items() if not kind.traits.head_at_once}
    assert late == {"mlc", "mlc-2024", "triton", "triton-bls", "bentoml", "llamacpp", "ollama"}


@pytest.mark.parametrize("name", DIALECTS)
def test_names_and_texts_are_escaped_in_every_dialect(name: str) -> None:
    body = ASKS[name] | ({"model": 'a"b\x01'} if "model" in ASKS[name] else {})
    for event in b"".join(events(name, body, ('q"\n', "\u2028\x01", "x"))).split(b"\n\n"):
        payload = event.partition(b"data:")[2].strip() if DIALECTS[name].traits.sse else b""
        if payload and payload != b"[DONE]":
            json.loads(payload)


@pytest.mark.parametrize("name", DIALECTS)
def test_a_template_in_the_prompt_counts_as_much_as_messages(name: str) -> None:
    """BOS included, which the servers with raw prompts add themselves; bentoml's has an empty system message."""
    prompt = dialect(name).read(json.dumps(ASKS[name]).encode(), HEADERS).prompt
    assert len(prompt) == (16 if name == "bentoml" else 11)


@pytest.mark.parametrize(
    ("name", "fields", "status", "told"),
    [
        ("vllm-0.4.2", {"stream_options": {}}, 400, b'{"object":"error","message":"Extra inputs are not permitted: '),
        ("lmdeploy", {"model": "x"}, 404, b'{"message":"The model `x` does not exist.","type":"not_found_error",'),
        (
            "lmdeploy-0.4.0",
            {"model": "x"},
            200,
            b'{"object":"error","message":"The model `x` does not exist.","code":404}',
        ),
        (
            "mlc",
            {"messages": [{"role": "user", "content": "word " * 3000}]},
            400,
            b'"{\\"object\\":\\"error\\",\\"message\\":\\"Request prompt has 3010 tokens in total, larger than the '
            b'model input length limit 2048.\\",\\"code\\":400}"',
        ),
        ("mlc", {"stream_options": {}}, 422, b'{"detail":[{"type":"value_error","loc":["body","stream_options",'),
        ("trtllm", {"debug_config": {}}, 400, b"{\"error\":\"[{'loc': ('debug_config',)"),
        ("triton", {"max_tokens": None}, 400, b'{"error":"failed to parse the request JSON buffer or its inputs: '),
        (
            "tgi-generate",
            {"parameters": {"max_new_tokens": 5000}},
            200,
            b'data: {"error":"Input validation error: `inputs` tokens + `max_new_tokens` must be <= 2048. Given: 11 '
            b'`inputs` tokens and 5000 `max_new_tokens`","error_type":"validation"}\n\n',
        ),
        ("tgi", {"max_tokens": 5000}, 200, b'data: {"error":{"message":"Input validation error: `inputs` tokens + '),
        ("tgi-2.0.4", {"max_tokens": 5000}, 200, b'data:{"error":"Input validation error: `inputs` tokens + '),
        (
            "bentoml",
            {"max_tokens": 20},
            400,
            b'{"error":"1 validation error for Input","detail":[{"type":"greater_than_equal","loc":["max_tokens"],'
            b'"msg":"Input should be greater than or equal to 128",',
        ),
        ("sglang", {"max_tokens": 0}, 400, b'{"object":"error","message":"max_tokens must be at least 1, got 0."'),
        (
            "llamacpp",
            {"messages": [{"role": "user", "content": "word " * 3000}]},
            400,
            b'{"error":{"code":400,"message":"request (3010 tokens) exceeds the available context size (2048 '
            b'tokens), try increasing it","type":"exceed_context_size_error","n_prompt_tokens":3010,"n_ctx":2048}}',
        ),
        ("ollama", {"model": "x"}, 404, b'{"error":"model \'x\' not found"}'),
        (
            "openai",
            {"ignore_eos": True},
            400,
            b'{"error":{"message":"Unrecognized request argument supplied: ignore_eos"',
        ),
        ("openai", {"model": "x"}, 404, b'{"error":{"message":"The model `x` does not exist or you do not have access'),
        (
            "anthropic",
            {"max_tokens": None},
            400,
            b'{"type":"error","error":{"type":"invalid_request_error","message":"',
        ),
    ],
)
def test_a_refusal_is_each_engines_own(name: str, fields: dict[str, Any], status: int, told: bytes) -> None:
    got, body = refusal(name, ASKS[name] | fields, only_model=True)
    assert (got, body[: len(told)]) == (status, told)


def test_tgis_chat_refuses_a_stream_with_422_inside_and_done() -> None:
    _, body = refusal("tgi", CHAT | {"max_tokens": 5000})
    error, done, _ = body.split(b"\n\n")
    assert json.loads(error[6:])["error"]["http_status_code"] == 422 and done == b"data: [DONE]"
    assert refusal("tgi", CHAT | {"max_tokens": 5000, "stream": False})[0] == 422


def test_lmdeploy_0_4_0_answers_a_prompt_without_room_as_if_it_had_ended() -> None:
    body = CHAT | {"messages": [{"role": "user", "content": "word " * 3000}]}
    status, stream = refusal("lmdeploy-0.4.0", body)
    role, finish, done, _ = stream.split(b"\n\n")
    assert status == 200 and b'"role":"assistant"' in role and done == b"data: [DONE]"
    assert json.loads(finish[6:])["choices"][0] == {
        "index": 0,
        "delta": {"role": "assistant", "content": ""},
        "logprobs": None,
        "finish_reason": "length",
    }


def test_anthropic_wants_its_version_named() -> None:
    with pytest.raises(Refusal) as caught:
        dialect("anthropic").read(json.dumps(CHAT).encode(), {})
    assert b"anthropic-version: header is required" in caught.value.page.body


@pytest.mark.parametrize(
    ("name", "status", "told"),
    [
        ("vllm", 503, b'{"error":{"message":'),
        ("bentoml", 429, b'{"error":"Too many requests"}'),
        ("tgi-generate", 200, b'data: {"error":"Model is overloaded","error_type":"overloaded"}\n\n'),
        (
            "tgi",
            200,
            b'data: {"error":{"message":"Model is overloaded","http_status_code":422}}\n\ndata: [DONE]\n\n',
        ),
        ("tgi-2.0.4", 200, b'data:{"error":"Model is overloaded","error_type":"overloaded"}\n\n'),
        ("openai", 429, b'{"error":{"message":"Rate limit reached."'),
        ("koboldcpp", 503, b'{"detail":{"msg":"Server is busy; please try again later."'),
        ("anthropic", 529, b'{"type":"error","error":{"type":"overloaded_error"'),
    ],
)
def test_an_overload_is_each_engines_own(name: str, status: int, told: bytes) -> None:
    page = dialect(name).overloaded(stream=True)
    assert (page.status, page.body[: len(told)]) == (status, told)


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("vllm", [b'data: {"error": {"message": "', b"data: [DONE]\n\n"]),
        ("vllm-0.4.2", [b'data: {"error": {"object": "error", "message": "', b"data: [DONE]\n\n"]),
        ("lmdeploy", [b'data: {"error": {"message": "', b"data: [DONE]\n\n"]),
        ("triton", [b'data: {"error":"']),
        ("tgi-generate", [b'data: {"error":"Request failed during generation: ']),
        ("tgi-2.0.4", [b'data:{"error":"Request failed during generation: ']),
        ("tgi", [b'data: {"error":{"message":"Request failed', b"data: [DONE]\n\n"]),
        ("sglang", [b'data: {"error":{"object":"error",', b"data: [DONE]\n\n"]),
        ("llamacpp", [b'data: {"error":{"code":500,']),
        ("ollama", [b'{"error":"']),
        ("openai", [b'data: {"error":{"message":"']),
        ("anthropic", [b'event: error\ndata: {"type":"error","error":{"type":"overloaded_error"']),
    ],
)
def test_an_error_in_mid_stream_is_each_engines_own(name: str, told: list[bytes]) -> None:
    one = dialect(name)
    found = one.writer(one.read(json.dumps(ASKS[name]).encode(), HEADERS), "r1", CREATED_S).failure()
    assert [event[: len(start)] for event, start in zip(found, told, strict=True)] == told


def test_how_each_engine_breaks() -> None:
    breaks = {name: kind.traits.breaks for name, kind in DIALECTS.items()}
    cut = {name for name, kind in breaks.items() if kind == "cut"}
    assert cut == {"vllm-0.4.2", "lmdeploy-0.4.0", "lmdeploy-interactive", "mlc", "mlc-2024", "trtllm", "koboldcpp"}
    assert {name for name, kind in breaks.items() if kind == "truncated"} == {"bentoml"}


def shown(name: str, path: str, **state: Any) -> tuple[int, bytes]:
    page = dialect(name).page(path, State(**state))
    assert page is not None
    return page.status, page.body


@pytest.mark.parametrize(
    ("name", "path", "told"),
    [
        ("vllm", "/version", b'{"version":"0.32.0"}'),
        ("vllm", "/v1/models", b'"owned_by":"vllm"'),
        ("vllm-0.4.2", "/version", b'{"version":"0.4.2"}'),
        ("lmdeploy", "/v1/models", b'"owned_by":"lmdeploy"'),
        ("lmdeploy-0.4.0", "/v1/models", b'"owned_by":"lmdeploy"'),
        ("lmdeploy-interactive", "/openapi.json", b'"/v1/chat/interactive"'),
        ("mlc", "/v1/models", b'"owned_by":"MLC-LLM"'),
        ("trtllm", "/version", b'{"version":"'),
        ("triton", "/v2", b'{"name":"triton","version":"2.71.0"'),
        ("triton", "/v2/models/ensemble/ready", b""),
        ("triton-bls", "/v2/models/tensorrt_llm_bls", b'{"name":"tensorrt_llm_bls"'),
        ("tgi", "/info", b'"version":"3.3.7"'),
        ("tgi-2.0.4", "/info", b'"version":"2.0.4"'),
        ("bentoml", "/schema.json", b'"route":"/generate"'),
        ("bentoml", "/livez", b"\n"),
        ("sglang", "/get_server_info", b'"version":"'),
        ("sglang", "/v1/models", b'"owned_by":"sglang"'),
        ("llamacpp", "/props", b'"build_info":"b11434'),
        ("llamacpp", "/v1/models", b'"owned_by":"llamacpp"'),
        ("koboldcpp", "/v1/models", b'"owned_by":"koboldcpp"'),
        ("koboldcpp", "/api/version", b'{"version":"0.7.0"}'),
        ("ollama", "/", b"Ollama is running"),
        ("ollama", "/api/version", b'{"version":"'),
        ("ollama", "/api/tags", b'{"models":[{"name":"M"'),
        ("openai", "/v1/models", b'"owned_by":"openai"'),
        ("anthropic", "/v1/models", b'"has_more":false'),
    ],
)
def test_who_it_is_can_be_seen(name: str, path: str, told: bytes) -> None:
    status, body = shown(name, path)
    assert status == 200 and told in body


@pytest.mark.parametrize(
    ("name", "path"),
    [
        ("lmdeploy-0.4.0", "/health"),
        ("lmdeploy-0.4.0", "/metrics"),
        ("mlc", "/health"),
        ("mlc-2024", "/metrics"),
        ("tgi-2.0.4", "/v1/models"),
        ("ollama", "/metrics"),
        ("openai", "/health"),
        ("anthropic", "/metrics"),
        ("llamacpp", "/version"),
        ("triton", "/v1/models"),
    ],
)
def test_what_an_engine_does_not_have_is_not_there(name: str, path: str) -> None:
    assert dialect(name).page(path, State()) is None


@pytest.mark.parametrize(
    ("name", "path", "status"),
    [
        ("vllm", "/health", 503),
        ("lmdeploy", "/health", 503),
        ("mlc", "/v1/models", 503),
        ("trtllm", "/health", 503),
        ("triton", "/v2/health/ready", 400),
        ("tgi", "/health", 503),
        ("bentoml", "/readyz", 503),
        ("bentoml", "/livez", 200),
        ("sglang", "/health", 503),
        ("llamacpp", "/health", 503),
    ],
)
def test_who_is_not_ready_says_so(name: str, path: str, status: int) -> None:
    assert shown(name, path, ready=False)[0] == status
    assert shown(name, path)[0] == 200


STATE = {
    "running": 3,
    "waiting": 2,
    "kv_usage": 0.25,
    "prompt_tokens": 100,
    "output_tokens": 70,
    "queried_tokens": 100,
    "hit_tokens": 40,
}


@pytest.mark.parametrize(
    ("name", "path", "series"),
    [
        (
            "vllm",
            "/metrics",
            {
                'vllm:num_requests_running{engine="0",model_name="M"}': 3,
                'vllm:kv_cache_usage_perc{engine="0",model_name="M"}': 0.25,
                'vllm:prefix_cache_hits_total{engine="0",model_name="M"}': 40,
            },
        ),
        (
            "vllm-0.4.2",
            "/metrics",
            {'vllm:gpu_cache_usage_perc{model_name="M"}': 0.25, 'vllm:num_requests_swapped{model_name="M"}': 0},
        ),
        (
            "lmdeploy",
            "/metrics",
            {
                'lmdeploy:num_requests_waiting{engine="0",model_name="M"}': 2,
                'lmdeploy:prefix_cache_hit_rate{engine="0",model_name="M"}': 0.4,
                'lmdeploy:generation_tokens_total{engine="0",model_name="M"}': 70,
            },
        ),
        (
            "trtllm",
            "/prometheus/metrics",
            {'trtllm_kv_cache_utilization{engine_type="trtllm",model_name="M"}': 0.25},
        ),
        (
            "triton",
            "/metrics",
            {
                'nv_trt_llm_request_metrics{model="ensemble",request_type="waiting",version="1"}': 2,
                'nv_trt_llm_kv_cache_block_metrics{kv_cache_block_type="fraction",model="ensemble",version="1"}': 0.25,
            },
        ),
        ("tgi", "/metrics", {"tgi_queue_size": 2, "tgi_batch_current_size": 3}),
        (
            "sglang",
            "/metrics",
            {
                'sglang:num_queue_reqs{engine_type="unified",model_name="M"}': 2,
                'sglang:cache_hit_rate{engine_type="unified",model_name="M"}': 0.4,
            },
        ),
        ("llamacpp", "/metrics", {"llamacpp:tokens_predicted_total": 70, "llamacpp:requests_deferred": 2}),
    ],
)
def test_metrics_have_the_engines_names_and_the_servers_values(name: str, path: str, series: dict[str, float]) -> None:
    status, body = shown(name, path, **STATE)
    values = dict(line.rsplit(" ", 1) for line in body.decode().splitlines() if not line.startswith("#"))
    assert status == 200
    assert {key: float(values[key]) for key in series} == series


def test_mlcs_metrics_are_tab_separated_and_untyped() -> None:
    lines = shown("mlc", "/metrics", **STATE)[1].decode().splitlines()
    assert "prompt_tokens_sum\t100" in lines and "completion_tokens_sum\t70" in lines
    assert not any(line.startswith("#") for line in lines)


def test_trtllms_iteration_statistics_are_drained_by_reading() -> None:
    one = dialect("trtllm")
    counts = []
    for steps in (4, 4, 5):
        page = one.page("/metrics", State(steps=steps, **STATE))
        assert page is not None
        counts.append(len(json.loads(page.body)))
    assert counts == [1, 0, 1]
