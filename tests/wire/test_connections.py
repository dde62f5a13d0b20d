"""Connecting, keeping a connection, and noticing that it is gone."""

import errno
import os
import socket
import sys
import time
from types import SimpleNamespace
from typing import Any

import gevent
import pytest
from gevent import monkey

import tokenswarm.wire.client
from tests.peer import PATIENCE_S, just_before_it_sends
from tokenswarm.wire import (
    ClientLimitReached,
    ConnectFailed,
    ConnectTimedOut,
    Origin,
    StreamClient,
    WireError,
    went_stale,
)

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi"


def test_a_second_request_goes_over_the_same_connection_and_its_connecting_took_no_time(
    server: Any, client: Any, body: Any
) -> None:
    client.connect()
    peer = server.accept()
    took_time = []
    for path in ("/1", "/2", "/3"):
        exchange = client.post(path, b"")
        assert peer.request().startswith(f"POST {path} ".encode())
        peer.send(OK)
        assert body(exchange) == b"hi"
        took_time.append(exchange.connect_ns > 0)
    assert took_time == [True, False, False]
    assert not server.has_callers()


def test_a_request_leaves_when_it_is_due_and_not_before(server: Any, client: Any) -> None:
    client.connect()
    request = client.encode_post("/1", b"")
    due_ns = time.perf_counter_ns() + 900_000
    assert client.send_post(request, not_before_ns=due_ns).sent_ns >= due_ns


def test_a_request_that_is_due_much_later_does_not_stop_the_process_until_then(server: Any, client: Any) -> None:
    client.connect()
    request = client.encode_post("/1", b"")
    due_ns = time.perf_counter_ns() + 3600 * 10**9
    assert client.send_post(request, not_before_ns=due_ns).sent_ns < due_ns


def test_a_streamed_response_keeps_the_connection_too(server: Any, client: Any, body: Any) -> None:
    exchange = client.post("/1", b"")
    peer = server.accept()
    peer.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n")
    assert body(exchange) == b"hi"
    assert client.post("/2", b"").connect_ns == 0
    assert not server.has_callers()


def test_connecting_beforehand_is_timed_with_the_first_request(server: Any, client: Any) -> None:
    client.connect()
    client.connect()
    server.accept()
    assert client.post("/", b"").connect_ns > 0
    assert not server.has_callers()


@pytest.mark.parametrize(
    "response",
    [
        pytest.param(OK.replace(b"\r\nC", b"\r\nConnection: close\r\nC"), id="connection close"),
        pytest.param(OK.replace(b"1.1", b"1.0"), id="HTTP/1.0"),
        pytest.param(OK + b"more", id="bytes behind the response in the same packet"),
    ],
)
def test_a_connection_that_may_not_be_used_again_is_not(server: Any, client: Any, body: Any, response: bytes) -> None:
    exchange = client.post("/1", b"")
    peer = server.accept()
    peer.send(response)
    assert body(exchange) == b"hi"
    assert exchange.error is None
    assert client.post("/2", b"").connect_ns > 0
    assert server.accept().request().startswith(b"POST /2 ")
    assert peer.hears_the_end()


def test_bytes_behind_the_response_in_a_later_packet_close_the_connection(server: Any, client: Any, body: Any) -> None:
    exchange = client.post("/1", b"")
    peer = server.accept()
    peer.request()
    peer.send(OK)
    assert body(exchange) == b"hi"
    peer.send(b"more")
    assert peer.hears_the_end()
    assert (exchange.error, exchange.bytes_received) == (None, len(OK))
    assert client.post("/2", b"").connect_ns > 0


def test_bytes_before_any_request_close_the_connection(server: Any, client: Any) -> None:
    client.connect()
    peer = server.accept()
    peer.send(b"HTTP/1.1 408 Request Timeout\r\n\r\n")
    assert peer.hears_the_end()
    client.post("/", b"")
    assert server.accept().request().startswith(b"POST / ")


