"""Clients of a server whose every step the test takes (tests/peer.py), and what they see of it."""

import os
import socket
import sys
from collections.abc import Callable, Iterator

import gevent
import pytest

from tests import peer
from tests.peer import PATIENCE_S, PlainSocket, Server
from wire import Arrival, Exchange, StreamClient


@pytest.fixture
def clients() -> Iterator[Callable[..., StreamClient]]:
    """Makes clients of a server, and closes them in the end."""
    made: list[StreamClient] = []

    def make(server: Server, kernel_stamps: bool = True, **headers: str) -> StreamClient:
        made.append(StreamClient(server.origin, PATIENCE_S, headers, kernel_stamps=kernel_stamps))
        return made[-1]

    yield make
    for client in made:
        client.close()


@pytest.fixture
def client(server: Server, clients: Callable[..., StreamClient]) -> StreamClient:
    return clients(server)


@pytest.fixture
def until() -> Callable[[Callable[[], object]], object]:
    return peer.until


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
