"""One HTTP/1.1 response, read from bytes: no socket, no clock."""

from __future__ import annotations

from collections.abc import Sequence

import httptools

from wire.errors import ServerBrokeProtocol

_MAX_HEAD_BYTES = 64 * 1024
_LINE_END = b"\r\n"
#: Small chunks, by how their size is written.
_SIZES = {b"%x" % size: size for size in range(1, 4096)} | {b"%X" % size: size for size in range(1, 4096)}


class ResponseParser:
    """Feed it bytes; read status, headers, body parts and whether the response is complete."""

    def __init__(self) -> None:
        self.status = 0
        self.headers: dict[str, str] = {}
        self.head_complete = False
        self.complete = False
        self._body: list[bytes] = []
        self._last_read = self._last_body = b""
        self._head_bytes = 0
        self._informational = False
        self._keeps_alive = False
        self._parser: httptools.HttpResponseParser | None = httptools.HttpResponseParser(self)

    def feed(self, data: bytes) -> bytes:
        """Take the bytes of one read, give back the body bytes among them. Raises ServerBrokeProtocol."""
        assert self._parser is not None, "fed after close"
        if not self.head_complete:
            self._head_bytes += len(data)
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            raise ServerBrokeProtocol("the server switched to another protocol (status 101)") from None
        except httptools.HttpParserError as error:
            if not self.complete:
                raise ServerBrokeProtocol(f"the response is not HTTP/1.1: {error} (it begins {data[:40]!r})") from None
            self._keeps_alive = False  # bytes behind a whole response spoil the connection, not the response
        if not self.head_complete and self._head_bytes > _MAX_HEAD_BYTES:
            raise ServerBrokeProtocol(f"the response's head is longer than {_MAX_HEAD_BYTES} bytes")
        body = self._body[0] if len(self._body) == 1 else b"".join(self._body)
        self._body.clear()
        self._last_read, self._last_body = data, body
        return body

    def whole_chunks(self, reads: Sequence[bytes]) -> list[bytes]:
        """The bodies of the first of these reads, as long as each is one small chunk and nothing else. They change
        nothing, and who uses them need not feed them."""
        if self.complete or _whole_chunk(self._last_read) != self._last_body:
            return []  # the last one fed tells: only between chunks are a chunk's bytes its body
        bodies = []
        for data in reads:
            if not (body := _whole_chunk(data)):
                break
            bodies.append(body)
        return bodies

    def close(self) -> None:
        """Nothing more will be fed: let go of httptools' parser, which holds on to this one. Who waits for the garbage
        collection to part them waits for the slowest kind."""
        self._parser = None

    def end_of_connection(self) -> None:
        """The server closed. Completes a close-delimited body; raises ServerBrokeProtocol for any other."""
        if self.complete:
            return
        if not self.head_complete:
            raise ServerBrokeProtocol("the connection ended before the response's head was complete")
        if self._is_framed:
            raise ServerBrokeProtocol("the connection ended inside the response's body")
        self.complete = True

    @property
    def _is_framed(self) -> bool:
        """Whether the body has a length or a last chunk; otherwise the end of the connection is its end."""
        return "content-length" in self.headers or "chunked" in self.headers.get("transfer-encoding", "").lower()

    @property
    def keeps_alive(self) -> bool:
        """Whether another request may follow on the same connection."""
        return self._keeps_alive

    # httptools' callbacks. It goes straight on to a next response, and tells of trailers as of headers.

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
            self._keeps_alive = self._parser.should_keep_alive()  # asked any later, the parser has forgotten


def _whole_chunk(data: bytes) -> bytes | None:
    """The body, if these bytes are one chunk."""
    at = data.find(_LINE_END, 0, 5)
    size = _SIZES.get(data[:at])
    return data[at + 2 : -2] if size == len(data) - at - 4 and data.endswith(_LINE_END) else None
