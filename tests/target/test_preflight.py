"""The preflight before a server that fails now and then, is slow at first, or does not know the key."""

from __future__ import annotations

import json
import time
from argparse import Namespace
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import gevent
import pytest
from gevent.server import StreamServer
from locust.argument_parser import get_empty_argument_parser

import tokenswarm.target.preflight
from tokenswarm.client.model_mix import ModelMix
from tokenswarm.client.request_control import Adaptations, Endpoint, MaxTokensField
from tokenswarm.client.request_options import ChatOptions, add_options
from tokenswarm.metrics.timeline import Outcome, Timeline
from tokenswarm.metrics.timeline_builder import TimelineBuilder
from tokenswarm.target.preflight import LoopLag, PreflightFailed, preflight

EVENTS = b'data: {"choices":[{"index":0,"delta":{"content":"Hi"}}]}\n\ndata: [DONE]\n\n'
ANSWER = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nContent-Length: %d\r\n\r\n%b" % (len(EVENTS), EVENTS)
CLOSES = b""


def error(status: int) -> bytes:
    return b"HTTP/1.1 %d x\r\nContent-Length: 0\r\n\r\n" % status


class Scripted:
    """A server that gives these answers to its requests, in this order; an empty one is the connection's end."""

    def __init__(self, answers: Sequence[bytes], delay_s: float = 0.0) -> None:
        self._answers = iter(answers)
        self._delay_s = delay_s
        self.requests = 0
        self.received: list[bytes] = []
        self._server = StreamServer(("127.0.0.1", 0), self._serve)
        self._server.start()
        self.host = f"http://127.0.0.1:{self._server.server_port}"

    def _serve(self, sock: Any, _: object) -> None:
        while b'"model"' in (received := sock.recv(65536)):
            self.requests += 1
            self.received.append(received)
            gevent.sleep(self._delay_s)
            if not (answer := next(self._answers)):
                break
            sock.sendall(answer)
        sock.close()

    def stop(self) -> None:
        self._server.stop(0)


@pytest.fixture
def options(monkeypatch: pytest.MonkeyPatch) -> ChatOptions:
    parser = get_empty_argument_parser(default_config_files=[])
    add_options(parser)
    given: Namespace = parser.parse_args(["--engine", "vllm", "--model", "any"])
    return ChatOptions.of(given)


@pytest.fixture
def served() -> Iterator[Any]:
    servers: list[Scripted] = []

    def serve(*answers: bytes, delay_s: float = 0.0) -> Scripted:
        servers.append(Scripted(answers, delay_s))
        return servers[-1]

    yield serve
    for server in servers:
        server.stop()


@pytest.mark.parametrize("failure", [error(503), error(429), CLOSES])
def test_a_failure_that_passes_does_not_refuse_the_run(served: Any, options: ChatOptions, failure: bytes) -> None:
    server, pauses_s = served(failure, failure, ANSWER, ANSWER), list[float]()
    preflight(options, server.host, ["off", "on"], sleep=pauses_s.append)
    assert (server.requests, len(pauses_s)) == (4, 2)


def test_a_sentence_of_the_server_is_ended_once(
    served: Any, options: ChatOptions, caplog: pytest.LogCaptureFixture
) -> None:
    body = b'{"error":{"message":"Please try again later."}}'
    failure = b"HTTP/1.1 503 x\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body)
    with caplog.at_level("INFO"):
        preflight(options, served(failure, ANSWER).host, ["off"], sleep=lambda _: None)
    assert any("try again later. The" in record.getMessage() for record in caplog.records)


def test_each_model_of_a_mix_is_requested_once_in_each_mode(served: Any, options: ChatOptions) -> None:
    mixed = replace(options, model="a", models=ModelMix(("a", "b"), (0.5, 0.5)))
    server = served(*[ANSWER] * 4)
    preflight(mixed, server.host, ["off", "on"])
    sent = [json.loads(request.partition(b"\r\n\r\n")[2]) for request in server.received]
    assert sorted((body["model"], len(body["messages"])) for body in sent) == [("a", 1), ("a", 2), ("b", 1), ("b", 2)]
    refuses = served(ANSWER, error(404))
    with pytest.raises(PreflightFailed, match="for b"):
        preflight(mixed, refuses.host, ["off"])


@pytest.mark.parametrize(("listed", "are_both_named"), [(["c"], True), (["b", "c"], False), ([], False)])
def test_all_models_of_a_mix_that_the_server_does_not_list_are_named_at_once(
    served: Any, options: ChatOptions, listed: list[str], are_both_named: bool
) -> None:
    mixed = replace(options, model="a", models=ModelMix(("a", "b"), (0.5, 0.5)))
    with pytest.raises(PreflightFailed) as failed:
        preflight(mixed, served(error(404)).host, ["off"], listed)
    assert ("'b' either" in str(failed.value)) == are_both_named


@pytest.mark.parametrize(("failure", "requests"), [(error(500), 3), (error(401), 1), (error(404), 1), (error(501), 1)])
def test_a_failure_that_stays_refuses_it_and_is_not_repeated_where_that_is_no_use(
    served: Any, options: ChatOptions, failure: bytes, requests: int
) -> None:
    server = served(*[failure] * 9)
    with pytest.raises(PreflightFailed):
        preflight(options, server.host, ["off", "on"], sleep=lambda _: None)
    assert server.requests == requests


