"""How a response may differ from its protocol and be read all the same: each way by name, and in words."""

from __future__ import annotations

from enum import StrEnum


class Deviation(StrEnum):
    """The first two are of the stream, the third of its head, the others of HTTP's framing (RFC 9112)."""

    MISSING_END = "missing_end"
    NAMED_EVENTS = "named_events"
    WRONG_CONTENT_TYPE = "wrong_content_type"
    LENGTH_AND_CHUNKED = "length_and_chunked"
    FOLDED_HEADER = "folded_header"
    SPACE_AFTER_CHUNK_SIZE = "space_after_chunk_size"

    @property
    def text(self) -> str:
        """A clause for a person."""
        return _TEXTS[self]


_TEXTS = {
    Deviation.MISSING_END: "ended after a finish reason without the dialect's end marker (such as [DONE])",
    Deviation.NAMED_EVENTS: "had events with names of their own that are no part of the answer (such as ping)",
    Deviation.WRONG_CONTENT_TYPE: "had a Content-Type that is not a stream's",
    Deviation.LENGTH_AND_CHUNKED: "had both Content-Length and Transfer-Encoding: chunked (the latter counts)",
    Deviation.FOLDED_HEADER: "had a header over several lines",
    Deviation.SPACE_AFTER_CHUNK_SIZE: "had spaces after the size of a chunk",
}


def text_of(name: str) -> str:
    """The clause of a deviation; its name where a newer version has written it."""
    return Deviation(name).text if name in set(Deviation) else f"deviated from the protocol ({name})"
