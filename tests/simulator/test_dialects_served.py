"""Dialects over a real socket: when heads leave, what ends a body, faults, keys, refusals, cold starts, odd framing."""

import json
import os
from collections.abc import Callable
from typing import Any

import pytest

pytestmark = pytest.mark.slow

Start = Callable[..., Any]

CHAT = {"model": "m", "messages": [{"role": "user", "content": "hi"}], "max_tokens": 6, "stream": True}
LONG = {"prompt": "hi", "system_prompt": None, "max_tokens": 128}
GENERATE = {"inputs": "hi", "parameters": {"max_new_tokens": 6, "details": True}}


def post(client: Any, path: str, body: dict[str, Any], **headers: str) -> None:
    client.request("POST", path, json.dumps(body).encode(), **headers)


def test_bentoml_is_raw_text_whose_head_comes_with_it(start: Start) -> None:
    simulator = start("--dialect", "bentoml", "--answer-median-tokens", "20")
    client = simulator.client()
    post(client, "/generate", LONG)
    status, headers = client.head()
    assert status == 200
    assert headers["content-type"] == "text/event-stream; charset=utf-8"
    assert headers["server"] == "BentoML Service/llm" and headers["x-bentoml-request-id"]
    text = b"".join(client.chunks()).decode()
    (row,) = simulator.rows(1)
    # Every word is a token, and the end token has neither text nor place in the count.
    assert len(text.replace(",", " ,").replace(".", " .").split()) == int(row["tokens"])
    assert (row["outcome"], row["t_role_ns"]) == ("ok", "0")
    assert simulator.get("/healthz") == (200, b"\n")


def test_ollama_streams_unless_told_otherwise(start: Start) -> None:
    client = start("--dialect", "ollama").client()
    generation = {"model": "m", "messages": CHAT["messages"], "options": {"num_predict": 5}}
    post(client, "/api/chat", generation)
    assert client.head()[1]["content-type"] == "application/x-ndjson"
    *lines, last = [json.loads(line) for line in b"".join(client.chunks()).splitlines()]
    assert len(lines) == 5 and all(line["message"]["content"] and not line["done"] for line in lines)
    assert (last["done_reason"], last["eval_count"], last["prompt_eval_count"]) == ("length", 5, 11)
    assert last["total_duration"] == last["prompt_eval_duration"] + last["eval_duration"] > 0
    post(client, "/api/chat", generation | {"stream": False})
    assert json.loads(client.page()[1])["message"]["content"]


def test_llamacpp_closes_after_a_stream_though_it_does_not_say_so(start: Start) -> None:
    client = start("--dialect", "llamacpp").client()
    post(client, "/v1/chat/completions", CHAT)
    _, headers = client.head()
    assert headers["server"] == "llama.cpp" and headers["x-accel-buffering"] == "no" and "connection" not in headers
    first, *_, done = client.chunks()
    assert first.count(b"\n\n") == 2 and done == b"data: [DONE]\n\n"
    assert client.ends()


def test_a_head_that_waits_comes_with_the_first_token_and_another_at_once(start: Start) -> None:
    slow = ("--prefill-ms", "300", "--step-ms", "1")
    late, early = start("--dialect", "mlc", *slow).client(), start("--dialect", "tgi", *slow).client()
    for client in (late, early):
        post(client, "/v1/chat/completions", CHAT)
    assert early.head()[0] == 200
    assert late.silent_for(0.1)
    assert late.head()[0] == 200 and late.chunks()[-1] == b"data: [DONE]\n\n"


def test_headers_leave_when_one_says(start: Start) -> None:
    client = start("--headers", "at-once", "--dialect", "bentoml", "--prefill-ms", "60000").client()
    post(client, "/generate", LONG)
    assert client.head()[0] == 200


def test_an_early_role_is_out_before_anything_is_computed(start: Start) -> None:
    simulator = start("--dialect", "lmdeploy-0.4.0", "--prefill-ms", "200")
    client = simulator.client()
    post(client, "/v1/chat/completions", CHAT)
    client.head()
    assert b'"role":"assistant"' in client.chunk()
    client.chunks()
    (row,) = simulator.rows(1)
    assert 0 < int(row["t_role_ns"]) < int(row["t_first_ns"]) - 100_000_000


