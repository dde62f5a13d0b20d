"""One HTTP/1.1 response, read from bytes: no socket, no clock."""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import accumulate, islice, takewhile

import httptools

from tokenswarm.wire.errors import NotHttp, ServerBrokeProtocol

_MAX_HEAD_BYTES = 64 * 1024
#: An error quotes this much of the first line.
_QUOTED_BYTES = 40
_LINE_END = b"\r\n"
_BLANK_LINE = re.compile(rb"\r?\n\r?\n")
_FOLDED_LINE = re.compile(rb"\n[ \t]+[^ \t\r\n]")
_CHUNK_SIZE_THEN_SPACE = re.compile(rb"[0-9a-fA-F]+[ \t]+(?:;|\r?\n)")
#: What is read although servers must not write it, as RFC 9112 (2.2, 5.2, 6.3, 7.1) says how: see `deviations`.
_LENIENT = {
    "lenient_headers": True,
    "lenient_chunked_length": True,
    "lenient_spaces_after_chunk_size": True,
    "lenient_optional_cr_before_lf": True,
}
LENGTH_AND_CHUNKED, FOLDED_HEADER, SPACE_AFTER_CHUNK_SIZE = (
    "length_and_chunked",
    "folded_header",
    "space_after_chunk_size",
)
#: Small chunks: their sizes by how these are written, and how many bytes they have with all that is around them.
_SIZES = {b"%x" % size: size for size in range(1, 4096)} | {b"%X" % size: size for size in range(1, 4096)}
_CHUNK_BYTES = [len(b"%x" % size) + size + 2 * len(_LINE_END) for size in range(4096)]


