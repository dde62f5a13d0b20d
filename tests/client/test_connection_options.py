"""--proxy: what the options hold, what stays in the process, and when the environment's proxies are named."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Callable

import msgspec
import pytest
from locust.argument_parser import get_empty_argument_parser

from tokenswarm.client import connection_options as module
from tokenswarm.client.connection_options import keep_proxy_credentials, proxy_of, unused_proxy_notice
from tokenswarm.client.option_values import OptionError
from tokenswarm.client.request_options import ChatOptions, add_options
from tokenswarm.sanitize import shown
from tokenswarm.wire import Origin

PASSWORD = "p%40ss-8f1d2c"


@pytest.fixture
def given(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Namespace]:
    monkeypatch.setattr(module, "_credentials", {})
    parser = get_empty_argument_parser(default_config_files=[])
    add_options(parser)

    def parsed(*words: str) -> Namespace:
        options: Namespace = parser.parse_args(words)
        keep_proxy_credentials(options)
        return options

    return parsed


@pytest.mark.parametrize("written", ["http://me:{}@gw:3128", "HTTP://me:{}@gw:3128/", "me:{}@gw:3128"])
def test_options_hold_the_address_and_the_process_the_credentials(
    given: Callable[..., Namespace], written: str
) -> None:
    options = given("--proxy", written.format(PASSWORD))
    keep_proxy_credentials(options)
    message = msgspec.msgpack.encode(vars(options))
    assert PASSWORD.encode() not in message
    assert b"me:" not in message
    proxy = ChatOptions.of(options).proxy
    assert proxy is not None
    assert (proxy.address, proxy.credentials) == ("http://gw:3128", "me:p@ss-8f1d2c")
    assert "8f1d2c" not in repr(proxy)
    assert shown("not me:p@ss-8f1d2c bWU6cEBzcy04ZjFkMmM= p@ss-8f1d2c") == "not [secret] [secret] [secret]"


def test_a_worker_without_the_credentials_says_what_to_do(given: Callable[..., Namespace]) -> None:
    given()
    with pytest.raises(OptionError, match="start each worker with the same --proxy"):
        proxy_of("http://*@gw:3128")


def test_a_proxy_without_credentials_goes_to_workers_as_it_is(given: Callable[..., Namespace]) -> None:
    options = given("--proxy", "gw:3128")
    proxy = ChatOptions.of(options).proxy
    assert proxy is not None
    assert (proxy.origin, proxy.headers()) == (Origin("gw", 3128), {})
    assert ChatOptions.of(given()).proxy is None


@pytest.mark.parametrize(
    "written", ["socks5://me:s3cret@gw:1080", "https://me:s3cret@gw", "http://me:s3cret@gw:0", "http://s3cret@gw/path"]
)
def test_what_is_no_http_proxy_is_refused_without_being_repeated(given: Callable[..., Namespace], written: str) -> None:
    with pytest.raises(OptionError, match="--proxy takes http://") as refused:
        proxy_of(given("--proxy", written).proxy)
    assert "s3cret" not in str(refused.value)
    assert shown(str(refused.value)) == str(refused.value)


@pytest.mark.parametrize(
    ("variables", "server", "named"),
    [
        ({"HTTPS_PROXY": "http://me:s3cret@gw:1"}, "https://gpu", "HTTPS_PROXY"),
        ({"https_proxy": "http://gw:1"}, "http://gpu", None),
        ({"ALL_PROXY": "socks5://gw:1"}, "http://gpu:8000", "ALL_PROXY"),
        ({"http_proxy": "http://gw:1"}, "http://gpu:8000", "HTTP_PROXY"),
        ({"http_proxy": "http://gw:1", "no_proxy": "gpu"}, "http://gpu:8000", None),
        ({"http_proxy": "http://gw:1"}, "http://127.0.0.1:8000", None),
        ({}, "http://gpu:8000", None),
    ],
)
def test_a_proxy_of_the_environment_is_named_where_it_would_matter(
    monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], server: str, named: str | None
) -> None:
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy", "REQUEST_METHOD"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    notice = unused_proxy_notice(Origin.parse(server))
    assert (notice is None) == (named is None)
    assert named is None or named in (notice or "")
    assert "s3cret" not in (notice or "")
