"""A server whose every step the test takes itself: no script, no thread, no pause, and so nothing left to chance.

It lives in the same greenlet as the test. Its sockets are plain ones: what it sends or closes has happened in the
kernel when the call returns, while the client under test hears of it only once the test lets gevent's loop run.
"""

import os
import select
import socket
import struct
import sys
import time
from collections.abc import Callable, Iterator
from typing import TypeVar

import gevent
import pytest
from gevent import monkey

from wire import Arrival, Exchange, Origin, StreamClient

PATIENCE_S = 20.0
PlainSocket: type[socket.socket] = monkey.get_original("socket", "socket")
Result = TypeVar("Result")


def _until(condition: Callable[[], Result]) -> Result:
    """Let gevent's loop run until the condition holds."""
    deadline = time.perf_counter() + PATIENCE_S
    while not (result := condition()):
        assert time.perf_counter() < deadline, "waited in vain"
        gevent.sleep(0.0005)
    return result


def _readable(sock: socket.socket) -> bool:
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
            while _until(lambda: _readable(self._sock)) and self._sock.recv(65536):
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

    def _read(self) -> None:
        _until(lambda: _readable(self._sock))
        data = self._sock.recv(1 << 20)
        assert data, "the client closed in the middle of its request"
        self._buffer += data


class Server:
    """Listens on a free port of loopback; hands out its connections one by one."""

    def __init__(self, family: int = socket.AF_INET, host: str = "127.0.0.1") -> None:
        self._listener = PlainSocket(family, socket.SOCK_STREAM)
        self._listener.bind((host, 0))
        self._listener.listen(8)
        self._peers: list[Peer] = []
        self.origin = Origin(host, self._listener.getsockname()[1])

    def accept(self) -> Peer:
        _until(lambda: _readable(self._listener))
        self._peers.append(Peer(self._listener.accept()[0]))
        return self._peers[-1]

    def has_callers(self) -> bool:
        """Whether somebody has connected whom nobody has accepted."""
        return _readable(self._listener)

    def close(self) -> None:
        for peer in self._peers:
            peer.close()
        self._listener.close()


@pytest.fixture
def server() -> Iterator[Server]:
    server = Server()
    yield server
    server.close()


@pytest.fixture
def server_on_ipv6() -> Iterator[Server]:
    try:
        server = Server(socket.AF_INET6, "::1")
    except OSError as error:
        pytest.skip(f"no IPv6 on this machine's loopback: {error}")
    yield server
    server.close()


@pytest.fixture
def clients() -> Iterator[Callable[..., StreamClient]]:
    """Makes clients of a server, and closes them in the end."""
    made: list[StreamClient] = []

    def make(server: Server, **headers: str) -> StreamClient:
        made.append(StreamClient(server.origin, PATIENCE_S, headers))
        return made[-1]

    yield make
    for client in made:
        client.close()


@pytest.fixture
def client(server: Server, clients: Callable[..., StreamClient]) -> StreamClient:
    return clients(server)


@pytest.fixture
def until() -> Callable[[Callable[[], object]], object]:
    return _until


@pytest.fixture
def drain() -> Callable[[Exchange], list[Arrival]]:
    """Everything that arrives until the exchange is over."""

    def to_the_end(exchange: Exchange) -> list[Arrival]:
        arrivals = exchange.wait(PATIENCE_S)
        assert exchange.ended, "waited in vain"
        return arrivals

    return to_the_end


@pytest.fixture
def body(drain: Callable[[Exchange], list[Arrival]]) -> Callable[[Exchange], bytes]:
    return lambda exchange: b"".join(arrival.data for arrival in drain(exchange))


@pytest.fixture
def background() -> Iterator[Callable[..., gevent.Greenlet]]:
    """Runs what waits for the server in a greenlet of its own."""
    running: list[gevent.Greenlet] = []

    def run(function: Callable[..., object], *args: object) -> gevent.Greenlet:
        running.append(gevent.spawn(function, *args))
        gevent.sleep(0)
        return running[-1]

    yield run
    gevent.killall(running)


@pytest.fixture
def open_descriptors() -> Callable[[], int]:
    if not sys.platform.startswith("linux"):
        pytest.skip("only Linux lists a process's descriptors in /proc")
    return lambda: len(os.listdir("/proc/self/fd"))  # noqa: PTH208 - a descriptor is no path


@pytest.fixture(scope="session")
def kernel_stamps() -> Iterator[None]:
    """Skips where the kernel gives no receive times, by asking the kernel itself and not the code under test.

    The kernel stamps only while a socket of the host asks for it, and begins a moment late: this one asks throughout.
    """
    so_timestampns = 35
    if not sys.platform.startswith("linux"):
        pytest.skip("kernel receive times are asked for on Linux only")
    with PlainSocket(socket.AF_INET, socket.SOCK_STREAM) as listener, PlainSocket() as asking:
        listener.bind(("127.0.0.1", 0))
        listener.listen(1)
        asking.connect(listener.getsockname())
        other, _ = listener.accept()
        with other:
            try:
                asking.setsockopt(socket.SOL_SOCKET, so_timestampns, 1)
            except OSError as error:
                pytest.skip(f"this kernel gives no receive times: {error}")

            def stamps() -> bool:
                other.sendall(b"x")
                return bool(asking.recvmsg(1, socket.CMSG_SPACE(16))[1])

            for _ in range(200):
                if stamps():
                    break
                gevent.sleep(0.01)
            else:
                pytest.skip("this kernel takes the option and gives no receive times on TCP")
            yield
