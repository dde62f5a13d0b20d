"""Completions and responses: what their streams hold, byte for byte where the protocol is OpenAI's own."""

import json
from collections.abc import Callable
from typing import Any

import pytest

from tokenswarm.simulator.dialect import Dialect, Refusal, Usage
from tokenswarm.simulator.dialects import DIALECTS, endpoints_of

CREATED_S = 1_700_000_000
COMPLETION = {"model": "M", "prompt": "hi there", "max_tokens": 2, "stream": True}
RESPONSE = {"model": "M", "input": "hi", "max_output_tokens": 2, "stream": True}
#: By path, the dialects that have it.
WITH_COMPLETIONS = {"openai", "vllm", "lmdeploy", "mlc", "trtllm", "tgi", "sglang", "llamacpp", "koboldcpp"}
WITH_RESPONSES = {"openai", "vllm", "trtllm", "sglang", "llamacpp"}


def at(name: str, path: str, **options: Any) -> Dialect:
    found = {one.traits.generate_path: one for one in endpoints_of(DIALECTS[name]("M", 2048, CREATED_S, **options))}
    return found[path]


def answered(one: Dialect, body: dict[str, Any], reason: str = "length", reasoning: int = 0) -> list[bytes]:
    """The whole answer " Hi", " there", one token at a time. reasoning: how many of them are."""
    generation = one.read(json.dumps(body).encode(), {})
    writer = one.writer(generation, "r1", CREATED_S)
    usage = Usage(len(generation.prompt), 1, 2)
    found = [writer.opening(), writer.tokens([" Hi"], reasoning > 0)]
    return [event for event in [*found, *writer.ending([" there"], reasoning > 1, reason, usage)] if event]


def documents(events: list[bytes]) -> list[dict[str, Any]]:
    lines = b"".join(events).split(b"\n")
    return [json.loads(line[6:]) for line in lines if line.startswith(b"data: {")]


def refusal(one: Dialect, body: dict[str, Any]) -> int:
    with pytest.raises(Refusal) as caught:
        one.read(json.dumps(body).encode(), {})
    return caught.value.page.status


def test_which_engines_have_which_endpoints() -> None:
    paths = {
        name: {one.traits.generate_path for one in endpoints_of(kind("M", 9, 0))} for name, kind in DIALECTS.items()
    }
    assert {name for name, found in paths.items() if "/v1/completions" in found} == WITH_COMPLETIONS
    assert {name for name, found in paths.items() if "/v1/responses" in found} == WITH_RESPONSES


@pytest.mark.parametrize("name", sorted(WITH_COMPLETIONS))
def test_a_completion_is_text_chunks_usage_and_done(name: str) -> None:
    start = b'data: {"id":"cmpl-r1","object":"text_completion","created":1700000000,"model":"M","choices":['
    end = b'"index":0,"logprobs":null,"finish_reason":'
    plain = answered(at(name, "/v1/completions"), COMPLETION)
    assert plain == [
        start + b'{"text":" Hi",' + end + b"null}]}\n\n",
        start + b'{"text":" there",' + end + b'"length"}]}\n\n',
        b"data: [DONE]\n\n",
    ]
    counted = documents(answered(at(name, "/v1/completions"), COMPLETION | {"stream_options": {"include_usage": True}}))
    assert [one["usage"] and one["usage"]["completion_tokens"] for one in counted] == [None, None, 2]
    assert (counted[-1]["choices"], counted[-1]["usage"]["prompt_tokens"]) == ([], 3)


@pytest.mark.parametrize(
    ("prompt", "tokens"),
    [("hi there", 3), (["hi there"], 3), ([5, 6, 7, 8], 4), ([[5, 6]], 2), ("<|begin_of_text|>hi", 2), ("", 1)],
)
def test_a_prompt_is_a_text_or_token_ids(prompt: object, tokens: int) -> None:
    body = json.dumps(COMPLETION | {"prompt": prompt}).encode()
    assert len(at("vllm", "/v1/completions").read(body, {}).prompt) == tokens


@pytest.mark.parametrize("prompt", [["a", "b"], [[1], [2]], [], [1, "a"], 5])
def test_several_prompts_or_none_are_refused(prompt: object) -> None:
    assert refusal(at("openai", "/v1/completions"), COMPLETION | {"prompt": prompt}) == 400


def test_limits_and_models_are_the_engine_s() -> None:
    completions = at("vllm", "/v1/completions", only_model=True)
    read = completions.read(json.dumps({"prompt": "hi"}).encode(), {})
    assert (read.max_tokens, read.stream) == (16, False)
    assert refusal(completions, COMPLETION | {"model": "other"}) == 404
    assert refusal(completions, COMPLETION | {"prompt": [1] * 2048}) == 400
    assert (
        completions.read(json.dumps(COMPLETION | {"prompt": [1] * 2046, "max_tokens": 9}).encode(), {}).max_tokens == 2
    )
    assert refusal(at("openai", "/v1/completions"), COMPLETION | {"ignore_eos": True}) == 400
    assert refusal(at("openai", "/v1/responses"), RESPONSE | {"top_k": 1}) == 400
    assert refusal(at("openai", "/v1/responses"), {"model": "M", "messages": [], "stream": True}) == 400


