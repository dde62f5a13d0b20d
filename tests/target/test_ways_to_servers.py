"""A server behind a proxy, or one that demands a client certificate: what arrives there, and what is said where it
is refused."""

from __future__ import annotations

import ssl
from argparse import Namespace
from collections.abc import Iterator
from pathlib import Path

import pytest
import trustme
from gevent.server import StreamServer
from locust.argument_parser import get_empty_argument_parser

from tests.http_proxy import RunningProxy, running_proxy
from tests.runs.harness import free_port
from tests.site import Site
from tokenswarm.client.connection_options import keep_proxy_credentials
from tokenswarm.client.option_values import OptionError
from tokenswarm.client.request_options import ChatOptions, add_options
from tokenswarm.sanitize import shown
from tokenswarm.target.server_detection import find_server

MODELS = '{"data": [{"id": "tiny", "owned_by": "vllm"}]}'
PAGES = {"/v1/models": (200, MODELS), "/version": (200, '{"version":"0.32.0"}'), "/health": (200, "")}


def options(*words: str) -> ChatOptions:
    parser = get_empty_argument_parser(default_config_files=[])
    add_options(parser)
    given: Namespace = parser.parse_args(words)
    keep_proxy_credentials(given)
    return ChatOptions.of(given)


@pytest.fixture
def site() -> Iterator[Site]:
    made = Site(PAGES)
    yield made
    made.stop()


@pytest.fixture
def proxy(tmp_path: Path) -> Iterator[RunningProxy]:
    with running_proxy(tmp_path) as running:
        yield running


@pytest.fixture
def locked_proxy(tmp_path: Path) -> Iterator[RunningProxy]:
    with running_proxy(tmp_path, "me:pass-5a1c77") as running:
        yield running


def with_password(proxy: RunningProxy, password: str) -> str:
    return f"http://me:{password}@127.0.0.1:{proxy.port}"


def test_requests_to_an_http_server_have_its_whole_address(site: Site, locked_proxy: RunningProxy) -> None:
    found = find_server(options("--proxy", with_password(locked_proxy, "pass-5a1c77")), site.host)
    assert found.model == "tiny"
    lines = [request["line"] for request in locked_proxy.requests()]
    assert f"GET {site.host}/v1/models HTTP/1.1" in lines
    assert len(lines) == len(site.requests)
    assert all(request["headers"]["host"] == site.address for request in locked_proxy.requests())
    assert "proxy-authorization" not in "".join(site.requests).lower()


def test_requests_to_an_https_server_go_through_a_tunnel(
    site: Site, locked_proxy: RunningProxy, tmp_path: Path
) -> None:
    authority, context = trustme.CA(), ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    secure = StreamServer(("127.0.0.1", 0), site._serve, ssl_context=context)
    secure.start()
    given = ("--proxy", with_password(locked_proxy, "pass-5a1c77"), "--tls-ca", str(tmp_path / "ca.pem"))
    try:
        assert find_server(options(*given), f"https://127.0.0.1:{secure.server_port}").model == "tiny"
    finally:
        secure.stop(0)
    tunnel = f"CONNECT 127.0.0.1:{secure.server_port} HTTP/1.1"
    assert {request["line"] for request in locked_proxy.requests()} == {tunnel}
    assert "proxy-authorization" not in "".join(site.requests).lower()


@pytest.mark.parametrize("scheme", ["http", "https"])
@pytest.mark.parametrize(("password", "said"), [("", "requires a user name and"), ("wrong-77", "does not accept")])
def test_a_proxy_that_refuses_the_credentials_is_named(
    site: Site, locked_proxy: RunningProxy, scheme: str, password: str, said: str
) -> None:
    address = with_password(locked_proxy, password) if password else locked_proxy.address
    with pytest.raises(OptionError) as refused:
        find_server(options("--proxy", address), f"{scheme}://{site.address}")
    assert f"the proxy {locked_proxy.address} {said}" in str(refused.value)
    assert "wrong-77" not in str(refused.value)
    assert shown(str(refused.value)) == str(refused.value)


def test_a_proxy_that_opens_no_tunnel_and_one_that_is_not_there_are_named(proxy: RunningProxy) -> None:
    nowhere = free_port()
    for address, said in ((proxy.address, "(HTTP 502): check --host"), (f"http://127.0.0.1:{nowhere}", "is --proxy")):
        with pytest.raises(OptionError) as refused:
            find_server(options("--proxy", address), f"https://127.0.0.1:{nowhere}")
        assert f"the proxy {address}" in str(refused.value)
        assert said in str(refused.value)


def test_proxies_of_the_environment_are_not_used(
    site: Site, proxy: RunningProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy"):
        monkeypatch.setenv(name, proxy.address)
    assert find_server(options(), site.host).model == "tiny"
    assert proxy.requests() == []


@pytest.fixture
def demanding_host(site: Site, tmp_path: Path) -> Iterator[str]:
    """An https server that demands a client certificate."""
    authority, context = trustme.CA(), ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    context.verify_mode = ssl.CERT_REQUIRED
    authority.configure_trust(context)
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    authority.issue_cert("client@example.org").private_key_and_cert_chain_pem.write_to_path(str(tmp_path / "me.pem"))
    secure = StreamServer(("127.0.0.1", 0), site._serve, ssl_context=context)
    secure.start()
    yield f"https://127.0.0.1:{secure.server_port}"
    secure.stop(0)


def test_a_server_that_demands_a_client_certificate(demanding_host: str, tmp_path: Path) -> None:
    trusting = ("--tls-ca", str(tmp_path / "ca.pem"))
    with pytest.raises(OptionError, match="requires a client certificate: give --client-cert"):
        find_server(options(*trusting), demanding_host)
    assert find_server(options(*trusting, "--client-cert", str(tmp_path / "me.pem")), demanding_host).model == "tiny"
    with pytest.raises(OptionError, match="--client-key has no effect without --client-cert"):
        options("--client-key", "key.pem")
