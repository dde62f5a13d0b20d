"""A server whose every step the test takes itself: no script, no thread, no pause, and so nothing left to chance.

It lives in the same greenlet as the test. Its sockets are plain ones: what it sends or closes has happened in the
kernel when the call returns, while the client under test hears of it only once the test lets gevent's loop run.
"""

import select
import socket
import ssl
import struct
import time
from collections.abc import Callable
from typing import Any, TypeVar

import gevent
import pytest
from gevent import monkey

import tokenswarm.wire.client
from tokenswarm.wire import Origin

PATIENCE_S = 20.0
PlainSocket: type[socket.socket] = monkey.get_original("socket", "socket")
Result = TypeVar("Result")


def until(condition: Callable[[], Result]) -> Result:
    """Let gevent's loop run until the condition holds."""
    deadline = time.perf_counter() + PATIENCE_S
    while not (result := condition()):
        assert time.perf_counter() < deadline, "waited in vain"
        gevent.sleep(0.0005)
    return result


def is_readable(sock: socket.socket) -> bool:
    poller = monkey.get_original("select", "poll")()
    poller.register(sock.fileno(), select.POLLIN)
    return bool(poller.poll(0))


class Peer:
    """The server's end of one connection."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self._buffer = b""

    def request(self) -> bytes:
        """One whole request: its head, and a body of the length that the head gives."""
        while b"\r\n\r\n" not in self._buffer:
            self._read()
        head, _, _ = self._buffer.partition(b"\r\n\r\n")
        length = next((int(line[15:]) for line in head.split(b"\r\n") if line.startswith(b"Content-Length:")), 0)
        end = len(head) + 4 + length
        while len(self._buffer) < end:
            self._read()
        request, self._buffer = self._buffer[:end], self._buffer[end:]
        return request

    def has_something_to_read(self) -> bool:
        return is_readable(self._sock)

    def send(self, data: bytes) -> None:
        self._sock.sendall(data)

    def send_cooperatively(self, data: bytes) -> None:
        """More than the sockets' buffers hold: the client must read meanwhile."""
        for start in range(0, len(data), 50_000):
            self.send(data[start : start + 50_000])
            gevent.sleep(0)

    def hears_the_end(self) -> bool:
        """Wait until the client has closed or reset its end; what it still said is passed over."""
        try:
            while until(lambda: is_readable(self._sock)) and self._sock.recv(65536):
                pass
        except ConnectionResetError:
            pass
        return True

    def stop_sending(self) -> None:
        self._sock.shutdown(socket.SHUT_WR)

    def close(self) -> None:
        self._sock.close()

    def reset(self) -> None:
        self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._sock.close()

    def some_bytes(self) -> bytes:
        """The next that arrive."""
        until(lambda: is_readable(self._sock))
        data = self._sock.recv(1 << 20)
        assert data, "the client closed in the middle of its request"
        return data

    def _read(self) -> None:
        self._buffer += self.some_bytes()


class SecurePeer:
    """The server's end of one TLS connection, step by step."""

    def __init__(self, peer: Peer, context: ssl.SSLContext) -> None:
        self._peer = peer
        self._received, self._to_send = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._received, self._to_send, server_side=True)

    def shake_hands(self, *, to_the_end: bool = True) -> None:
        """To the end, or to the server's first answer, which is not sent yet."""
        while True:
            try:
                return self._tls.do_handshake()
            except ssl.SSLWantReadError:
                if self._to_send.pending and not to_the_end:
                    return None
                self.flush()
                self._received.write(self._peer.some_bytes())
            finally:
                if to_the_end:
                    self.flush()

    def flush(self) -> None:
        self._peer.send(self._to_send.read())

    def request(self) -> None:
        request = b""
        while b"\r\n\r\n" not in request:
            try:
                request += self._tls.read(65536)
            except ssl.SSLWantReadError:
                self._received.write(self._peer.some_bytes())

    def close(self) -> None:
        self._peer.close()

    def send_garbage(self, data: bytes, garbage: bytes) -> None:
        """A good record, and in the same packet what is none."""
        self._tls.write(data)
        self._peer.send(self._to_send.read() + garbage)

    def send(self, data: bytes) -> None:
        self._tls.write(data)
        self.flush()


def just_before_it_sends(client: Any, action: Callable[[], object]) -> None:
    """Have something happen when a client of ours has looked for a close of its kept connection, in vain, and sends its
    next request on it."""
    tokenswarm.wire.client._keeps_connections[client._origin.authority] = True  # or it looks more than once
    connection = client._connection
    look = connection.read_now

    def look_and_act() -> int:
        read: int = look()
        connection.read_now = look
        action()
        return read

    connection.read_now = look_and_act


class Server:
    """Listens on a free port of loopback, or on the port given; hands out its connections one by one."""

    def __init__(self, family: int = socket.AF_INET, host: str = "127.0.0.1", port: int = 0) -> None:
        self._listener = PlainSocket(family, socket.SOCK_STREAM)
        self._listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # to die and come back on one port
        self._listener.bind((host, port))
        self._listener.listen(8)
        self._peers: list[Peer] = []
        self.origin = Origin(host, self._listener.getsockname()[1])

    def accept(self) -> Peer:
        until(lambda: is_readable(self._listener))
        self._peers.append(Peer(self._listener.accept()[0]))
        return self._peers[-1]

    def has_callers(self) -> bool:
        """Whether somebody has connected whom nobody has accepted."""
        return is_readable(self._listener)

    def close(self) -> None:
        for peer in self._peers:
            peer.close()
        self._listener.close()


def server_on_ipv6_or_skip() -> Server:
    try:
        return Server(socket.AF_INET6, "::1")
    except OSError as error:
        pytest.skip(f"no IPv6 on this machine's loopback: {error}")
