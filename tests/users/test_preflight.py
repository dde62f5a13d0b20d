"""The preflight before a server that fails now and then, is slow at first, or does not know the key."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import gevent
import pytest
from gevent.server import StreamServer
from locust.argument_parser import get_empty_argument_parser

from users.options import ChatOptions, add_options
from users.preflight import PreflightFailed, preflight

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
        self._server = StreamServer(("127.0.0.1", 0), self._serve)
        self._server.start()
        self.host = f"http://127.0.0.1:{self._server.server_port}"

    def _serve(self, sock: Any, _: object) -> None:
        while b"max_tokens" in sock.recv(65536):
            self.requests += 1
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


@pytest.mark.parametrize(("failure", "requests"), [(error(500), 3), (error(401), 1), (error(404), 1)])
def test_a_failure_that_stays_refuses_it_and_is_not_repeated_where_that_is_no_use(
    served: Any, options: ChatOptions, failure: bytes, requests: int
) -> None:
    server = served(*[failure] * 9)
    with pytest.raises(PreflightFailed):
        preflight(options, server.host, ["off", "on"], sleep=lambda _: None)
    assert server.requests == requests


def test_the_first_request_may_take_longer_than_those_of_the_run(served: Any, options: ChatOptions) -> None:
    short = replace(options.timeouts, first_token_s=0.01, idle_s=0.01, total_s=0.01)
    server = served(ANSWER, delay_s=0.2)
    preflight(replace(options, timeouts=short), server.host, ["off"])
    assert server.requests == 1
