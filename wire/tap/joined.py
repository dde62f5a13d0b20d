"""Which reads may have been joined of several segments that each end a message: what the bytes themselves say."""

from __future__ import annotations

_LINE_END = b"\r\n"
_BLANK_LINE = b"\n\n"
_LINE_FEED = b"\n"
_RECORD_HEAD_BYTES = 5


def may_hold_several_events(data: bytes) -> bool:
    """Whether these bytes of a response may end more than one event. Surely not where they are one chunk of one event:
    that has arrived with the last segment, whose time the kernel gives."""
    size, _, rest = data.partition(_LINE_END)
    body = rest[: -len(_LINE_END)]
    if not rest.endswith(_LINE_END) or size.lower() != b"%x" % len(body):
        return True
    # A line is an event by itself where there are no blank ones.
    return (body.count(_BLANK_LINE) or body.count(_LINE_FEED)) > 1


def may_hold_several_records(data: bytes) -> bool:
    """The same for TLS: no part of a record can be decrypted before its last byte is there."""
    return len(data) != _RECORD_HEAD_BYTES + int.from_bytes(data[3:_RECORD_HEAD_BYTES], "big")
