"""What goes wrong: refused requests, clients that leave, and every fault switch."""

import json
import os
from collections.abc import Callable
from typing import Any

import pytest

Start = Callable[..., Any]
Chat = Callable[..., dict[str, Any]]


def deltas(chunks: list[bytes], key: str = "content") -> list[str]:
    """The text of each event that has some."""
    events = [json.loads(chunk[6:]) for chunk in chunks if chunk.startswith(b"data: {")]
    found = [event["choices"][0]["delta"].get(key) for event in events if event.get("choices")]
    return [text for text in found if text]


def some_chunks(client: Any, count: int) -> list[bytes]:
    return [client.chunk() for _ in range(count)]


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b'{"model": "tiny", "messages": [', 400),
        (b'{"model": "tiny", "stream": true}', 400),
        (b'{"messages": [], "stream": true}', 400),
        (b'{"messages": [{"role": "user", "content": "hi"}], "max_tokens": 0, "stream": true}', 400),
        (b'{"messages": [{"role": "user", "content": "' + b"word " * 3000 + b'"}], "stream": true}', 400),
    ],
)
def test_a_bad_request_is_answered_with_json_and_the_connection_stays(plain: Any, body: bytes, status: int) -> None:
    client = plain.client()
    for _ in range(2):
        client.generation(body)
        got, answer = client.page()
        assert (got, json.loads(answer)["error"]["code"]) == (status, status)


def test_unknown_paths_and_wrong_methods_are_refused_as_vllm_does(plain: Any) -> None:
    assert plain.get("/nowhere") == (404, b'{"detail":"Not Found"}')
    client = plain.client()
    client.request("GET", "/v1/chat/completions")
    status, headers = client.head()
    assert (status, headers["allow"]) == (405, "POST")
    client = plain.client()
    client.request("POST", "/v1/models")
    status, headers = client.head()
    assert (status, headers["allow"]) == (405, "GET")


def test_another_model_is_refused_only_if_one_was_named(start: Start, plain: Any, chat: Chat) -> None:
    named = start("--model", "tiny").client()
    named.generation(chat(model="other"))
    status, body = named.page()
    assert status == 404
    assert json.loads(body)["error"]["message"] == "The model `other` does not exist. Valid aliases: tiny."
    free = plain.client()
    free.generation(chat(model="other", stream=False))
    assert free.page()[0] == 200


def test_the_api_key_guards_v1_alone(start: Start, chat: Chat) -> None:
    simulator = start("--api-key-env", "TEST_KEY", env=os.environ | {"TEST_KEY": "s3cret"})
    client = simulator.client()
    for headers, status in (
        ({}, 401),
        ({"authorization": "Bearer nope"}, 401),
        ({"authorization": "Bearer s3cret"}, 200),
    ):
        client.generation(chat(stream=False), **headers)
        got, body = client.page()
        assert got == status
        assert got == 200 or body == b'{"error":"Unauthorized"}'
    assert simulator.get("/v1/models")[0] == 401
    assert simulator.get("/v1/models", authorization="Bearer s3cret")[0] == 200
    assert simulator.get("/health")[0] == 200
    assert [row["outcome"] for row in simulator.rows(3)] == ["http_error", "http_error", "ok"]


def test_a_refused_request_has_a_row_without_tokens(start: Start) -> None:
    simulator = start()
    client = simulator.client()
    client.generation(b"{", x_request_id="r-9")
    client.page()
    (row,) = simulator.rows(1)
    assert (row["outcome"], row["tokens"], row["t_first_ns"], row["x_request_id"]) == ("http_error", "0", "0", "r-9")
    assert int(row["t_request_ns"]) < int(row["t_done_ns"])


