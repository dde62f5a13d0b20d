"""Deferred reads: stamped as they come, processed together."""

import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pytest

from tests.peer import PATIENCE_S
from tokenswarm.wire import Arrival, Exchange
from tokenswarm.wire.connection import _MOST_DEFERRED_FIELDS, Connection
from tokenswarm.wire.deferred_reader import DEFERRED_READER
from tokenswarm.wire.loop_pacer import LOOP_PACER
from tokenswarm.wire.read_batch import FIELDS_PER_READ

ASIDE_READS = _MOST_DEFERRED_FIELDS // FIELDS_PER_READ
HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
END = b"0\r\n\r\n"


def chunk(text: str) -> bytes:
    data = f"data: {text}\n\n".encode()
    return b"%x\r\n%b\r\n" % (len(data), data)


class Listener:
    """Notes down what it is handed, and how: `each` body by itself or with others, as `groups` shows."""

    def __init__(self, takes_batches: bool = True) -> None:
        self.takes_batches = takes_batches
        self.bodies: list[bytes] = []
        self.arrived_ns: list[int] = []
        self.groups: list[int] = []

    def on_read(self, exchange: Exchange, arrival: Arrival) -> None:
        assert arrival.earliest_ns <= arrival.arrived_ns
        self._note([arrival.data], [arrival.arrived_ns])
        if not exchange.watched or len(self.groups) > 1:
            return
        exchange.defer()

    def on_batch(
        self, exchange: Exchange, bodies: Sequence[bytes], arrived_ns: Sequence[int], delays_ns: Sequence[int]
    ) -> int:
        if not self.takes_batches:
            return 0
        taken = next((at for at, body in enumerate(bodies) if b"odd" in body), len(bodies))
        assert min(delays_ns) >= 0
        if taken:
            self._note(bodies[:taken], arrived_ns[:taken])
        return taken

    def _note(self, bodies: Sequence[bytes], arrived_ns: Sequence[int]) -> None:
        self.bodies += bodies
        self.arrived_ns += arrived_ns
        self.groups.append(len(bodies))

    @property
    def text(self) -> str:
        return b"".join(self.bodies).decode().replace("data: ", "").replace("\n\n", " ")


@pytest.fixture(autouse=True)
def nothing_stays_behind(client: Any) -> Iterator[None]:
    yield
    client.close()
    assert LOOP_PACER.streaming == 0
    assert not DEFERRED_READER._turn_of


@pytest.fixture
def listener() -> Listener:
    return Listener()


@pytest.fixture
def begun(server: Any, client: Any, until: Any, listener: Listener, kernel_stamps: None) -> tuple[Any, Any]:
    """(exchange, the server's end) of a stream whose first event has come."""
    exchange = client.post("/", b"", None, listener)
    peer = server.accept()
    peer.request()
    peer.send(HEAD)
    until(lambda: exchange.response.head_complete)
    peer.send(chunk("one"))
    until(lambda: listener.bodies)
    return exchange, peer


@pytest.fixture
def send(begun: tuple[Any, Any], client: Any, until: Any, listener: Listener) -> Callable[..., list[int]]:
    """Each part of what comes is read before the next is sent; when each was sent."""

    def reads() -> int:
        """Those that wait and those that were handed over, which on a slow machine happens meanwhile."""
        return len(client._connection._deferred) // FIELDS_PER_READ + len(listener.bodies)

    def to_the_last(*parts: bytes) -> list[int]:
        sent_ns = []
        for part in parts:
            already = reads()
            sent_ns.append(time.perf_counter_ns())
            begun[1].send(part)
            until(lambda already=already: reads() > already)
        return sent_ns

    return to_the_last


