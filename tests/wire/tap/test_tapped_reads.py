"""A client that reads late, with a packet tap: each segment has the time at which it came."""

from __future__ import annotations

import logging
import socket
import ssl
import time
from collections.abc import Callable, Iterator
from itertools import pairwise
from typing import Any

import gevent
import pytest
import trustme

from tests.peer import PATIENCE_S, Peer, PlainSocket, SecurePeer, Server, server_on_ipv6_or_skip, until
from tokenswarm.wire import Arrival, Exchange, Origin, StreamClient, TlsSettings
from tokenswarm.wire.deferred_reader import DEFERRED_READER, DeferredReader
from tokenswarm.wire.loop_pacer import LOOP_PACER
from tokenswarm.wire.tap.headers import IPV4
from tokenswarm.wire.tap.packet_tap import PacketTap
from tokenswarm.wire.tap.ring import PacketRing

HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
END = b"0\r\n\r\n"
APART_S = 0.003


def chunk(text: str) -> bytes:
    event = f"data: {text}\n\n".encode()
    return b"%x\r\n%s\r\n" % (len(event), event)


def wait_without_reading(seconds: float = APART_S) -> None:
    """The loop does not run meanwhile."""
    until_ns = time.perf_counter_ns() + round(seconds * 1e9)
    while time.perf_counter_ns() < until_ns:
        pass


class Receiver:
    """Keeps each arrival: of streams that are deferred or not watched, too. `relax` is called with the first one."""

    def __init__(self, relax: Callable[[Exchange], None]) -> None:
        self.arrivals: list[Arrival] = []
        self._relax = relax

    def on_read(self, exchange: Exchange, arrival: Arrival) -> None:
        self.arrivals.append(arrival)
        if len(self.arrivals) == 1:
            self._relax(exchange)

    def on_batch(self, exchange: Exchange, bodies: Any, arrived_ns: Any, delays_ns: Any) -> int:
        self.arrivals += [Arrival(*each, True, body, 0) for body, *each in zip(bodies, arrived_ns, delays_ns)]
        return len(bodies)

    @property
    def texts(self) -> list[str]:
        return [arrival.data.decode().replace("data: ", "").strip() for arrival in self.arrivals]


def accept(server: Server) -> Peer:
    """A peer that sends at once, also while what it sent before is not acknowledged."""
    peer = server.accept()
    peer._sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return peer


def begin(server: Server, tap: PacketTap, receiver: Receiver | None = None) -> tuple[StreamClient, Exchange, Peer]:
    client = StreamClient(server.origin, PATIENCE_S, {}, tap=tap)
    exchange = client.post("/", b"", None, receiver)
    peer = accept(server)
    peer.request()
    peer.send(HEAD)
    until(lambda: exchange.headers_ns)
    return client, exchange, peer


def begin_unread(server: Server, tap: PacketTap) -> tuple[Receiver, StreamClient, Exchange, Peer]:
    """The same, with a stream that is left unread from its first chunk on, which has been read."""
    receiver = Receiver(Exchange.unwatch)
    client, exchange, peer = begin(server, tap, receiver)
    peer.send(chunk("one"))
    until(lambda: receiver.arrivals)
    return receiver, client, exchange, peer


def send_each(peer: Any, parts: list[bytes]) -> list[int]:
    """Nothing is read in between. When each was sent, and when the last had been."""
    sent_ns = []
    for part in parts:
        sent_ns.append(time.perf_counter_ns())
        peer.send(part)
        wait_without_reading()
    return [*sent_ns, time.perf_counter_ns()]


def assert_came_as_sent(arrivals: list[Arrival], sent_ns: list[int]) -> None:
    assert len(arrivals) == len(sent_ns) - 1
    for arrival, (before_ns, after_ns) in zip(arrivals, pairwise(sent_ns)):
        assert before_ns <= arrival.arrived_ns < after_ns
        assert arrival.kernel


