"""Getting a connected socket: the name's look-up, TCP and the TLS handshake, within one limit of time."""

from __future__ import annotations

import errno
import socket
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import gevent.socket
from gevent import monkey

from tokenswarm.wire.errors import (
    CertificateNotTrusted,
    ClientLimitReached,
    ConnectFailed,
    ConnectTimedOut,
    NoTls,
    ProxyFailed,
)
from tokenswarm.wire.limits import has_ipv6, limit_reached
from tokenswarm.wire.origin import Origin
from tokenswarm.wire.proxy import Proxy
from tokenswarm.wire.tap.own_ports import OwnPorts
from tokenswarm.wire.time_limit import time_limit
from tokenswarm.wire.tls import TlsSession, certificate_refusal, reason_of

_READ_BYTES = 65536
#: What OpenSSL calls bytes that are no TLS record, such as an HTTP response.
_NO_TLS = {"WRONG_VERSION_NUMBER", "HTTP_REQUEST", "PACKET_LENGTH_TOO_LONG", "UNKNOWN_PROTOCOL"}

# gevent's socket hides recvmsg behind a greenlet switch; the plain one returns at once or says EWOULDBLOCK.
_PlainSocket: type[socket.socket] = monkey.get_original("socket", "socket")


def connect(
    origin: Origin,
    timeout_s: float,
    tls: TlsSession | None,
    proxy: Proxy | None = None,
    own_ports: OwnPorts | None = None,
) -> socket.socket:
    """A plain socket that does not block, over which `tls` has shaken hands: to the server, or to the proxy, which
    tunnels TLS. Its port is one of own_ports, where these are given. Raises ConnectFailed, ConnectTimedOut,
    ClientLimitReached."""
    peer = f"the proxy {proxy.address}" if proxy else origin.authority
    advice = "; is --proxy right, and does it run?" if proxy else ""
    failed = ProxyFailed if proxy else ConnectFailed
    try:
        # One limit over the name's look-up, all its addresses and the handshake.
        with time_limit(timeout_s):
            cooperative = _connected(proxy.origin if proxy else origin, own_ports)
            if tls is not None:
                with _closing_on_error(cooperative):
                    if proxy is not None:
                        proxy.open_tunnel(cooperative, origin)
                    _shake_hands(cooperative, tls, origin)
    except TimeoutError:
        way = f" through {peer}" if proxy else ""
        raise ConnectTimedOut(f"no connection to {origin.authority}{way} within {timeout_s:g} s") from None
    except OSError as error:
        if limit := limit_reached(error):
            raise ClientLimitReached(f"no connection to {peer}: {limit}") from None
        raise failed(f"no connection to {peer}: {error_text(error)}{advice}") from None
    family, kind, protocol = cooperative.family, cooperative.type, cooperative.proto
    sock = _PlainSocket(family, kind, protocol, fileno=cooperative.detach())
    try:
        sock.setblocking(False)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    except OSError as error:  # some systems refuse options of a connection that the peer has already reset
        sock.close()
        raise failed(f"the connection to {peer} was lost at once: {error_text(error)}{advice}") from None
    return sock


def _connected(origin: Origin, own_ports: OwnPorts | None) -> gevent.socket.socket:
    """A socket connected to the first of the name's addresses that can be had. Raises the last one's error, but where
    this machine has no IPv6 that of the last IPv4 address: what is said of the others looks like a lack of ports."""
    errors: list[OSError] = []
    try:
        for family, _, _, _, address in gevent.socket.getaddrinfo(origin.host, origin.port, 0, socket.SOCK_STREAM):
            try:
                return connected_to(family, address, own_ports)
            except OSError as failed:
                if not _is_for_want_of_ipv6(family, failed):
                    errors.append(failed)
        if errors:
            raise errors[-1]
    finally:
        errors.clear()  # they know this frame, which is garbage for long otherwise
    raise ConnectFailed(
        f"no connection to {origin.authority}: it has IPv6 addresses only, and this machine has no IPv6"
    )


def connected_to(family: int, address: tuple[object, ...], own_ports: OwnPorts | None) -> gevent.socket.socket:
    """A socket connected to this address. Raises OSError."""
    while True:
        sock = gevent.socket.socket(family, socket.SOCK_STREAM)
        with _closing_on_error(sock):
            tried = own_ports.restrict(sock) if own_ports else None
            try:
                sock.connect(address)
                if own_ports is not None:
                    own_ports.check(sock, tried)
                return sock
            except OSError as failed:
                if own_ports is None or tried is None or failed.errno != errno.EADDRNOTAVAIL:
                    raise
                if _is_for_want_of_ipv6(family, failed):
                    raise
        own_ports.are_used_up(tried)
        sock.close()


def _is_for_want_of_ipv6(family: int, error: OSError) -> bool:
    return family == socket.AF_INET6 and error.errno == errno.EADDRNOTAVAIL and not has_ipv6()


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
        raise CertificateNotTrusted(
            f"the certificate of {origin.authority} is not trusted: {reason_of(error)}; name its authority with "
            "--tls-ca, or trust it unseen with --tls-insecure"
        ) from None
    except ssl.SSLError as error:
        if error.reason in _NO_TLS:
            http = f"http://{replace(origin, tls=False).authority}{origin.prefix}"
            raise NoTls(f"{origin.authority} does not speak TLS there: try {http}") from None
        if error.reason == "SSLV3_ALERT_HANDSHAKE_FAILURE":
            raise ConnectFailed(
                f"{origin.authority} refuses the TLS handshake; does it require a client certificate (--client-cert)?"
            ) from None
        raise certificate_refusal(error) or ConnectFailed(
            f"no TLS with {origin.authority}: {reason_of(error)}; does it speak TLS?"
        ) from None


def error_text(error: OSError) -> str:
    """What the system calls it."""
    return error.strerror or str(error) or type(error).__name__
