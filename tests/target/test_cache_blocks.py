"""How many tokens a block of a server's prefix cache has: by the server where it says so, else by its engine."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from gevent.pywsgi import WSGIServer
from locust.argument_parser import get_empty_argument_parser

from tokenswarm.client.request_options import ChatOptions, add_options
from tokenswarm.engines import ENGINES
from tokenswarm.target.cache_blocks import cache_block_of

VLLM_PAGE = (
    '# TYPE vllm:cache_config_info gauge\nvllm:other{block_size="7"} 1.0\n'
    'vllm:cache_config_info{block_size="128",cache_dtype="auto",enable_prefix_caching="True"} 1.0\n'
)


def options(engine: str) -> ChatOptions:
    parser = get_empty_argument_parser(default_config_files=[])
    add_options(parser)
    return ChatOptions.of(parser.parse_args(["--engine", engine]))


@pytest.fixture
def serve() -> Iterator[Callable[[str, str], str]]:
    servers = []

    def start(path: str, page: str) -> str:
        def answer(environ: dict[str, str], respond: Callable[..., object]) -> list[bytes]:
            known = environ["PATH_INFO"] == path
            respond("200 OK" if known else "404 Not Found", [("Content-Type", "text/plain")])
            return [page.encode() if known else b"none"]

        servers.append(WSGIServer(("127.0.0.1", 0), answer, log=None))
        servers[-1].start()
        return f"http://127.0.0.1:{servers[-1].server_port}"

    yield start
    for server in servers:
        server.stop(timeout=1)


@pytest.mark.parametrize(
    ("engine", "path", "page", "found"),
    [
        ("vllm", "/metrics", VLLM_PAGE, (128, "server")),
        ("vllm", "/metrics", "vllm:num_requests_running 1\n", (16, "default")),
        ("vllm", "/elsewhere", "", (16, "default")),
        ("sglang", "/get_server_info", '{"page_size": 64, "version": "1"}', (64, "server")),
        ("sglang", "/get_server_info", '{"page_size": "64"}', (1, "default")),
        ("sglang", "/get_server_info", "<html>", (1, "default")),
        ("lmdeploy", "/metrics", VLLM_PAGE, (64, "default")),
        ("tgi", "/metrics", VLLM_PAGE, None),
    ],
)
def test_what_the_server_says_counts_before_the_engines_default(
    serve: Callable[[str, str], str], engine: str, path: str, page: str, found: tuple[int, str] | None
) -> None:
    assert cache_block_of(options(engine), serve(path, page)) == found


def test_a_server_that_is_not_reached_has_its_engines_default() -> None:
    assert cache_block_of(options("vllm"), "http://127.0.0.1:9") == (16, "default")


def test_engines_that_say_how_large_their_blocks_are_have_a_default() -> None:
    assert all(engine.prefix_block_tokens for engine in ENGINES.values() if engine.block_page)
