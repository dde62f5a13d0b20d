"""The preflight behind proxies as Debian packages them: what they do to a stream is reported before the load."""

from __future__ import annotations

import shutil
import socket
import subprocess
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from locust.argument_parser import get_empty_argument_parser

from tests.runs.harness import StartSimulator, free_port, until
from tokenswarm.client.request_options import ChatOptions, add_options
from tokenswarm.target.preflight import PreflightFailed, preflight

pytestmark = pytest.mark.slow

_PATH = "/usr/local/sbin:/usr/sbin:/sbin:/usr/bin"
NGINX, HAPROXY = shutil.which("nginx", path=_PATH), shutil.which("haproxy", path=_PATH)
NGINX_CONFIG = """
worker_processes 1;
pid {folder}/nginx.pid;
error_log {folder}/error.log;
events {{ worker_connections 64; }}
http {{
  access_log off;
  client_body_temp_path {folder}/body;
  proxy_temp_path {folder}/proxy;
  fastcgi_temp_path {folder}/fastcgi;
  uwsgi_temp_path {folder}/uwsgi;
  scgi_temp_path {folder}/scgi;
  server {{
    listen 127.0.0.1:{port};
    location / {{ proxy_pass {server}; {more} }}
  }}
}}
"""
HAPROXY_CONFIG = """
defaults
  mode http
  timeout connect 5s
  timeout client 60s
  timeout server 60s
  {more}
frontend in
  bind 127.0.0.1:{port}
  default_backend out
backend out
  server one {server}
"""
Behind = Callable[[str, str, str], str]


@pytest.fixture
def behind(tmp_path: Path) -> Iterator[Behind]:
    """(proxy, more of its configuration, host of a server) to the address of the proxy in front of it."""
    started: list[subprocess.Popen[bytes]] = []

    def start(proxy: str, more: str, host: str) -> str:
        program = {"nginx": NGINX, "haproxy": HAPROXY}[proxy]
        if program is None:
            pytest.skip(f"{proxy} is not installed")
        port, config = free_port(), tmp_path / f"{proxy}.cfg"
        template = NGINX_CONFIG if proxy == "nginx" else HAPROXY_CONFIG
        server = host if proxy == "nginx" else host.removeprefix("http://")
        config.write_text(template.format(folder=tmp_path, port=port, server=server, more=more))
        how = ["-c", str(config), "-g", "daemon off;"] if proxy == "nginx" else ["-f", str(config), "-db"]
        started.append(subprocess.Popen([program, *how]))

        def listens() -> bool:
            with suppress(OSError), socket.create_connection(("127.0.0.1", port)):
                return True
            return False

        until(listens)
        return f"http://127.0.0.1:{port}"

    yield start
    for process in started:
        process.terminate()
        process.wait()


@pytest.fixture(scope="module")
def options() -> ChatOptions:
    parser = get_empty_argument_parser(default_config_files=[])
    add_options(parser)
    return ChatOptions.of(parser.parse_args(["--engine", "vllm", "--model", "simulated-llama-3-8b"]))


@pytest.mark.alone  # what comes in lumps is judged by its times
@pytest.mark.parametrize(
    ("proxy", "more", "said"),
    [
        ("nginx", "", ["in lumps"]),
        ("nginx", "proxy_buffering off;", []),
        ("haproxy", "", ["in lumps"]),
        ("haproxy", "option http-no-delay", []),
    ],
)
def test_what_a_proxy_does_to_the_stream_is_said_before_the_load(
    behind: Behind, start_simulator: StartSimulator, options: ChatOptions, proxy: str, more: str, said: list[str]
) -> None:
    server = start_simulator("--dialect", "vllm", "--step-ms", "13", "--jitter", "0")
    notices = preflight(options, behind(proxy, more, server.host), ["off"]).notices
    assert len(notices) == len(said)
    assert all(words in notice for words, notice in zip(said, notices, strict=True))


@pytest.mark.parametrize(
    ("dialect", "refuses", "adaptations"),
    [
        ("vllm", ("--refuse-field", "max_tokens"), {"max_tokens_field": "max_completion_tokens"}),
        ("openai", ("--refuse-field", "max_tokens"), {"max_tokens_field": "max_completion_tokens"}),
        ("sglang", ("--refuse-field", "stream_options"), {"no_usage_option": True}),
        ("llamacpp", ("--refuse-field", "stream_options"), {"no_usage_option": True}),
        (
            "trtllm",
            ("--refuse-field", "max_tokens", "--refuse-field", "stream_options"),
            {"max_tokens_field": "max_completion_tokens", "no_usage_option": True},
        ),
    ],
)
def test_each_engine_s_refusal_of_a_field_is_understood(
    start_simulator: StartSimulator,
    options: ChatOptions,
    dialect: str,
    refuses: tuple[str, ...],
    adaptations: dict[str, object],
) -> None:
    server = start_simulator("--dialect", dialect, *refuses)
    found = preflight(options, server.host, ["off", "on"]).adaptations
    assert {name: getattr(found, name) for name in adaptations} == adaptations


@pytest.mark.parametrize(
    ("refuses", "words", "advice"),
    [
        (("--refuse-system",), "System role not supported", "--fold-system-prompt"),
        (("--model", "another"), "does not exist", "--model"),
        (("--api-key-env", "SIMULATOR_KEY"), "Unauthorized", "LLM_API_KEY"),
        (("--require-header", "X-Tenant"), "X-Tenant is missing", "--header"),
        (("--refuse-field", "messages"), "'messages'", "--model"),
    ],
)
def test_what_cannot_be_adapted_is_said_in_the_server_s_words_with_what_to_do(
    start_simulator: StartSimulator, options: ChatOptions, refuses: tuple[str, ...], words: str, advice: str
) -> None:
    server = start_simulator("--dialect", "vllm", *refuses, env={"SIMULATOR_KEY": "key-5b1f"})
    with pytest.raises(PreflightFailed) as refused:
        preflight(options, server.host, ["off", "on"])
    assert words in str(refused.value)
    assert advice in str(refused.value)