def test_a_server_that_ends_its_sentence_gets_no_second_full_stop(served: Any, options: ChatOptions) -> None:
    body = b'{"error":{"message":"The model llama-real does not exist."}}'
    with pytest.raises(PreflightFailed, match=r"The model llama-real does not exist\. Check --") as refused:
        preflight(options, served(b"HTTP/1.1 404 x\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body)).host, ["off"])
    assert ".." not in str(refused.value)


def test_a_key_that_may_not_do_this_is_told_so(
    served: Any, options: ChatOptions, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LLM_API_KEY", "sk-known")
    with pytest.raises(PreflightFailed, match="check what the key may use, --model 'any', proxies between"):
        preflight(options, served(error(403)).host, ["off"])


def test_the_first_request_may_take_longer_than_those_of_the_run(served: Any, options: ChatOptions) -> None:
    short = replace(options.timeouts, first_token_s=0.01, idle_s=0.01, total_s=0.01)
    server = served(ANSWER, delay_s=0.2)
    preflight(replace(options, timeouts=short), server.host, ["off"])
    assert server.requests == 1


def refusal(status: int, message: str) -> bytes:
    body = b'{"error":{"message":"%b"}}' % message.encode()
    return b"HTTP/1.1 %d x\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%b" % (
        status,
        len(body),
        body,
    )


@pytest.mark.parametrize(
    "message",
    [
        "Unsupported parameter: 'max_tokens' is not supported with this model. Use 'max_completion_tokens' instead.",
        "max_tokens: Extra inputs are not permitted",
        "Unrecognized request argument supplied: max_tokens",
        "Property 'max_tokens' is unsupported",
    ],
)
def test_a_refused_cap_goes_into_the_other_field_once(served: Any, options: ChatOptions, message: str) -> None:
    server = served(refusal(400, message), ANSWER, ANSWER)
    result = preflight(options, server.host, ["off", "on"])
    assert result.adaptations == Adaptations(max_tokens_field="max_completion_tokens")
    assert server.requests == 3
    with pytest.raises(PreflightFailed, match="max_tokens"):
        preflight(options, served(*[refusal(400, message)] * 9).host, ["off"])
    named = replace(options, control=replace(options.control, max_tokens_field=MaxTokensField.MAX_TOKENS))
    with pytest.raises(PreflightFailed, match="max_tokens"):
        preflight(named, served(refusal(400, message), ANSWER).host, ["off"])


@pytest.mark.parametrize(
    "message",
    [
        "max_tokens must be at most 4096, got 8192",
        "max_tokens is too large: 512. This model supports at most 256 completion tokens",
        "This model's maximum context length is 2048 tokens",
    ],
)
def test_a_cap_of_a_wrong_size_is_no_field_that_is_refused(served: Any, options: ChatOptions, message: str) -> None:
    server = served(refusal(400, message), ANSWER)
    with pytest.raises(PreflightFailed):
        preflight(options, server.host, ["off"])
    assert server.requests == 1


@pytest.mark.parametrize(
    ("status", "message"),
    [
        (422, "body.stream_options: Extra inputs are not permitted"),
        (400, "Unknown parameter: stream_options.include_usage"),
        (400, "stream_options is not supported"),
    ],
)
def test_refused_stream_options_are_left_out(served: Any, options: ChatOptions, status: int, message: str) -> None:
    result = preflight(options, served(refusal(status, message), ANSWER).host, ["off"])
    assert result.adaptations == Adaptations(no_usage_option=True)


def test_two_refused_fields_are_adapted_one_after_the_other(served: Any, options: ChatOptions) -> None:
    server = served(refusal(400, "unknown field max_tokens"), refusal(400, "unknown field stream_options"), ANSWER)
    assert preflight(options, server.host, ["off"]).adaptations == Adaptations("max_completion_tokens", "", True)


@pytest.mark.parametrize(
    "message",
    [
        "System role not supported",
        "Conversation roles must alternate user/assistant/user/assistant/...",
        "Only user and assistant roles are supported!",
        "messages[0].role: system is not allowed",
    ],
)
def test_a_refused_system_role_is_folded_only_where_that_is_allowed(
    served: Any, options: ChatOptions, message: str
) -> None:
    with pytest.raises(PreflightFailed, match="--fold-system-prompt") as refused:
        preflight(options, served(ANSWER, refusal(400, message)).host, ["off", "on"])
    assert message.rstrip(".") in str(refused.value)
    may = replace(options, control=replace(options.control, may_fold_system=True))
    result = preflight(may, served(ANSWER, refusal(400, message), ANSWER).host, ["off", "on"])
    assert result.adaptations == Adaptations(system_in_prompt=True)


def test_below_a_prefix_the_route_may_stand_without_its_version(served: Any, options: ChatOptions) -> None:
    server = served(error(404), ANSWER)
    assert preflight(options, f"{server.host}/api/llm", ["off"]).adaptations == Adaptations(path="/chat/completions")
    without_prefix = served(error(404), ANSWER)
    with pytest.raises(PreflightFailed):
        preflight(options, without_prefix.host, ["off"])
    assert without_prefix.requests == 1
    with pytest.raises(PreflightFailed, match="no model x"):
        preflight(options, f"{served(refusal(404, 'no model x'), error(404)).host}/api/llm", ["off"])


@pytest.mark.parametrize(
    ("changes", "path", "option"),
    [
        ({"path": "/nope/chat"}, "/nope/chat", "--path /nope/chat"),
        ({"endpoint": Endpoint.RESPONSES}, "/v1/responses", "--endpoint responses"),
        ({}, "/v1/chat/completions", "--host, --engine"),
    ],
)
def test_a_path_that_the_server_does_not_have_is_named_with_its_option(
    served: Any, options: ChatOptions, changes: dict[str, Any], path: str, option: str
) -> None:
    server = served(error(404))
    wrong = replace(options, control=replace(options.control, **changes))
    with pytest.raises(PreflightFailed) as refused:
        preflight(wrong, server.host, ["off"], ["any", "other"])
    assert f"POST {server.host}{path}: check {option}" in str(refused.value)


WORDS = [b'data: {"choices":[{"index":0,"delta":{"content":"w%d"}}]}\n\n' % number for number in range(16)]
END = b'data: {"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}\n\n'
USAGE = b'data: {"choices":[],"usage":{"prompt_tokens":9,"completion_tokens":%d}}\n\n'
DONE = b"data: [DONE]\n\n"


class Paced:
    """A server that sends the pieces of its answer one by one."""

    def __init__(self, pieces: Sequence[bytes]) -> None:
        self._pieces = pieces
        self._server = StreamServer(("127.0.0.1", 0), self._serve)
        self._server.start()
        self.host = f"http://127.0.0.1:{self._server.server_port}"

    def _serve(self, sock: Any, _: object) -> None:
        while b"messages" in sock.recv(65536):
            for piece in self._pieces:
                sock.sendall(piece)
                gevent.sleep(0.02)
        sock.close()

    def stop(self) -> None:
        self._server.stop(0)


@pytest.mark.parametrize(
    ("pieces", "said"),
    [
        ([*WORDS, END + USAGE % 16 + DONE], []),
        ([b"".join(WORDS) + END + USAGE % 16 + DONE], ["all at once"]),
        ([*(b"".join(WORDS[at : at + 4]) for at in range(0, 16, 4)), END + USAGE % 16 + DONE], ["in lumps"]),
        ([*WORDS, END + USAGE % 32 + DONE], ["several tokens"]),
        ([*WORDS, END + DONE], ["no token counts"]),
        ([*WORDS, END + USAGE % 33 + DONE], ["counts 33 output tokens"]),
        ([b"".join(WORDS) + END + DONE], ["all at once", "no token counts"]),
    ],
)
def test_what_an_answer_means_for_the_figures_is_said_before_the_load(
    options: ChatOptions, pieces: list[bytes], said: list[str]
) -> None:
    body = b"".join(pieces)
    head = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nContent-Length: %d\r\n\r\n" % len(body)
    server = Paced([head, *pieces])
    try:
        notices = preflight(options, server.host, ["off"]).notices
    finally:
        server.stop()
    assert len(notices) == len(said)
    assert all(words in notice for words, notice in zip(said, notices, strict=True))


@pytest.mark.parametrize(("lag_s", "blamed"), [(0.5, "this machine"), (0.001, "proxy")])
@pytest.mark.parametrize("apart_ms", [0, 40], ids=["all at once", "in lumps"])
def test_lumps_are_blamed_on_this_machine_where_it_was_as_late(
    options: ChatOptions, monkeypatch: pytest.MonkeyPatch, lag_s: float, blamed: str, apart_ms: int
) -> None:
    class Lag(LoopLag):
        def __enter__(self) -> LoopLag:
            self.most_s = lag_s
            return self

        def __exit__(self, *_: object) -> None:
            pass

    def answered(*_: object) -> tuple[Timeline, ChatOptions]:
        told = TimelineBuilder("0.1", 0, 0)
        for number in range(32):
            told.output((100 + number // 8 * apart_ms) * 1_000_000, True, None, 4)
        told.usage(9, 32)
        return told.finish(Outcome.OK, 900_000_000, bytes_received=10_000), options

    monkeypatch.setattr(tokenswarm.target.preflight, "LoopLag", Lag)
    monkeypatch.setattr(tokenswarm.target.preflight, "_answered", answered)
    (notice,) = preflight(options, "http://gpu:8000", ["off"]).notices
    assert blamed in notice
    assert ("proxy" in notice) != ("this machine" in notice)


def test_a_loop_that_is_blocked_is_late() -> None:
    with LoopLag() as lag:
        gevent.sleep(0)
        until_s = time.perf_counter() + 0.05
        while time.perf_counter() < until_s:
            pass
        gevent.sleep(0)
        gevent.sleep(0.01)
    assert lag.most_s >= 0.04
