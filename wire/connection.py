"""One TCP connection: connect, send, and the hub-level watcher that stamps and parses what arrives."""

from __future__ import annotations

import errno
import socket
import ssl
import time
from contextlib import suppress
from functools import partial
from typing import Any

from tokenswarm.wire.connect import connect, error_text
from tokenswarm.wire.deferred_reader import DEFERRED_READER, INTERVAL_S, MOST_PASSES
from tokenswarm.wire.errors import ClientLimitReached, ConnectFailed, ServerBrokeProtocol, WireError
from tokenswarm.wire.exchange import Exchange, Receiver
from tokenswarm.wire.limits import limit_reached
from tokenswarm.wire.loop_pacer import LOOP_PACER
from tokenswarm.wire.origin import Origin
from tokenswarm.wire.proxy import Proxy
from tokenswarm.wire.read_batch import FIELDS_PER_READ, NO_READS, read_batch_of
from tokenswarm.wire.read_notifier import READ_NOTIFIER
from tokenswarm.wire.request_sender import RequestSender, spin_until
from tokenswarm.wire.segment_reads import cut_deferred, cut_read, process_together
from tokenswarm.wire.stamps import ANCILLARY_BYTES, ArrivalTimes, clocks_ns, enable_kernel_stamps, stamp_of
from tokenswarm.wire.tap.joined import may_hold_several_events, may_hold_several_records
from tokenswarm.wire.tap.packet_tap import PacketTap
from tokenswarm.wire.tap.tapped_stream import TappedStream
from tokenswarm.wire.tcp_info import acknowledge_soon, received_segments
from tokenswarm.wire.tls import TlsSession

_READ_BYTES = 65536
# A server that floods must leave the hub to other users' arrivals; what is left is read in the hub's next round.
_READS_AT_ONCE = 16
#: The same where a limit of time is over and nothing may be left: more than a socket's buffer holds.
_MOST_BYTES_AT_A_LIMIT = 64 * 1024 * 1024
#: What nearly every read of a stream ends with: an event's blank line and the end of its chunk.
_WHOLE_EVENT = b"\n\n\r\n"
_MOST_DEFERRED_FIELDS = 32 * FIELDS_PER_READ
#: After more reads in a row that start no batch, the rest is read one by one: each search through them costs.
_MOST_BATCH_MISSES = 1
#: After so much in one read, the kernel's buffer may soon be full.
_LARGE_READ_BYTES = 16 * 1024
#: How much later than it arrived the end of an unwatched stream may be noticed, as a share of its time so far.
_LATE_SHARE = 0.05
_MOST_LATE_S = 0.5
#: From one processing of deferred reads to the next.
_DEFERRED_PASSES = 5
#: Where the end is noticed sooner: more fill the kernel's memory for the stream.
_MOST_UNREAD_SEGMENTS = 40