class ResponseParser:
    """Feed it bytes; read status, headers, body parts and whether the response is complete.

    broken: why the rest of the response cannot be read, None as long as it can. The result does not depend on how the
    bytes were split into reads. deviations: how the framing is lax but unambiguous, by the names above; the size of the
    first chunk stands for all.
    """

    def __init__(self) -> None:
        self.broken: ServerBrokeProtocol | None = None
        self.deviations: set[str] = set()
        self._raw_start: bytes | None = b""  # of the response, until its framing is known
        self._informational_heads = 0
        self.status = 0
        self.headers: dict[str, str] = {}
        self.head_complete = False
        self.complete = False
        self._body: list[bytes] = []
        self._last_read = self._last_body = b""
        self._first_line = self._held_back = b""  # of the response; what is held back was not parsed yet
        self._head_bytes = 0
        self._informational = False
        self._keeps_alive = False
        self._parser: httptools.HttpResponseParser | None = httptools.HttpResponseParser(self)
        self._parser.set_dangerous_leniencies(**_LENIENT)

    def feed(self, data: bytes) -> bytes:
        """Parse the bytes of one read and return the body bytes among them. Raises ServerBrokeProtocol if they are not
        HTTP/1.1; where body bytes precede the error, they are returned and the error is in `broken`."""
        assert self._parser is not None, "fed after close"
        if self.broken is not None:
            raise self.broken
        try:
            if self.head_complete:
                self._parse(data)
            else:
                self._parse_head(data)
        except ServerBrokeProtocol as broken:
            self.broken = broken
            if not self._body:
                raise
        if self._raw_start is not None:
            self._look_at_framing(self._raw_start + data)
        body = self._body[0] if len(self._body) == 1 else b"".join(self._body)
        self._body.clear()
        self._last_read, self._last_body = data, body
        return body

    def _parse_head(self, data: bytes) -> None:
        """Parse bytes of which at least the first belong to the head. Nothing is parsed before the first line, or as
        much of it as an error quotes, has arrived."""
        if not self._first_line:
            data, self._held_back = self._held_back + data, b""
            if len(data) < _QUOTED_BYTES and b"\n" not in data:
                self._held_back = data
                return
            self._first_line = data[: data.find(b"\n", 0, _QUOTED_BYTES) + 1 or _QUOTED_BYTES]
        allowed = _MAX_HEAD_BYTES - self._head_bytes
        self._head_bytes += len(data)
        self._parse(data[:allowed])
        if not self.head_complete and self._head_bytes > _MAX_HEAD_BYTES:
            raise ServerBrokeProtocol(f"the response's head is longer than {_MAX_HEAD_BYTES} bytes")
        if len(data) > allowed:
            self._parse(data[allowed:])

    def _look_at_framing(self, start: bytes) -> None:
        """Note what is lax, once the head and the first chunk's size are there."""
        self._raw_start = start
        if not self.head_complete:
            return
        heads = [found.span() for found in islice(_BLANK_LINE.finditer(start), self._informational_heads + 1)]
        head_end, body_start = heads[-1] if heads else (len(start), len(start))
        if self._is_chunked and not self.complete and start.find(b"\n", body_start) < 0:
            return
        self._raw_start = None
        if self._is_chunked and "content-length" in self.headers:
            self.deviations.add(LENGTH_AND_CHUNKED)
        if _FOLDED_LINE.search(start, 0, head_end):
            self.deviations.add(FOLDED_HEADER)
        if self._is_chunked and _CHUNK_SIZE_THEN_SPACE.match(start, body_start):
            self.deviations.add(SPACE_AFTER_CHUNK_SIZE)

    def _parse(self, data: bytes) -> None:
        assert self._parser is not None
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            raise ServerBrokeProtocol("the server switched to another protocol (status 101)") from None
        except httptools.HttpParserError as error:
            if self.complete:
                self._keeps_alive = False  # bytes behind a whole response spoil the connection, not the response
                return
            begins = f" (it begins {self._first_line!r})" if not self.head_complete else ""
            raise NotHttp(f"the response is not HTTP/1.1: {error}{begins}") from None

    def whole_chunks(self, reads: Sequence[bytes]) -> list[bytes]:
        """The bodies of the first of these reads, as long as each is small chunks and nothing else. They change
        nothing, and who uses them need not feed them."""
        if self.complete or not self._between_chunks:
            return []  # what looks like a chunk may be part of one
        if bodies := _bodies_of_each(reads):
            return bodies
        return list(takewhile(bool, (b"".join(_chunks(data)) for data in reads)))

    def leading_chunks(self, data: bytes) -> list[bytes]:
        """The bodies of the first chunks in these bytes, as long as they are small and whole. They change nothing, and
        who uses them need not feed them; `chunk_ends` has where they end."""
        if self.complete or not self._between_chunks:
            return []
        pieces = data.split(_LINE_END)
        behind = pieces.pop()
        sizes, bodies = [*map(_SIZES.get, pieces[::2])], pieces[1::2]
        if not behind and sizes == [*map(len, bodies)]:
            return bodies
        return [body for _, body in takewhile(_is_whole, zip(sizes, bodies, strict=False))]

    @property
    def _between_chunks(self) -> bool:
        """Whether what was fed last surely ended with a chunk. It did if a line's end that is not of the body stands
        right behind the body; and not behind a chunk's size, which holds no line feed."""
        ending = self._last_body[-2:]
        return ending.endswith(b"\n") and ending != _LINE_END and self._last_read.endswith(ending + _LINE_END)

    def close(self) -> None:
        """Nothing more will be fed: let go of httptools' parser, which holds on to this one. Who waits for the garbage
        collection to part them waits for the slowest kind."""
        self._parser = None

    def end_of_connection(self) -> None:
        """The server closed. Completes a close-delimited body; raises ServerBrokeProtocol for any other."""
        if self.complete:
            return
        if self.broken is not None:
            raise self.broken
        if self._held_back:
            self._first_line = self._held_back
            self._parse(self._held_back)
        if not self.head_complete:
            raise ServerBrokeProtocol("the connection ended before the response's head was complete")
        if self._is_framed:
            raise ServerBrokeProtocol("the connection ended inside the response's body")
        self.complete = True

    @property
    def _is_framed(self) -> bool:
        """Whether the body has a length or a last chunk; otherwise the end of the connection is its end."""
        return "content-length" in self.headers or self._is_chunked

    @property
    def _is_chunked(self) -> bool:
        return "chunked" in self.headers.get("transfer-encoding", "").lower()

    @property
    def keeps_alive(self) -> bool:
        """Whether another request may follow on the same connection."""
        return self._keeps_alive

    # httptools' callbacks. It goes straight on to a next response, and reports trailers like headers.

    def on_message_begin(self) -> None:
        if self.complete:
            self._keeps_alive = False

    def on_header(self, name: bytes, value: bytes) -> None:
        if not self.head_complete:
            self.headers[name.decode("latin-1").lower()] = value.decode("latin-1").strip()

    def on_headers_complete(self) -> None:
        if self.complete:
            return
        assert self._parser is not None
        status = self._parser.get_status_code()
        self._informational = 100 <= status < 200
        if self._informational:  # 1xx: the response proper is still to come
            self._informational_heads += 1
            self.headers.clear()
            return
        self.status = status
        self.head_complete = True

    def on_body(self, body: bytes) -> None:
        if not self.complete:
            self._body.append(body)

    def on_message_complete(self) -> None:
        if not self._informational and not self.complete:
            assert self._parser is not None
            self.complete = True
            self._keeps_alive = self._parser.should_keep_alive()  # later the parser no longer knows


def chunk_ends(bodies: Sequence[bytes]) -> list[int]:
    """Where the chunks end that `leading_chunks` found."""
    return [*accumulate(map(_CHUNK_BYTES.__getitem__, map(len, bodies)))]


def _is_whole(chunk: tuple[int | None, bytes]) -> bool:
    size, body = chunk
    return size == len(body)


def _chunks(data: bytes) -> list[bytes]:
    """The bodies, if these bytes are small chunks and nothing else."""
    *pieces, behind = data.split(_LINE_END)
    bodies = pieces[1::2]
    return bodies if not behind and [*map(_SIZES.get, pieces[::2])] == [*map(len, bodies)] else []


def _bodies_of_each(reads: Sequence[bytes]) -> list[bytes]:
    """The body of each of these reads, if all are small chunks and nothing else."""
    chunks = _chunks(b"".join(reads))
    if [*map(len, reads)] == [_CHUNK_BYTES[len(body)] for body in chunks]:
        return chunks
    # There is no line's end but behind a size and behind a body.
    line_ends = [data.count(_LINE_END) if data.endswith(_LINE_END) else 1 for data in reads]
    if not chunks or any(ends % 2 for ends in line_ends):
        return []
    left = iter(chunks)
    return [b"".join(islice(left, ends // 2)) for ends in line_ends]