def test_a_client_that_goes_away_frees_its_place(start: Start, chat: Chat) -> None:
    simulator = start("--max-batch", "1", "--max-model-len", "1000000")
    first, second = simulator.client(), simulator.client()
    first.generation(chat(max_tokens=900_000))
    first.head()
    first.chunk()
    second.generation(chat())
    simulator.wait_for_metric("vllm:num_requests_waiting", 1)
    first.close()
    second.head()
    assert len(deltas(second.chunks())) == 8
    gone, served = simulator.rows(2)
    assert (gone["outcome"], served["outcome"]) == ("client_gone", "ok")
    assert int(gone["tokens"]) > 0
    assert simulator.metric("vllm:num_requests_running") == 0


def test_a_client_that_leaves_the_queue_is_never_served(start: Start, chat: Chat) -> None:
    simulator = start("--max-batch", "1", "--max-model-len", "1000000")
    first, second = simulator.client(), simulator.client()
    first.generation(chat(max_tokens=900_000))
    first.head()
    second.generation(chat())
    simulator.wait_for_metric("vllm:num_requests_waiting", 1)
    second.close()
    simulator.wait_for_metric("vllm:num_requests_waiting", 0)
    (row,) = simulator.rows(1)
    assert (row["id"], row["outcome"], row["tokens"]) == ("1", "client_gone", "0")


@pytest.mark.parametrize("on_disconnect", ["stop", "generate"])
def test_an_answer_whose_client_left_is_taken_out_or_generated_to_its_end(
    start: Start, chat: Chat, on_disconnect: str
) -> None:
    simulator = start("--step-ms", "2", "--on-disconnect", on_disconnect)
    client = simulator.client()
    client.generation(chat(max_tokens=500, ignore_eos=True))
    client.head()
    assert len(some_chunks(client, 5)) == 5
    client.close()
    (row,) = simulator.rows(1)
    assert row["outcome"] == "client_gone" and 0 < int(row["tokens"]) < 500
    running = simulator.metric("vllm:num_requests_running")
    simulator.wait_for_metric("vllm:num_requests_running", 0)
    generated = simulator.metric("vllm:generation_tokens_total")
    if on_disconnect == "stop":
        assert running == 0 and generated < 500
    else:
        assert running == 1 and generated == 500
        client = simulator.client()
        client.generation(chat())
        client.head()
        assert len(deltas(client.chunks())) == 8


def test_error_every_answers_each_nth_request_with_503(start: Start, chat: Chat) -> None:
    simulator = start("--error-every", "3")
    client = simulator.client()
    statuses = []
    for _ in range(6):
        client.generation(chat(stream=False))
        status, body = client.page()
        statuses.append(status)
        assert status == 200 or json.loads(body)["error"]["code"] == 503
    assert statuses == [200, 200, 503, 200, 200, 503]


def test_fail_after_closes_in_mid_answer(start: Start, chat: Chat) -> None:
    simulator = start("--fail-after", "3")
    client = simulator.client()
    client.generation(chat())
    client.head()
    assert len(deltas(some_chunks(client, 4))) == 3
    assert client.ends()
    (row,) = simulator.rows(1)
    assert (row["outcome"], row["tokens"]) == ("cut", "3")


def test_fail_after_the_whole_answer_still_leaves_out_its_end(start: Start, chat: Chat) -> None:
    client = start("--fail-after", "8").client()
    client.generation(chat(max_tokens=8))
    client.head()
    chunks = some_chunks(client, 9)
    assert len(deltas(chunks)) == 8 and b'"finish_reason":"length"' not in b"".join(chunks)
    assert client.ends()


def test_fault_every_leaves_the_others_whole(start: Start, chat: Chat) -> None:
    simulator = start("--fail-after", "3", "--fault-every", "2")
    for number in range(4):
        client = simulator.client()
        client.generation(chat())
        client.head()
        assert len(deltas(some_chunks(client, 4))) == 3
        if number % 2:
            assert client.ends()
        else:
            assert len(deltas(client.chunks())) == 5
    assert [row["outcome"] for row in simulator.rows(4)] == ["ok", "cut", "ok", "cut"]


