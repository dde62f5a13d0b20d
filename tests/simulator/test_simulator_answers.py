"""Answers over a real socket: streams, whole answers, kept connections, pages and the truth log."""

import json
import time
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

Start = Callable[..., Any]
Chat = Callable[..., dict[str, Any]]


def payloads(chunks: list[bytes]) -> list[dict[str, Any]]:
    """The JSON of each event but the last, which must be [DONE]; one event in each chunk."""
    assert chunks[-1] == b"data: [DONE]\n\n"
    assert all(chunk.startswith(b"data: ") and chunk.endswith(b"\n\n") for chunk in chunks)
    return [json.loads(chunk[6:]) for chunk in chunks[:-1]]


def text_of(events: list[dict[str, Any]], key: str = "content") -> str:
    return "".join(event["choices"][0]["delta"].get(key) or "" for event in events if event["choices"])


def test_a_stream_is_role_tokens_finish_usage_done(plain: Any, chat: Chat) -> None:
    client = plain.client()
    client.generation(chat(max_tokens=8))
    status, headers = client.head()
    assert (status, headers["content-type"]) == (200, "text/event-stream; charset=utf-8")
    assert headers["transfer-encoding"] == "chunked"
    events = payloads(client.chunks())
    role, *tokens, finish, usage = events
    assert role["choices"][0]["delta"] == {"role": "assistant", "content": ""}
    assert len(tokens) == 7 and all(event["choices"][0]["finish_reason"] is None for event in tokens)
    assert finish["choices"][0]["finish_reason"] == "length" and finish["choices"][0]["delta"]["content"]
    assert usage["choices"] == []
    assert usage["usage"]["completion_tokens"] == 8
    assert usage["usage"]["total_tokens"] == usage["usage"]["prompt_tokens"] + 8
    assert {(event["id"], event["model"], event["object"]) for event in events} == {
        (role["id"], "any", "chat.completion.chunk")
    }


def test_without_include_usage_there_is_no_usage_event(plain: Any, chat: Chat) -> None:
    client = plain.client()
    client.generation(chat(stream_options=None))
    client.head()
    assert all(event["choices"] for event in payloads(client.chunks()))


def test_an_answer_that_stops_by_itself_ends_with_an_empty_counted_token(start: Start, chat: Chat) -> None:
    simulator = start("--answer-median-tokens", "5")
    client = simulator.client()
    client.generation(chat(max_tokens=2000, ignore_eos=False))
    client.head()
    *events, finish, usage = payloads(client.chunks())
    assert finish["choices"][0]["finish_reason"] == "stop"
    assert finish["choices"][0]["delta"] == {"content": ""}
    # The role event has no token, the finish event has the end token.
    assert usage["usage"]["completion_tokens"] == len(events) - 1 + 1
    (row,) = simulator.rows(1)
    assert int(row["tokens"]) == usage["usage"]["completion_tokens"]
    assert int(row["t_last_ns"]) < int(row["t_done_ns"])


def test_one_token_is_role_and_finish(plain: Any, chat: Chat) -> None:
    client = plain.client()
    client.generation(chat(max_tokens=1))
    client.head()
    role, finish, _ = payloads(client.chunks())
    assert "role" in role["choices"][0]["delta"]
    assert finish["choices"][0]["delta"]["content"] and finish["choices"][0]["finish_reason"] == "length"


def test_a_whole_answer_has_the_text_and_the_usage(plain: Any, chat: Chat) -> None:
    client = plain.client()
    client.generation(chat(stream=False, max_tokens=20))
    status, body = client.page()
    answer = json.loads(body)
    assert status == 200
    assert answer["choices"][0]["finish_reason"] == "length"
    assert answer["usage"]["completion_tokens"] == 20
    assert len(answer["choices"][0]["message"]["content"].split()) > 10


def test_the_same_seed_gives_the_same_text_streamed_or_not(start: Start, chat: Chat) -> None:
    streamed, whole = start("--seed", "5").client(), start("--seed", "5").client()
    streamed.generation(chat(max_tokens=30))
    whole.generation(chat(max_tokens=30, stream=False))
    streamed.head()
    assert text_of(payloads(streamed.chunks())) == json.loads(whole.page()[1])["choices"][0]["message"]["content"]


def test_a_connection_is_kept_for_the_next_request(plain: Any, chat: Chat) -> None:
    client = plain.client()
    ids = set()
    for _ in range(3):
        client.generation(chat())
        assert "connection" not in client.head()[1]
        ids.add(payloads(client.chunks())[0]["id"])
    client.request("GET", "/health")
    assert client.page() == (200, b"")
    assert len(ids) == 3