@pytest.mark.parametrize("name", sorted(WITH_RESPONSES))
def test_a_response_is_typed_events_in_order(name: str) -> None:
    events = answered(at(name, "/v1/responses"), RESPONSE)
    found = documents(events)
    assert [one["type"].removeprefix("response.") for one in found] == [
        *("created", "in_progress", "output_item.added", "content_part.added"),
        *("output_text.delta", "output_text.delta", "output_text.done", "content_part.done", "output_item.done"),
        "incomplete",
    ]
    assert [one["sequence_number"] for one in found] == list(range(len(found)))
    names = [line[7:].decode() for line in b"".join(events).split(b"\n") if line.startswith(b"event: ")]
    assert names == [one["type"] for one in found]
    response = found[-1]["response"]
    assert response["incomplete_details"] == {"reason": "max_output_tokens"}
    assert (response["usage"]["input_tokens"], response["usage"]["output_tokens"]) == (11, 2)
    assert response["output"][0]["content"][0]["text"] == found[6]["text"] == " Hi there"
    assert [one["response"]["usage"] for one in found[:2]] == [None, None]
    stopped = documents(answered(at(name, "/v1/responses"), RESPONSE, "stop"))[-1]
    assert (stopped["type"], stopped["response"]["incomplete_details"]) == ("response.completed", None)


def test_reasoning_is_an_item_of_its_own_before_the_message() -> None:
    found = documents(answered(at("vllm", "/v1/responses"), RESPONSE, reasoning=1))
    assert [(one["type"], one["output_index"], one["delta"]) for one in found if "delta" in one] == [
        ("response.reasoning_text.delta", 0, " Hi"),
        ("response.output_text.delta", 1, " there"),
    ]
    response = found[-1]["response"]
    assert [item["type"] for item in response["output"]] == ["reasoning", "message"]
    assert response["usage"]["output_tokens_details"] == {"reasoning_tokens": 1}


def test_a_response_that_fails_says_so_before_and_after_its_beginning() -> None:
    one = at("openai", "/v1/responses")
    writer = one.writer(one.read(json.dumps(RESPONSE).encode(), {}), "r1", CREATED_S)
    (early,) = documents(writer.failure())
    assert (early["type"], early["code"]) == ("error", "server_error")
    writer.opening()
    (late,) = documents(writer.failure())
    assert (late["type"], late["response"]["status"]) == ("response.failed", "failed")
    assert late["response"]["error"]["message"] == early["message"]


def test_instructions_and_messages_are_the_prompt() -> None:
    parts = [{"type": "input_text", "text": "hi"}]
    turns = {"instructions": "Be brief.", "input": [{"role": "user", "content": parts}]}
    as_chat = {"messages": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "hi"}]}
    responses = at("vllm", "/v1/responses").read(json.dumps(RESPONSE | turns).encode(), {})
    assert responses.prompt == at("vllm", "/v1/chat/completions").read(json.dumps(as_chat).encode(), {}).prompt


@pytest.mark.slow
def test_a_server_answers_at_every_endpoint_and_at_the_one_that_a_path_names(start: Callable[..., Any]) -> None:
    client = start("--dialect", "openai").client()
    for path, body in (("/v1/completions", COMPLETION), ("/v1/responses", RESPONSE)):
        client.request("POST", path, json.dumps(body | {"stream": False}).encode())
        status, page = client.page()
        assert (status, json.loads(page)["object"]) == (
            200,
            {"/v1/completions": "text_completion"}.get(path, "response"),
        )
        client.request("GET", path)
        assert client.page()[0] == 405
    gateway = start("--dialect", "openai", "--path", "/gw/llm/responses").client()
    gateway.request("POST", "/gw/llm/responses", json.dumps(RESPONSE | {"stream": False}).encode())
    assert json.loads(gateway.page()[1])["object"] == "response"
    for path, status in (("/gw/llm/models", 200), ("/v1/responses", 404)):
        gateway.request("GET", path)
        assert gateway.page()[0] == status


@pytest.mark.slow
def test_a_failure_in_mid_stream_is_the_endpoint_s_own(start: Callable[..., Any]) -> None:
    simulator = start("--dialect", "openai", "--stream-error-after", "2", "--answer-median-tokens", "90")
    for path, body, last in (
        ("/v1/completions", COMPLETION | {"max_tokens": 9}, b'data: {"error":'),
        ("/v1/responses", RESPONSE | {"max_output_tokens": 9}, b"event: response.failed\n"),
    ):
        client = simulator.client()
        client.request("POST", path, json.dumps(body).encode())
        assert client.head()[0] == 200
        assert client.chunks()[-1].startswith(last)
    assert {row["outcome"] for row in simulator.rows(2)} == {"stream_error"}