@pytest.mark.parametrize(
    ("name", "path", "generation"),
    [
        ("lmdeploy", "/v1/chat/completions", CHAT),
        ("bentoml", "/generate", LONG),
        ("lmdeploy-interactive", "/v1/chat/interactive", {"prompt": "hi", "stream": True}),
        ("triton", "/v2/models/ensemble/generate_stream", {"text_input": "hi", "max_tokens": 500, "stream": True}),
        ("tgi-2.0.4", "/v1/chat/completions", CHAT),
    ],
)
def test_an_end_token_that_the_engine_counts_nowhere_is_not_in_the_log_either(
    start: Start, name: str, path: str, generation: dict[str, Any]
) -> None:
    simulator = start("--dialect", name, "--answer-median-tokens", "5", "--seed", "3")
    counted = start("--dialect", "tgi", "--answer-median-tokens", "5", "--seed", "3")
    for server, where, body in (
        (simulator, path, generation),
        (counted, "/v1/chat/completions", CHAT | {"max_tokens": 500}),
    ):
        client = server.client()
        post(client, where, body | ({"max_tokens": 500} if "max_tokens" in body else {}))
        client.head()
        client.chunks()
    assert int(simulator.rows(1)[0]["tokens"]) == int(counted.rows(1)[0]["tokens"]) - 1


def test_triton_shows_parts_of_characters_and_others_hold_them_back(start: Start) -> None:
    generation = {"text_input": "hi", "max_tokens": 1500, "min_tokens": 1500, "stream": True}
    client = start("--dialect", "triton", "--split-characters").client()
    post(client, "/v2/models/ensemble/generate_stream", generation)
    client.head()
    texts = [json.loads(chunk[6:])["text_output"] for chunk in client.chunks()]
    assert len(texts) == 1500 and "\ufffd" in texts
    client = start("--dialect", "vllm", "--split-characters").client()
    post(client, "/v1/chat/completions", CHAT | {"max_tokens": 1500, "ignore_eos": True})
    client.head()
    deltas = [json.loads(chunk[6:])["choices"][0]["delta"] for chunk in client.chunks()[1:-1]]
    *texts, _ = [delta["content"] for delta in deltas]
    assert len(texts) == 1499 and "" in texts and "\u00e9" in "".join(texts) and "\ufffd" not in "".join(texts)


def test_tokens_without_text_are_counted_and_the_first_text_is_what_is_logged(start: Start) -> None:
    simulator = start("--empty-every", "1", "--max-batch", "1")
    client = simulator.client()
    post(client, "/v1/chat/completions", CHAT | {"ignore_eos": True, "stream_options": {"include_usage": True}})
    client.head()
    chunks = client.chunks()
    assert sum(b'"delta":{"content":""}' in chunk for chunk in chunks) == 6
    assert json.loads(chunks[-2][6:])["usage"]["completion_tokens"] == 6
    (row,) = simulator.rows(1)
    assert (row["tokens"], row["t_first_ns"]) == ("6", "0")


def test_rechunking_moves_cuts_and_nothing_else(start: Start) -> None:
    bodies, sizes = [], []
    for options in ((), ("--rechunk", "7")):
        client = start("--dialect", "trtllm", "--seed", "4", *options).client()
        post(client, "/v1/chat/completions", CHAT | {"ignore_eos": True}, x_request_id="same")
        client.head()
        chunks = client.chunks()
        sizes.append({len(chunk) for chunk in chunks})
        body = b"".join(chunks)
        bodies.append([json.loads(event[6:])["choices"] for event in body.split(b"\n\n") if b"{" in event])
    assert bodies[0] == bodies[1]
    assert sizes[1] == set(range(1, 8))


