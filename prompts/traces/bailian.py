"""Traces of Alibaba's Bailian (JSON lines): Qwen's online traffic, with times in seconds and with sessions as trees of
chats, and ServeGen's traces of batch jobs, without times. Hash ids are of blocks of 16 tokens."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

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

BLOCK_TOKENS = 16
_NO_PARENT = -1


class BailianReader:
    """Reads the rows of one file of online traffic."""

    block_tokens = BLOCK_TOKENS

    def __init__(self) -> None:
        self._chats: set[int] = set()

    def row(self, fields: Mapping[str, Any]) -> RecordedRow:
        """Raises RowFault, SkippedRow."""
        time_s = seconds("timestamp", fields.get("timestamp"))
        input_tokens = whole_tokens("input_length", fields.get("input_length"))
        output_tokens = whole_tokens("output_length", fields.get("output_length"), least=0)
        chat, parent = _chat("chat_id", fields), _chat("parent_chat_id", fields)
        ids = block_ids(fields, input_tokens, BLOCK_TOKENS)
        if chat in self._chats:
            raise RowFault(f"expected a chat_id of its own, got {shown_value(chat)}, which another row has")
        self._chats.add(chat)
        if not output_tokens:
            raise SkippedRow(WITHOUT_ANSWER)
        return RecordedRow(time_s, input_tokens, output_tokens, ids, chat, None if parent == _NO_PARENT else parent)


class OfflineReader:
    """Reads the rows of one batch job: some have output lengths, others hash ids."""

    block_tokens = BLOCK_TOKENS

    def row(self, fields: Mapping[str, Any]) -> RecordedRow:
        """Raises RowFault, SkippedRow."""
        input_tokens = whole_tokens("input_length", fields.get("input_length"))
        output_tokens = 0
        if fields.get("output_length") is not None:
            output_tokens = whole_tokens("output_length", fields.get("output_length"), least=0)
            if not output_tokens:
                raise SkippedRow(WITHOUT_ANSWER)
        return RecordedRow(None, input_tokens, output_tokens, block_ids(fields, input_tokens, BLOCK_TOKENS))


def _chat(name: str, fields: Mapping[str, Any]) -> int:
    value = fields.get(name)
    if type(value) is not int:
        raise RowFault(f"expected {name} to be a whole number, got {shown_value(value)}")
    return value
