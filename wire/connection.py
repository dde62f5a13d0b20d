"""One TCP connection: connect, send, and the hub-level watcher that stamps and parses what arrives."""

from __future__ import annotations

import socket
import ssl
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import gevent
import gevent.socket
from gevent import monkey

from wire.drainer import DRAINER
from wire.errors import ConnectFailed, ConnectTimedOut, ServerBrokeProtocol, WireError
from wire.exchange import Deliver, Exchange
from wire.origin import Origin
from wire.polls import POLLS
from wire.stamps import ANCILLARY_BYTES, arrival_time_ns, enable_kernel_stamps
from wire.tls import TlsSession, reason_of

_READ_BYTES = 65536
# A server that floods must leave the hub to other users' arrivals; what is left is read in the hub's next round.
_READS_AT_ONCE = 16
_READABLE = 1

# gevent's socket hides recvmsg behind a greenlet switch; the plain one returns at once or says EWOULDBLOCK.
_PlainSocket: type[socket.socket] = monkey.get_original("socket", "socket")


class Connection:
    """A connected socket whose reads happen in gevent's hub, without a greenlet switch."""

    def __init__(
        self, origin: Origin, timeout_s: float, tls: ssl.SSLContext | None = None, kernel_stamps: bool = True
    ) -> None:
        """Connect, and shake hands where there is TLS. Raises ConnectFailed or ConnectTimedOut."""
        began_ns = time.perf_counter_ns()
        self._timeout_s = timeout_s
        self._tls = TlsSession(tls, origin.host) if tls else None
        self._sock = _connect(origin, timeout_s, self._tls)
        if kernel_stamps:
            enable_kernel_stamps(self._sock)
        self._connect_ns = time.perf_counter_ns() - began_ns
        self._not_before_ns = self._last_ns = self._emptied_ns = began_ns
        self._exchange: Exchange | None = None
        self._sending = False
        self._watcher = gevent.get_hub().loop.io(self._sock.fileno(), _READABLE)
        self.closed = False
        self.watched = False
        POLLS.keep()
        self._watch()

    def send(self, request: bytes, deliver: Deliver | None = None) -> Exchange:
        """Start an exchange; the first one bears the cost of connecting. A failure to send is the exchange's error,
        not an exception."""
        exchange = Exchange(time.perf_counter_ns(), self._connect_ns, self, deliver)
        self._emptied_ns = exchange.sent_ns
        self._connect_ns = 0
        self._exchange = exchange
        try:
            self._send_all(self._tls.encrypt(request) if self._tls else request)
        except TimeoutError:
            self._stop(ServerBrokeProtocol(f"the server took no more of the request for {self._timeout_s:g} s"))
        except OSError as error:
            self._stop(ServerBrokeProtocol(f"the connection broke while the request was sent: {_reason(error)}"))
        return exchange

    def unwatch(self) -> None:
        """Have the drainer read it instead of the hub. The exchange's end brings the hub's watch back."""
        if self.watched and not self.closed:
            self.watched = False
            self._watcher.stop()
            DRAINER.add(self)

    def read_now(self) -> None:
        """Take what the kernel holds."""
        self._on_readable()
        if not self.closed and (self._exchange is None or self._exchange.ended):
            DRAINER.remove(self)
            self._watch()  # an idle connection is watched for its close

    def _watch(self) -> None:
        self.watched = True
        self._watcher.start(self._on_readable)

    def close(self) -> None:
        """Stop watching and close. An exchange that has not ended is left without its end."""
        if not self.closed:
            self.closed = True
            DRAINER.remove(self)
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
        except OSError as error:
            self._stop(ServerBrokeProtocol(f"the connection broke: {_reason(error)}"))
        except WireError as error:
            self._stop(error)
        except Exception as error:  # a defect of ours must reach the request's record, not vanish in the hub
            self._stop(WireError(f"reading failed inside the client: {error!r}"))

    def _read(self) -> int:
        data, ancillary, _, _ = self._sock.recvmsg(_READ_BYTES, ANCILLARY_BYTES)
        arrived_ns, delay_ns, kernel = arrival_time_ns(ancillary, self._not_before_ns)
        if kernel:  # after a read without, the kernel's times are still the true ones
            self._not_before_ns = arrived_ns
        earliest_ns = min(self._emptied_ns, arrived_ns)
        if self.watched and earliest_ns < POLLS.empty_ns <= arrived_ns:
            earliest_ns = POLLS.empty_ns
        self._emptied_ns = arrived_ns + delay_ns
        self._last_ns = arrived_ns = max(arrived_ns, self._last_ns)
        received = len(data)
        if received and self._tls is not None:
            data = self._tls.decrypt(data)
            if answer := self._tls.to_send():
                self._sock.send(answer)  # a few bytes of TLS's own, into an idle direction: they fit
            if not data:  # a record that is not whole yet
                return received
        exchange = self._exchange
        if not data:
            self._on_end_of_connection(arrived_ns)
        elif exchange is None or exchange.ended:
            # Nobody asked for these bytes: the next request could not tell its response from them.
            self.close()
        else:
            exchange.take(data, arrived_ns, delay_ns, kernel, earliest_ns)
            if self._sending and exchange.ended:  # answered before it was asked: the rest need not be sent
                self.close()
        return received

    def _on_end_of_connection(self, arrived_ns: int) -> None:
        error: WireError | None = None
        if self._exchange is not None and not self._exchange.ended:
            try:
                self._exchange.response.end_of_connection()
            except ServerBrokeProtocol as broken:
                error = broken
            self._exchange.finish(arrived_ns, error)
        self.close()

    def _stop(self, error: WireError) -> None:
        self.close()
        if self._exchange is not None:
            self._exchange.finish(time.perf_counter_ns(), error)


