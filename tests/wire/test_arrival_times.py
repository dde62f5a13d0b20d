"""Arrivals carry the time at which their bytes came, not the time at which somebody looked."""

import socket
import struct
import time
from itertools import pairwise
from typing import Any

import gevent
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tokenswarm.wire import Exchange
from tokenswarm.wire.stamps import ArrivalTimes, arrival_time_ns, clocks_ns, stamp_of

HEAD = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
END = b"0\r\n\r\n"
SO_TIMESTAMPNS = 35
EPOCH_NS = 1_700_000_000 * 10**9


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%s\r\n" % (len(data), data)


def spin(seconds: float) -> int:
    """Keep the loop from running, as a busy greenlet does; the time at which it may run again."""
    end_ns = time.perf_counter_ns() + int(seconds * 1e9)
    while (now_ns := time.perf_counter_ns()) < end_ns:
        pass
    return now_ns


@pytest.mark.usefixtures("kernel_stamps")
def test_every_arrival_has_the_kernels_time_between_its_sending_and_its_reading(
    server: Any, client: Any, until: Any, drain: Any
) -> None:
    exchange = client.post("/", b"")
    peer = server.accept()
    spans = []
    for data in (HEAD + chunk(b"a"), chunk(b"b"), chunk(b"c"), chunk(b"d") + END):
        seen = exchange.bytes_received
        before_ns = time.perf_counter_ns()
        peer.send(data)
        until(lambda seen=seen: exchange.bytes_received > seen)
        spans.append((before_ns, time.perf_counter_ns()))
    arrivals = drain(exchange)
    assert [arrival.data for arrival in arrivals] == [b"a", b"b", b"c", b"d"]
    assert all(arrival.kernel for arrival in arrivals)
    for arrival, (before_ns, after_ns) in zip(arrivals, spans, strict=True):
        assert before_ns <= arrival.arrived_ns
        assert arrival.delay_ns >= 0
        assert arrival.arrived_ns + arrival.delay_ns <= after_ns
    assert all(earlier.arrived_ns < later.arrived_ns for earlier, later in pairwise(arrivals))
    assert exchange.sent_ns < exchange.headers_ns == arrivals[0].arrived_ns
    assert exchange.ended_ns == arrivals[-1].arrived_ns


@pytest.mark.usefixtures("kernel_stamps")
def test_a_busy_greenlet_delays_the_reading_and_not_the_arrival(
    server: Any, client: Any, until: Any, drain: Any
) -> None:
    exchange = client.post("/", b"")
    peer = server.accept()
    peer.send(HEAD)
    until(lambda: exchange.headers_ns)
    spin(0.1)
    before_ns = time.perf_counter_ns()
    peer.send(chunk(b"a") + END)
    blocked_until_ns = spin(0.1)
    (arrival,) = drain(exchange)
    assert before_ns <= arrival.arrived_ns < blocked_until_ns
    assert arrival.arrived_ns + arrival.delay_ns >= blocked_until_ns
    assert arrival.kernel
    assert exchange.ended_ns == arrival.arrived_ns


@pytest.mark.usefixtures("kernel_stamps")
def test_of_several_packets_in_one_read_the_last_ones_time_stands(
    server: Any, client: Any, until: Any, drain: Any
) -> None:
    exchange = client.post("/", b"")
    peer = server.accept()
    peer.send(HEAD)
    until(lambda: exchange.headers_ns)
    peer.send(chunk(b"a"))
    between_ns = spin(0.001)
    peer.send(chunk(b"b") + END)
    (arrival,) = drain(exchange)
    assert arrival.data == b"ab"
    assert arrival.arrived_ns >= between_ns


@pytest.mark.usefixtures("kernel_stamps")
def test_bytes_of_a_late_read_came_no_earlier_than_the_loop_looked_last(
    server: Any, client: Any, until: Any, drain: Any
) -> None:
    """What was in the read first is between the loop's last look and the last packet, long after the read before."""
    exchange = client.post("/", b"")
    peer = server.accept()
    peer.send(HEAD)
    until(lambda: exchange.headers_ns)
    before_ns = spin(0.02)
    gevent.sleep(0.001)  # the loop looks as it sleeps
    looked_ns = time.perf_counter_ns()
    spin(0.02)
    first_sent_ns = time.perf_counter_ns()
    peer.send(chunk(b"a"))
    spin(0.02)
    last_sent_ns = time.perf_counter_ns()
    peer.send(chunk(b"b") + END)
    (arrival,) = drain(exchange)
    assert arrival.data == b"ab"
    assert exchange.headers_ns < before_ns < arrival.earliest_ns <= looked_ns < first_sent_ns
    assert last_sent_ns <= arrival.arrived_ns


@pytest.mark.usefixtures("kernel_stamps")
def test_nothing_of_a_response_came_before_its_request_was_sent(server: Any, client: Any, drain: Any) -> None:
    exchange = client.post("/", b"")
    server.accept().send(HEAD + chunk(b"a") + END)
    (arrival,) = drain(exchange)
    assert exchange.sent_ns <= arrival.earliest_ns <= arrival.arrived_ns


