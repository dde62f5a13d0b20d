"""Flushing the servers' prefix caches: what is posted where, what is tried again, and what refusals say."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import pytest
from gevent.pywsgi import WSGIServer
from locust.argument_parser import get_empty_argument_parser

from tokenswarm.client.option_values import OptionError
from tokenswarm.client.request_options import ChatOptions, add_options, check_engine
from tokenswarm.engines import ENGINES
from tokenswarm.target.cache_flush import flush_caches

Respond = Callable[[dict[str, str], Callable[..., object]], list[bytes]]


class Server:
    """Answers requests by these statuses, in their order, and the last one again and again."""

    def __init__(self, statuses: Sequence[int]) -> None:
        self._statuses = list(statuses)
        self.requests: list[tuple[str, str, str | None]] = []
        self._server = WSGIServer(("127.0.0.1", 0), self._answer, log=None)
        self._server.start()
        self.host = f"http://127.0.0.1:{self._server.server_port}"

    def stop(self) -> None:
        self._server.stop(timeout=1)

    def _answer(self, environ: dict[str, str], start: Callable[..., object]) -> list[bytes]:
        self.requests.append((environ["REQUEST_METHOD"], environ["PATH_INFO"], environ.get("HTTP_AUTHORIZATION")))
        status = self._statuses.pop(0) if len(self._statuses) > 1 else self._statuses[0]
        start(f"{status} status", [("Content-Length", "0")])
        return []


@pytest.fixture
def serve() -> Iterator[Callable[..., Server]]:
    started: list[Server] = []

    def start(*statuses: int) -> Server:
        started.append(Server(statuses))
        return started[-1]

    yield start
    for server in started:
        server.stop()


def options(engine: str) -> ChatOptions:
    parser = get_empty_argument_parser(default_config_files=[])
    add_options(parser)
    return ChatOptions.of(parser.parse_args(["--engine", engine, "--cache", "flush"]))


@pytest.mark.parametrize(("engine", "path"), [("vllm", "/reset_prefix_cache"), ("sglang", "/flush_cache")])
def test_each_host_is_flushed_by_its_engines_endpoint(
    serve: Callable[..., Server], monkeypatch: pytest.MonkeyPatch, engine: str, path: str
) -> None:
    monkeypatch.setenv("LLM_API_KEY", "k")
    servers = [serve(200), serve(200)]
    assert flush_caches(options(engine), [servers[0].host, f"{servers[1].host}/gw"]) == []
    assert servers[0].requests == [("POST", path, "Bearer k")]
    assert servers[1].requests == [("POST", f"/gw{path}", "Bearer k")]


def test_a_server_that_refuses_while_requests_run_is_tried_again(serve: Callable[..., Server]) -> None:
    server, pauses = serve(400, 400, 200), list[float]()
    assert flush_caches(options("sglang"), [server.host], pauses.append) == []
    assert (len(server.requests), len(pauses)) == (3, 2)


def test_a_refusal_names_the_host_and_what_it_answered(serve: Callable[..., Server]) -> None:
    good, bad = serve(200), serve(400)
    (refusal,) = flush_caches(options("sglang"), [good.host, bad.host], lambda _: None)
    assert refusal.startswith(bad.host)
    assert "HTTP 400" in refusal
    assert len(bad.requests) == 3


def test_an_endpoint_that_is_not_there_is_not_tried_again(serve: Callable[..., Server]) -> None:
    server = serve(404)
    (refusal,) = flush_caches(options("vllm"), [server.host])
    assert "VLLM_SERVER_DEV_MODE=1" in refusal
    assert len(server.requests) == 1


def test_a_server_that_is_gone_refuses() -> None:
    (refusal,) = flush_caches(options("vllm"), ["http://127.0.0.1:9"], lambda _: None)
    assert refusal.startswith("http://127.0.0.1:9: ")


@pytest.mark.parametrize("name", sorted(ENGINES))
def test_engines_without_an_endpoint_are_refused_the_option(name: str) -> None:
    engine = ENGINES[name]
    checked = options("vllm")
    if engine.flush_path:
        check_engine(checked, engine, None)
    else:
        with pytest.raises(OptionError, match=r"--cache flush: .*sglang, vllm|--cache flush: .*vllm, sglang"):
            check_engine(checked, engine, None)