def _connect(origin: Origin, timeout_s: float, tls: TlsSession | None) -> socket.socket:
    try:
        # One limit over the name's look-up, all its addresses and the handshake.
        with gevent.Timeout(timeout_s, TimeoutError()):
            cooperative = gevent.socket.create_connection((origin.host, origin.port))
            if tls is not None:
                with _closing_on_error(cooperative):
                    _shake_hands(cooperative, tls, origin)
    except TimeoutError:
        raise ConnectTimedOut(f"no connection to {origin.authority} within {timeout_s:g} s") from None
    except OSError as error:
        raise ConnectFailed(f"no connection to {origin.authority}: {_reason(error)}") from None
    family, kind, protocol = cooperative.family, cooperative.type, cooperative.proto
    sock = _PlainSocket(family, kind, protocol, fileno=cooperative.detach())
    try:
        sock.setblocking(False)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    except OSError as error:  # some systems refuse options of a connection that the peer has already reset
        sock.close()
        raise ConnectFailed(f"the connection to {origin.authority} was lost at once: {_reason(error)}") from None
    return sock


@contextmanager
def _closing_on_error(sock: gevent.socket.socket) -> Iterator[None]:
    try:
        yield
    except BaseException:
        sock.close()
        raise


def _shake_hands(sock: gevent.socket.socket, tls: TlsSession, origin: Origin) -> None:
    received = b""
    try:
        while True:
            done = tls.shake_hands(received)
            sock.sendall(tls.to_send())
            if done:
                return
            received = sock.recv(_READ_BYTES)
            if not received:
                raise ConnectFailed(
                    f"{origin.authority} closed the connection during the TLS handshake; does it speak TLS?"
                )
    except ssl.SSLCertVerificationError as error:
        raise ConnectFailed(
            f"the certificate of {origin.authority} is not trusted: {reason_of(error)}; name its authority with "
            "--tls-ca, or trust it unseen with --tls-insecure"
        ) from None
    except ssl.SSLError as error:
        raise ConnectFailed(f"no TLS with {origin.authority}: {reason_of(error)}; does it speak TLS?") from None


def _reason(error: OSError) -> str:
    return error.strerror or str(error) or type(error).__name__