class Connection:
    """A connected socket whose reads happen in gevent's hub, without a greenlet switch."""

    def __init__(
        self,
        origin: Origin,
        timeout_s: float,
        tls: ssl.SSLContext | None = None,
        kernel_stamps: bool = True,
        proxy: Proxy | None = None,
        tap: PacketTap | None = None,
    ) -> None:
        """Connect, through the proxy if there is one, and shake hands where there is TLS. tap: watches this server.
        Raises ConnectFailed, ConnectTimedOut or ClientLimitReached."""
        READ_NOTIFIER.read_between()  # many may connect in a row
        began_ns = time.perf_counter_ns()
        self._timeout_s = timeout_s
        self._tls = TlsSession(tls, origin.host) if tls else None
        with LOOP_PACER.no_delay():
            self._sock = connect(origin, timeout_s, self._tls, proxy, tap.own_ports if tap else None)
        self._kernel_stamps = kernel_stamps and enable_kernel_stamps(self._sock)
        self._connect_ns = time.perf_counter_ns() - began_ns
        self._times = ArrivalTimes(began_ns)
        may_hold_several = may_hold_several_records if tls else may_hold_several_events
        self._tapped = tap.stream_of(self._sock, may_hold_several, began_ns) if tap else None
        self._exchange: Exchange | None = None
        self._answered = False
        self._sender = RequestSender(self._sock, timeout_s)
        self._deferred: list[Any] = []  # the fields of each deferred read, one after the other
        #: When the socket held nothing before each of the first of these, which may hold a first output.
        self._empty_ns: list[int] = []
        #: When the exchange became a stream whose reads may be late; None while each read counts at once.
        self._streaming_since_ns: int | None = None
        self.closed = False
        self.watched = True
        LOOP_PACER.keep()
        try:
            READ_NOTIFIER.add(self._sock.fileno(), self._read_ahead, self._process_deferred)
        except OSError as error:  # no descriptor or no memory is left for it
            self._sock.close()
            if self._tapped is not None:
                self._tapped.close()
            if limit := limit_reached(error):
                raise ClientLimitReached(f"cannot watch a connection to {origin.authority}: {limit}") from None
            raise ConnectFailed(f"cannot watch a connection to {origin.authority}: {error_text(error)}") from None

    def send(self, request: bytes, receiver: Receiver | None = None, not_before_ns: int = 0) -> Exchange:
        """Start an exchange; the first one bears the cost of connecting. A failure to send is the exchange's error,
        not an exception. not_before_ns: a moment on perf_counter_ns that is waited for before the first byte leaves,
        see `spin_until`; all else is done before it."""
        READ_NOTIFIER.read_between()  # many requests may be sent in a row
        exchange = Exchange(time.perf_counter_ns(), self._connect_ns, self, receiver)
        self._connect_ns = 0
        self._exchange = exchange
        if self._tapped is not None:
            exchange.tapped = True
            exchange.end_is_noticed = self._tapped.end_would_be_noticed
            self._tapped.segments_read = received_segments(self._sock)
        exchange.received_segments = partial(received_segments, self._sock)
        sender = self._sender
        sender.bytes_before_request = self._tls.sent_bytes if self._tls else sender.sent_bytes
        sender.sent_bytes += len(request)
        sender.accepted_bytes = 0
        try:
            data = memoryview(self._tls.encrypt(request) if self._tls else request)
            if not_before_ns:
                spin_until(not_before_ns)
            # Last of all: whatever makes objects may begin a garbage collection.
            self._times.emptied_ns = exchange.sent_ns = time.perf_counter_ns()
            sender.send(data)
            exchange.left_within_ns = max(0, sender.handed_ns - exchange.sent_ns)
        except TimeoutError:
            late = ServerBrokeProtocol(f"the server took no more of the request for {self._timeout_s:g} s")
            self._stop(late, exchange)
        except OSError as error:
            alert = self._tls.broken if self._tls else None
            broken = alert or _as_wire_error(error, "the connection broke while the request was sent")
            # EPIPE: the server's orderly close came first, and its reset answers what was sent since.
            closed_first = error.errno == errno.EPIPE and not self.closed and sender.surely_unacknowledged()
            if not exchange.ended:
                exchange.never_read = not sender.accepted_bytes or closed_first
                if _holds_data(self._sock):
                    self.read_now()  # what the server sent before it closed says why
            self._stop(broken, exchange)
        finally:
            if self.closed:
                self._sock.close()
        return exchange

    def unwatch(self) -> None:
        """Let the deferred reader read it instead of the hub, until the exchange's end."""
        if not self.closed and self._streaming_since_ns is None:
            self.watched = False
            acknowledge_soon(self._sock)
            READ_NOTIFIER.remove(self._sock.fileno())
            self._start_streaming()

    def defer(self) -> None:
        """Read as before, but process several reads at a time, as long as they end as a stream's reads do; until the
        exchange's end."""
        if not self.closed and self._streaming_since_ns is None and self._kernel_stamps:
            self._start_streaming()

    def _start_streaming(self) -> None:
        self._streaming_since_ns = time.perf_counter_ns()
        LOOP_PACER.streaming += 1
        if self._tapped is not None and not self.watched:
            LOOP_PACER.left_to_tap += 1
            self._tapped.read_late(self._on_readable)
        DEFERRED_READER.add(self, 1 if self.watched else _passes_to_next_poll(self._tapped, self._streaming_since_ns))

    def _end_streaming(self) -> None:
        """At the exchange's end: what comes next, even the connection's close, is read and processed as it comes."""
        if self._streaming_since_ns is None:
            return
        since_ns, self._streaming_since_ns = self._streaming_since_ns, None
        LOOP_PACER.streaming -= 1
        DEFERRED_READER.remove(self)
        if self._tapped is not None:
            LOOP_PACER.left_to_tap -= not self.watched
            self._tapped.read_at_once(ended=not self.closed)
            if not self.closed:
                self._tapped.lasted((time.perf_counter_ns() - since_ns) / 1e9)
        if not self.closed and not self.watched:
            READ_NOTIFIER.add(self._sock.fileno(), self._read_ahead, self._process_deferred)
            self.watched = True

    def catch_up(self) -> None:
        """Process all that has come: deferred reads, and what the kernel holds of an unwatched stream. What follows in
        the user's greenlet takes long: what has come for others is read before."""
        READ_NOTIFIER.read_between()
        if self.watched or self.closed:
            self._process_deferred()
        else:
            self._on_readable()

    def read_now(self) -> int:
        """Read and process all that the kernel holds, though the hub would read it soon; return how many bytes that
        was. Where the process was stopped or busy, timers run out before what arrived meanwhile has been read."""
        self._process_deferred()
        received = 0
        while not self.closed and received < _MOST_BYTES_AT_A_LIMIT:
            received += (last := self._on_readable())
            if last < _READS_AT_ONCE * _READ_BYTES:
                break
        return received

    def poll(self) -> int:
        """Read what the kernel holds of an unwatched stream, or process the deferred reads of a watched one. Returns in
        how many passes of the deferred reader to call again.

        An unwatched stream's end is noticed here, and its user goes on only then: later by a small share of the time
        that the stream took.
        """
        if self.watched:
            READ_NOTIFIER.read_between()
            self._process_deferred()
            return _DEFERRED_PASSES
        received = self._on_readable()
        if self._streaming_since_ns is None or received > _LARGE_READ_BYTES:
            return 1
        return _passes_to_next_poll(self._tapped, self._streaming_since_ns)

    def close(self) -> None:
        """Stop watching and close. An exchange that has not ended is left without its end."""
        self._process_deferred()
        if not self.closed:
            self.closed = True
            self._answered = self.has_answered
            self._exchange = None  # it knows this connection: no ring of references is left
            self._end_streaming()
            if self._tapped is not None:
                self._tapped.close()
            READ_NOTIFIER.remove(self._sock.fileno())
            if not self._sender.sending:
                self._sock.close()
                return
            # `send` waits on this descriptor, and libev aborts the process if it is closed meanwhile. The shutdown
            # wakes `send`, which closes it.
            with suppress(OSError):
                self._sock.shutdown(socket.SHUT_RDWR)

    @property
    def has_answered(self) -> bool:
        """Whether it has served a whole answer that announced no close."""
        exchange = self._exchange
        return self._answered or (exchange is not None and exchange.ended and exchange.response.keeps_alive)

    @property
    def reusable(self) -> bool:
        """Whether the last exchange left the connection open for another."""
        exchange = self._exchange
        return not self.closed and (exchange is None or (exchange.ended and exchange.response.keeps_alive))

    def _on_readable(self) -> int:
        """Read and process all that has come: must neither block nor raise. How many bytes were read."""
        received = 0
        try:
            for _ in range(_READS_AT_ONCE):
                received += (last := self._read())
                if last >= _LARGE_READ_BYTES and self._exchange is not None:
                    self._exchange.behind_ns = time.perf_counter_ns()
                # Behind what is left unread for long, the end may have come as well.
                if self.closed or (last < _READ_BYTES and self.watched):
                    return received
            READ_NOTIFIER.rearm(self._sock.fileno())
        except BlockingIOError:
            pass
        except Exception as error:  # a defect of ours must reach the request's record, not vanish in the hub
            self._stop(_as_wire_error(error))
        return received

    def _read_ahead(self) -> bool:
        """Read once, and only note down the times. Whether what has been read is to be processed soon: not the reads of
        a stream, which can be processed several at a time."""
        deferred = self._deferred
        try:
            data, ancillary, _, _ = self._sock.recvmsg(_READ_BYTES, ANCILLARY_BYTES)
            real_ns, now_ns = clocks_ns()
            size = len(data)
            if size >= _LARGE_READ_BYTES and self._exchange is not None:
                self._exchange.behind_ns = time.perf_counter_ns()
            if size == _READ_BYTES:  # perhaps not all there was
                READ_NOTIFIER.rearm(self._sock.fileno())
            tls = self._tls if self._tapped is None else None  # else the ciphertext is to be cut first
            if data and tls is not None and not (data := tls.received(data, self._sock)):
                if tls.broken is not None:
                    self._process_deferred()
                    tls.check()
                return False
            deferred += data, stamp_of(ancillary), real_ns, now_ns
            if self._streaming_since_ns is None:
                self._empty_ns.append(LOOP_PACER.empty_ns)
            elif len(deferred) < _MOST_DEFERRED_FIELDS and data.endswith(_WHOLE_EVENT):
                return tls is not None and tls.broken is not None
            if size < _LARGE_READ_BYTES and len(deferred) < 2 * _MOST_DEFERRED_FIELDS:
                return True
            self._process_deferred()  # a server that floods must not fill the memory
        except BlockingIOError:
            pass
        except Exception as error:
            self._stop(_as_wire_error(error))
        return False

    def _process_deferred(self) -> None:
        """Must not raise."""
        if not self._deferred:
            return
        fields, self._deferred = self._deferred, []
        empty_ns, self._empty_ns = self._empty_ns, []
        try:
            self._process(*cut_deferred(self._tapped, self._exchange, self._sock, self._tls, fields, empty_ns))
        except Exception as error:
            self._stop(_as_wire_error(error))

    def _process(self, fields: list[Any], empty_ns: list[int]) -> None:
        """Reads in a row, by their fields; empty_ns: when the socket was empty before each of the first ones."""
        reads = read_batch_of(fields, self._times) if fields else NO_READS
        at, end = 0, len(reads.datas)
        while not self.closed and at < len(empty_ns):
            data, arrived_ns, delay_ns, kernel, earliest_ns = reads.one(at)
            if earliest_ns < empty_ns[at] <= arrived_ns:
                earliest_ns = empty_ns[at]
            self._on_read(data, arrived_ns, delay_ns, kernel, earliest_ns)
            at += 1
        batch_end = 0
        if end and all(reads.kernel):
            batch_end = end if reads.datas[-1].endswith(_WHOLE_EVENT) else end - 1
        misses = 0
        while not self.closed and at < end:
            exchange = self._exchange
            if exchange is not None and at < batch_end and misses <= _MOST_BATCH_MISSES:
                these = slice(at, batch_end)
                if taken := exchange.on_batch(reads.datas[these], reads.arrived_ns[these], reads.delays_ns[these]):
                    at += taken
                    misses = 0
                    continue
            self._on_read(*reads.one(at))
            at += 1
            misses += 1
        if self._tls is not None:
            self._tls.check()

    def _read(self) -> int:
        data, ancillary, _, _ = self._sock.recvmsg(_READ_BYTES, ANCILLARY_BYTES)
        earliest_ns = self._times.emptied_ns
        real_ns, now_ns = clocks_ns()
        tls, tapped, exchange = self._tls, self._tapped, self._exchange
        if tapped is not None and exchange is not None and not self.watched:
            read = data, stamp_of(ancillary), real_ns, now_ns
            if tls is None:
                self._process(process_together(tapped, exchange, self._times, read), [])
            else:
                self._process(*cut_deferred(tapped, exchange, self._sock, tls, [*read], []))
            if not exchange.ended:
                tapped.expect_more()
            return len(data)
        for part, stamp in cut_read(self._tapped, self._exchange, data, stamp_of(ancillary)):
            arrived_ns, delay_ns, kernel = self._times.of(stamp, real_ns, now_ns)
            plaintext = tls.received(part, self._sock) if part and tls is not None else part
            if plaintext or not part:
                self._on_read(plaintext, arrived_ns, delay_ns, kernel, earliest_ns)
            if self.closed:
                break
            earliest_ns = arrived_ns
        if tls is not None:
            tls.check()
        return len(data)

    def _on_read(self, data: bytes, arrived_ns: int, delay_ns: int, kernel: bool, emptied_ns: int) -> None:
        exchange = self._exchange
        if not data:
            self._on_end_of_connection(arrived_ns)
        elif exchange is None or exchange.ended:
            # No request is open: the next one could not distinguish its response from these bytes.
            self.close()
        else:
            exchange.on_read(data, arrived_ns, delay_ns, kernel, min(arrived_ns, emptied_ns))
            if exchange.ended:
                self._end_streaming()
                if self._sender.sending:  # answered before all of the request was sent: the rest need not be
                    self.close()

    def _on_end_of_connection(self, arrived_ns: int) -> None:
        error: WireError | None = None
        if self._exchange is not None and not self._exchange.ended:
            try:
                self._exchange.response.end_of_connection()
            except ServerBrokeProtocol as broken:
                error = broken
                # The packet with the server's close acknowledges all that had reached it before.
                self._exchange.never_read = self._sender.surely_unacknowledged()
            self._exchange.finish(arrived_ns, error)
        self.close()

    def _stop(self, error: WireError, exchange: Exchange | None = None) -> None:
        exchange = exchange or self._exchange
        self.close()
        if exchange is not None:
            exchange.finish(time.perf_counter_ns(), error)


def _passes_to_next_poll(tapped: TappedStream | None, streaming_since_ns: int) -> int:
    """Of an unwatched stream."""
    wait_s = min(_MOST_LATE_S, _LATE_SHARE * (time.perf_counter_ns() - streaming_since_ns) / 1e9)
    if tapped is not None and tapped.notices_end:
        wait_s = _MOST_UNREAD_SEGMENTS * tapped.gap_ns / 1e9
    return max(1, min(MOST_PASSES, int(wait_s / INTERVAL_S)))


def _holds_data(sock: socket.socket) -> bool:
    """Whether the kernel holds data that was not read, of a broken connection too."""
    try:
        return bool(sock.recv(1, socket.MSG_PEEK))
    except OSError:
        return False


def _as_wire_error(error: Exception, what: str = "the connection broke") -> WireError:
    if isinstance(error, WireError):
        return error
    if isinstance(error, OSError):
        if limit := limit_reached(error):
            return ClientLimitReached(f"{what}: {limit}")
        return ServerBrokeProtocol(f"{what}: {error_text(error)}")
    return WireError(f"reading failed inside the client: {error!r}")
