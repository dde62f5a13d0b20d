"""Server-sent events from bytes that come in pieces.

Format: https://html.spec.whatwg.org/multipage/server-sent-events.html. sseclient-py reads the events; it pulls from an
iterable and takes the iterable's end for the stream's, so it is handed whole events only. Finding where events end is
done here, and so is the plainest event there is, one line `data: …`: an answer is made of little else, and reading it
here costs less than half (benchmarks/parsing.py). Large events of several lines are read here too: sseclient-py takes
time that grows with the square of their length. tests/engines hold the ways to be equal.

Servers report failures in lines of their own too: a field `error`, an event of that name, a JSON object without
`data:`. Each comes out as the payload `{"error": …}`, which every dialect reads as a failure.
"""

from __future__ import annotations

from codecs import BOM_UTF8
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import msgspec
from sseclient import SSEClient

from tokenswarm.engines.engine_spec import StreamBroken

#: An event that grows past this is no event: without a bound, a server that never ends one fills the memory, and one
#: that does end it stops all other streams of this process while it is read (some 0.1 s at this length).
MAX_EVENT_BYTES = 2 * 1024 * 1024
#: What is handed to sseclient-py at most: a few milliseconds' work.
_SMALL_EVENT_BYTES = 16 * 1024

#: What the plainest event has before its data, and behind.
PLAIN = b"data: "
END = b"\n\n"
_BETWEEN = END + PLAIN
#: Lines that say more of an event than its data.
_ODD_LINES = (b"event", b"error", b"{")
#: Values of the field `error` that say there is none.
_NO_ERROR = {b"null", b"false", b"{}", b"[]", b"0"}
#: Names that the format itself gives to an event.
_UNNAMED = {b"", b"message"}


def read_any_event(event: bytes) -> Iterator[bytes]:
    """The `data` of one event without its blank line; nothing for one that has none, such as a comment. Raises
    StreamBroken for an event that is not UTF-8."""
    if not event or (event.startswith(b":") and b"\n" not in event and event.isascii()):
        return
    try:
        if len(event) > _SMALL_EVENT_BYTES:
            event.decode()
            lines = [line for line in event.split(b"\n") if line == b"data" or line.startswith(b"data:")]
            if lines:
                yield b"\n".join(map(_value, lines))
            return
        for read in SSEClient(iter((event + b"\n\n",))).events():
            yield read.data.encode()
    except UnicodeDecodeError as error:
        raise StreamBroken(f"an event is not UTF-8: {error.object[:60]!r}") from None


def _fields(event: bytes) -> Iterator[tuple[bytes, bytes]]:
    """(name, value) of the lines of an event. A line of JSON, which is no field, has no name and is the value."""
    for line in event.split(b"\n"):
        if line.startswith(b"{"):
            yield b"", line
        else:
            name, _, value = line.partition(b":")
            yield name, value.removeprefix(b" ")


def _error_payload(value: bytes) -> bytes:
    """A failure as a document with an `error`, from what the server wrote: such a document, any JSON, or plain text."""
    try:
        document: Any = msgspec.json.decode(value)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
        return msgspec.json.encode({"error": value.decode("utf-8", "replace")})
    if isinstance(document, dict) and ("error" in document or document.get("type") == "error"):
        return value
    return b'{"error":%b}' % (b'""' if document is None else value)


def is_error(document: Any) -> bool:
    """Whether a JSON document that stands where an event should is a server's report of a failure."""
    if not isinstance(document, dict) or document.get("choices"):
        return False
    if document.get("error") or "error" in (document.get("object"), document.get("type")):
        return True
    return bool(document.get("detail") or (document.get("message") and document.keys() & {"code", "status", "type"}))


def bare_error(line: bytes) -> bytes | None:
    """The payload of a failure that is reported as JSON without `data:`; None for what is none."""
    try:
        document = msgspec.json.decode(line)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
        return None
    if not is_error(document):
        return None
    return line if document.get("error") else msgspec.json.encode({"error": document.get("detail") or document})


def _value(line: bytes) -> bytes:
    """Of a line `data` or `data:…`."""
    return line[len(b"data:") :].removeprefix(b" ")


def plain_events(data: bytes) -> list[bytes] | None:
    """The payloads where these bytes are lines `data: …` with a blank line behind each, and nothing else: nearly every
    read. None for all others."""
    if not (data.startswith(PLAIN) and data.endswith(b"\n\n")) or b"\r" in data:
        return None
    payloads = data[len(PLAIN) : -2].split(_BETWEEN)
    return payloads if data.count(b"\n") == 2 * len(payloads) else None


