"""A stream that nobody watches: the kernel keeps its bytes, and the time of the last of them."""

import time
from typing import Any

import pytest

from wire.drainer import DRAINER, Drainer

HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
END = b"0\r\n\r\n"


@pytest.fixture
def begun(server: Any, client: Any, until: Any) -> tuple[Any, Any]:
    """(exchange, the server's end) of a stream whose first part has come, and that is watched no more."""
    exchange = client.post("/", b"")
    peer = server.accept()
    peer.request()
    peer.send(HEAD + b"1\r\na\r\n")
    until(lambda: exchange.kept)
    assert [arrival.data for arrival in exchange.wait(0.0)] == [b"a"]
    assert exchange.watched
    exchange.unwatch()
    assert not exchange.watched
    return exchange, peer


def test_what_came_meanwhile_is_one_arrival_at_the_time_of_its_last_part(
    begun: tuple[Any, Any], kernel_stamps: None, body: Any, client: Any, server: Any
) -> None:
    exchange, peer = begun
    for part in (b"1\r\nb\r\n", b"1\r\nc\r\n"):  # without letting the loop run in between
        peer.send(part)
    last_sent_ns = time.perf_counter_ns()
    peer.send(b"1\r\nd\r\n" + END)
    (arrival,) = exchange.wait(20.0)
    assert (arrival.data, arrival.kernel) == (b"bcd", True)
    assert last_sent_ns <= arrival.arrived_ns == exchange.ended_ns
    assert exchange.watched
    assert client.post("/", b"").connect_ns == 0  # the connection lives on


def test_the_end_of_an_unwatched_connection_is_noticed(begun: tuple[Any, Any], body: Any) -> None:
    exchange, peer = begun
    peer.send(b"1\r\nb\r\n")
    peer.close()
    assert body(exchange) == b"b"
    assert str(exchange.error) == "the connection ended inside the response's body"


def test_a_client_that_closes_leaves_nothing_to_drain(begun: tuple[Any, Any], client: Any) -> None:
    client.close()
    assert not DRAINER._connections


def test_the_drainer_ends_with_its_last_connection_and_begins_again_with_the_next(until: Any) -> None:
    class Once:
        def __init__(self, drainer: Drainer) -> None:
            self.reads = 0
            self.drainer = drainer

        def read_now(self) -> None:
            self.reads += 1
            self.drainer.remove(self)

    drainer = Drainer()
    for _ in range(2):
        connection = Once(drainer)
        drainer.add(connection)
        until(lambda connection=connection: connection.reads)
        until(lambda: drainer._greenlet is not None and drainer._greenlet.dead)
        assert connection.reads == 1


def test_a_connection_that_left_during_a_pass_is_not_read_in_it(until: Any) -> None:
    """A pass lets the loop run now and then; what ends meanwhile may be closed by the time its turn comes."""
    drainer = Drainer()
    reads = []

    class Connection:
        def read_now(self) -> None:
            reads.append(self)
            for connection in connections:  # the first one read ends them all
                drainer.remove(connection)

    connections = [Connection() for _ in range(3)]
    for connection in connections:
        drainer.add(connection)
    until(lambda: reads)
    until(lambda: drainer._greenlet is not None and drainer._greenlet.dead)
    assert reads == connections[:1]
