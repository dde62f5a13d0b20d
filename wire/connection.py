"""One TCP connection: connect, send, and the hub-level watcher that stamps and parses what arrives."""

from __future__ import annotations

import socket
import ssl
import time
from contextlib import suppress

import gevent
import gevent.socket

from wire.connect import connect, words_of
from wire.drainer import DRAINER
from wire.errors import ServerBrokeProtocol, WireError
from wire.exchange import Exchange, Receiver
from wire.origin import Origin
from wire.polls import POLLS
from wire.reads import Reads
from wire.stamps import ANCILLARY_BYTES, arrival_time_ns, clocks_ns, enable_kernel_stamps, stamp_of
from wire.tls import TlsSession

_READ_BYTES = 65536
# A server that floods must leave the hub to other users' arrivals; what is left is read in the hub's next round.
_READS_AT_ONCE = 16
_READABLE = 1
#: What nearly every read of a stream ends with: an event's blank line and the end of its chunk.
_WHOLE_EVENT = b"\n\n\r\n"
_ASIDE_READS = 16
_ASIDE_NS = 200_000_000


class Connection:
    """A connected socket whose reads happen in gevent's hub, without a greenlet switch."""

    def __init__(
        self, origin: Origin, timeout_s: float, tls: ssl.SSLContext | None = None, kernel_stamps: bool = True
    ) -> None:
        """Connect, and shake hands where there is TLS. Raises ConnectFailed or ConnectTimedOut."""
        began_ns = time.perf_counter_ns()
        self._timeout_s = timeout_s
        self._tls = TlsSession(tls, origin.host) if tls else None
        with POLLS.hurry():
            self._sock = connect(origin, timeout_s, self._tls)
        self._kernel_stamps = kernel_stamps and enable_kernel_stamps(self._sock)
        self._connect_ns = time.perf_counter_ns() - began_ns
        self._not_before_ns = self._last_ns = self._emptied_ns = began_ns
        self._exchange: Exchange | None = None
        self._sending = False
        self._aside: Reads | None = None  # None where each read is looked at as it comes
        self._patient = False
        self._watcher = gevent.get_hub().loop.io(self._sock.fileno(), _READABLE)
        self.closed = False
        self.watched = False
        POLLS.keep()
        self._watch()

    def send(self, request: bytes, receiver: Receiver | None = None) -> Exchange:
        """Start an exchange; the first one bears the cost of connecting. A failure to send is the exchange's error,
        not an exception."""
        exchange = Exchange(time.perf_counter_ns(), self._connect_ns, self, receiver)
        self._emptied_ns = exchange.sent_ns
        self._connect_ns = 0
        self._exchange = exchange
        try:
            self._send_all(self._tls.encrypt(request) if self._tls else request)
        except TimeoutError:
            late = ServerBrokeProtocol(f"the server took no more of the request for {self._timeout_s:g} s")
            self._stop(late, exchange)
        except OSError as error:
            broken = ServerBrokeProtocol(f"the connection broke while the request was sent: {words_of(error)}")
            self._stop(broken, exchange)
        return exchange

    def unwatch(self) -> None:
        """Have the drainer read it instead of the hub. The exchange's end brings the hub's watch back."""
        if self.watched and not self.closed:
            self.watched = False
            self._watcher.stop()
            self._become_patient()

    def put_aside(self) -> None:
        """Read as before, but look at several reads at a time, as long as they end as a stream's reads do; until the
        exchange's end."""
        if self.watched and not self.closed and self._kernel_stamps:
            self._aside = Reads(self._emptied_ns)
            self._watcher.start(self._put_aside)
            self._become_patient()

    def _become_patient(self) -> None:
        if not self._patient:
            self._patient = True
            POLLS.patient += 1
            DRAINER.add(self)

    def _end_patience(self) -> None:
        """With the exchange: what comes next is read, and looked at, as it comes; be it the connection's close."""
        if self._patient:
            self._patient = False
            POLLS.patient -= 1
            DRAINER.remove(self)
            self._aside = None
            if not self.closed:
                self._watch()

    def catch_up(self) -> None:
        """Look at all that was put aside."""
        if self._aside is not None and self._aside.datas:
            try:
                self._look()
            except Exception as error:
                self._stop(_as_wire_error(error))

    def read_now(self) -> None:
        """Take what the kernel holds, or what was put aside a while ago."""
        if self._aside is not None:
            since_ns = self._aside.arrived_ns
            if since_ns and time.perf_counter_ns() - since_ns[0] > _ASIDE_NS:
                self.catch_up()
            return
        self._on_readable()

    def _watch(self) -> None:
        self.watched = True
        self._watcher.start(self._on_readable)

    def close(self) -> None:
        """Stop watching and close. An exchange that has not ended is left without its end."""
        self.catch_up()
        if not self.closed:
            self.closed = True
            self._exchange = None  # it knows this connection: no ring of references is left
            self._end_patience()
            self._watcher.stop()
            self._watcher.close()
            if not self._sending:
                self._sock.close()
                return
            # A sender waits on this descriptor, and libev aborts the process if it is closed underneath. Shut down, it
            # wakes the sender, who closes it.
            with suppress(OSError):
                self._sock.shutdown(socket.SHUT_RDWR)

    @property
    def reusable(self) -> bool:
        """Whether the last exchange left the connection open for another."""
        exchange = self._exchange
        return not self.closed and (exchange is None or (exchange.ended and exchange.response.keeps_alive))

    def _send_all(self, request: bytes) -> None:
        view = memoryview(request)
        self._sending = True
        try:
            while view:
                try:
                    view = view[self._sock.send(view) :]
                except BlockingIOError:
                    with POLLS.hurry():
                        gevent.socket.wait_write(self._sock.fileno(), timeout=self._timeout_s)
        finally:
            self._sending = False
            if self.closed:
                self._sock.close()

    def _on_readable(self) -> None:
        """Runs in the hub: must neither block nor raise."""
        try:
            for _ in range(_READS_AT_ONCE):
                if self._read() < _READ_BYTES or self.closed:
                    return
        except BlockingIOError:
            return
        except Exception as error:  # a defect of ours must reach the request's record, not vanish in the hub
            self._stop(_as_wire_error(error))

    def _put_aside(self) -> None:
        """As _on_readable. What is more than a read is left for the hub's next round."""
        aside = self._aside
        assert aside is not None
        try:
            data, ancillary, _, _ = self._sock.recvmsg(_READ_BYTES, ANCILLARY_BYTES)
            emptied_ns = self._emptied_ns
            arrived_ns, delay_ns, kernel = self._arrival(stamp_of(ancillary))
            if data and self._tls is not None and not (data := self._decrypted(data)):
                return
            if kernel:
                aside.add(data, arrived_ns, delay_ns)
                if len(aside.datas) < _ASIDE_READS and data.endswith(_WHOLE_EVENT):
                    return
            self._look()
            if not kernel and not self.closed:
                self._take(data, arrived_ns, delay_ns, kernel, min(emptied_ns, arrived_ns))
        except BlockingIOError:
            return
        except Exception as error:
            self._stop(_as_wire_error(error))

    def _look(self) -> None:
        assert self._aside is not None
        aside, self._aside = self._aside, Reads(self._emptied_ns)
        at = 0
        while not self.closed:
            at += self._take_alike(aside, at)
            if at == len(aside.datas):
                break
            self._take(aside.datas[at], aside.arrived_ns[at], aside.delays_ns[at], True, aside.earliest_ns(at))
            at += 1

    def _take_alike(self, aside: Reads, begin: int) -> int:
        """Take those of the reads that are like others before them; how many."""
        if self._exchange is None or self._exchange.ended:
            return 0
        return self._exchange.take_alike(aside.datas[begin:], aside.arrived_ns[begin:], aside.delays_ns[begin:])

    def _read(self) -> int:
        data, ancillary, _, _ = self._sock.recvmsg(_READ_BYTES, ANCILLARY_BYTES)
        earliest_ns = self._emptied_ns
        arrived_ns, delay_ns, kernel = self._arrival(stamp_of(ancillary))
        if self.watched and earliest_ns < POLLS.empty_ns <= arrived_ns:
            earliest_ns = POLLS.empty_ns
        received = len(data)
        if data and self._tls is not None and not (data := self._decrypted(data)):
            return received
        self._take(data, arrived_ns, delay_ns, kernel, min(earliest_ns, arrived_ns))
        return received

    def _decrypted(self, data: bytes) -> bytes:
        """b"" for a record that is not whole yet."""
        assert self._tls is not None
        data = self._tls.decrypt(data)
        if answer := self._tls.to_send():
            with suppress(BlockingIOError):  # a few bytes of TLS's own, into an idle direction: they fit
                self._sock.send(answer)
        return data

    def _arrival(self, stamp: bytes) -> tuple[int, int, bool]:
        """Of bytes that were read just now: arrived_ns, delay_ns, and whether by the kernel."""
        real_ns, now_ns = clocks_ns()
        arrived_ns, delay_ns, kernel = arrival_time_ns(stamp, real_ns, now_ns, self._not_before_ns)
        if kernel:  # after a read without, the kernel's times are still the true ones
            self._not_before_ns = arrived_ns
        self._emptied_ns = now_ns
        self._last_ns = arrived_ns = max(arrived_ns, self._last_ns)
        return arrived_ns, delay_ns, kernel

    def _take(self, data: bytes, arrived_ns: int, delay_ns: int, kernel: bool, earliest_ns: int) -> None:
        exchange = self._exchange
        if not data:
            self._on_end_of_connection(arrived_ns)
        elif exchange is None or exchange.ended:
            # Nobody asked for these bytes: the next request could not tell its response from them.
            self.close()
        else:
            exchange.take(data, arrived_ns, delay_ns, kernel, earliest_ns)
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
            self._exchange.finish(arrived_ns, error)
        self.close()

    def _stop(self, error: WireError, exchange: Exchange | None = None) -> None:
        exchange = exchange or self._exchange
        self.close()
        if exchange is not None:
            exchange.finish(time.perf_counter_ns(), error)


def _as_wire_error(error: Exception) -> WireError:
    if isinstance(error, WireError):
        return error
    if isinstance(error, OSError):
        return ServerBrokeProtocol(f"the connection broke: {words_of(error)}")
    return WireError(f"reading failed inside the client: {error!r}")
