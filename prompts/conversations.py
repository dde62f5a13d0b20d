"""Cells that hold a conversation: a list of messages, as OpenAI's `messages` or ShareGPT's `conversations` have it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from tokenswarm.prompts.prompt_records import ChatMessage

_ROLES = {
    "system": "system",
    "developer": "system",
    "user": "user",
    "human": "user",
    "assistant": "assistant",
    "gpt": "assistant",
    "chatgpt": "assistant",
    "model": "assistant",
}


class OtherRole(Exception):
    """A message of a role that cannot be sent as text alone, such as `tool`."""


class Conversation(NamedTuple):
    """What a row sends: text is the last user message, "" where there is none; system the leading system message;
    earlier the messages between the two, in order. later: tool calls and their results behind the text; tool_fields: as
    `Prompt` has them."""

    text: str
    system: str | None = None
    earlier: tuple[ChatMessage, ...] = ()
    later: tuple[ChatMessage, ...] = ()
    tool_fields: tuple[Mapping[str, Any], ...] = ()


def conversation_of(cell: object) -> Conversation | None:
    """The conversation in a cell: a text is a user message by itself, a list is its messages up to the last one of the
    user that has text; messages without text are left out. None for what is neither. Raises OtherRole."""
    if cell is None:
        return Conversation("")
    if isinstance(cell, str):
        return Conversation(cell.strip())
    messages = messages_of(cell)
    return None if messages is None else _up_to_the_last_question(messages)


def messages_of(cell: object) -> list[ChatMessage] | None:
    """The messages of a list that have text, in order. None for what is no such list. Raises OtherRole."""
    if not isinstance(cell, list):
        return None
    turns: list[ChatMessage] = []
    for message in cell:
        if not isinstance(message, Mapping):
            return None
        name = message.get("role") or message.get("from")
        role = _ROLES.get(name) if isinstance(name, str) else None
        if role is None:
            raise OtherRole(str(name))
        content = message.get("content")
        text = _content_text(message.get("value") if content is None else content)
        if text is None:
            return None
        if text:
            turns.append(ChatMessage(role, text))
    return turns


def _up_to_the_last_question(turns: list[ChatMessage]) -> Conversation:
    while turns and turns[-1].role != "user":
        turns.pop()
    if not turns:
        return Conversation("")
    leading = 0
    while turns[leading].role == "system":
        leading += 1
    system = "\n\n".join(turn.text for turn in turns[:leading]) if leading else None
    return Conversation(turns[-1].text, system, tuple(turns[leading:-1]))


def _content_text(content: object) -> str | None:
    """The text of a message, which may come in parts; pictures and the like have none."""
    if content is None:
        return ""
    if isinstance(content, str):
        return content.strip()
    if not isinstance(content, list):
        return None
    parts = [part.get("text") for part in content if isinstance(part, Mapping)]
    return "\n".join(part for part in parts if isinstance(part, str)).strip()


def has_other_content(cell: object) -> bool:
    """Whether a message has parts other than text, such as pictures."""
    if not isinstance(cell, list):
        return False
    for message in cell:
        content = message.get("content") if isinstance(message, Mapping) else None
        if isinstance(content, list) and any(isinstance(part, Mapping) and not part.get("text") for part in content):
            return True
    return False