@pytest.fixture(params=["IPv4", "IPv6"])
def any_server(request: pytest.FixtureRequest) -> Iterator[Server]:
    server = Server() if request.param == "IPv4" else server_on_ipv6_or_skip()
    yield server
    server.close()


@pytest.mark.parametrize("reading", ["at once", "deferred", "unwatched"])
def test_segments_of_a_late_read_have_their_own_times(any_server: Server, tap: PacketTap, reading: str) -> None:
    relax = {"at once": lambda exchange: None, "deferred": Exchange.defer, "unwatched": Exchange.unwatch}[reading]
    receiver = Receiver(relax)
    client, exchange, peer = begin(any_server, tap, receiver)
    peer.send(chunk("one"))
    until(lambda: receiver.arrivals)
    sent_ns = send_each(peer, [chunk("two"), chunk("three"), chunk("four")])
    peer.send(END)
    exchange.wait(PATIENCE_S)
    assert receiver.texts == ["one", "two", "three", "four"]
    assert_came_as_sent(receiver.arrivals[1:], sent_ns)
    assert exchange.tapped
    client.close()


def test_all_that_waits_of_a_stream_that_is_read_late_is_read_when_time_is_up(
    server: Server, tap: PacketTap, monkeypatch: pytest.MonkeyPatch
) -> None:
    """More than many reads take, as where a client stood still."""
    receiver, client, exchange, peer = begin_unread(server, tap)
    monkeypatch.setattr("tokenswarm.wire.connection._READ_BYTES", 1024)
    peer.send(b"".join(chunk("x" * 1500) for _ in range(30)))
    wait_without_reading(0.05)
    exchange.read_now()
    assert "".join(receiver.texts).count("x") == 30 * 1500
    client.close()


def test_a_tap_that_is_closed_is_emptied_no_more_and_another_is(server: Server, tap: PacketTap) -> None:
    before = DEFERRED_READER.before_polls
    one = PacketTap()
    one.watch("127.0.0.1", server.origin.port)
    tap.watch("127.0.0.1", server.origin.port)
    one.close()
    assert DEFERRED_READER.before_polls == tap._look
    tap.close()
    assert DEFERRED_READER.before_polls == before


class NeverReads(DeferredReader):
    def _poll_all(self) -> None:
        """Nothing is due."""


