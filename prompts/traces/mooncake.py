"""Mooncake traces (JSON lines): timestamp in ms, input_length, output_length, and hash_ids of blocks of 512 tokens.

AIPerf writes the same with further columns: session_id; text_input or messages in place of input_length; fields of the
request's body. Its rows with whole bodies, or with delays in place of times, are refused.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Any

from tokenswarm.prompts.conversations import Conversation, OtherRole, conversation_of, has_other_content
from tokenswarm.prompts.counting import estimate_tokens
from tokenswarm.prompts.row_formats import BODY_COLUMNS, EXTRA_COLUMNS, RowContent, RowError, content_of
from tokenswarm.prompts.traces.json_trace_rows import block_ids
from tokenswarm.prompts.traces.trace_records import (
    WITHOUT_ANSWER,
    RecordedRow,
    RowFault,
    SkippedRow,
    seconds,
    shown_value,
    whole_tokens,
)

BLOCK_TOKENS = 512
_LENGTH, _TEXTS = "input_length", ("text_input", "messages")
#: What requests send as it is, or when they are sent after others.
_NOT_REPLAYED = ("payload", "delay")


class MooncakeReader:
    """Reads the rows of one file."""

    block_tokens = BLOCK_TOKENS

    def __init__(self) -> None:
        #: By id of a block that ended a prompt and was not full, its tokens; by any other, those of a full one.
        self._tokens_of_block: dict[int, int] = {}

    def row(self, fields: Mapping[str, Any]) -> RecordedRow:
        """Raises RowFault, SkippedRow."""
        given = [name for name in (*_NOT_REPLAYED, _LENGTH, *_TEXTS) if fields.get(name) is not None]
        if given and given[0] in _NOT_REPLAYED:
            raise RowFault(f"expected timestamp and input_length, got a row with {given[0]!r}, which is not replayed")
        if len(given) > 1:
            raise RowFault(f"expected one of input_length, text_input and messages, got {' and '.join(given)}")
        time_s = seconds("timestamp", fields.get("timestamp")) / 1000
        output_tokens = 0
        if given != [_LENGTH] and fields.get("output_length") is None:
            pass  # of a text, the run's options say it
        elif not (output_tokens := whole_tokens("output_length", fields.get("output_length"), least=0)):
            raise SkippedRow(WITHOUT_ANSWER)
        session = _session(fields)
        content = _content(fields, given[0]) if given and given[0] in _TEXTS else _settings(fields, Conversation(""))
        if content is not None and content.conversation.text:
            return RecordedRow(time_s, _tokens_of(content), output_tokens, (), session, None, content)
        input_tokens = whole_tokens(_LENGTH, fields.get(_LENGTH))
        ids = block_ids(fields, input_tokens, BLOCK_TOKENS)
        self._check_sizes(ids, input_tokens)
        return RecordedRow(time_s, input_tokens, output_tokens, ids, session, None, content)

    def _check_sizes(self, ids: list[int], input_tokens: int) -> None:
        """An id stands for a block and all before it, so that it has one size."""
        known, new = self._tokens_of_block, dict[int, int]()
        for place, hash_id in enumerate(ids, 1):
            tokens = min(BLOCK_TOKENS, input_tokens - (place - 1) * BLOCK_TOKENS)
            before = known[hash_id] if hash_id in known else new.setdefault(hash_id, tokens)
            if before != tokens:
                raise RowFault(f"expected {before} tokens in the block with hash id {hash_id}, as before, got {tokens}")
        known |= new  # not before: a row that is wrong says nothing of others


def _session(fields: Mapping[str, Any]) -> Hashable:
    found = fields.get("session_id")
    if found is not None and type(found) not in (str, int):
        raise RowFault(f"expected session_id to be a text or a whole number, got {shown_value(found)}")
    return found


def _content(fields: Mapping[str, Any], column: str) -> RowContent | None:
    cell = fields.get(column)
    try:
        conversation = conversation_of(cell)
    except OtherRole as error:
        raise RowFault(
            f"expected messages of system, user and assistant, got one of {shown_value(str(error))}"
        ) from None
    if conversation is None or not conversation.text or has_other_content(cell):
        raise RowFault(f"expected texts in {column}, got {shown_value(cell)}")
    if fields.get("hash_ids"):
        raise RowFault(f"expected hash_ids beside input_length alone, got them beside {column}")
    return _settings(fields, conversation) or RowContent(conversation)


def _settings(fields: Mapping[str, Any], conversation: Conversation) -> RowContent | None:
    """With what the row sets for its body; None where that is nothing."""
    given = {name: fields[name] for name in (*BODY_COLUMNS, *EXTRA_COLUMNS) if fields.get(name) is not None}
    if not given:
        return None
    try:
        return content_of(conversation, given)
    except RowError as error:
        raise RowFault(str(error)) from None


def _tokens_of(content: RowContent) -> int:
    system, earlier, text = content.conversation.system, content.conversation.earlier, content.conversation.text
    return estimate_tokens("\n".join((system or "", *(message.text for message in earlier), text)))
