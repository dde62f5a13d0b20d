"""Clients of a server whose every step the test takes (tests/peer.py), and what they see of it."""

import os
import sys
from collections.abc import Callable, Iterator

import gevent
import pytest

from tests import peer
from tests.peer import PATIENCE_S, Server
from tokenswarm.wire import Arrival, Exchange, StreamClient


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
