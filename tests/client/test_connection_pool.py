"""Connections of requests that come when they are due, from a real socket."""

from __future__ import annotations

import gevent
import pytest

import tokenswarm.wire.client
from tests.client.test_wire_cases import WHOLE
from tests.peer import Peer, Server, until
from tokenswarm.client.connection_pool import ConnectionPool
from tokenswarm.wire import Exchange, StreamClient


@pytest.fixture
def pool(server: Server) -> ConnectionPool:
    return ConnectionPool(lambda: StreamClient(server.origin, 5.0))


def answered(client: StreamClient, server: Server, peer: Peer | None = None) -> tuple[Exchange, Peer]:
    """Send a request, on a new connection unless its peer is given, and have it answered."""
    sending = gevent.spawn(client.post, "/", b"{}")
    peer = peer or server.accept()
    peer.request()
    peer.send(WHOLE)
    exchange: Exchange = sending.get()
    until(lambda: exchange.ended)
    return exchange, peer


def test_a_connection_that_is_free_serves_the_next_request(pool: ConnectionPool, server: Server) -> None:
    client = pool.take()
    _, peer = answered(client, server)
    pool.give_back(client)
    assert pool.take() is client
    exchange, _ = answered(client, server, peer)
    assert exchange.connect_ns == 0
    assert not server.has_callers()


def test_requests_in_flight_have_connections_of_their_own(pool: ConnectionPool, server: Server) -> None:
    first, second = pool.take(), pool.take()
    assert first is not second
    answered(first, server)
    answered(second, server)
    pool.give_back(first)
    pool.give_back(second)
    assert pool.take() is second


def test_a_server_that_closes_behind_its_answers_loses_and_delays_no_request(
    pool: ConnectionPool, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It has its moment to close while the connection is given back, and the next request does not wait for that."""
    client = pool.take()
    _, peer = answered(client, server)
    gevent.spawn_later(0.005, peer.close)
    pool.give_back(client)

    def no_wait(_: float) -> None:
        raise AssertionError("the request waited")

    monkeypatch.setattr(tokenswarm.wire.client.gevent, "sleep", no_wait)
    client = pool.take()
    client.connect()
    monkeypatch.undo()
    exchange, _ = answered(client, server)
    assert exchange.connect_ns > 0
    assert exchange.error is None


def test_a_server_that_keeps_connections_is_not_waited_for_at_the_next_request(
    pool: ConnectionPool, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = pool.take()
    _, peer = answered(client, server)
    pool.give_back(client)
    monkeypatch.setitem(tokenswarm.wire.client._keeps_connections, server.origin.authority, False)
    with monkeypatch.context() as patched:
        patched.setattr(tokenswarm.wire.client.gevent, "sleep", lambda _: pytest.fail("the request waited"))
        client.connect()
    exchange, _ = answered(client, server, peer)
    assert exchange.connect_ns == 0


def test_a_closed_pool_has_no_connection_open(pool: ConnectionPool, server: Server) -> None:
    client = pool.take()
    _, peer = answered(client, server)
    pool.give_back(client)
    pool.close()
    assert peer.hears_the_end()
    assert pool.take() is not client


def test_spare_connections_are_made_before_they_are_needed(server: Server) -> None:
    pool = ConnectionPool(lambda: StreamClient(server.origin, 5.0), spares=2, most=lambda: 3)
    pool.connect_spares()
    server.accept(), server.accept()
    until(lambda: len(pool._idle) == 2)
    client = pool.take()
    pool.connect_spares()
    server.accept()
    until(lambda: len(pool._idle) == 2)
    client.post("/", b"{}")
    assert not server.has_callers()
    pool.take()
    assert len(pool._idle) == 1 and not pool._connecting  # three are the most


def test_a_burst_that_is_expected_has_its_connections_before_it_is_due(server: Server) -> None:
    pool = ConnectionPool(lambda: StreamClient(server.origin, 5.0), spares=1)
    for due_s in (1.0, 2.0, 2.1, 2.24, 2.36, 3.0):
        pool.expect(due_s)
    until(lambda: len(pool._idle) == 3)  # of those due within 250 ms
    clients = [pool.take(due_s) for due_s in (1.0, 2.0, 2.1, 2.24)]
    pool.expect(4.0)
    until(lambda: len(pool._idle) == 1)  # of the others, no two are due together
    assert len({id(client) for client in clients}) == 4


def test_a_connection_that_is_in_use_when_the_pool_closes_is_closed_when_it_comes_back(
    pool: ConnectionPool, server: Server
) -> None:
    client = pool.take()
    _, peer = answered(client, server)
    pool.close()
    pool.give_back(client)
    assert peer.hears_the_end()