@pytest.fixture
def without_passes(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is deferred is processed for its number or its end alone: on a slow machine a pass comes in between."""
    monkeypatch.setattr(Connection, "poll", lambda connection: 1)


@pytest.mark.usefixtures("without_passes")
def test_several_reads_are_looked_at_together_each_with_its_own_time(
    begun: tuple[Any, Any], send: Any, listener: Listener
) -> None:
    exchange, peer = begun
    sent_ns = send(chunk("two"), chunk("three"), chunk("four"))
    assert listener.text == "one "
    ended_ns = time.perf_counter_ns()
    peer.send(END)
    exchange.wait(PATIENCE_S)
    assert exchange.ended_ns >= ended_ns
    assert listener.text == "one two three four "
    assert listener.groups == [1, 3]
    for sent, arrived, following in zip(sent_ns, listener.arrived_ns[1:], [*sent_ns[1:], ended_ns], strict=True):
        assert sent <= arrived <= following
    assert exchange.bytes_received == len(HEAD + END) + sum(map(len, map(chunk, ("one", "two", "three", "four"))))


@pytest.mark.usefixtures("without_passes")
def test_what_is_in_no_batch_is_taken_by_itself_and_in_its_place(
    begun: tuple[Any, Any], send: Any, listener: Listener
) -> None:
    exchange, peer = begun
    sent_ns = send(chunk("two"), chunk("odd"), chunk("four"), chunk("five"))
    peer.send(END)
    exchange.wait(PATIENCE_S)
    assert listener.text == "one two odd four five "
    assert listener.groups == [1, 1, 1, 2]
    assert listener.arrived_ns == sorted(listener.arrived_ns)
    assert all(sent <= arrived for sent, arrived in zip(sent_ns, listener.arrived_ns[1:], strict=True))


def test_what_does_not_end_as_an_event_does_is_looked_at_at_once(
    begun: tuple[Any, Any], send: Any, listener: Listener, until: Any
) -> None:
    exchange, peer = begun
    send(chunk("two"))
    whole = chunk("three") + chunk("four")
    peer.send(whole[:20])
    until(lambda: len(listener.groups) == 3)
    send(whole[20:])  # ends as an event does, but is no chunk by itself
    peer.send(END)
    exchange.wait(PATIENCE_S)
    assert listener.text == "one two three four "
    assert exchange.error is None


def test_a_stream_that_stalls_is_looked_at_all_the_same(send: Any, listener: Listener, until: Any) -> None:
    send(chunk("two"), chunk("three"))
    until(lambda: listener.text == "one two three ")


def test_who_waits_for_less_than_the_end_sees_all_that_was_read(
    begun: tuple[Any, Any], send: Any, listener: Listener
) -> None:
    exchange, _ = begun
    send(chunk("two"))
    exchange.wait(0.0)
    assert listener.text == "one two "
    assert not exchange.ended


@pytest.mark.parametrize("ending", ["the client closes", "the server closes", "the server breaks the framing"])
def test_nothing_that_was_put_aside_is_lost_however_it_ends(
    begun: tuple[Any, Any], send: Any, listener: Listener, client: Any, ending: str
) -> None:
    exchange, peer = begun
    send(chunk("two"), chunk("three"))
    if ending == "the client closes":
        client.close()
    else:
        if ending == "the server closes":
            peer.close()
        else:
            peer.send(b"no chunk\r\n")
        exchange.wait(PATIENCE_S)
        assert exchange.error is not None
    assert listener.text == "one two three "


@pytest.mark.usefixtures("without_passes")
def test_a_full_lot_is_looked_at_without_waiting(
    begun: tuple[Any, Any], send: Any, listener: Listener, until: Any
) -> None:
    _, peer = begun
    send(*[chunk("again")] * (ASIDE_READS - 1))
    assert listener.groups == [1]
    peer.send(chunk("again"))
    until(lambda: len(listener.groups) > 1)
    assert listener.groups == [1, ASIDE_READS]


def test_the_next_response_on_the_connection_is_looked_at_as_it_comes(
    begun: tuple[Any, Any], send: Any, listener: Listener, client: Any, until: Any
) -> None:
    exchange, peer = begun
    send(chunk("two"))
    peer.send(END)
    exchange.wait(PATIENCE_S)
    second = Listener()
    following = client.post("/", b"", None, second)
    assert following.connect_ns == 0
    peer.request()
    peer.send(HEAD + chunk("again"))
    until(lambda: second.text == "again ")
    peer.send(END)
    following.wait(PATIENCE_S)
    assert following.error is None


def test_reads_without_the_kernels_time_are_taken_in_their_place_and_may_be_the_last(
    begun: tuple[Any, Any],
    send: Any,
    listener: Listener,
    client: Any,
    until: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    exchange, peer = begun
    send(chunk("two"))
    monkeypatch.setattr("tokenswarm.wire.connection.stamp_of", lambda ancillary: b"")
    peer.send(chunk("three"))
    until(lambda: listener.text == "one two three ")
    peer.send(END)
    exchange.wait(PATIENCE_S)
    assert exchange.error is None
    assert LOOP_PACER.streaming == 0
    assert client.post("/", b"", None, Listener()).connect_ns == 0
    peer.request()


@pytest.mark.parametrize("gaps", [True, False], ids=["deferred", "unwatched"])
def test_a_stream_that_is_over_in_the_read_that_begins_it_leaves_nothing_to_the_next(
    server: Any, client: Any, until: Any, kernel_stamps: None, gaps: bool
) -> None:
    """More than a read was waiting: the rest is read at once, the end too."""

    class Relaxing(Listener):
        def on_read(self, exchange: Exchange, arrival: Arrival) -> None:
            self._note([arrival.data], [arrival.arrived_ns])
            if not exchange.response.complete:
                exchange.defer() if gaps else exchange.unwatch()

    peer = None
    for _ in range(3):
        listener = Relaxing()
        exchange = client.post("/", b"", None, listener)
        peer = peer or server.accept()
        peer.request()
        peer.send(HEAD + chunk("x" * (65536 - len(HEAD) - 16)) + chunk("more") + END)
        exchange.wait(PATIENCE_S)
        assert len(listener.bodies) == 2
        assert exchange.watched
        assert LOOP_PACER.streaming == 0
        assert not DEFERRED_READER._turn_of
    assert exchange.connect_ns == 0


@pytest.mark.usefixtures("without_passes")
def test_after_two_odd_ones_in_a_row_the_rest_of_a_lot_is_taken_one_by_one(
    begun: tuple[Any, Any], send: Any, listener: Listener
) -> None:
    """To offer the rest again behind each would take the square of a lot's length."""
    exchange, peer = begun
    send(*map(chunk, ("two", "odd", "four", "odd", "odd", "seven", "eight")))
    peer.send(END)
    exchange.wait(PATIENCE_S)
    assert listener.text == "one two odd four odd odd seven eight "
    assert listener.groups == [1, 1, 1, 1, 1, 1, 1, 1]


def test_a_receiver_that_takes_nothing_together_is_handed_each_by_itself(
    begun: tuple[Any, Any], send: Any, listener: Listener
) -> None:
    exchange, peer = begun
    listener.takes_batches = False
    send(chunk("two"), chunk("three"))
    peer.send(END)
    exchange.wait(PATIENCE_S)
    assert listener.text == "one two three "
    assert listener.groups == [1, 1, 1]


def test_without_the_kernels_times_nothing_is_defer_read(server: Any, clients: Any, until: Any) -> None:
    listener = Listener()
    exchange = clients(server, kernel_stamps=False).post("/", b"", None, listener)
    peer = server.accept()
    peer.request()
    peer.send(HEAD + chunk("one"))
    until(lambda: listener.text == "one ")
    peer.send(chunk("two"))
    until(lambda: listener.text == "one two ")
    peer.send(END)
    exchange.wait(PATIENCE_S)
    assert listener.groups == [1, 1]
