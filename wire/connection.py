"""One TCP connection: connect, send, and the hub-level watcher that stamps and parses what arrives."""

from __future__ import annotations

import errno
import socket
import ssl
import time
from contextlib import suppress
from typing import Any

import gevent
import gevent.socket

from wire.connect import connect, words_of
from wire.drainer import DRAINER, INTERVAL_S, MOST_PASSES
from wire.errors import ClientLimitReached, ConnectFailed, ServerBrokeProtocol, WireError
from wire.exchange import Exchange, Receiver
from wire.limits import limit_reached
from wire.origin import Origin
from wire.polls import POLLS
from wire.reads import NOTES, Reads, reads_of
from wire.ready import READY
from wire.stamps import ANCILLARY_BYTES, ArrivalTimes, clocks_ns, enable_kernel_stamps, stamp_of
from wire.tcp_info import acknowledged_bytes
from wire.tls import TlsSession

_READ_BYTES = 65536
# A server that floods must leave the hub to other users' arrivals; what is left is read in the hub's next round.
_READS_AT_ONCE = 16
#: The same where a limit of time is over and nothing may be left: more than a socket's buffer holds.
_MOST_BYTES_AT_A_LIMIT = 64 * 1024 * 1024
#: What nearly every read of a stream ends with: an event's blank line and the end of its chunk.
_WHOLE_EVENT = b"\n\n\r\n"
_ASIDE_NOTES = 32 * NOTES
#: After more odd ones in a row, the rest of the lot is not offered together: to look through all of it costs.
_ODD_ONES = 1
#: So much in one visit, and the kernel might soon have room for no more.
_MUCH_BYTES = 16 * 1024
#: How much later than it came a stream's end may be noticed where nobody watches it, in parts of its time so far.
_LATE_PART = 0.05