def _check_length(event_bytes: int) -> None:
    if event_bytes > MAX_EVENT_BYTES:
        raise StreamBroken(f"an event is longer than {MAX_EVENT_BYTES} bytes")


class EventSplitter:
    """Feed it bytes; it gives the `data` of each event that they complete, and failures as `{"error": …}`.

    skipped: how many events were passed over, as they have a name of their own and `reads_named` did not want them.
    """

    def __init__(self, reads_named: Callable[[bytes], bool] | None = None) -> None:
        """reads_named: whether the data of an event with a name is one of the dialect's; all are where it is None."""
        self.skipped = 0
        self._reads_named = reads_named
        self._pieces: list[bytes] = []  # of an event whose end has not come; joined once, when it does
        self._pending_bytes = 0
        self._ended_with_cr = False
        self._begun = False

    def feed(self, data: bytes) -> Iterable[bytes]:
        """`data` fields of the completed events, in order, to be read to the end. Raises StreamBroken for an endless or
        unreadable event, behind the events before it."""
        usual = self._begun and not self._pieces and len(data) <= MAX_EVENT_BYTES
        if usual and (payloads := plain_events(data)) is not None:
            self._ended_with_cr = False
            return payloads
        return self._feed(data)

    def _feed(self, data: bytes) -> Iterator[bytes]:
        data = self._with_plain_line_ends(data)
        seam = self._pieces[-1][-1:] + data[:1] if self._pieces else b""
        if seam == b"\n\n" or b"\n\n" in data:
            pending = self.pending + data
            end = pending.rfind(b"\n\n") + 2
            self._keep(pending[end:], anew=True)
            yield from self._read(pending[:end])
        else:
            self._keep(data)
        if self._pending_bytes > MAX_EVENT_BYTES:
            _check_length(len(self.pending.strip(b"\n")))

    def _keep(self, data: bytes, anew: bool = False) -> None:
        if anew:
            self._pieces.clear()
            self._pending_bytes = 0
        if data:
            self._pieces.append(data)
            self._pending_bytes += len(data)

    def _read(self, whole: bytes) -> Iterator[bytes]:
        for between_blank_lines in whole[:-2].split(b"\n\n"):
            # How many line feeds are around an event depends on the reads; they mean nothing.
            event = between_blank_lines.strip(b"\n")
            _check_length(len(event))
            if not self._begun:  # the format lets a stream begin with a byte order mark
                self._begun = True
                event = event.removeprefix(BOM_UTF8)
            if event.startswith(PLAIN) and b"\n" not in event:
                yield event[len(PLAIN) :]
            elif event.startswith(b"data:") and b"\n" not in event and event.isascii():
                yield _value(event)
            else:
                yield from self._read_odd(event)

    def _read_odd(self, event: bytes) -> Iterator[bytes]:
        """An event that is not one line of data: it may have a name, or report a failure outside of its data."""
        if event.startswith(b"{") and (error := bare_error(event)) is not None:  # of several lines, perhaps
            yield error
            return
        if not any(event.startswith(start) or b"\n" + start in event for start in _ODD_LINES):
            yield from read_any_event(event)
            return
        name = b""
        for field, value in _fields(event):
            if field == b"event":
                name = value.strip()
            elif field == b"error" and value.strip() not in _NO_ERROR:
                yield _error_payload(value.strip())
            elif not field and (error := bare_error(value)) is not None:
                yield error
        data = list(read_any_event(event))
        if name == b"error":
            yield _error_payload(data[0] if data else b'""')
        elif name in _UNNAMED or self._reads_named is None or (data and self._reads_named(data[0])):
            yield from data
        else:
            self.skipped += 1

    @property
    def between(self) -> bool:
        """Whether the next byte begins an event."""
        return not self._pieces and not self._ended_with_cr

    @property
    def pending(self) -> bytes:
        """The beginning of an event whose end has not come."""
        return b"".join(self._pieces)

    def _with_plain_line_ends(self, data: bytes) -> bytes:
        r"""The format allows \r\n, \n and \r, mixed; a \r ends its line at once, a \n right behind it is dropped."""
        if self._ended_with_cr and data.startswith(b"\n"):
            data = data[1:]
            self._ended_with_cr = False
        if data:
            self._ended_with_cr = data.endswith(b"\r")
        return data.replace(b"\r\n", b"\n").replace(b"\r", b"\n") if b"\r" in data else data
