"""Why a text is not JSON, in words."""

from __future__ import annotations

#: msgspec's words for a document that is not finished.
_TRUNCATED = "Input data was truncated"


def json_error_text(error: Exception) -> str:
    """What a decoder of JSON found, as part of a sentence."""
    if isinstance(error, RecursionError):
        return "it is nested too deep"
    return (
        "it ends too early: a quotation mark, bracket or escape sequence is not complete"
        if str(error) == _TRUNCATED
        else str(error)
    )