@pytest.mark.parametrize("how", ["close", "reset"])
def test_a_server_that_promises_to_keep_alive_and_closes_gets_a_new_connection(
    server: Any, client: Any, body: Any, until: Any, how: str
) -> None:
    first = client.post("/1", b"")
    peer = server.accept()
    peer.request()
    peer.send(OK)
    assert body(first) == b"hi"
    getattr(peer, how)()
    until(lambda: client._connection.closed)
    second = client.post("/2", b"")
    server.accept().send(OK)
    assert body(second) == b"hi"
    assert second.connect_ns > 0
    assert not went_stale(second)


@pytest.mark.parametrize("how", ["close", "reset"])
def test_a_close_that_has_arrived_is_noticed_before_the_next_request_is_sent(
    server: Any, client: Any, body: Any, how: str
) -> None:
    first = client.post("/1", b"")
    peer = server.accept()
    peer.request()
    peer.send(OK)
    body(first)
    getattr(peer, how)()  # the loop has not run since
    second = client.post("/2", b"")
    server.accept().send(OK)
    assert body(second) == b"hi"
    assert second.connect_ns > 0
    assert not went_stale(second)


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux says what was acknowledged")
@pytest.mark.parametrize("how", ["close", "reset"])
def test_a_kept_connection_that_is_closed_just_before_the_next_request_leaves_went_stale(
    server: Any, client: Any, body: Any, drain: Any, how: str
) -> None:
    first = client.post("/1", b"")
    peer = server.accept()
    peer.request()
    peer.send(OK)
    body(first)
    assert not went_stale(first)
    just_before_it_sends(client, getattr(peer, how))
    second = client.post("/2", b"x" * 100_000)
    drain(second)
    assert second.connect_ns == 0
    assert went_stale(second)
    again = client.post("/2", b"")
    server.accept().send(OK)
    assert body(again) == b"hi"
    assert not went_stale(again)


