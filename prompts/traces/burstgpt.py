"""BurstGPT's traces (CSV), the older ones and those with sessions: Timestamp in seconds, Request tokens, Response
tokens (0 where the request failed), Session ID of rows of conversations."""

from __future__ import annotations

from collections.abc import Mapping

from tokenswarm.prompts.traces.trace_records import WITHOUT_ANSWER, RecordedRow, SkippedRow, seconds, whole_tokens

COLUMNS = ("timestamp", "request tokens", "response tokens")


def burstgpt_row(cells: Mapping[str, str]) -> RecordedRow:
    """A row, by the names of its columns in lower case. Raises RowFault, SkippedRow."""
    time_s = seconds("Timestamp", cells["timestamp"])
    output_tokens = whole_tokens("Response tokens", cells["response tokens"], least=0)
    if not output_tokens:
        raise SkippedRow(WITHOUT_ANSWER)
    input_tokens = whole_tokens("Request tokens", cells["request tokens"])
    return RecordedRow(time_s, input_tokens, output_tokens, session=cells.get("session id", "").strip() or None)