@pytest.mark.parametrize(
    ("name", "path", "generation", "ending", "outcome"),
    [
        ("vllm", "/v1/chat/completions", CHAT, b"data: [DONE]\n\n", "stream_error"),
        ("trtllm", "/v1/chat/completions", CHAT, None, "cut"),
        ("bentoml", "/generate", LONG, b"", "truncated"),
        ("tgi-generate", "/generate_stream", GENERATE, b'"error_type":"generation"}\n\n', "stream_error"),
    ],
)
def test_an_engine_breaks_in_its_own_way(
    start: Start, name: str, path: str, generation: dict[str, Any], ending: bytes | None, outcome: str
) -> None:
    simulator = start("--dialect", name, "--break-after", "3", "--answer-median-tokens", "200")
    client = simulator.client()
    post(client, path, generation)
    client.head()
    if ending is None:
        assert not client.rest().endswith(b"0\r\n\r\n")
    else:
        assert b"".join(client.chunks()).endswith(ending)
    (row,) = simulator.rows(1)
    assert (row["outcome"], row["tokens"]) == (outcome, "3")


def test_a_truncated_body_ends_as_if_it_were_complete(start: Start) -> None:
    simulator = start("--truncate-after", "3")
    client = simulator.client()
    post(client, "/v1/chat/completions", CHAT)
    client.head()
    chunks = client.chunks()
    assert len(chunks) == 4 and not any(b"[DONE]" in chunk for chunk in chunks)
    client.request("GET", "/health")
    assert client.page()[0] == 200
    assert simulator.rows(1)[0]["outcome"] == "truncated"


@pytest.mark.parametrize(
    ("options", "status", "told"),
    [
        (("--dialect", "tgi-generate"), 200, b'data: {"error":"Model is overloaded","error_type":"overloaded"}\n\n'),
        (("--dialect", "tgi-generate", "--overload", "429"), 429, b'{"error":"Model is overloaded"'),
        (("--dialect", "bentoml"), 429, b'{"error":"Too many requests"}'),
        (("--dialect", "triton", "--overload", "in-stream"), 200, b'data: {"error":"'),
        (("--dialect", "anthropic"), 529, b'{"type":"error","error":{"type":"overloaded_error"'),
    ],
)
def test_overload_is_refused_as_the_engine_does_or_as_told(
    start: Start, options: tuple[str, ...], status: int, told: bytes
) -> None:
    paths: dict[str, tuple[str, dict[str, Any]]] = {
        "tgi-generate": ("/generate_stream", GENERATE),
        "bentoml": ("/generate", LONG),
        "triton": ("/v2/models/ensemble/generate_stream", {"text_input": "hi", "max_tokens": 5, "stream": True}),
        "anthropic": ("/v1/messages", CHAT),
    }
    simulator = start("--error-every", "1", *options)
    client = simulator.client()
    post(client, *paths[options[1]], anthropic_version="2023-06-01")
    got, headers = client.head()
    body = client.chunks()[0] if "transfer-encoding" in headers else client._exactly(int(headers["content-length"]))
    assert (got, body[: len(told)]) == (status, told)
    assert simulator.rows(1)[0]["outcome"] == "http_error"


def test_silence_is_filled_with_comments(start: Start) -> None:
    client = start("--dialect", "tgi", "--prefill-ms", "300", "--keep-alive-s", "0.05").client()
    post(client, "/v1/chat/completions", CHAT)
    client.head()
    chunks = client.chunks()
    assert chunks[:3] == [b":\n\n"] * 3
    assert chunks[-1] == b"data: [DONE]\n\n"


def test_a_stalled_stream_goes_on_pinging(start: Start) -> None:
    client = start("--keep-alive-s", "0.05", "--stall-after", "2").client()
    post(client, "/v1/chat/completions", CHAT)
    client.head()
    assert [client.chunk() for _ in range(6)][3:] == [b":\n\n"] * 3


def test_a_cold_start_is_not_ready_and_holds_requests(start: Start) -> None:
    simulator = start("--dialect", "bentoml", "--cold-start-s", "0.4")
    held = simulator.client()
    post(held, "/generate", LONG)
    assert simulator.get("/readyz")[0] == 503
    assert simulator.get("/livez")[0] == 200
    assert held.head()[0] == 200
    held.chunks()
    assert simulator.get("/readyz")[0] == 200
    (row,) = simulator.rows(1)
    assert int(row["t_first_ns"]) - int(row["t_request_ns"]) > 100_000_000


