"""Ids by which a request is found again in the server's logs: the server's own, and that of a trace."""

from __future__ import annotations

import secrets
from collections.abc import Mapping

from tokenswarm.metrics.trace_context import span_id_of
from tokenswarm.sanitize import server_text

#: Response headers that hold the server's own id of a request; the first that is there counts.
REQUEST_ID_HEADERS = (
    *("x-request-id", "request-id", "x-requestid", "apim-request-id", "x-ms-request-id"),
    *("x-amzn-requestid", "x-amz-request-id", "x-correlation-id"),
)
_MOST_CHARACTERS = 128


def server_request_id(headers: Mapping[str, str]) -> str:
    """The server's id of a request, from the headers of its response (names in lower case); "" where it gives none."""
    found = next((headers[name] for name in REQUEST_ID_HEADERS if headers.get(name)), "")
    return server_text(found, _MOST_CHARACTERS) if found else ""


def new_trace_id() -> str:
    """A trace id of W3C Trace Context: 32 random hexadecimal digits."""
    return secrets.token_hex(16)


def traceparent(trace_id: str) -> str:
    """The value of the header for the request of that trace, marked as sampled."""
    return f"00-{trace_id}-{span_id_of(trace_id)}-01"
