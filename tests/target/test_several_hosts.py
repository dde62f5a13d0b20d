"""The servers of a run of several hosts: one engine, one model, one way to write requests."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import Any

import pytest
from gevent.server import StreamServer
from locust.argument_parser import get_empty_argument_parser

from tokenswarm.client.model_mix import ModelMix
from tokenswarm.client.option_values import OptionError
from tokenswarm.client.request_control import Adaptations
from tokenswarm.client.request_options import ChatOptions, add_options
from tokenswarm.engines import DetectedServer
from tokenswarm.sanitize import API_KEY_VARIABLE
from tokenswarm.target.preflight import PreflightFailed
from tokenswarm.target.server_detection import ReadyServer
from tokenswarm.target.several_hosts import in_common, preflight_hosts

EVENTS = b'data: {"choices":[{"index":0,"delta":{"content":"Hi"}}]}\n\ndata: [DONE]\n\n'
ANSWER = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nContent-Length: %d\r\n\r\n%b" % (len(EVENTS), EVENTS)


class Picky:
    """A server that refuses bodies with some fields, and keeps what it got."""

    def __init__(self, *refused: str, status: int = 400) -> None:
        self._refused, self._status = refused, status
        self.bodies: list[dict[str, Any]] = []
        self.heads: list[str] = []
        self._server = StreamServer(("127.0.0.1", 0), self._serve)
        self._server.start()
        self.host = f"http://127.0.0.1:{self._server.server_port}"

    def _serve(self, sock: Any, _: object) -> None:
        while received := sock.recv(65536):
            head, _, text = received.partition(b"\r\n\r\n")
            self.heads.append(head.decode())
            self.bodies.append(body := json.loads(text))
            wrong = [name for name in self._refused if name in (*body, body["model"])]
            error = json.dumps({"error": {"message": f"Unsupported parameter: {wrong}"}}).encode()
            head = b"HTTP/1.1 %d x\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"
            sock.sendall(head % (self._status, len(error)) + error if wrong else ANSWER)
        sock.close()

    def stop(self) -> None:
        self._server.stop(0)


@pytest.fixture
def servers() -> Iterator[Callable[..., Picky]]:
    started: list[Picky] = []

    def start(*refused: str, **how: int) -> Picky:
        started.append(Picky(*refused, **how))
        return started[-1]

    yield start
    for server in started:
        server.stop()


@pytest.fixture
def options() -> ChatOptions:
    parser = get_empty_argument_parser(default_config_files=[])
    add_options(parser)
    return ChatOptions.of(parser.parse_args(["--engine", "openai", "--model", "any"]))


def test_each_host_gets_each_kind_once(
    servers: Callable[..., Picky], options: ChatOptions, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(API_KEY_VARIABLE, "sk-0123456789abcdef")
    one, two = servers(), servers()
    mixed = replace(options, model="a", models=ModelMix(("a", "b"), (0.5, 0.5)), key_servers=(two.host,))
    result = preflight_hosts(mixed, [one.host, two.host], ["off"], sleep=lambda _: None)
    assert result.adaptations == Adaptations()
    assert [[body["model"] for body in each.bodies] for each in (one, two)] == [["a", "b"], ["a", "b"]]
    assert not any("sk-0123456789abcdef" in head for head in one.heads)
    assert all("sk-0123456789abcdef" in head for head in two.heads)


def test_what_the_second_host_refuses_is_left_out_for_all(servers: Callable[..., Picky], options: ChatOptions) -> None:
    one, two = servers(), servers("max_tokens")
    result = preflight_hosts(options, [one.host, two.host], ["off"], sleep=lambda _: None)
    assert result.adaptations.max_tokens_field == "max_completion_tokens"
    assert ["max_tokens" in body for body in one.bodies] == [True, False]


def test_hosts_that_need_different_requests_are_refused(servers: Callable[..., Picky], options: ChatOptions) -> None:
    one, two = servers("max_completion_tokens"), servers("max_tokens")
    with pytest.raises(PreflightFailed):
        preflight_hosts(options, [one.host, two.host], ["off"], sleep=lambda _: None)


def test_a_host_that_fails_is_named(servers: Callable[..., Picky], options: ChatOptions) -> None:
    one, two = servers(), servers("any", status=404)
    with pytest.raises(PreflightFailed, match=two.host):
        preflight_hosts(options, [one.host, two.host], ["off"], sleep=lambda _: None)


def ready(**changes: Any) -> ReadyServer:
    facts: dict[str, Any] = {"engine": "vllm", "version": "0.6.0", "gateway": None, "models": ["llama"]}
    model = changes.pop("model", "llama")
    return ReadyServer(DetectedServer(**(facts | {"evidence": ["it says so"]} | changes)), model, 1.5)


@pytest.mark.parametrize("changes", [{"engine": "sglang"}, {"model": "qwen", "models": ["qwen"]}])
def test_other_engines_and_models_are_refused_with_both_hosts(changes: Mapping[str, Any]) -> None:
    with pytest.raises(OptionError) as refused:
        in_common({"http://a": ready(), "http://b": ready(**changes)})
    value = changes.get("engine") or changes["model"]
    assert all(word in str(refused.value) for word in ("http://a", "http://b", value))


def test_what_hosts_have_in_common_is_the_run_s_server() -> None:
    one = ready(models=["llama", "sql"], max_tokens_range=(1, 4096))
    two = ready(models=["sql", "llama", "mail"], version="0.7.1", max_tokens_range=(16, 8192))
    found = in_common({"http://a": one, "http://b": two})
    assert found.found.version == "0.6.0, 0.7.1"
    assert found.found.models == ["llama", "sql"]
    assert found.found.max_tokens_range == (16, 4096)
    assert found.found.evidence == ["http://a: it says so", "http://b: it says so"]
    assert found.waited_s == 3.0
    assert in_common({"http://a": one}) is one