@pytest.fixture
def nothing_is_polled(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tokenswarm.wire.connection.DEFERRED_READER", NeverReads())


def test_the_end_of_a_stream_that_is_left_unread_is_noticed_by_its_segments(
    server: Server, tap: PacketTap, nothing_is_polled: None
) -> None:
    """It is read once, to learn how long its segments are."""
    receiver, client, exchange, peer = begin_unread(server, tap)
    send_each(peer, [chunk("two"), chunk("three")])
    exchange.read_now()
    sent_ns = send_each(peer, [chunk("four"), chunk("five"), chunk("seven")])
    gevent.sleep(0.1)
    assert receiver.texts == ["one", "two", "three"]
    assert LOOP_PACER.left_to_tap == 1
    peer.send(END)
    until(lambda: exchange.ended)
    assert LOOP_PACER.left_to_tap == 0
    assert receiver.texts == ["one", "two", "three", "four", "five", "seven"]
    assert_came_as_sent(receiver.arrivals[3:], sent_ns)
    client.close()


def test_the_end_of_a_stream_whose_segments_were_read_one_by_one_is_noticed(
    server: Server, tap: PacketTap, nothing_is_polled: None
) -> None:
    """As of a slow one, which is read ten times a second."""
    receiver, client, exchange, peer = begin_unread(server, tap)
    for text in ("two", "three"):
        peer.send(chunk(text))
        wait_without_reading()
        tap.empty()  # the head is no part of what comes from now on
        exchange.read_now()
    assert receiver.texts == ["one", "two", "three"]
    peer.send(chunk("four"))
    gevent.sleep(0.1)
    assert receiver.texts == ["one", "two", "three"]
    peer.send(END)
    until(lambda: exchange.ended)
    assert receiver.texts == ["one", "two", "three", "four"]
    assert tap.ends._noticed == tap.ends._ends == 1
    client.close()


def keys_taken_in(tap: PacketTap) -> list[int]:
    """Of segments that were not handed out."""
    return [key for table in tap._taken_in for key in table.keys.tolist() if key]


def test_connecting_hands_nothing_to_other_streams(
    server: Server, tap: PacketTap, monkeypatch: pytest.MonkeyPatch
) -> None:
    """That would cost more with each of them. Nor are the rings emptied for it."""
    monkeypatch.setattr("tokenswarm.wire.tap.packet_tap._LOOKS", 1_000_000)
    client, _, peer = begin(server, tap)
    (key,) = tap._streams
    peer.send(chunk("one"))
    wait_without_reading()
    tap._take_in()
    before = keys_taken_in(tap).count(key)
    other = StreamClient(server.origin, PATIENCE_S, {}, tap=tap)
    other.connect()
    _, new = tap._streams.values()
    assert new.first_sequence is None
    assert new.end_would_be_noticed()  # it is seen as soon as that is needed
    assert new.first_sequence is not None
    assert keys_taken_in(tap).count(key) == before > 0
    client.close()
    other.close()


def test_a_beginning_that_was_seen_before_is_of_an_earlier_connection_with_the_same_ports(
    server: Server, tap: PacketTap
) -> None:
    tap.watch(server.origin.host, server.origin.port)
    before_ns = time.perf_counter_ns()
    found = []
    for is_earlier in (False, True):
        with PlainSocket() as sock:
            sock.connect((server.origin.host, server.origin.port))
            until(lambda: tap.empty() or tap._beginnings)
            stream = tap.stream_of(sock, bool, time.perf_counter_ns() if is_earlier else before_ns)
            assert stream is not None
            found.append(stream.first_sequence is not None)
    assert found == [True, False]
    assert not tap._beginnings


def test_segments_of_an_earlier_connection_with_the_same_ports_are_its_own(
    server: Server, tap: PacketTap, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tokenswarm.wire.tap.packet_tap._LOOKS", 1_000_000)
    client, _, peer = begin(server, tap)
    another, _, other_peer = begin(server, tap)
    key, other_key = tap._streams
    earlier = tap._streams[key]
    tap.empty()
    assert earlier.first_sequence is not None
    for each in (peer, other_peer):
        each.send(chunk("one"))
    wait_without_reading()
    tap._take_in()
    segments_before = len(earlier._segments)
    tap._begin(key, (earlier.first_sequence + 1_000_000) % 2**32)
    assert len(earlier._segments) == segments_before + 1
    assert set(keys_taken_in(tap)) == {other_key}
    assert tap._beginnings[key].runs == []
    client.close()
    another.close()


def test_a_close_ends_a_stream_that_is_left_unread_at_once_and_leaves_its_times(
    server: Server, tap: PacketTap, nothing_is_polled: None
) -> None:
    receiver = Receiver(Exchange.unwatch)
    client = StreamClient(server.origin, PATIENCE_S, {}, tap=tap)
    exchange = client.post("/", b"", None, receiver)
    peer = accept(server)
    peer.request()
    peer.send(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n")
    until(lambda: exchange.headers_ns)
    peer.send(b"data: one\n\n")
    until(lambda: receiver.arrivals)
    sent_ns = send_each(peer, [b"data: two\n\n", b"data: three\n\n"])
    peer.close()
    until(lambda: exchange.ended)
    assert LOOP_PACER.left_to_tap == 0
    assert receiver.texts == ["one", "two", "three"]
    assert_came_as_sent(receiver.arrivals[1:], sent_ns)
    assert exchange.error is None
    assert exchange.tapped
    client.close()


def test_an_end_that_was_seen_before_the_stream_was_left_unread_is_noticed(
    server: Server, tap: PacketTap, nothing_is_polled: None
) -> None:
    """It comes behind the read that holds the first output, while that waits to be processed."""

    def relax(exchange: Exchange) -> None:
        peer.send(chunk("two") + END)
        wait_without_reading()
        tap.empty()  # as for another stream
        exchange.unwatch()

    tap.ends.usual = 14, 16, 25_000_000
    receiver = Receiver(relax)
    client, exchange, peer = begin(server, tap, receiver)
    peer.send(chunk("one"))
    until(lambda: exchange.ended)
    assert receiver.texts == ["one", "two"]
    client.close()


def test_a_head_that_was_read_with_the_first_chunk_has_its_own_time(server: Server, tap: PacketTap) -> None:
    client = StreamClient(server.origin, PATIENCE_S, {}, tap=tap)
    exchange = client.post("/", b"")
    peer = accept(server)
    peer.request()
    sent_ns = send_each(peer, [HEAD, chunk("one")])
    peer.send(END)
    assert_came_as_sent(exchange.wait(PATIENCE_S), sent_ns[1:])
    assert exchange.headers_ns is not None
    assert sent_ns[0] <= exchange.headers_ns < sent_ns[1]
    client.close()


def test_an_acceptance_that_is_sent_twice_changes_nothing(server: Server, tap: PacketTap) -> None:
    receiver = Receiver(Exchange.defer)
    client, exchange, peer = begin(server, tap, receiver)
    ((key, stream),) = tap._streams.items()
    tap.empty()
    assert stream.first_sequence is not None
    tap._begin(key, stream.first_sequence)
    peer.send(chunk("one"))
    until(lambda: receiver.arrivals)
    sent_ns = send_each(peer, [chunk("two"), chunk("three")])
    peer.send(END)
    exchange.wait(PATIENCE_S)
    assert_came_as_sent(receiver.arrivals[1:], sent_ns)
    assert exchange.tapped
    client.close()
    assert not tap._streams


def test_a_first_output_that_is_read_late_is_certain(server: Server, tap: PacketTap) -> None:
    """The same of outputs that came in one segment: they came no earlier than the segment before."""
    client, exchange, peer = begin(server, tap)
    sent_ns = send_each(peer, [chunk("one"), chunk("two") + chunk("three")])
    peer.send(END)
    first, others = exchange.wait(PATIENCE_S)
    assert_came_as_sent([first, others], sent_ns)
    assert others.earliest_ns == first.arrived_ns
    client.close()


def test_a_kept_connection_goes_on_having_the_times_of_its_segments(server: Server, tap: PacketTap) -> None:
    client, exchange, peer = begin(server, tap)
    peer.send(chunk("one") + END)
    exchange.wait(PATIENCE_S)
    exchange = client.post("/", b"")
    peer.request()
    peer.send(HEAD)
    until(lambda: exchange.headers_ns)
    sent_ns = send_each(peer, [chunk("two"), chunk("three")])
    peer.send(END)
    assert exchange.connect_ns == 0
    assert_came_as_sent(exchange.wait(PATIENCE_S), sent_ns)
    client.close()


def test_what_the_tap_did_not_see_keeps_the_time_of_its_read_and_its_bound(
    server: Server, tap: PacketTap, monkeypatch: pytest.MonkeyPatch
) -> None:
    client, exchange, peer = begin(server, tap)
    seen_ns = time.perf_counter_ns()
    with monkeypatch.context() as patch:
        patch.setattr(PacketRing, "take", lambda ring: [])
        sent_ns = send_each(peer, [chunk("one"), chunk("two")])
        peer.send(END)
        (arrival,) = exchange.wait(PATIENCE_S)
    assert arrival.arrived_ns >= sent_ns[1]
    assert exchange.headers_ns is not None
    assert exchange.headers_ns - 10**9 < arrival.earliest_ns <= seen_ns
    assert arrival.kernel
    assert not exchange.tapped
    exchange = client.post("/", b"")
    peer.request()
    peer.send(HEAD)
    until(lambda: exchange.headers_ns)
    sent_ns = send_each(peer, [chunk("three"), chunk("four")])
    peer.send(END)
    assert_came_as_sent(exchange.wait(PATIENCE_S), sent_ns)
    assert exchange.tapped
    client.close()


def test_a_connection_whose_beginning_was_not_seen_is_not_tapped(
    server: Server, tap: PacketTap, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(PacketRing, "take", lambda ring: [])
    client, exchange, peer = begin(server, tap)
    send_each(peer, [chunk("one"), chunk("two")])
    peer.send(END)
    (arrival,) = exchange.wait(PATIENCE_S)
    assert arrival.kernel
    assert not exchange.tapped
    client.close()


def _said_by_us(caplog: pytest.LogCaptureFixture) -> list[logging.LogRecord]:
    """Not by a thread that another test has left behind."""
    return [record for record in caplog.records if record.name.startswith("tokenswarm")]


def test_a_ring_that_is_full_says_how_many_packets_were_lost(
    server: Server, tap: PacketTap, caplog: pytest.LogCaptureFixture
) -> None:
    client, exchange, peer = begin(server, tap)
    small = PacketRing(IPV4, [server.origin.port], slots=512)

    def send_until_lost() -> int:
        peer.send(chunk("one"))
        return small.lost()

    assert until(send_until_lost) == 1
    assert small.lost() == 0
    assert sum(map(len, small.take())) == 512
    small.close()
    tap._notice_losses()
    assert not _said_by_us(caplog)
    tap._rings[IPV4].lost = lambda: 3  # type: ignore[method-assign]
    with caplog.at_level(logging.WARNING):
        tap._notice_losses()
        tap._notice_losses()
    assert [record.message.partition(",")[0] for record in _said_by_us(caplog)] == ["The packet tap lost packets"]
    assert not exchange.ended
    client.close()


@pytest.fixture
def secure(server: Server, tap: PacketTap) -> Iterator[tuple[Exchange, SecurePeer]]:
    authority, context = trustme.CA(), ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    origin = Origin(server.origin.host, server.origin.port, tls=True)
    client = StreamClient(origin, PATIENCE_S, {}, TlsSettings(insecure=True).context(), tap=tap)
    connecting = gevent.spawn(client.connect)
    peer = SecurePeer(accept(server), context)
    peer.shake_hands()
    connecting.get(timeout=PATIENCE_S)
    exchange = client.post("/", b"")
    peer.request()
    peer.send(HEAD)
    until(lambda: exchange.headers_ns)
    yield exchange, peer
    client.close()


def test_records_of_a_late_read_have_the_times_of_their_segments(secure: tuple[Exchange, SecurePeer]) -> None:
    exchange, peer = secure
    sent_ns = send_each(peer, [chunk("one"), chunk("two")])
    peer.send(END)
    arrivals = exchange.wait(PATIENCE_S)
    assert [arrival.data for arrival in arrivals] == [b"data: one\n\n", b"data: two\n\n"]
    assert_came_as_sent(arrivals, sent_ns)


def test_a_record_came_with_the_segment_of_its_last_byte(secure: tuple[Exchange, SecurePeer]) -> None:
    exchange, peer = secure
    peer._tls.write(chunk("one"))
    record = peer._to_send.read()
    peer._tls.write(chunk("two"))
    both = [record[:10], record[10:] + peer._to_send.read()]
    sent_ns = send_each(peer._peer, both)
    peer.send(END)
    (arrival,) = exchange.wait(PATIENCE_S)
    assert arrival.data == b"data: one\n\ndata: two\n\n"
    assert_came_as_sent([arrival], sent_ns[1:])


def test_what_is_no_record_ends_a_tapped_stream_at_once(secure: tuple[Exchange, SecurePeer]) -> None:
    exchange, peer = secure
    peer._peer.send(b"this is no TLS record at all")
    until(lambda: exchange.ended)
    assert "TLS" in str(exchange.error)
