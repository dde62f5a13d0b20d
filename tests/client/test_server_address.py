"""Addresses as people write them."""

from __future__ import annotations

from argparse import Namespace

import pytest

from tokenswarm.client.server_address import ServerAddress, base_url, hosts_of, origin_of, origins_of, take_route
from tokenswarm.wire import Origin, UnusableUrl


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("http://gpu:8000", "http://gpu:8000"),
        ("http://gpu:8000/", "http://gpu:8000"),
        ("http://gpu:8000/v1", "http://gpu:8000"),
        ("http://gpu:8000/v1/", "http://gpu:8000"),
        ("http://gpu:8000/v1/chat/completions", "http://gpu:8000"),
        ("http://gpu:8000/v1/chat/completions/", "http://gpu:8000"),
        ("http://gpu:8000/v1/models", "http://gpu:8000"),
        ("http://gpu:8000/generate_stream", "http://gpu:8000"),
        ("https://host/openai/v1", "https://host/openai"),
        ("https://host/llm/v2", "https://host/llm/v2"),
        ("gpu:8000", "http://gpu:8000"),
        ("gpu:8000/v1", "http://gpu:8000"),
        ("gpu", "http://gpu"),
        ("127.0.0.1:8000/v1", "http://127.0.0.1:8000"),
        ("[::1]:8000/v1", "http://[::1]:8000"),
        ("gpu:443/v1", "https://gpu:443"),
        ("http://v1", "http://v1"),
        ("  http://gpu:8000/v1\n", "http://gpu:8000"),
    ],
)
def test_what_requests_add_themselves_is_cut_off(written: str, meant: str) -> None:
    assert base_url(written) == meant
    assert origin_of(written) == Origin.parse(meant)


@pytest.mark.parametrize("written", ["", "/", "ftp://gpu", "//gpu", "user:secret@gpu:8000/v1", "gpu:0", "http:///v1"])
def test_what_is_no_address_is_refused(written: str) -> None:
    with pytest.raises(UnusableUrl) as refused:
        origin_of(written)
    assert "secret" not in str(refused.value)


@pytest.mark.parametrize("written", ["http:/127.0.0.1:8011", "https:/gpu/v1", "HTTP:gpu:8000", "http:127.0.0.1:8011"])
def test_a_scheme_without_its_slashes_is_no_host(written: str) -> None:
    assert base_url(written) == written
    with pytest.raises(UnusableUrl) as refused:
        origin_of(written)
    assert f"takes an address like http://HOST:PORT, got {written!r}" in str(refused.value)


@pytest.mark.parametrize("written", ["X-Api-Key: good-1", "x-api-key:good-1", "Authorization: Bearer good-1"])
def test_a_header_in_place_of_an_address_is_named_without_its_value(written: str) -> None:
    """`-H` is curl's option for a header."""
    for host in (written, f"http://gpu:8000,{written}"):
        with pytest.raises(UnusableUrl) as refused:
            origins_of(host)
        assert "good-1" not in str(refused.value)
        assert f"--header '{written.partition(':')[0]}: VALUE'" in str(refused.value)


@pytest.mark.parametrize("written", ["token:8000", "api-key:8000/v1", "token:8000,key:8001"])
def test_a_host_with_the_name_of_a_header_is_one(written: str) -> None:
    assert len(origins_of(written)) == len(written.split(","))


def test_a_password_behind_a_scheme_without_its_slashes_is_not_repeated() -> None:
    with pytest.raises(UnusableUrl) as refused:
        origin_of("http:/user:secret@gpu")
    assert "secret" not in str(refused.value)


def test_a_host_may_be_named_http() -> None:
    assert origin_of("http:8000/v1") == Origin("http", 8000)


@pytest.mark.parametrize(
    ("written", "base", "path", "endpoint"),
    [
        ("http://gpu:8000/v1/chat/completions", "http://gpu:8000", "", None),
        ("gpu:8000/v1/completions", "http://gpu:8000", "", "completions"),
        ("http://gpu:8000/v1/responses/", "http://gpu:8000", "", "responses"),
        ("http://gpu/api/llm/chat/completions", "http://gpu/api/llm", "/chat/completions", None),
        ("gpu/api/llm/completions", "http://gpu/api/llm", "/completions", "completions"),
        ("https://gw/serving/responses", "https://gw/serving", "/responses", "responses"),
        ("https://ark/api/v3", "https://ark/api/v3", "/chat/completions", None),
        ("https://ark/api/v3/chat/completions", "https://ark/api/v3", "/chat/completions", None),
        ("https://host/v1beta/openai", "https://host/v1beta/openai", "", None),
        (
            "https://x.example/openai/deployments/d/chat/completions?api-version=2024-06-01",
            "https://x.example/openai/deployments/d",
            "/chat/completions?api-version=2024-06-01",
            None,
        ),
        ("http://gpu/v1/chat/completions?a=b", "http://gpu", "/v1/chat/completions?a=b", None),
        ("http://gpu/api/llm", "http://gpu/api/llm", "", None),
        ("http://gpu:8000/generate", "http://gpu:8000", "", None),
    ],
)
def test_the_address_of_a_route_is_understood_as_one(written: str, base: str, path: str, endpoint: str | None) -> None:
    assert ServerAddress.of(written) == (base, path, endpoint)


@pytest.mark.parametrize(
    ("written", "hosts"),
    [
        ("http://a:1,http://b:2", ["http://a:1", "http://b:2"]),
        (" a:1 , b:2/v1 ", ["a:1", "b:2/v1"]),
        ("http://a/x?f=1,2", ["http://a/x?f=1,2"]),
        ("http://a/x?f=1,2,http://b/x?f=1,2", ["http://a/x?f=1,2", "http://b/x?f=1,2"]),
        ("", []),
    ],
)
def test_several_addresses_have_commas_between(written: str, hosts: list[str]) -> None:
    assert hosts_of(written) == hosts


def test_several_addresses_are_read_as_one_is() -> None:
    written = "a:1/v1,http://b:2/v1/chat/completions"
    assert base_url(written) == "http://a:1,http://b:2"
    assert origins_of(written) == [Origin("a", 1), Origin("b", 2)]
    options = Namespace(path="", endpoint="chat")
    take_route(options, "a:1/v1/completions,b:2/v1/completions")
    assert (options.path, options.endpoint) == ("", "completions")


@pytest.mark.parametrize("written", ["a:1,http://a:1/v1", ",".join(f"h{number}:1" for number in range(17))])
def test_the_same_address_twice_and_too_many_are_refused(written: str) -> None:
    with pytest.raises(UnusableUrl):
        origins_of(written)


def test_addresses_of_different_routes_are_refused() -> None:
    with pytest.raises(UnusableUrl):
        take_route(Namespace(path="", endpoint="chat"), "a:1/v1/completions,b:2")
