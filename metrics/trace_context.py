"""The span of a request in its trace (W3C Trace Context)."""

from __future__ import annotations

_SPAN_DIGITS = 16


def span_id_of(trace_id: str) -> str:
    """The id of the span of a request that has a trace of its own: 16 hexadecimal digits. It follows from the trace's
    id, so that a run's folder, which has only that one, gives the span that the server's spans have as their parent."""
    return trace_id[:_SPAN_DIGITS]
