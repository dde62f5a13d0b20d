"""One client's connection: HTTP/1.1 requests in, bytes out, and when the kernel received them.

Plain non-blocking sockets on the event loop's readers rather than asyncio transports: only `recvmsg` shows the kernel's
receive time (`SO_TIMESTAMPNS`, Linux), which is what makes `t_wire_ns` in the truth log the wire's own.
"""

import asyncio
import select
import selectors
import socket
import struct
import sys
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from email.utils import formatdate
from http import HTTPStatus

import httptools

from tokenswarm.simulator.dialect import PageResponse

# The one header that no engine sends: the rest looks like the engine, and somebody may wonder.
_MARK = "x-simulated-by: tokenswarm"
# 529 is Anthropic's own.
_PHRASES = {status.value: status.phrase for status in HTTPStatus} | {529: "Overloaded"}
LAST_CHUNK = b"0\r\n\r\n"

# Python does not name this option. The number is the one of every Linux architecture but sparc and parisc.
_SO_TIMESTAMPNS = 35 if sys.platform == "linux" else None
_READ_BYTES = 65_536
_TIMESPEC = struct.Struct("@qq")


if sys.platform == "linux":

    class FineSelector(selectors.EpollSelector):
        """A selector that wakes on time: epoll alone rounds a timeout up to the next millisecond."""

        def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
            if timeout is not None and timeout > 0:
                # An epoll instance can itself be waited for, and select counts in microseconds.
                select.select([self], [], [], timeout)
                timeout = 0
            return super().select(timeout)

else:
    FineSelector = selectors.DefaultSelector


@dataclass(slots=True)
class Request:
    """One HTTP request, header names in lower case, `path` without its `query`, and its three times in perf_counter
    nanoseconds."""

    method: str = ""
    path: str = ""
    query: str = ""
    version: str = "1.1"
    keep_alive: bool = True
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""
    accepted_ns: int = 0
    wire_ns: int = 0
    read_ns: int = 0


def head(status: int, headers: Mapping[str, str], keep_alive: bool) -> bytes:
    """The status line and headers of a response."""
    lines = [f"HTTP/1.1 {status} {_PHRASES[status]}", f"date: {formatdate(usegmt=True)}", _MARK]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    if not keep_alive:
        lines.append("connection: close")
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")


def whole_response(page: PageResponse, headers: Mapping[str, str], keep_alive: bool) -> bytes:
    """A page as a response, with the server's `headers` and the page's own."""
    every = {**headers, **page.headers}
    if page.content_type:
        every["content-type"] = page.content_type
    if page.stream:
        every["transfer-encoding"] = "chunked"
        return head(page.status, every, keep_alive) + chunk(page.body) + LAST_CHUNK
    every["content-length"] = str(len(page.body))
    return head(page.status, every, keep_alive) + page.body


def chunk(data: bytes) -> bytes:
    """`data` as one chunk of a chunked body."""
    return b"%x\r\n%b\r\n" % (len(data), data)


def accept_kernel_times(listener: socket.socket) -> None:
    """Turn on receive times of a listening socket; the connections it accepts inherit the option."""
    if _SO_TIMESTAMPNS is not None:
        listener.setsockopt(socket.SOL_SOCKET, _SO_TIMESTAMPNS, 1)


