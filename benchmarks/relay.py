"""A relay on the loopback, between a client and a server, that notes down when each answer really began.

Plain threads and sockets, a thread a connection: for a few requests at a time.
"""

from __future__ import annotations

import re
import socket
import struct
import threading
import time
from dataclasses import dataclass
from urllib.parse import urlsplit

_SO_TIMESTAMPNS = 35  # Linux's number; Python has no name for it
_TIMESPEC = struct.Struct("@qq")
_READ_BYTES = 65_536
_FIRST_EVENT = b'"choices"'
_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Passed:
    """A request and its answer. Unix time in ns.

    received_ns: when the kernel received the request's first bytes. first_event_ns: when the first event with `choices`
    was about to be passed on, as `vllm bench serve` counts one.
    """

    received_ns: int
    first_event_ns: int


class Relay(threading.Thread):
    """Relays to `host` until `close`; `passed` holds what was answered with a stream, in order of the first event."""

    def __init__(self, host: str) -> None:
        super().__init__(daemon=True)
        address = urlsplit(host)
        self._server = (str(address.hostname), address.port or 80)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._listener.setsockopt(socket.SOL_SOCKET, _SO_TIMESTAMPNS, 1)  # accepted connections inherit it
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        self.passed: list[Passed] = []

    def run(self) -> None:
        while True:
            try:
                near, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(near,), daemon=True).start()

    def close(self) -> None:
        """Accept nobody any more."""
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _serve(self, near: socket.socket) -> None:
        """One request of a connection; then it closes, as many servers do."""
        near.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        with near:
            request, received_ns = _whole_request(near)
            if request:
                with socket.create_connection(self._server) as far:
                    far.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                    far.sendall(request)
                    self._pass_on(far, near, received_ns)

    def _pass_on(self, far: socket.socket, near: socket.socket, received_ns: int) -> None:
        head: bytes | None = b""
        while data := far.recv(_READ_BYTES):
            if head is not None and _FIRST_EVENT in (head := head + data):
                self.passed.append(Passed(received_ns, time.time_ns()))
                head = None
            near.sendall(data)


def _whole_request(sock: socket.socket) -> tuple[bytes, int]:
    """Its bytes, and when the first of them came; b"" where the other side closed instead."""
    request, received_ns = b"", 0
    while True:
        data, ancillary, _, _ = sock.recvmsg(_READ_BYTES, 64)
        if not data:
            return b"", 0
        received_ns = received_ns or _received_ns(ancillary)
        request += data
        head, end, body = request.partition(b"\r\n\r\n")
        length = _LENGTH.search(head)
        if end and len(body) >= (int(length[1]) if length else 0):
            return request, received_ns


def _received_ns(ancillary: list[tuple[int, int, bytes]]) -> int:
    """The kernel's time; now, where it gave none, as it may for the first packets of all."""
    for level, kind, value in ancillary:
        if level == socket.SOL_SOCKET and kind == _SO_TIMESTAMPNS:
            seconds, nanoseconds = _TIMESPEC.unpack(value[: _TIMESPEC.size])
            return int(seconds) * 1_000_000_000 + int(nanoseconds)
    return time.time_ns()