class Connection:
    """A connected socket whose reads happen in gevent's hub, without a greenlet switch."""

    def __init__(
        self, origin: Origin, timeout_s: float, tls: ssl.SSLContext | None = None, kernel_stamps: bool = True
    ) -> None:
        """Connect, and shake hands where there is TLS. Raises ConnectFailed, ConnectTimedOut or
        ClientLimitReached."""
        began_ns = time.perf_counter_ns()
        self._timeout_s = timeout_s
        self._tls = TlsSession(tls, origin.host) if tls else None
        with POLLS.hurry():
            self._sock = connect(origin, timeout_s, self._tls)
        self._kernel_stamps = kernel_stamps and enable_kernel_stamps(self._sock)
        self._connect_ns = time.perf_counter_ns() - began_ns
        self._times = ArrivalTimes(began_ns)
        self._exchange: Exchange | None = None
        self._answered = self._sending = False
        self._sent_bytes = 0  # of all requests; what TLS adds is not among them
        self._accepted_bytes = 0  # of the last request, by the kernel
        self._bytes_before_request = 0
        self._aside: list[Any] = []  # NOTES of each read that was not looked at yet
        self._patient_since_ns: int | None = None
        self.closed = False
        self.watched = True
        POLLS.keep()
        try:
            READY.add(self._sock.fileno(), self._on_readable)
        except OSError as error:  # no descriptor or no memory is left for it
            self._sock.close()
            if limit := limit_reached(error):
                raise ClientLimitReached(f"cannot watch a connection to {origin.authority}: {limit}") from None
            raise ConnectFailed(f"cannot watch a connection to {origin.authority}: {words_of(error)}") from None

    def send(self, request: bytes, receiver: Receiver | None = None) -> Exchange:
        """Start an exchange; the first one bears the cost of connecting. A failure to send is the exchange's error,
        not an exception."""
        exchange = Exchange(time.perf_counter_ns(), self._connect_ns, self, receiver)
        self._times.emptied_ns = exchange.sent_ns
        self._connect_ns = 0
        self._exchange = exchange
        self._bytes_before_request = self._tls.sent_bytes if self._tls else self._sent_bytes
        self._sent_bytes += len(request)
        try:
            self._send_all(self._tls.encrypt(request) if self._tls else request)
        except TimeoutError:
            late = ServerBrokeProtocol(f"the server took no more of the request for {self._timeout_s:g} s")
            self._stop(late, exchange)
        except OSError as error:
            broken = _as_wire_error(error, "the connection broke while the request was sent")
            # EPIPE: the server's orderly close came first, and its reset answers what was sent since.
            closed_first = error.errno == errno.EPIPE and self._request_unacknowledged()
            if not exchange.ended:
                exchange.never_read = not self._accepted_bytes or closed_first
            self._stop(broken, exchange)
        return exchange

    def _request_unacknowledged(self) -> bool:
        """Whether the server's system has surely acknowledged nothing of the last request."""
        acknowledged = None if self.closed else acknowledged_bytes(self._sock)
        return acknowledged is not None and acknowledged <= self._bytes_before_request

    def unwatch(self) -> None:
        """Have the drainer read it instead of the hub. The exchange's end brings the hub's watch back."""
        if not self.closed and not self._patient:
            self.watched = False
            READY.remove(self._sock.fileno())
            self._become_patient()

    def put_aside(self) -> None:
        """Read as before, but look at several reads at a time, as long as they end as a stream's reads do; until the
        exchange's end."""
        if not self.closed and not self._patient and self._kernel_stamps:
            READY.change(self._sock.fileno(), self._put_aside)
            self._become_patient()

    def _become_patient(self) -> None:
        self._patient_since_ns = time.perf_counter_ns()
        POLLS.patient += 1
        DRAINER.add(self)

    def _end_patience(self) -> None:
        """With the exchange: what comes next is read, and looked at, as it comes; be it the connection's close."""
        if not self._patient:
            return
        self._patient_since_ns = None
        POLLS.patient -= 1
        DRAINER.remove(self)
        if not self.closed:
            read_as = READY.change if self.watched else READY.add
            read_as(self._sock.fileno(), self._on_readable)
            self.watched = True

    @property
    def _patient(self) -> bool:
        return self._patient_since_ns is not None

    def catch_up(self) -> None:
        """Take all that has come, be it put aside or, where nobody watches, still with the kernel."""
        if self.watched or self.closed:
            self._look_at_aside()
        else:
            self._on_readable()

    def read_now(self) -> int:
        """Read and hand over all that the kernel holds, though the hub would read it soon; return how many bytes that
        was. Where the process was stopped or busy, timers run out before what arrived meanwhile has been read."""
        self._look_at_aside()
        received = 0
        while not self.closed and received < _MOST_BYTES_AT_A_LIMIT:
            received += (last := self._on_readable(in_loop=False))
            if last < _READS_AT_ONCE * _READ_BYTES:
                break
        return received

    def _look_at_aside(self) -> None:
        if self._aside:
            try:
                self._look()
            except Exception as error:
                self._stop(_as_wire_error(error))

    def visit(self) -> int:
        """Take what the kernel holds where nobody watches it, or look at what was put aside; in how many of the
        drainer's passes to come again.

        An unwatched stream's end is noticed at a visit, and its user goes on only then: later by a small part of the
        time that it took.
        """
        if self.watched:
            self._look_at_aside()
            return MOST_PASSES
        received = self._on_readable()
        if self._patient_since_ns is None or received > _MUCH_BYTES:
            return 1
        took_s = (time.perf_counter_ns() - self._patient_since_ns) / 1e9
        return max(1, min(MOST_PASSES, int(_LATE_PART * took_s / INTERVAL_S)))

    def close(self) -> None:
        """Stop watching and close. An exchange that has not ended is left without its end."""
        self._look_at_aside()
        if not self.closed:
            self.closed = True
            self._answered = self.has_answered
            self._exchange = None  # it knows this connection: no ring of references is left
            self._end_patience()
            READY.remove(self._sock.fileno())
            if not self._sending:
                self._sock.close()
                return
            # A sender waits on this descriptor, and libev aborts the process if it is closed underneath. Shut down, it
            # wakes the sender, who closes it.
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

    def _send_all(self, request: bytes) -> None:
        view = memoryview(request)
        self._sending, late = True, False
        self._accepted_bytes = 0
        try:
            while view:
                try:
                    accepted = self._sock.send(view)
                    view, late = view[accepted:], False
                    self._accepted_bytes += accepted
                except BlockingIOError:
                    if late:
                        raise TimeoutError from None
                    with POLLS.hurry():
                        late = not self._becomes_writable()
        finally:
            self._sending = False
            if self.closed:
                self._sock.close()

    def _becomes_writable(self) -> bool:
        """False where that took too long; it may have happened just now, if the process was stopped."""
        try:
            gevent.socket.wait_write(self._sock.fileno(), timeout=self._timeout_s)
        except TimeoutError:
            return False
        return True

    def _on_readable(self, in_loop: bool = True) -> int:
        """Runs in the hub: must neither block nor raise. How many bytes were read. in_loop: whether the loop just
        reported that there is something to read."""
        received = 0
        try:
            for _ in range(_READS_AT_ONCE):
                received += (last := self._read(in_loop))
                if last >= _MUCH_BYTES:
                    self._note_much(more=False)
                if last < _READ_BYTES or self.closed:
                    return received
            READY.again(self._sock.fileno())
        except BlockingIOError:
            pass
        except Exception as error:  # a defect of ours must reach the request's record, not vanish in the hub
            self._stop(_as_wire_error(error))
        return received

    def _note_much(self, more: bool) -> None:
        """The last read held so much that the server may have waited for it; `more`: perhaps not all there was."""
        if self._exchange is not None:
            self._exchange.behind_ns = time.perf_counter_ns()
        if more:
            READY.again(self._sock.fileno())

    def _put_aside(self) -> None:
        """As _on_readable, for each read of a patient stream: nothing is done here that can be done for several."""
        aside = self._aside
        try:
            data, ancillary, _, _ = self._sock.recvmsg(_READ_BYTES, ANCILLARY_BYTES)
            real_ns, now_ns = clocks_ns()
            if len(data) >= _MUCH_BYTES:
                self._note_much(len(data) == _READ_BYTES)
            if data and self._tls is not None and not (data := self._decrypted(data)):
                self._check_tls()
                return
            aside += data, stamp_of(ancillary), real_ns, now_ns
            broken = self._tls is not None and self._tls.broken is not None
            if len(aside) < _ASIDE_NOTES and data.endswith(_WHOLE_EVENT) and not broken:
                return
            self._look()
            self._check_tls()
        except BlockingIOError:
            return
        except Exception as error:
            self._stop(_as_wire_error(error))

    def _look(self) -> None:
        notes, self._aside = self._aside, []
        reads = reads_of(notes, self._times)
        at, end = 0, len(reads.datas)
        alike_end = 0
        if all(reads.kernel):
            alike_end = end if reads.datas[-1].endswith(_WHOLE_EVENT) else end - 1
        in_vain = 0
        while not self.closed and at < end:
            if in_vain <= _ODD_ONES and (taken := self._take_alike(reads, at, alike_end)):
                at += taken
                in_vain = 0
            else:
                self._take(*reads.one(at))
                at += 1
                in_vain += 1

    def _take_alike(self, reads: Reads, begin: int, end: int) -> int:
        """Take those of the reads from one to another that are like others before them; how many."""
        if begin >= end or self._exchange is None or self._exchange.ended:
            return 0
        these = slice(begin, end)
        return self._exchange.take_alike(reads.datas[these], reads.arrived_ns[these], reads.delays_ns[these])

    def _read(self, in_loop: bool) -> int:
        data, ancillary, _, _ = self._sock.recvmsg(_READ_BYTES, ANCILLARY_BYTES)
        earliest_ns = self._times.emptied_ns
        arrived_ns, delay_ns, kernel = self._times.of(stamp_of(ancillary), *clocks_ns())
        if in_loop and self.watched and earliest_ns < POLLS.empty_ns <= arrived_ns:
            earliest_ns = POLLS.empty_ns
        received = len(data)
        if data and self._tls is not None and not (data := self._decrypted(data)):
            self._check_tls()
            return received
        self._take(data, arrived_ns, delay_ns, kernel, earliest_ns)
        self._check_tls()
        return received

    def _check_tls(self) -> None:
        """Raises ServerBrokeProtocol where TLS broke behind the data that the last read held."""
        if self._tls is not None and self._tls.broken is not None:
            raise self._tls.broken

    def _decrypted(self, data: bytes) -> bytes:
        """b"" for a record that is not whole yet."""
        assert self._tls is not None
        data = self._tls.decrypt(data)
        if answer := self._tls.to_send():
            with suppress(BlockingIOError):  # a few bytes of TLS's own, into an idle direction: they fit
                self._sock.send(answer)
        return data

    def _take(self, data: bytes, arrived_ns: int, delay_ns: int, kernel: bool, emptied_ns: int) -> None:
        exchange = self._exchange
        if not data:
            self._on_end_of_connection(arrived_ns)
        elif exchange is None or exchange.ended:
            # Nobody asked for these bytes: the next request could not tell its response from them.
            self.close()
        else:
            exchange.take(data, arrived_ns, delay_ns, kernel, min(arrived_ns, emptied_ns))
            if exchange.ended:
                self._end_patience()
                if self._sending:  # answered before it was asked: the rest need not be sent
                    self.close()

    def _on_end_of_connection(self, arrived_ns: int) -> None:
        error: WireError | None = None
        if self._exchange is not None and not self._exchange.ended:
            try:
                self._exchange.response.end_of_connection()
            except ServerBrokeProtocol as broken:
                error = broken
                # The packet with the server's close acknowledges all that had reached it before.
                self._exchange.never_read = self._request_unacknowledged()
            self._exchange.finish(arrived_ns, error)
        self.close()

    def _stop(self, error: WireError, exchange: Exchange | None = None) -> None:
        exchange = exchange or self._exchange
        self.close()
        if exchange is not None:
            exchange.finish(time.perf_counter_ns(), error)


def _as_wire_error(error: Exception, what: str = "the connection broke") -> WireError:
    if isinstance(error, WireError):
        return error
    if isinstance(error, OSError):
        if limit := limit_reached(error):
            return ClientLimitReached(f"{what}: {limit}")
        return ServerBrokeProtocol(f"{what}: {words_of(error)}")
    return WireError(f"reading failed inside the client: {error!r}")