class ServerConnection:
    """Calls `on_request` for one request at a time (the next when `finished` is called), `on_gone` if its client leaves
    while one is being answered."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        sock: socket.socket,
        on_request: "Callable[[ServerConnection, Request], None]",
        on_gone: "Callable[[ServerConnection], None]",
        on_close: "Callable[[ServerConnection], None]",
    ) -> None:
        self._loop = loop
        self._socket = sock
        self._on_request = on_request
        self._on_gone = on_gone
        self._on_close = on_close
        self._accepted_ns = time.perf_counter_ns()
        self._wire_ns = self._read_ns = self._accepted_ns
        self._parser = httptools.HttpRequestParser(self)
        self._request = Request()
        self._body: list[bytes] = []
        self._waiting: deque[Request] = deque()
        self._busy = False
        self._closing = False
        self._closed = False
        self._broken = False
        self._unsent = bytearray()
        sock.setblocking(False)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        loop.add_reader(sock, self._readable)

    def write(self, data: bytes) -> None:
        """Send now what the kernel takes, the rest when it can. A dead socket swallows it: its reader will notice."""
        if self._broken or self._closed:
            return
        if self._unsent:
            self._unsent += data
            return
        try:
            sent = self._socket.send(data)
        except (BlockingIOError, InterruptedError):
            sent = 0
        except OSError:
            self._broken = True
            return
        if sent < len(data):
            self._unsent += data[sent:]
            self._loop.add_writer(self._socket, self._writable)

    def finished(self, keep_alive: bool) -> None:
        """The current request is answered: go on to the next, or close once everything is sent."""
        self._busy = False
        if keep_alive:
            self._loop.call_soon(self._next)
            return
        self._closing = True
        if not self._unsent:
            self.close()

    def close(self) -> None:
        """Close now, sent or not."""
        if self._closed:
            return
        self._closed = True
        self._loop.remove_reader(self._socket)
        self._loop.remove_writer(self._socket)
        self._socket.close()
        self._on_close(self)

    def _writable(self) -> None:
        try:
            sent = self._socket.send(self._unsent)
        except (BlockingIOError, InterruptedError):
            return
        except OSError:
            self._broken = True
            sent = len(self._unsent)
        del self._unsent[:sent]
        if not self._unsent:
            self._loop.remove_writer(self._socket)
            if self._closing:
                self.close()

    def _readable(self) -> None:
        try:
            data = self._receive()
        except (BlockingIOError, InterruptedError):
            return
        except OSError:
            data = b""
        if not data:
            self._leave()
            return
        if self._closing:
            return
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade):
            self._reject()
            return
        # Not from within the parser's callbacks: it would take an error of ours for one of the client's.
        self._next()

    def _receive(self) -> bytes:
        if _SO_TIMESTAMPNS is None:
            data = self._socket.recv(_READ_BYTES)
            self._read_ns = self._wire_ns = time.perf_counter_ns()
            return data
        data, ancillary, _, _ = self._socket.recvmsg(_READ_BYTES, 64)
        self._read_ns = self._wire_ns = time.perf_counter_ns()
        for level, kind, value in ancillary:
            if level == socket.SOL_SOCKET and kind == _SO_TIMESTAMPNS:
                seconds, nanoseconds = _TIMESPEC.unpack(value[: _TIMESPEC.size])
                # The kernel counts from 1970; the age of the stamp carries over to the monotonic clock. A clock set
                # back in between would give a negative age.
                age_ns = time.time_ns() - (seconds * 1_000_000_000 + nanoseconds)
                self._wire_ns -= max(0, age_ns)
        return data

    def _leave(self) -> None:
        # A half-closed client counts as gone, as it does for the servers that are simulated here.
        if self._busy:
            self._on_gone(self)
        self.close()

    def _reject(self) -> None:
        if not self._busy:
            page = PageResponse(b"Invalid HTTP request received.", "text/plain; charset=utf-8", HTTPStatus.BAD_REQUEST)
            self.write(whole_response(page, {}, keep_alive=False))
        self._leave()

    def _next(self) -> None:
        if self._waiting and not self._busy and not self._closing and not self._closed:
            self._busy = True
            self._on_request(self, self._waiting.popleft())

    # What the parser calls.

    def on_message_begin(self) -> None:
        self._request = Request(accepted_ns=self._accepted_ns)
        self._body = []

    def on_url(self, url: bytes) -> None:
        self._request.path += url.decode("latin-1")

    def on_header(self, name: bytes, value: bytes) -> None:
        self._request.headers[name.decode("latin-1").lower()] = value.decode("latin-1")

    def on_headers_complete(self) -> None:
        if self._request.headers.get("expect", "").lower() == "100-continue" and not self._busy:
            self.write(b"HTTP/1.1 100 Continue\r\n\r\n")

    def on_body(self, body: bytes) -> None:
        self._body.append(body)

    def on_message_complete(self) -> None:
        request = self._request
        request.method = self._parser.get_method().decode("latin-1")
        request.version = self._parser.get_http_version()
        request.keep_alive = self._parser.should_keep_alive() and request.version == "1.1"
        request.path, _, request.query = request.path.partition("?")
        request.body = b"".join(self._body)
        request.wire_ns = self._wire_ns
        request.read_ns = self._read_ns
        self._waiting.append(request)
