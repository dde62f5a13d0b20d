"""Mooncake traces (JSON lines): timestamp in ms, input_length, output_length, and hash_ids of blocks of 512 tokens.

AIPerf writes the same with further columns: session_id is read; rows with texts in place of lengths are refused.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tokenswarm.prompts.traces.json_trace_rows import block_ids
from tokenswarm.prompts.traces.trace_records import WITHOUT_ANSWER, RecordedRow, RowFault, SkippedRow, seconds
from tokenswarm.prompts.traces.trace_records import whole_tokens as tokens_of

BLOCK_TOKENS = 512
#: Of AIPerf's rows: what their requests say, or when they are sent relative to others.
_OTHERS = ("text_input", "messages", "payload", "delay")


class MooncakeReader:
    """Reads the rows of one file."""

    block_tokens = BLOCK_TOKENS

    def __init__(self) -> None:
        #: By id of a block that ended a prompt and was not full, its tokens; by any other, those of a full one.
        self._tokens_of_block: dict[int, int] = {}

    def row(self, fields: Mapping[str, Any]) -> RecordedRow:
        """Raises RowFault, SkippedRow."""
        for name in _OTHERS:
            if fields.get(name) is not None:
                raise RowFault(f"expected timestamp and input_length, got a row with {name!r}, which is not replayed")
        time_s = seconds("timestamp", fields.get("timestamp")) / 1000
        input_tokens = tokens_of("input_length", fields.get("input_length"))
        output_tokens = tokens_of("output_length", fields.get("output_length"), least=0)
        ids = block_ids(fields, input_tokens, BLOCK_TOKENS)
        self._check_sizes(ids, input_tokens)
        if not output_tokens:
            raise SkippedRow(WITHOUT_ANSWER)
        return RecordedRow(time_s, input_tokens, output_tokens, ids, fields.get("session_id"))

    def _check_sizes(self, ids: list[int], input_tokens: int) -> None:
        """An id stands for a block and all before it, so that it has one size."""
        known = self._tokens_of_block
        for place, hash_id in enumerate(ids, 1):
            tokens = min(BLOCK_TOKENS, input_tokens - (place - 1) * BLOCK_TOKENS)
            if (before := known.setdefault(hash_id, tokens)) != tokens:
                raise RowFault(f"expected {before} tokens in the block with hash id {hash_id}, as before, got {tokens}")