def test_a_client_that_leaves_before_the_start_is_over_is_never_served(start: Start) -> None:
    simulator = start("--cold-start-s", "0.3")
    client = simulator.client()
    post(client, "/v1/chat/completions", CHAT)
    client.close()
    (row,) = simulator.rows(1)
    assert row["outcome"] == "client_gone"
    served = simulator.client()
    post(served, "/v1/chat/completions", CHAT)
    served.head()
    assert served.chunks()[-1] == b"data: [DONE]\n\n"
    assert simulator.metric("vllm:generation_tokens_total") == 6


def test_anthropics_key_has_a_header_of_its_own(start: Start) -> None:
    simulator = start("--dialect", "anthropic", "--api-key-env", "TEST_KEY", env=os.environ | {"TEST_KEY": "s3cret"})
    client = simulator.client()
    post(client, "/v1/messages", CHAT, anthropic_version="2023-06-01", authorization="Bearer s3cret")
    assert client.page()[0] == 401
    post(client, "/v1/messages", CHAT, anthropic_version="2023-06-01", x_api_key="s3cret")
    assert client.head()[0] == 200


@pytest.mark.parametrize(("usage", "counts"), [("never", 0), ("last", 1), ("every", 8)])
def test_usage_may_come_where_it_was_not_asked_for(start: Start, usage: str, counts: int) -> None:
    client = start("--usage", usage).client()
    post(
        client,
        "/v1/chat/completions",
        CHAT | {"ignore_eos": True, "stream_options": {"include_usage": usage == "never"}},
    )
    client.head()
    # Role, six tokens of which the last is the finish event, usage.
    assert sum(b'"usage":{' in chunk for chunk in client.chunks()) == counts


def test_data_may_have_no_space_or_one_too_many(start: Start) -> None:
    for space, before, after in (("none", b"data:{", b"}\n\n"), ("trailing", b"data: {", b"} \n\n")):
        client = start("--data-space", space).client()
        post(client, "/v1/chat/completions", CHAT)
        client.head()
        first = client.chunk()
        assert first.startswith(before) and first.endswith(after)


@pytest.mark.parametrize(
    ("options", "path", "status"),
    [
        (("--dialect", "sglang"), "/flush_cache", 200),
        (("--dialect", "vllm", "--enable-debug"), "/reset_prefix_cache", 200),
        (("--dialect", "vllm"), "/reset_prefix_cache", 404),
        (("--dialect", "tgi"), "/flush_cache", 404),
    ],
)
def test_the_prefix_cache_is_flushed_where_the_engine_does_so(
    start: Start, options: tuple[str, ...], path: str, status: int
) -> None:
    simulator = start(*options, "--cache-block-tokens", "4")
    client = simulator.client()
    body = CHAT | {"messages": [{"role": "user", "content": "one two three four five six seven eight"}]}
    cached = []
    for flushes in (False, False, True):
        if flushes:
            client.request("POST", path)
            assert client.page()[0] == status
        post(client, "/v1/chat/completions", body)
        client.head()
        client.chunks()
        cached.append(int(simulator.rows(len(cached) + 1)[-1]["cached_tokens"]))
    if "sglang" in options:
        assert json.loads(simulator.get("/get_server_info")[1])["page_size"] == 4
    elif "vllm" in options:
        assert 'block_size="4"' in simulator.get("/metrics")[1].decode()
    prompt_tokens = int(simulator.rows(3)[0]["prompt_tokens"])
    again = (prompt_tokens - 1) // 4 * 4
    assert cached == [0, again, 0 if status == 200 else again]


def test_a_cache_is_not_flushed_while_there_are_requests(start: Start) -> None:
    simulator = start("--dialect", "sglang", "--max-model-len", "100000")
    client = simulator.client()
    post(client, "/v1/chat/completions", CHAT | {"max_tokens": 50_000, "ignore_eos": True})
    client.head()
    client.chunk()
    other = simulator.client()
    other.request("POST", "/flush_cache")
    assert other.page()[0] == 400