def test_requests_sent_ahead_are_answered_in_order(plain: Any, chat: Chat) -> None:
    client = plain.client()
    client.generation(chat(max_tokens=3))
    client.generation(chat(max_tokens=5))
    client.request("GET", "/version")
    counts = []
    for _ in range(2):
        client.head()
        counts.append(payloads(client.chunks())[-1]["usage"]["completion_tokens"])
    assert counts == [3, 5]
    assert client.page()[0] == 200


def test_connection_close_is_honoured(plain: Any, chat: Chat) -> None:
    client = plain.client()
    client.generation(chat(), connection="close")
    assert client.head()[1]["connection"] == "close"
    assert client.chunks()
    assert client.ends()


def test_a_request_may_come_byte_by_byte_and_chunked(plain: Any) -> None:
    body = b'{"messages":[{"role":"user","content":"hi"}],"max_tokens":2,"stream":true}'
    request = b"POST /v1/chat/completions?x=1 HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
    request += b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body)
    client = plain.client()
    for index in range(len(request)):
        client.send(request[index : index + 1])
    assert client.head()[0] == 200
    assert client.chunks()[-1] == b"data: [DONE]\n\n"


def test_a_client_that_waits_for_a_go_ahead_gets_one(plain: Any) -> None:
    client = plain.client()
    body = b'{"messages":[{"role":"user","content":"hi"}],"max_tokens":2}'
    client.send(
        b"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: %d\r\n\r\n"
        % len(body)
    )
    assert client.head() == (100, {})
    client.send(body)
    assert client.page()[0] == 200


