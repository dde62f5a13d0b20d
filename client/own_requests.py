"""What code of a user's own may request: messages, fields of the body and headers, checked before they are sent."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, TypeVar

from tokenswarm.client.custom_headers import check_header_name
from tokenswarm.client.option_values import OptionError
from tokenswarm.client.request_control import check_body_fields
from tokenswarm.command_line import sentences_of
from tokenswarm.engines import EngineSpec
from tokenswarm.prompts import ChatMessage, Prompt, estimate_tokens
from tokenswarm.prompts.tool_messages import conversation_with_tools
from tokenswarm.sanitize import full_stop, hide, is_secret_name

MOST_NAME_CHARACTERS = 100
_ROLES = ("system", "user", "assistant", "tool")
#: Control characters, ends of lines, and halves of characters, which no file can hold.
_NOT_PRINTABLE = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")
#: Values of headers that are cut out of all output of a process: each makes it slower to write a text.
_MOST_HIDDEN = 20
_hidden: set[str] = set()

Made = TypeVar("Made")

Message = Mapping[str, Any]


class OwnRequestError(ValueError):
    """A request that cannot be sent as code of a user's own wants it; the text says why and what to do."""


def own_prompt(
    prompt: str | None,
    messages: Sequence[Message] | None,
    system: str | None,
    max_tokens: int | None,
    body: Mapping[str, Any] | None,
) -> Prompt:
    """The request's texts and settings. Exactly one of prompt and messages is given; system: the system prompt, None
    for none; body: fields that are merged into the request's. Raises OwnRequestError."""
    if (prompt is None) == (messages is None):
        raise OwnRequestError("stream() takes either prompt=… or messages=…, and exactly one of them.")
    if max_tokens is not None and (isinstance(max_tokens, bool) or not isinstance(max_tokens, int) or max_tokens < 1):
        raise OwnRequestError(f"stream(max_tokens=…) takes a whole number of at least 1, got {max_tokens!r}.")
    if not isinstance(prompt, str | None):
        raise OwnRequestError(f"stream(prompt=…) takes a text, got {type(prompt).__name__}.")
    if messages is not None and (isinstance(messages, str | bytes | Mapping) or not isinstance(messages, Iterable)):
        raise OwnRequestError(f"stream(messages=…) takes a list of messages, got {type(messages).__name__}.")
    if not isinstance(system, str | None):
        raise OwnRequestError(f"stream(system=…) takes a text, got {type(system).__name__}.")
    given = [{"role": "user", "content": prompt}] if messages is None else list(messages)
    if not given:
        raise OwnRequestError("stream(messages=…) takes at least one message, got none.")
    parsed = [_message(message) for message in given]
    if parsed[-1][0].role not in ("user", "tool"):
        raise OwnRequestError(
            f"stream(messages=…) ends with a message of the {parsed[-1][0].role}; the last one is the user's, or the "
            "result of a tool."
        )
    conversation = conversation_with_tools(parsed)
    if not any(message.role == "user" for message, _ in parsed):
        raise OwnRequestError("stream(messages=…) has no message of the user; give one.")
    if system is not None and conversation.system is not None:
        raise OwnRequestError("stream() has a system prompt in system=… and in messages=…; leave one of them out.")
    return Prompt(
        conversation.text,
        sum(estimate_tokens(message.text) for message, _ in parsed) + (estimate_tokens(system) if system else 0),
        system=conversation.system if system is None else system,
        earlier=tuple(conversation.earlier),
        later=tuple(conversation.later),
        tool_fields=tuple(conversation.tool_fields),
        max_tokens=max_tokens,
        body_overrides=_body(body),
    )


def check_takes(engine: EngineSpec, prompt: Prompt) -> None:
    """Raises OwnRequestError where requests to the engine have no place for these messages."""
    if not engine.takes_turns and (prompt.earlier or prompt.later):
        raise OwnRequestError(f"requests to {engine.name} hold one message, and stream(messages=…) has several.")
    if not engine.takes_tool_turns and prompt.tool_fields:
        raise OwnRequestError(f"requests to {engine.name} at {engine.path} have no place for tool calls.")


