"""Conversations with tool calls and their results, as OpenAI's chat messages."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from tokenswarm.prompts.conversations import Conversation
from tokenswarm.prompts.prompt_records import ChatMessage


def conversation_with_tools(messages: Sequence[tuple[ChatMessage, Mapping[str, Any]]]) -> Conversation:
    """The conversation up to the last message of the user or of a tool: what follows is the answer. Each message comes
    with its other fields (tool_calls, tool_call_id). Its text is "" where the user says nothing."""
    places = [place for place, (message, _) in enumerate(messages) if message.role in ("user", "tool")]
    sent = list(messages[: places[-1] + 1]) if places else []
    leading = 0
    while leading < len(sent) and sent[leading][0].role == "system":
        leading += 1
    system = "\n\n".join(message.text for message, _ in sent[:leading]) if leading else None
    sent = sent[leading:]
    last_user = max((place for place, (message, _) in enumerate(sent) if message.role == "user"), default=None)
    if last_user is None:
        return Conversation("")
    turns = tuple(message for message, _ in sent)
    fields = tuple(fields for _, fields in sent)
    return Conversation(
        turns[last_user].text,
        system,
        turns[:last_user],
        turns[last_user + 1 :],
        fields if any(fields) else (),
    )