def test_an_answer_that_came_before_a_reset_is_read_though_the_request_cannot_be_sent(
    server: Any, client: Any, body: Any
) -> None:
    """As a gateway's that refuses a connection, and a TLS server's alert."""
    client.connect()
    peer = server.accept()

    def refuse_and_reset() -> None:
        peer.send(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\nno")
        peer.reset()

    just_before_it_sends(client, refuse_and_reset)
    exchange = client.post("/", b"")
    assert body(exchange) == b"no"
    assert (exchange.response.status, exchange.error) == (403, None)


@pytest.mark.parametrize("how", ["close", "reset"])
@pytest.mark.parametrize("takes_it_in", [True, False])
def test_a_server_that_could_have_read_the_request_has_failed(
    server: Any, client: Any, body: Any, drain: Any, how: str, takes_it_in: bool
) -> None:
    """However soon it closes: a request that it may have worked on is not sent twice."""
    first = client.post("/1", b"")
    peer = server.accept()
    peer.request()
    peer.send(OK)
    body(first)
    second = client.post("/2", b"")
    if takes_it_in:
        peer.request()
    getattr(peer, how)()
    drain(second)
    assert second.connect_ns == 0
    assert second.error is not None
    assert not went_stale(second)


@pytest.mark.parametrize("how", ["close", "reset"])
def test_a_fresh_connection_that_breaks_did_not_go_stale(server: Any, client: Any, drain: Any, how: str) -> None:
    exchange = client.post("/", b"")
    peer = server.accept()
    peer.request()
    getattr(peer, how)()
    drain(exchange)
    assert exchange.error is not None
    assert not went_stale(exchange)


@pytest.mark.parametrize(
    ("connect_ns", "error", "bytes_received", "never_read", "stale"),
    [
        (0, WireError("closed"), 0, True, True),
        (5, WireError("closed"), 0, True, False),  # on a new connection
        (0, None, 0, True, False),
        (0, WireError("closed"), 1, True, False),
        (0, WireError("closed"), 0, False, False),
    ],
)
def test_only_an_unread_request_on_a_kept_connection_without_a_byte_of_answer_is_sent_again(
    connect_ns: int, error: WireError | None, bytes_received: int, never_read: bool, stale: bool
) -> None:
    exchange: Any = SimpleNamespace(
        connect_ns=connect_ns, error=error, bytes_received=bytes_received, never_read=never_read
    )
    assert went_stale(exchange) is stale


@pytest.mark.parametrize(("number", "stale"), [(errno.EPIPE, True), (errno.ECONNRESET, False)])
def test_a_reset_while_a_request_is_sent_may_be_the_answer_of_a_server_that_has_read_it(
    server: Any, client: Any, body: Any, number: int, stale: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = client.post("/1", b"")
    server.accept().send(OK)
    body(first)
    connection = client._connection
    real = connection._sock

    class Breaking:
        """It takes three bytes, and is broken then."""

        taken = False

        def __getattr__(self, name: str) -> Any:
            return getattr(real, name)

        def send(self, data: bytes) -> int:
            if self.taken:
                raise OSError(number, os.strerror(number))
            self.taken = True
            return 3

    connection._sender._sock = Breaking()
    monkeypatch.setattr(type(connection._sender), "surely_unacknowledged", lambda _: True)
    monkeypatch.setitem(tokenswarm.wire.client._keeps_connections, client._origin.authority, True)
    assert went_stale(client.post("/2", b"")) is stale


def test_a_kept_connection_that_breaks_inside_the_response_did_not_go_stale(
    server: Any, client: Any, body: Any, drain: Any, until: Any
) -> None:
    first = client.post("/1", b"")
    peer = server.accept()
    peer.send(OK)
    body(first)
    second = client.post("/2", b"")
    peer.send(b"HT")
    until(lambda: second.bytes_received)
    peer.close()
    drain(second)
    assert second.error is not None
    assert not went_stale(second)


def test_a_request_under_way_is_given_up_when_the_next_one_is_sent(server: Any, client: Any) -> None:
    abandoned = client.post("/1", b"")
    peer = server.accept()
    client.post("/2", b"")
    assert server.accept().request().startswith(b"POST /2 ")
    assert not abandoned.ended
    peer.request()
    assert peer.hears_the_end()


def test_ipv6_goes_like_ipv4(server_on_ipv6: Any, clients: Any, body: Any) -> None:
    exchange = clients(server_on_ipv6).post("/", b"")
    peer = server_on_ipv6.accept()
    assert f"Host: [::1]:{server_on_ipv6.origin.port}\r\n".encode() in peer.request()
    peer.send(OK)
    assert body(exchange) == b"hi"


def test_a_refused_connection_names_the_address_and_the_reason(server: Any, client: Any) -> None:
    server.close()
    with pytest.raises(ConnectFailed) as failed:
        client.post("/", b"")
    assert str(failed.value) == f"no connection to 127.0.0.1:{server.origin.port}: Connection refused"


def test_a_name_that_does_not_resolve_is_named() -> None:
    with pytest.raises(ConnectFailed, match="no connection to nonexistent.invalid:8000: .+"):
        StreamClient(Origin.parse("http://nonexistent.invalid:8000"), 20.0).connect()


def test_connecting_gives_up_after_its_timeout() -> None:
    plain: type[socket.socket] = monkey.get_original("socket", "socket")
    with plain() as full:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        waiting = [plain() for _ in range(4)]
        for sock in waiting:
            sock.setblocking(False)
            sock.connect_ex(full.getsockname())
        origin = Origin("127.0.0.1", full.getsockname()[1])
        try:
            StreamClient(origin, 0.1).connect()
        except ConnectTimedOut as error:
            assert str(error) == f"no connection to {origin.authority} within 0.1 s"  # noqa: PT017 - see the skip
        else:
            pytest.skip("this system's loopback answers however full a listener's queue is")
        finally:
            for sock in waiting:
                sock.close()


def test_a_failure_to_connect_leaves_no_descriptor_open(server: Any, clients: Any, open_descriptors: Any) -> None:
    client = clients(server)
    server.close()
    before = open_descriptors()
    for _ in range(3):
        with pytest.raises(ConnectFailed):
            client.post("/", b"")
    assert open_descriptors() == before


# fetch: a document whole.


def test_fetch_gives_status_and_body(server: Any, client: Any, background: Any) -> None:
    fetching = background(client.fetch, "/v1/models", 20.0)
    peer = server.accept()
    assert peer.request().startswith(b"GET /v1/models ")
    peer.send(b"HTTP/1.1 404 Not Found\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nno\r\n")
    peer.send(b"3\r\npe!\r\n0\r\n\r\n")
    assert fetching.get(timeout=20) == (404, b"nope!")


def test_fetch_gives_up_after_its_timeout_even_inside_the_body(server: Any, client: Any) -> None:
    client.connect()
    server.accept()
    with pytest.raises(WireError) as failed:
        client.fetch("/v1/models", 0.05)
    assert str(failed.value) == f"127.0.0.1:{server.origin.port}/v1/models did not answer within 0.05 s"


def test_fetch_raises_what_stopped_it(server: Any, client: Any, background: Any) -> None:
    fetching = background(client.fetch, "/", 20.0)
    peer = server.accept()
    peer.request()
    peer.close()
    with pytest.raises(WireError, match="the connection ended before the response's head was complete"):
        fetching.get(timeout=20)


def test_a_connection_that_cannot_be_watched_is_one_that_failed(
    server: Any, client: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def none_left(fileno: int, read: object, process: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("tokenswarm.wire.connection.READ_NOTIFIER.add", none_left)
    with pytest.raises(ClientLimitReached, match=r"^cannot watch a connection to 127\.0\.0\.1:\d+: .*epoll"):
        client.connect()
    assert server.accept().hears_the_end()


def test_a_server_that_closed_too_late_has_more_time_to_do_so_the_next_time(
    server: Any, client: Any, body: Any, drain: Any, background: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else every later request of every user is lost as this one is."""
    monkeypatch.setattr(tokenswarm.wire.client, "_CLOSES_AGAIN_WITHIN_S", PATIENCE_S)
    monkeypatch.setitem(tokenswarm.wire.client._keeps_connections, client._origin.authority, True)
    first = client.post("/1", b"")
    peer = server.accept()
    peer.send(OK)
    body(first)
    lost = client.post("/2", b"")
    peer.request()
    peer.close()
    drain(lost)
    assert lost.error is not None
    client.close()
    third = client.post("/3", b"")
    peer = server.accept()
    peer.send(OK)
    body(third)
    background(lambda: (gevent.sleep(0.1), peer.close()))
    fourth = client.post("/4", b"")
    server.accept().send(OK)
    assert body(fourth) == b"hi"
    assert fourth.connect_ns > 0


def test_pages_that_keep_their_connections_say_nothing_of_a_server_that_closes_behind_each_stream(
    server: Any, client: Any, clients: Any, body: Any, background: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else each scrape of its metrics would send a stream to a dead connection."""
    monkeypatch.setattr(tokenswarm.wire.client, "_CLOSES_WITHIN_S", 0.0)
    monkeypatch.setattr(tokenswarm.wire.client, "_CLOSES_AGAIN_WITHIN_S", PATIENCE_S)
    monkeypatch.setitem(tokenswarm.wire.client._keeps_connections, client._origin.authority, False)
    scraper, pages = clients(server), None
    for _ in range(3):
        got = scraper.get("/metrics")
        pages = pages or server.accept()
        pages.send(OK)
        body(got)
    first = client.post("/1", b"")
    stream = server.accept()
    stream.send(OK)
    body(first)
    background(lambda: (gevent.sleep(0.05), stream.close()))
    second = client.post("/2", b"")
    server.accept().send(OK)
    assert body(second) == b"hi"
    assert second.connect_ns > 0


def test_a_close_of_an_idle_connection_is_no_sign_of_a_server_that_closes_behind_each_answer(
    server: Any, client: Any, body: Any, until: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else the next answer of each user would be followed by a wait in vain."""
    monkeypatch.setattr(tokenswarm.wire.client, "_IDLE_S", 0.0)
    monkeypatch.setitem(tokenswarm.wire.client._keeps_connections, client._origin.authority, True)
    first = client.post("/1", b"")
    peer = server.accept()
    peer.send(OK)
    body(first)
    peer.close()
    until(lambda: client._connection.closed)
    second = client.post("/2", b"")
    server.accept().send(OK)
    assert body(second) == b"hi"
    assert tokenswarm.wire.client._keeps_connections[client._origin.authority]
