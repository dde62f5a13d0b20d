"""Sessions of several turns: a conversation divided into the requests that led to it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import pairwise
from typing import Any

from tokenswarm.prompts.conversations import Conversation
from tokenswarm.prompts.prompt_records import ChatMessage, SessionTurn


def turns_of(
    conversation: Conversation, max_tokens: int | None = None, body_overrides: Mapping[str, Any] | None = None
) -> tuple[Conversation, tuple[SessionTurn, ...]]:
    """The first request of a conversation and what follows it: a request ends with each message of the user that was
    answered, and with the last one. max_tokens, body_overrides: of each request. A conversation with tool calls stays
    one request."""
    if not conversation.earlier or conversation.later or conversation.tool_fields:
        return conversation, ()
    messages = (*conversation.earlier, ChatMessage("user", conversation.text))
    ends = list(_ends_of_requests(messages))
    first = messages[: ends[0] + 1]
    turns = tuple(
        replace(_turn(messages[before + 1 : end + 1]), max_tokens=max_tokens, body_overrides=body_overrides)
        for before, end in pairwise(ends)
    )
    return Conversation(first[-1].text, conversation.system, tuple(first[:-1])), turns


def with_tokens(turn: SessionTurn, count: Callable[[str], int]) -> SessionTurn:
    """The turn with its tokens counted, where they are not stated."""
    if turn.parts:
        return turn
    return replace(
        turn,
        tokens=count(turn.text) + sum(count(message.text) for message in turn.before),
        answer_tokens=sum(count(message.text) for message in turn.answer),
    )


def _ends_of_requests(messages: Sequence[ChatMessage]) -> Iterator[int]:
    """The places of the messages of the user with which requests end."""
    waiting: int | None = None
    for place, message in enumerate(messages):
        if message.role == "user":
            waiting = place
        elif message.role == "assistant" and waiting is not None:
            yield waiting
            waiting = None
    if waiting is not None:
        yield waiting


def _turn(messages: Sequence[ChatMessage]) -> SessionTurn:
    """messages: those behind the end of the request before, up to the one with which this request ends."""
    answered = max(place for place, message in enumerate(messages) if message.role == "assistant") + 1
    return SessionTurn(messages[-1].text, before=tuple(messages[answered:-1]), answer=tuple(messages[:answered]))