def own_headers(headers: Mapping[str, str] | None) -> dict[str, str]:
    """Further headers of one request. From now on, no output repeats the values of those whose names are those of a
    key, token or password, of 20 different ones at most. Raises OwnRequestError."""
    if not isinstance(headers, Mapping | None):
        raise OwnRequestError(f"stream(headers=…) takes a mapping of names and values, got {type(headers).__name__}.")
    for name, value in (headers or {}).items():
        if not isinstance(name, str):
            raise OwnRequestError(f"stream(headers=…): the name of a header is a text, got {type(name).__name__}.")
        try:
            check_header_name("stream(headers=…)", name)
        except OptionError as error:
            raise OwnRequestError(str(error)) from None
        if not (isinstance(value, str) and value.isascii() and value.isprintable()):
            raise OwnRequestError(f"stream(headers=…): the value of {name} is no text that can stand in a header.")
        if is_secret_name(name) and value not in _hidden and len(_hidden) < _MOST_HIDDEN:
            _hidden.add(value)
            hide(value)
    return dict(headers or {})


def check_headers(headers: Mapping[str, str], is_set: Callable[[str], bool]) -> None:
    """is_set: whether every request of the run has this header. Raises OwnRequestError for one of those."""
    for name in headers:
        if is_set(name):
            raise OwnRequestError(
                f"stream(headers=…): {name} is in every request of the run already, from --header, --header-file, the "
                "API key or Tokenswarm itself: leave one of them out."
            )


def check_is_callable(check: object) -> None:
    """Raises OwnRequestError, before the request is sent."""
    if check is not None and not callable(check):
        raise OwnRequestError(f"stream(check=…) takes a function, got {type(check).__name__}.")


def own_name(name: str) -> str:
    """The name of a request as the results have it. Raises OwnRequestError."""
    if not isinstance(name, str):
        raise OwnRequestError(f"stream(name=…) takes a text, got {type(name).__name__}.")
    return _NOT_PRINTABLE.sub(" ", name)[:MOST_NAME_CHARACTERS]


def encoded(prepare: Callable[[], Made]) -> Made:
    """What prepare makes: a request that is written as JSON. Raises OwnRequestError where it cannot be."""
    try:
        return prepare()
    except (TypeError, ValueError, RecursionError) as error:
        raise OwnRequestError(full_stop(f"the request of stream() cannot be written as JSON: {error}")) from error


def _message(message: Message) -> tuple[ChatMessage, Mapping[str, Any]]:
    if not isinstance(message, Mapping):
        raise OwnRequestError(f"a message is a mapping with role and content, got {type(message).__name__}.")
    role, text = message.get("role"), message.get("content")
    if role not in _ROLES:
        raise OwnRequestError(f"a message has the role {', '.join(_ROLES[:-1])} or {_ROLES[-1]}, got {role!r}.")
    if text is None and "tool_calls" in message:
        text = ""
    if not isinstance(text, str):
        raise OwnRequestError(f"the content of a message is a text, got {type(text).__name__}.")
    fields = {name: value for name, value in message.items() if name not in ("role", "content")}
    if role == "system" and fields:
        raise OwnRequestError(f"a message of the system has role and content only, got {', '.join(map(repr, fields))}.")
    return ChatMessage(role, text), fields


def _body(body: Mapping[str, Any] | None) -> Mapping[str, Any] | None:
    if not isinstance(body, Mapping | None):
        raise OwnRequestError(f"stream(body=…) takes a mapping of fields, got {type(body).__name__}.")
    if not body:
        return None
    try:
        check_body_fields("stream(body=…)", body, messages="give messages=… or prompt=…", cap="give max_tokens=…")
    except ValueError as error:
        raise OwnRequestError(" ".join(sentences_of(error))) from None
    return dict(body)
