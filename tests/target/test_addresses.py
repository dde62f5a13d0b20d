"""Addresses that are nearly right have a sentence each that says what to give, the same in a run and in a probe."""

from __future__ import annotations

import ssl
from argparse import Namespace
from collections.abc import Callable, Iterator
from typing import Any

import gevent
import pytest
import trustme
from gevent.server import StreamServer
from locust.argument_parser import get_empty_argument_parser

from tests.site import Site
from tokenswarm.client.option_values import OptionError
from tokenswarm.client.request_options import ChatOptions, add_options
from tokenswarm.sanitize import API_KEY_VARIABLE
from tokenswarm.target.preflight import PreflightFailed, preflight
from tokenswarm.target.server_detection import find_server
from tokenswarm.tokenswarm import main

Refused = Callable[[str], str]


class Raw:
    """A server that gives one answer to whatever is sent, over TLS or not."""

    def __init__(self, answer: bytes, context: ssl.SSLContext | None = None) -> None:
        self._answer = answer
        how = {"ssl_context": context} if context else {}
        self._server = StreamServer(("127.0.0.1", 0), self._serve, **how)
        self._server.start()
        self.host = f"http://127.0.0.1:{self._server.server_port}"

    def _serve(self, sock: Any, _: object) -> None:
        while sock.recv(65536):
            sock.sendall(self._answer)

    def stop(self) -> None:
        self._server.stop(0)


@pytest.fixture
def raw() -> Iterator[Callable[..., Raw]]:
    made: list[Raw] = []

    def make(*arguments: Any) -> Raw:
        made.append(Raw(*arguments))
        return made[-1]

    yield make
    for server in made:
        server.stop()


def by_run(host: str) -> str:
    parser = get_empty_argument_parser(default_config_files=[])
    add_options(parser)
    given: Namespace = parser.parse_args([])
    with pytest.raises(OptionError) as refused:
        find_server(ChatOptions.of(given), host)
    return str(refused.value)


@pytest.fixture(params=["run", "probe"])
def refused(
    request: pytest.FixtureRequest, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Refused:
    gevent.sleep(0)
    monkeypatch.setattr("tokenswarm.target.server_detection._PATIENCE_S", 2.0)
    monkeypatch.delenv(API_KEY_VARIABLE, raising=False)

    def by_probe(host: str) -> str:
        assert main(["probe", "-H", host]) == 2
        lines = capsys.readouterr().err.splitlines()  # gevent writes of broken handshakes there, too
        (line,) = [line for line in lines if line.startswith("tokenswarm probe: ")]
        return line

    return by_run if request.param == "run" else by_probe


def answer(head: str, body: str = "") -> bytes:
    return f"HTTP/1.1 {head}\r\nContent-Length: {len(body)}\r\n\r\n{body}".encode()


@pytest.mark.parametrize(
    ("location", "advice"),
    [
        ("https://llm.example/v1/models", "give https://llm.example as --host"),
        ("http://10.0.0.9:8000/llm/v1/models?key=s3cret", "give http://10.0.0.9:8000/llm as --host"),
        ("/v1/models/", "give the address that answers as --host"),
        ("/login", "give the address that answers as --host"),
    ],
)
@pytest.mark.parametrize("status", ["301 Moved", "302 Found", "308 Permanent Redirect"])
def test_a_redirection_names_where_it_goes(
    raw: Callable[..., Raw], refused: Refused, status: str, location: str, advice: str
) -> None:
    line = refused(raw(answer(f"{status}\r\nLocation: {location}", "<html>Moved</html>")).host)
    assert f"redirected to {location.split('?', maxsplit=1)[0]}" in line
    assert advice in line
    assert "s3cret" not in line


def test_plain_http_to_a_port_of_tls_names_the_address_that_works(raw: Callable[..., Raw], refused: Refused) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    trustme.CA().issue_cert("127.0.0.1").configure_cert(context)
    host = raw(answer("200 OK"), context).host
    line = refused(host)
    assert f"speaks TLS there: give {host.replace('http', 'https')} as --host" in line


def test_a_server_of_plain_http_that_is_none_is_not_taken_for_one_of_tls(refused: Refused) -> None:
    site = Site({})
    try:
        assert "TLS" not in refused(site.host)
    finally:
        site.stop()


@pytest.mark.parametrize("challenge", ['Basic realm="llm"', "basic", 'BASIC charset="UTF-8", realm="x"'])
def test_a_challenge_for_a_password_asks_for_no_key(raw: Callable[..., Raw], refused: Refused, challenge: str) -> None:
    line = refused(raw(answer(f"401 Unauthorized\r\nWWW-Authenticate: {challenge}", "denied")).host)
    assert "HTTP 401" in line
    assert "--header 'Authorization: Basic" in line
    assert API_KEY_VARIABLE not in line


def test_a_challenge_at_the_chat_route_alone_asks_for_no_key_either(raw: Callable[..., Raw]) -> None:
    host = raw(answer('401 Unauthorized\r\nWWW-Authenticate: Basic realm="llm"', "denied")).host
    parser = get_empty_argument_parser(default_config_files=[])
    add_options(parser)
    with pytest.raises(PreflightFailed) as refused:
        preflight(ChatOptions.of(parser.parse_args(["--engine", "vllm", "--model", "m"])), host, ["off"])
    assert "--header 'Authorization: Basic" in str(refused.value)
    assert "denied" in str(refused.value)


@pytest.mark.parametrize("challenge", ["Bearer", 'Bearer realm="basic"', "Negotiate"])
def test_any_other_challenge_asks_for_a_key(raw: Callable[..., Raw], refused: Refused, challenge: str) -> None:
    line = refused(raw(answer(f"401 Unauthorized\r\nWWW-Authenticate: {challenge}", "denied")).host)
    assert API_KEY_VARIABLE in line
    assert "Basic …" not in line
