"""Sessions of several turns: a conversation divided into the requests that led to it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from itertools import pairwise
from typing import TYPE_CHECKING

from tokenswarm.prompts.conversations import Conversation
from tokenswarm.prompts.prompt_records import ChatMessage, Turn

if TYPE_CHECKING:
    from tokenswarm.prompts.row_formats import RowContent


def as_session(content: RowContent) -> RowContent:
    """The row with its conversation as a session: a request ends with each message of the user that was answered, and
    with the last one. What the row sets for its request holds for each of them. One with tool calls stays as it is."""
    conversation = content.conversation
    if not conversation.earlier or conversation.later or conversation.tool_fields:
        return content
    messages = (*conversation.earlier, ChatMessage("user", conversation.text))
    ends = list(_ends_of_requests(messages))
    first = messages[: ends[0] + 1]
    turns = tuple(_turn(messages[before + 1 : end + 1], content) for before, end in pairwise(ends))
    return content._replace(
        conversation=Conversation(first[-1].text, conversation.system, tuple(first[:-1])), turns=turns
    )


def with_tokens(turn: Turn, count: Callable[[str], int]) -> Turn:
    """The turn with its tokens counted."""
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


def _turn(messages: Sequence[ChatMessage], content: RowContent) -> Turn:
    """messages: those behind the end of the request before, up to the one with which this request ends."""
    answered = max(place for place, message in enumerate(messages) if message.role == "assistant") + 1
    return Turn(
        messages[-1].text,
        before=tuple(messages[answered:-1]),
        answer=tuple(messages[:answered]),
        max_tokens=content.max_tokens,
        body_overrides=content.body_overrides,
    )
