"""Getting a connected socket: the name's look-up, TCP and the TLS handshake, within one limit of time."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Iterator
from contextlib import contextmanager

import gevent.socket
from gevent import monkey

from wire.errors import ClientLimitReached, ConnectFailed, ConnectTimedOut
from wire.limits import limit_reached
from wire.origin import Origin
from wire.time_limit import time_limit
from wire.tls import TlsSession, reason_of

_READ_BYTES = 65536

# gevent's socket hides recvmsg behind a greenlet switch; the plain one returns at once or says EWOULDBLOCK.
_PlainSocket: type[socket.socket] = monkey.get_original("socket", "socket")


def connect(origin: Origin, timeout_s: float, tls: TlsSession | None) -> socket.socket:
    """A plain socket that does not block, over which `tls` has shaken hands. Raises ConnectFailed, ConnectTimedOut,
    ClientLimitReached."""
    try:
        # One limit over the name's look-up, all its addresses and the handshake.
        with time_limit(timeout_s):
            cooperative = gevent.socket.create_connection((origin.host, origin.port))
            if tls is not None:
                with _closing_on_error(cooperative):
                    _shake_hands(cooperative, tls, origin)
    except TimeoutError:
        raise ConnectTimedOut(f"no connection to {origin.authority} within {timeout_s:g} s") from None
    except OSError as error:
        if limit := limit_reached(error):
            raise ClientLimitReached(f"no connection to {origin.authority}: {limit}") from None
        raise ConnectFailed(f"no connection to {origin.authority}: {words_of(error)}") from None
    family, kind, protocol = cooperative.family, cooperative.type, cooperative.proto
    sock = _PlainSocket(family, kind, protocol, fileno=cooperative.detach())
    try:
        sock.setblocking(False)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    except OSError as error:  # some systems refuse options of a connection that the peer has already reset
        sock.close()
        raise ConnectFailed(f"the connection to {origin.authority} was lost at once: {words_of(error)}") from None
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


def words_of(error: OSError) -> str:
    """What the system calls it."""
    return error.strerror or str(error) or type(error).__name__