def test_stall_after_says_nothing_more_and_frees_the_place(start: Start, chat: Chat) -> None:
    simulator = start("--stall-after", "3", "--fault-every", "2", "--max-batch", "1")
    fine, stalled, next_one = (simulator.client() for _ in range(3))
    fine.generation(chat())
    fine.head()
    fine.chunks()
    stalled.generation(chat())
    stalled.head()
    assert len(deltas(some_chunks(stalled, 4))) == 3
    next_one.generation(chat())
    next_one.head()
    assert len(deltas(next_one.chunks())) == 8
    assert stalled.silent_for(0.1)
    stalled.close()
    assert [(row["outcome"], row["tokens"]) for row in simulator.rows(3)] == [
        ("ok", "8"),
        ("ok", "8"),
        ("stalled", "3"),
    ]


def test_stream_error_after_sends_an_error_event_and_done(start: Start, chat: Chat) -> None:
    simulator = start("--stream-error-after", "2")
    client = simulator.client()
    client.generation(chat())
    client.head()
    *tokens, error, done = client.chunks()
    assert len(deltas(tokens)) == 2
    assert json.loads(error[6:])["error"]["code"] == 500
    assert done == b"data: [DONE]\n\n"
    client.request("GET", "/health")
    assert client.page()[0] == 200
    (row,) = simulator.rows(1)
    assert (row["outcome"], row["tokens"]) == ("stream_error", "2")


def test_stream_error_after_turns_a_whole_answer_into_a_500(start: Start, chat: Chat) -> None:
    client = start("--stream-error-after", "2").client()
    client.generation(chat(stream=False))
    status, body = client.page()
    assert (status, json.loads(body)["error"]["type"]) == (500, "InternalServerError")


def test_max_queue_refuses_who_would_wait_too_far_back(start: Start, chat: Chat) -> None:
    simulator = start("--max-queue", "1", "--max-batch", "1", "--max-model-len", "1000000")
    running, waiting, refused = (simulator.client() for _ in range(3))
    running.generation(chat(max_tokens=900_000))
    running.head()
    waiting.generation(chat())
    waiting.head()
    refused.generation(chat())
    status, body = refused.page()
    assert (status, json.loads(body)["error"]["type"]) == (503, "ServiceUnavailableError")
    running.close()
    assert len(deltas(waiting.chunks())) == 8


def test_role_early_sends_the_role_before_the_first_token_is_there(start: Start, chat: Chat) -> None:
    simulator = start("--role-early-ms", "0", "--step-ms", "150")
    client = simulator.client()
    client.generation(chat(max_tokens=2))
    client.head()
    assert b'"role":"assistant"' in client.chunk()
    assert len(deltas(client.chunks())) == 2
    (row,) = simulator.rows(1)
    # The first token is due a step after the request; the role went out before that.
    assert int(row["t_first_ns"]) - int(row["t_request_ns"]) >= 150_000_000
    assert 0 < int(row["t_role_ns"]) < int(row["t_first_ns"])


def test_a_role_that_would_come_late_comes_with_the_first_token_once(start: Start, chat: Chat) -> None:
    client = start("--role-early-ms", "60000").client()
    client.generation(chat())
    client.head()
    assert sum(b'"role"' in chunk for chunk in client.chunks()) == 1


def test_per_chunk_puts_several_tokens_into_one_event(start: Start, chat: Chat) -> None:
    simulator = start("--per-chunk", "3")
    client = simulator.client()
    client.generation(chat(max_tokens=8))
    client.head()
    chunks = client.chunks()
    assert len(deltas(chunks)) == 3
    assert json.loads(chunks[-2][6:])["usage"]["completion_tokens"] == 8
    assert simulator.rows(1)[0]["tokens"] == "8"


