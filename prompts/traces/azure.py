"""Azure's traces of LLM inference (CSV) of 2023, 2024 and 2025: TIMESTAMP, ContextTokens, GeneratedTokens; that of 2025
also has NumImages, which are not sent."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime

from tokenswarm.prompts.traces.trace_records import (
    WITHOUT_ANSWER,
    RecordedRow,
    RowFault,
    SkippedRow,
    shown_value,
    whole_tokens,
)

COLUMNS = ("timestamp", "contexttokens", "generatedtokens")


def azure_row(cells: Mapping[str, str]) -> RecordedRow:
    """A row, by the names of its columns in lower case. Raises RowFault, SkippedRow."""
    time_s = _time_s(cells["timestamp"])
    input_tokens = whole_tokens("ContextTokens", cells["contexttokens"])
    output_tokens = whole_tokens("GeneratedTokens", cells["generatedtokens"], least=0)
    if not output_tokens:
        raise SkippedRow(WITHOUT_ANSWER)
    return RecordedRow(time_s, input_tokens, output_tokens)


def _time_s(text: str) -> float:
    try:
        moment = datetime.fromisoformat(text.strip())
    except ValueError:
        raise RowFault(f"expected TIMESTAMP to be like 2023-11-16 18:00:00.123, got {shown_value(text)}") from None
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