def test_an_old_client_gets_an_unchunked_stream_that_ends_with_the_connection(plain: Any) -> None:
    body = b'{"messages":[{"role":"user","content":"hi"}],"max_tokens":2,"stream":true}'
    client = plain.client()
    client.send(b"POST /v1/chat/completions HTTP/1.0\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body))
    _, headers = client.head()
    assert "transfer-encoding" not in headers
    assert client.rest().startswith(b"data: {") and client.rest().endswith(b"\n\ndata: [DONE]\n\n")


def test_bytes_that_are_not_http_get_a_400_and_the_door(plain: Any) -> None:
    client = plain.client()
    client.send(b"what is this\r\n\r\n")
    assert client.page() == (400, b"Invalid HTTP request received.")
    assert client.ends()


def test_a_reader_who_comes_late_gets_everything(start: Start, chat: Chat) -> None:
    simulator = start("--step-ms", "0.1")
    client = simulator.client()
    # Ten megabytes, more than the kernel keeps for a client that does not read.
    client.generation(chat(model="m" * 5000, max_tokens=2000))
    simulator.wait_for_metric("vllm:request_success_total", 1)
    client.head()
    events = payloads(client.chunks())
    assert len(events) == 2002
    assert events[-1]["usage"]["completion_tokens"] == 2000


def test_a_repeated_system_prompt_is_cached_and_said_to_be(start: Start, chat: Chat) -> None:
    simulator = start()
    system = {"role": "system", "content": "You are a careful assistant. " * 20}
    usages = []
    for question in ("Where is Rome?", "Who was Ada Lovelace?"):
        client = simulator.client()
        client.generation(chat(messages=[system, {"role": "user", "content": question}]))
        client.head()
        usages.append(payloads(client.chunks())[-1]["usage"])
    cached = [usage["prompt_tokens_details"]["cached_tokens"] for usage in usages]
    # 5 tokens before the text, 7 in each of 20 sentences, 5 up to the question: 150 in common, 9 full blocks of 16.
    assert cached == [0, 144]
    assert [int(row["cached_tokens"]) for row in simulator.rows(2)] == cached
    assert simulator.metric("vllm:prefix_cache_hits_total") == cached[1]
    prompts = sum(usage["prompt_tokens"] for usage in usages)
    assert simulator.metric("vllm:prefix_cache_queries_total") == prompts
    assert simulator.metric("vllm:prompt_tokens_total") == prompts


def test_the_model_list_names_the_model_and_its_context(start: Start) -> None:
    simulator = start("--model", "llama", "--max-model-len", "4096")
    listing = json.loads(simulator.get("/v1/models")[1])
    assert listing["object"] == "list"
    assert [(model["id"], model["max_model_len"]) for model in listing["data"]] == [("llama", 4096)]


def test_health_is_empty_and_the_version_is_told(plain: Any) -> None:
    assert plain.get("/health") == (200, b"")
    assert "version" in json.loads(plain.get("/version")[1])


def test_metrics_are_true(start: Start, chat: Chat) -> None:
    simulator = start("--model", "llama")
    streaming, whole = simulator.client(), simulator.client()
    streaming.generation(chat(model="llama", max_tokens=10))
    streaming.head()
    streaming.chunks()
    whole.generation(chat(model="llama", max_tokens=10, stream=False))
    whole.page()
    assert simulator.metric("vllm:generation_tokens_total") == 20
    assert simulator.metric("vllm:num_requests_running") == simulator.metric("vllm:num_requests_waiting") == 0
    assert simulator.metric("vllm:time_to_first_token_seconds_count") == 2
    page = simulator.get("/metrics")[1].decode()
    values = {
        (sample.name, sample.labels.get("finished_reason")): sample
        for family in text_string_to_metric_families(page)
        for sample in family.samples
    }
    assert values["vllm:request_success_total", "length"].value == 2
    assert values["vllm:generation_tokens_total", None].labels == {"engine": "0", "model_name": "llama"}
    rows = simulator.rows(2)
    ttft_s = sum(int(row["t_first_ns"]) - int(row["t_request_ns"]) for row in rows) / 1e9
    assert simulator.metric("vllm:time_to_first_token_seconds_sum") == pytest.approx(ttft_s)


def test_the_truth_log_agrees_with_what_the_client_received(start: Start, chat: Chat) -> None:
    simulator = start()
    client = simulator.client()
    sent_ns = []
    usages = []
    for number in range(3):
        sent_ns.append(time.perf_counter_ns())
        client.generation(chat(max_tokens=10 + number), x_request_id=f"mine,{number}")
        client.head()
        events = payloads(client.chunks())
        usages.append(events[-1]["usage"])
        assert events[0]["id"] == f"chatcmpl-mine,{number}"
    rows = simulator.rows(3)
    columns = (
        "id,t_accept_ns,t_wire_ns,t_request_ns,t_role_ns,t_first_ns,t_last_ns,t_done_ns,tokens,late_max_us,outcome"
    )
    assert list(rows[0]) == [*columns.split(","), "prompt_tokens", "cached_tokens", "x_request_id"]
    assert [row["id"] for row in rows] == ["0", "1", "2"]
    assert [row["x_request_id"] for row in rows] == ["mine,0", "mine,1", "mine,2"]
    assert [int(row["tokens"]) for row in rows] == [usage["completion_tokens"] for usage in usages] == [10, 11, 12]
    assert [int(row["prompt_tokens"]) for row in rows] == [usage["prompt_tokens"] for usage in usages]
    assert {row["outcome"] for row in rows} == {"ok"}
    assert len({row["t_accept_ns"] for row in rows}) == 1
    for row, sent in zip(rows, sent_ns, strict=True):
        names = ("t_wire_ns", "t_request_ns", "t_role_ns", "t_first_ns", "t_last_ns", "t_done_ns")
        assert all(earlier <= later for earlier, later in pairwise(int(row[name]) for name in names))
        # The kernel's stamps come from another clock: allow for a millisecond of conversion.
        assert sent - 1_000_000 <= int(row["t_wire_ns"])
        assert int(row["t_first_ns"]) < int(row["t_last_ns"])


def test_a_whole_answers_row_has_its_text_at_once(start: Start, chat: Chat) -> None:
    simulator = start()
    client = simulator.client()
    client.generation(chat(stream=False))
    client.page()
    (row,) = simulator.rows(1)
    assert (row["outcome"], row["tokens"], row["t_role_ns"]) == ("ok", "8", "0")
    assert row["t_first_ns"] == row["t_last_ns"] == row["t_done_ns"] != "0"
    # Written after the token was due, however little.
    assert int(row["late_max_us"]) > 0


def test_many_streams_at_once_all_get_their_own_tokens(start: Start, chat: Chat) -> None:
    simulator = start()
    clients = [simulator.client() for _ in range(40)]
    for number, client in enumerate(clients):
        client.generation(chat(max_tokens=20 + number))
    for number, client in enumerate(clients):
        client.head()
        assert payloads(client.chunks())[-1]["usage"]["completion_tokens"] == 20 + number
    assert simulator.metric("vllm:generation_tokens_total") == sum(range(20, 60))
