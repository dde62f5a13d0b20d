"""A stream that nobody watches: the kernel keeps its bytes, and the time of the last of them."""

import socket
import time
from typing import Any

import pytest

from tokenswarm.wire import tcp_info
from tokenswarm.wire.deferred_reader import DEFERRED_READER, MOST_PASSES, DeferredReader

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


def test_the_kernel_acknowledges_what_is_left_unread_within_milliseconds(begun: tuple[Any, Any], client: Any) -> None:
    """What the socket itself says: it acknowledges after 8 ms at most, or 12 where the kernel counts in steps of 4."""
    sock = client._connection._sock
    try:
        longest_us = sock.getsockopt(socket.IPPROTO_TCP, tcp_info._TCP_DELACK_MAX_US)
    except OSError:
        pytest.skip("this kernel has no such setting")
    assert longest_us <= 12_000


def test_the_end_of_an_unwatched_connection_is_noticed(begun: tuple[Any, Any], body: Any) -> None:
    exchange, peer = begun
    peer.send(b"1\r\nb\r\n")
    peer.close()
    assert body(exchange) == b"b"
    assert str(exchange.error) == "the connection ended inside the response's body"


def test_a_client_that_closes_leaves_nothing_to_drain(begun: tuple[Any, Any], client: Any) -> None:
    client.close()
    assert not DEFERRED_READER._turn_of


class PolledConnection:
    """Notes the passes in which it is polled, and has the next one in so many."""

    def __init__(self, deferred_reader: DeferredReader, *passes: int) -> None:
        self.deferred_reader = deferred_reader
        self.passes = list(passes)
        self.turns: list[int] = []

    def poll(self) -> int:
        self.turns.append(self.deferred_reader._turn)
        if self.passes:
            return self.passes.pop(0)
        self.deferred_reader.remove(self)
        return 1


@pytest.fixture
def deferred_reader(monkeypatch: pytest.MonkeyPatch) -> DeferredReader:
    monkeypatch.setattr("tokenswarm.wire.deferred_reader.INTERVAL_S", 0.001)
    return DeferredReader()


def test_the_deferred_reader_ends_with_its_last_connection_and_begins_again_with_the_next(
    deferred_reader: DeferredReader, until: Any
) -> None:
    for _ in range(2):
        connection = PolledConnection(deferred_reader)
        deferred_reader.add(connection)
        until(lambda connection=connection: connection.turns)
        until(lambda: deferred_reader._greenlet is not None and deferred_reader._greenlet.dead)
        assert len(connection.turns) == 1


def test_each_is_polled_again_in_as_many_passes_as_it_says(deferred_reader: DeferredReader, until: Any) -> None:
    often, seldom = (
        PolledConnection(deferred_reader, 1, 1, 1, 1, 1, 1),
        PolledConnection(deferred_reader, MOST_PASSES, 2),
    )
    deferred_reader.add(often)
    deferred_reader.add(seldom)
    until(lambda: deferred_reader._greenlet is not None and deferred_reader._greenlet.dead)
    turns = [turn % (MOST_PASSES + 1) for turn in range(1, MOST_PASSES + 4)]
    assert often.turns == turns[:7]
    assert seldom.turns == [turns[0], turns[MOST_PASSES], turns[MOST_PASSES + 2]]


def test_a_connection_that_left_during_a_pass_is_not_polled_in_it(deferred_reader: DeferredReader, until: Any) -> None:
    """A pass lets the loop run now and then; what ends meanwhile may be closed by the time its turn comes."""
    polled = []

    class Connection:
        def poll(self) -> int:
            polled.append(self)
            for connection in connections:  # the first one polled ends them all
                deferred_reader.remove(connection)
            return 1

    connections = [Connection() for _ in range(3)]
    for connection in connections:
        deferred_reader.add(connection)
    until(lambda: deferred_reader._greenlet is not None and deferred_reader._greenlet.dead)
    assert polled == connections[:1]


def test_the_longer_a_stream_takes_the_longer_it_is_left_alone(
    begun: tuple[Any, Any], client: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A poll that comes late by a twentieth of what the stream took; but the kernel has room for so much only."""
    connection = client._connection
    began_ns = connection._streaming_since_ns
    for took_s, passes in ((0.1, 1), (3.9, 1), (4.1, 2), (8.1, 4), (60, 5)):
        monkeypatch.setattr(
            "tokenswarm.wire.connection.time.perf_counter_ns", lambda took_s=took_s: began_ns + int(took_s * 1e9)
        )
        assert connection.poll() == passes
    monkeypatch.undo()
    connection._streaming_since_ns -= 60 * 10**9
    begun[1].send(b"8000\r\n" + b"a" * 0x8000 + b"\r\n")
    assert connection.poll() == 1


def test_more_than_a_read_is_taken_in_one_poll(begun: tuple[Any, Any], client: Any, body: Any) -> None:
    exchange, peer = begun
    peer.send(b"18000\r\n" + b"a" * 0x18000 + b"\r\n" + END)
    while not exchange.ended:
        client._connection.poll()
    assert sum(len(arrival.data) for arrival in exchange.kept) == 0x18000


def test_who_looks_before_the_next_poll_sees_all_that_has_come(begun: tuple[Any, Any]) -> None:
    exchange, peer = begun
    peer.send(b"1\r\nb\r\n")
    assert [arrival.data for arrival in exchange.wait(0.0)] == [b"b"]
    assert not exchange.watched
    peer.send(b"1\r\nc\r\n" + END)
    assert [arrival.data for arrival in exchange.wait(0.0)] == [b"c"]
    assert exchange.ended


def test_a_client_that_closes_has_taken_what_had_come(begun: tuple[Any, Any], client: Any) -> None:
    exchange, peer = begun
    peer.send(b"1\r\nb\r\n")
    client.close()
    assert [arrival.data for arrival in exchange.kept] == [b"b"]


def test_a_client_that_closes_where_the_server_has_too_is_content(begun: tuple[Any, Any], client: Any) -> None:
    exchange, peer = begun
    peer.send(b"1\r\nb\r\n")
    peer.close()
    client.close()
    assert [arrival.data for arrival in exchange.kept] == [b"b"]
    assert not DEFERRED_READER._turn_of
