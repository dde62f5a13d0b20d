"""Secrets in every encoding are cut out; other text stays as it is."""

from __future__ import annotations

import html
import json
from base64 import b64encode, urlsafe_b64encode
from collections.abc import Callable
from urllib.parse import quote

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tokenswarm.sanitize import MARK, Redactor, secrets_of

KEY = 'sk-Proj_0123/456+789="abcdefXYZ'
ENCODINGS: dict[str, Callable[[str], str]] = {
    "plain": str,
    "upper case": str.upper,
    "lower case": str.lower,
    "URL": lambda key: quote(key, safe=""),
    "URL, every character": lambda key: "".join(f"%{ord(each):02x}" for each in key),
    "URL twice": lambda key: quote(quote(key, safe=""), safe=""),
    "JSON": json.dumps,
    "JSON, escaped slashes": lambda key: json.dumps(key).replace("/", "\\/"),
    "JSON twice": lambda key: json.dumps(json.dumps(key)),
    "JSON, every character": lambda key: "".join(f"\\u{ord(each):04X}" for each in key),
    "repr of bytes": lambda key: repr(key.encode()),
    "HTML": html.escape,
    "HTML, every character": lambda key: "".join(f"&#{ord(each)};" for each in key),
    "HTML, hexadecimal": lambda key: "".join(f"&#x{ord(each):x};" for each in key),
    "CSV": lambda key: key.replace('"', '""'),
    "Markdown": lambda key: key.replace("_", "\\_"),
    "hexadecimal": lambda key: key.encode().hex(),
    "unseen characters between": "\u200b".join,
    "a line end between": lambda key: key[:10] + "\r\n" + key[10:],
    **{f"base64 behind {n}": lambda key, n=n: b64encode(b"\x07" * n + key.encode()).decode() for n in range(4)},
    **{f"base64 before {n}": lambda key, n=n: b64encode(key.encode() + b"tail"[:n]).decode() for n in range(4)},
    **{f"URL-safe base64 {n}": lambda key, n=n: urlsafe_b64encode(b"u" * n + key.encode()).decode() for n in range(3)},
    "base64 in lower case": lambda key: b64encode(key.encode()).decode().lower(),
    "base64 of lower case": lambda key: b64encode(key.lower().encode()).decode(),
    "base64, URL-encoded": lambda key: quote(b64encode(key.encode()).decode(), safe=""),
    "its beginning": lambda key: key[:8],
    "its end": lambda key: key[-8:],
    "its middle": lambda key: key[7:15],
    "base64 of its beginning": lambda key: b64encode(b"x" + key[:12].encode()).decode(),
}


def longest_fragment(text: str, of: str) -> int:
    """How many characters in a row of `of` the text holds, at most, whatever their case."""
    text, of = text.lower(), of.lower()
    pieces = {of[first:behind] for first in range(len(of)) for behind in range(first, len(of) + 1)}
    return max(len(piece) for piece in pieces if piece in text)


@pytest.mark.parametrize("name", ENCODINGS)
def test_a_secret_is_cut_out_in_every_encoding(name: str) -> None:
    encoded = ENCODINGS[name](KEY)
    told = Redactor([KEY])(f"Bad key: {encoded}, try another.")
    assert told.startswith("Bad key: ")
    assert told.endswith(", try another.")
    assert MARK in told
    assert longest_fragment(told, encoded) < 8


@given(st.text(), st.text(), st.sampled_from(sorted(ENCODINGS)))
def test_no_surroundings_hide_a_secret(before: str, behind: str, name: str) -> None:
    encoded = ENCODINGS[name](KEY)
    told = Redactor([KEY])(f"{before} {encoded} {behind}")
    assert encoded not in told


@given(st.text(st.characters(exclude_characters="@")))
def test_text_without_a_secret_stays_as_it_is(text: str) -> None:
    assert Redactor(["\U0001f511" * 12])(text) == text


PRINTABLE = st.characters(exclude_categories=("C", "Z"), include_characters=" ")


@pytest.mark.slow
@example("0000000\\", "")
@given(st.text(PRINTABLE, min_size=8).filter(str.strip), st.text())
def test_any_secret_is_cut_out(secret: str, around: str) -> None:
    assert secret not in Redactor([secret])(f"{around} {secret} {around}").replace(MARK, "")


def test_a_short_secret_is_a_word_of_its_own() -> None:
    redact = Redactor(["EMPTY", "abc"])
    assert redact("the key EMPTY is wrong, empty_ or 'Empty'") == f"the key {MARK} is wrong, {MARK}_ or '{MARK}'"
    assert redact("emptying abc") == "emptying abc"


def test_credentials_in_addresses_are_cut_out_whoever_they_are_of() -> None:
    told = Redactor([])("GET http://me:p@ss:w0rd@gpu:8000/v1?mail=a@b and https://token@h/x, not http://h/a@b")
    assert told == f"GET http://{MARK}@gpu:8000/v1?mail=a@b and https://{MARK}@h/x, not http://h/a@b"


def test_the_secrets_of_a_process_are_found_where_they_are_given() -> None:
    environment = {
        "LLM_API_KEY": "sk-1",
        "TOKENSWARM_CLUSTER_KEY": "cluster",
        "LOCUST_WEB_TLS_KEY": "/etc/key.pem",
        "TOKENSWARM_CLIENT_KEY": "/etc/client.pem",
        "https_proxy": "http://joe:pr%40xy@proxy:3128",
        "HF_TOKEN": "hf_x",
        "PATH": "/bin",
    }
    found = set(secrets_of(environment, ["locust", "--server-metrics=http://a:metrics-pw@h/metrics"]))
    assert {"sk-1", "cluster", "hf_x", "pr%40xy", "pr@xy", "metrics-pw"} <= found
    assert not {"/etc/key.pem", "/etc/client.pem", "/bin", "joe"} & found
