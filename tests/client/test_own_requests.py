"""What code of a user's own may request, and what is refused before anything is sent."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tokenswarm.client.own_requests import (
    MOST_NAME_CHARACTERS,
    OwnRequestError,
    check_is_callable,
    check_takes,
    own_headers,
    own_name,
    own_prompt,
)
from tokenswarm.engines import ENGINES, ChatRequest
from tokenswarm.prompts import Prompt
from tokenswarm.sanitize import server_text

CALL = {"id": "c1", "type": "function", "function": {"name": "now", "arguments": "{}"}}
USER = {"role": "user", "content": "What time is it?"}


def made(**given: Any) -> Prompt:
    return own_prompt(**{"prompt": None, "messages": None, "system": None, "max_tokens": None, "body": None} | given)


def sent(prompt: Prompt) -> list[dict[str, Any]]:
    """The messages of the request."""
    request = ChatRequest(
        "m", prompt.text, prompt.system, 8, earlier=prompt.earlier, later=prompt.later, tool_fields=prompt.tool_fields
    )
    return request.messages


def test_messages_are_sent_as_they_are_given() -> None:
    messages = [
        {"role": "system", "content": "Be brief."},
        USER,
        {"role": "assistant", "content": None, "tool_calls": [CALL]},
        {"role": "tool", "content": "12:00", "tool_call_id": "c1"},
    ]
    found = made(messages=messages)
    assert sent(found) == [*messages[:2], messages[2] | {"content": ""}, messages[3]]
    assert found.system == "Be brief."


def test_a_prompt_is_one_message_and_settings_are_the_request_s() -> None:
    found = made(prompt="Hello", system="Be brief.", max_tokens=7, body={"temperature": 0, "seed": None})
    assert sent(found) == [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hello"}]
    assert (found.max_tokens, found.body_overrides) == (7, {"temperature": 0, "seed": None})


@pytest.mark.parametrize(
    ("given", "named"),
    [
        ({}, "exactly one"),
        ({"prompt": "a", "messages": [USER]}, "exactly one"),
        ({"messages": []}, "at least one message"),
        (
            {"messages": [{"role": "system", "content": "Be brief.", "name": "a"}, USER]},
            "role and content only, got 'name'",
        ),
        ({"messages": [USER, {"role": "assistant", "content": "Noon."}]}, "ends with a message of the assistant"),
        ({"messages": [{"role": "robot", "content": "a"}]}, "'robot'"),
        ({"messages": [{"role": "user", "content": [{"type": "text", "text": "a"}]}]}, "is a text, got list"),
        ({"messages": [{"role": "tool", "content": "a"}]}, "no message of the user"),
        ({"messages": [{"role": "system", "content": "a"}, USER], "system": "b"}, "leave one of them out"),
        ({"prompt": "a", "max_tokens": 0}, "at least 1, got 0"),
        ({"prompt": "a", "body": {"messages": []}}, "may not set messages: give messages=…"),
        ({"prompt": "a", "body": {"model": "b"}}, "may not set model"),
        ({"prompt": "a", "body": {"max_tokens": 3}}, "give max_tokens=…"),
        ({"prompt": "a", "body": {"stream": False}}, "stream"),
    ],
)
def test_what_cannot_be_sent_is_refused_in_a_sentence(given: dict[str, Any], named: str) -> None:
    with pytest.raises(OwnRequestError) as caught:
        made(**given)
    assert named in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("headers", [{"Content-Length": "3"}, {"X Y": "3"}, {"X-A": "a\r\nX-B: b"}, {"X-A": "ä"}])
def test_headers_that_would_change_the_request_itself_are_refused(headers: dict[str, str]) -> None:
    with pytest.raises(OwnRequestError):
        own_headers(headers)
    assert own_headers({"X-Tenant": "a"}) == {"X-Tenant": "a"}
    assert own_headers(None) == {}


def test_an_engine_that_takes_one_message_gets_no_conversation() -> None:
    conversation = made(messages=[USER, {"role": "assistant", "content": "Noon."}, USER])
    check_takes(ENGINES["vllm"], conversation)
    check_takes(ENGINES["bentoml"], made(prompt="Hello"))
    with pytest.raises(OwnRequestError, match="several"):
        check_takes(ENGINES["bentoml"], conversation)


def test_names_are_short_and_of_one_line() -> None:
    assert own_name("a\nb") == "a b"
    assert len(own_name("x" * 1000)) == MOST_NAME_CHARACTERS


@pytest.mark.parametrize(
    "call",
    [
        lambda: made(messages=["Hello"]),
        lambda: made(messages="Hello"),
        lambda: made(messages=5),
        lambda: check_is_callable(5),
        lambda: made(messages=USER),
        lambda: made(prompt="Hello", system=5),
        lambda: made(prompt="Hello", body=["x"]),
        lambda: own_headers(["X-Tenant"]),  # type: ignore[arg-type]
        lambda: own_headers({5: "a"}),  # type: ignore[dict-item]
        lambda: own_name(5),  # type: ignore[arg-type]
    ],
)
def test_a_value_of_another_type_is_refused_in_one_sentence(call: Callable[[], Any]) -> None:
    with pytest.raises(OwnRequestError, match=r", got \w+\.$"):
        call()


@pytest.mark.parametrize("prompt", [5, b"Hello", ["Hello"]])
def test_a_prompt_that_is_no_text_is_named_as_the_prompt(prompt: Any) -> None:
    with pytest.raises(OwnRequestError, match=r"^stream\(prompt=…\) takes a text, got (int|bytes|list)\.$"):
        made(prompt=prompt)


def test_a_name_can_stand_in_every_file() -> None:
    assert own_name("a\ud800b\u2028c\x85d").encode() == b"a b c d"


def test_the_key_in_a_header_is_cut_out_of_what_a_server_repeats(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tokenswarm.client.own_requests._hidden", set())
    for number in range(30):
        own_headers({"X-Api-Key": f"key-of-tenant-{number}-4f9a", "X-Tenant": "load-test"})
    assert server_text("no such key: key-of-tenant-0-4f9a of load-test", 100) == "no such key: [secret] of load-test"