@pytest.mark.usefixtures("kernel_stamps")
def test_a_kept_connection_goes_on_having_the_kernels_times(server: Any, client: Any, drain: Any) -> None:
    exchange = client.post("/", b"")
    peer = server.accept()
    peer.send(HEAD + chunk(b"a") + END)
    drain(exchange)
    exchange = client.post("/", b"")
    before_ns = time.perf_counter_ns()
    peer.send(HEAD + chunk(b"b") + END)
    (arrival,) = drain(exchange)
    assert exchange.connect_ns == 0
    assert arrival.kernel
    assert arrival.arrived_ns >= before_ns


def test_without_kernel_times_an_arrival_has_the_time_of_its_reading_and_says_so(
    server: Any, client: Any, drain: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tokenswarm.wire.connection.enable_kernel_stamps", lambda sock: False)
    exchange = client.post("/", b"")
    peer = server.accept()
    peer.send(HEAD + chunk(b"a") + END)
    blocked_until_ns = spin(0.001)
    (arrival,) = drain(exchange)
    assert (arrival.kernel, arrival.delay_ns) == (False, 0)
    assert blocked_until_ns <= arrival.arrived_ns <= time.perf_counter_ns()


def test_a_silent_server_costs_the_waiting_greenlet_no_more_than_its_timeout(server: Any, client: Any) -> None:
    exchange = client.post("/", b"")
    server.accept()
    with gevent.Timeout(20):
        assert exchange.wait(0.01) == []
    assert not exchange.ended


# The kernel's clock and ours.


class Clocks:
    """Two clocks, a fixed offset apart; each look takes `pause_ns`, as if the process had been suspended meanwhile."""

    def __init__(self, pause_ns: int = 0) -> None:
        self._now_ns = 5 * 10**9
        self._pause_ns = pause_ns

    def perf_counter_ns(self) -> int:
        self._now_ns += self._pause_ns
        return self._now_ns

    def time_ns(self) -> int:
        return EPOCH_NS + self.perf_counter_ns()


def stamped(at_ns: int) -> list[tuple[int, int, bytes]]:
    """What the kernel says of a packet that came at `at_ns` of our clock."""
    return [(socket.SOL_SOCKET, SO_TIMESTAMPNS, struct.pack("@qq", *divmod(EPOCH_NS + at_ns, 10**9)))]


@pytest.fixture
def clocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tokenswarm.wire.stamps.time", Clocks())


NOW_NS = 5 * 10**9


def read_of(ancillary: list[tuple[int, int, bytes]], not_before_ns: int) -> tuple[int, int, bool]:
    return arrival_time_ns(stamp_of(ancillary), *clocks_ns(), not_before_ns)


@pytest.mark.usefixtures("clocks")
def test_a_stamp_is_brought_onto_our_clock_to_the_nanosecond() -> None:
    assert read_of(stamped(NOW_NS - 1_234_567), 0) == (NOW_NS - 1_234_567, 1_234_567, True)


@pytest.mark.usefixtures("clocks")
@pytest.mark.parametrize("ago_ns", [0, 1_000_000])
def test_a_stamp_at_either_end_of_what_is_possible_is_taken(ago_ns: int) -> None:
    assert read_of(stamped(NOW_NS - ago_ns), NOW_NS - 1_000_000) == (NOW_NS - ago_ns, ago_ns, True)


@pytest.mark.usefixtures("clocks")
@pytest.mark.parametrize(
    "ancillary",
    [
        pytest.param([], id="none"),
        pytest.param([(socket.SOL_SOCKET, SO_TIMESTAMPNS, b"\0" * 8)], id="cut off"),
        pytest.param([(socket.IPPROTO_TCP, SO_TIMESTAMPNS, stamped(NOW_NS)[0][2])], id="of another level"),
        pytest.param([(socket.SOL_SOCKET, SO_TIMESTAMPNS + 1, stamped(NOW_NS)[0][2])], id="of another kind"),
        pytest.param(stamped(NOW_NS + 1), id="from the future"),
        pytest.param(stamped(NOW_NS - 1_050_001), id="before the last arrival"),
        pytest.param(stamped(NOW_NS - 3600 * 10**9), id="before a step of the clock"),
    ],
)
def test_without_a_credible_stamp_the_time_of_the_reading_is_used(ancillary: list[tuple[int, int, bytes]]) -> None:
    assert read_of(ancillary, NOW_NS - 1_000_000) == (NOW_NS, 0, False)


@pytest.mark.usefixtures("clocks")
@pytest.mark.parametrize("earlier_ns", [1, 50_000])
def test_a_stamp_that_the_clocks_make_a_little_earlier_than_the_last_is_as_late_as_that(earlier_ns: int) -> None:
    """As the second part of a segment is, which two reads hold."""
    last_ns = NOW_NS - 1_000_000
    assert read_of(stamped(last_ns - earlier_ns), last_ns) == (last_ns, 1_000_000, True)


@pytest.mark.usefixtures("clocks")
def test_other_ancillary_data_does_not_hide_the_stamp() -> None:
    other = (socket.SOL_SOCKET, SO_TIMESTAMPNS + 1, b"\0" * 16)
    assert read_of([other, *stamped(NOW_NS - 7)], 0) == (NOW_NS - 7, 7, True)


@given(
    reads=st.lists(
        st.tuples(
            st.integers(0, 20) | st.none(),  # when it arrived by its stamp, None where there is none
            st.integers(0, 5),  # how much later than the one before it was read
        ),
        min_size=1,
        max_size=8,
    )
)
def test_several_reads_are_told_as_each_by_itself(reads: list[tuple[int | None, int]]) -> None:
    """Stamps from before the connection, from the future, out of order or missing included."""
    now_ns = [10 + sum(later for _, later in reads[: at + 1]) for at in range(len(reads))]
    real_ns = [EPOCH_NS + now for now in now_ns]
    stamps = [b"" if came is None else stamp_of(stamped(came)) for came, _ in reads]
    one_by_one, together = ArrivalTimes(5), ArrivalTimes(5)
    each = [one_by_one.of(*read) for read in zip(stamps, real_ns, now_ns, strict=True)]
    assert [*zip(*together.of_each(stamps, real_ns, now_ns), strict=True)] == each
    assert together.emptied_ns == one_by_one.emptied_ns
    assert together.of(stamp_of(stamped(12)), EPOCH_NS + 99, 99) == one_by_one.of(
        stamp_of(stamped(12)), EPOCH_NS + 99, 99
    )


def test_a_process_put_aside_between_its_looks_at_two_clocks_makes_no_arrival_early(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("tokenswarm.wire.stamps.time", Clocks(pause_ns=5_000_000))
    arrived_ns, delay_ns, _ = read_of(stamped(NOW_NS), 0)
    assert arrived_ns >= NOW_NS
    assert delay_ns >= 0


def test_without_kernel_stamps_an_arrival_is_as_late_as_its_reading(server: Any, clients: Any, drain: Any) -> None:
    client = clients(server, kernel_stamps=False)
    exchange = client.post("/", b"")
    peer = server.accept()
    peer.send(HEAD + chunk(b"a") + END)
    free_again_ns = spin(0.05)
    (arrival,) = drain(exchange)
    assert (arrival.kernel, arrival.delay_ns) == (False, 0)
    assert arrival.arrived_ns >= free_again_ns


@pytest.mark.usefixtures("kernel_stamps")
def test_many_requests_in_a_row_do_not_delay_the_reading_of_a_first_output(
    server: Any, client: Any, clients: Any, until: Any, drain: Any
) -> None:
    """If the first packet of two is not read before the second comes, its time is lost."""
    exchange = client.post("/", b"")
    peer = server.accept()
    peer.send(HEAD)
    until(lambda: exchange.headers_ns)
    other = clients(server)
    other.connect()
    peer.send(chunk(b"first"))
    first_sent_ns = spin(0.005)
    other.post("/", b"")  # as other users send, and the loop has no turn
    peer.send(chunk(b"second") + END)
    arrivals = drain(exchange)
    assert [arrival.data for arrival in arrivals] == [b"first", b"second"]
    assert arrivals[0].arrived_ns < first_sent_ns < arrivals[1].arrived_ns
    assert arrivals[0].earliest_ns <= arrivals[0].arrived_ns


@pytest.mark.usefixtures("kernel_stamps")
def test_requests_that_end_together_do_not_delay_the_reading_of_a_first_output(
    server: Any, client: Any, clients: Any, until: Any, drain: Any
) -> None:
    exchange = client.post("/", b"")
    peer = server.accept()
    peer.send(HEAD)
    until(lambda: exchange.headers_ns)
    others = [clients(server) for _ in range(2)]
    ending = [other.post("/", b"") for other in others]
    for _ in others:
        server.accept().send(HEAD + chunk(b"whole") + END)
    until(lambda: all(each.ended for each in ending))
    peer.send(chunk(b"first"))
    first_sent_ns = spin(0.005)
    ending[0].wait(1.0)  # its user goes on, and the loop has no turn
    peer.send(chunk(b"second") + END)
    arrivals = drain(exchange)
    assert [arrival.data for arrival in arrivals] == [b"first", b"second"]
    assert arrivals[0].arrived_ns < first_sent_ns < arrivals[1].arrived_ns


def test_what_is_made_for_a_request_is_made_before_it_counts_as_sent(
    server: Any, client: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A garbage collection may begin with each new object, and is no part of the server's time."""
    made_ns: list[int] = []

    class SlowExchange(Exchange):
        def __init__(self, *arguments: Any) -> None:
            super().__init__(*arguments)
            made_ns.append(spin(0.002))

    monkeypatch.setattr("tokenswarm.wire.connection.Exchange", SlowExchange)
    exchange = client.post("/", b"")
    assert exchange.sent_ns >= made_ns[0]
