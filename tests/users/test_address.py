"""Addresses as people write them."""

from __future__ import annotations

import pytest

from users.address import base_url, origin_of
from wire import Origin, UnusableUrl


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