def test_the_first_event_may_hold_most_tokens(start: Start, chat: Chat) -> None:
    simulator = start("--first-event", "5")
    client = simulator.client()
    client.generation(chat(max_tokens=8))
    client.head()
    texts = deltas(client.chunks())
    plain = start().client()
    plain.generation(chat(max_tokens=8))
    plain.head()
    one_by_one = deltas(plain.chunks())
    assert texts == ["".join(one_by_one[:5]), *one_by_one[5:]]
    assert simulator.rows(1)[0]["tokens"] == "8"


def events_and_row(simulator: Any, chat: Chat, **fields: Any) -> tuple[list[dict[str, Any]], dict[str, str]]:
    """An answer's events, without what differs from answer to answer, and its row in the truth log."""
    client = simulator.client()
    client.generation(chat(**fields))
    client.head()
    lines = b"".join(client.chunks()).split(b"\n\n")
    events = [json.loads(line[6:]) for line in lines if line.startswith(b"data: {")]
    return [event | {"id": "", "created": 0} for event in events], simulator.rows(1)[0]


@pytest.mark.parametrize(("gather", "lumps"), [("1", 8), ("3", 3), ("all", 1)])
def test_events_that_are_gathered_are_the_same_and_are_logged_when_they_leave(
    start: Start, chat: Chat, gather: str, lumps: int
) -> None:
    pace = ("--step-ms", "20", "--jitter", "0")
    expected, at_once = events_and_row(start(*pace), chat, max_tokens=8)
    found, row = events_and_row(start(*pace, "--gather", gather), chat, max_tokens=8)
    assert found == expected
    assert (row["tokens"], row["outcome"]) == (at_once["tokens"], at_once["outcome"]) == ("8", "ok")
    # What is left after the first lump takes its steps, and no less.
    steps_left = 8 - -(-8 // lumps) if lumps > 1 else 0
    assert int(row["t_last_ns"]) - int(row["t_first_ns"]) >= steps_left * 15_000_000
    assert (int(row["t_first_ns"]) == int(row["t_last_ns"])) is (lumps == 1)
    assert int(row["t_role_ns"]) <= int(row["t_first_ns"])


def test_a_gathered_answer_that_fails_has_sent_what_it_had(start: Start, chat: Chat) -> None:
    client = start("--gather", "all", "--truncate-after", "3").client()
    client.generation(chat(max_tokens=8))
    client.head()
    assert len(deltas(b"".join(client.chunks()).split(b"\n\n"))) == 3


@pytest.mark.parametrize("dialect", ["trtllm", "vllm", "sglang", "llamacpp"])
def test_streams_may_end_without_their_mark(start: Start, chat: Chat, dialect: str) -> None:
    client = start("--dialect", dialect, "--no-done").client()
    client.generation(chat(max_tokens=3))
    client.head()
    body = b"".join(client.chunks())
    assert b"DONE" not in body
    assert b'"finish_reason":"length"' in body.replace(b'": "', b'":"')


def test_the_first_tokens_may_be_reasoning(start: Start, chat: Chat) -> None:
    client = start("--reasoning-tokens", "4", "--per-chunk", "3").client()
    client.generation(chat(max_tokens=8))
    client.head()
    chunks = client.chunks()
    # 4 reasoning tokens as 3 + 1, then 4 more as 3 + 1: an event never mixes the two.
    assert (len(deltas(chunks, "reasoning")), len(deltas(chunks))) == (2, 2)
    client.generation(chat(max_tokens=8, stream=False))
    message = json.loads(client.page()[1])["choices"][0]["message"]
    assert message["reasoning"] and message["content"]


def test_comments_and_crlf_reach_the_wire(start: Start, chat: Chat) -> None:
    client = start("--comments", "--crlf").client()
    client.generation(chat(max_tokens=2))
    client.head()
    chunks = client.chunks()
    assert len(chunks) == 5
    assert all(chunk.startswith(b": ping\r\n\r\ndata: ") and chunk.endswith(b"\r\n\r\n") for chunk in chunks)
