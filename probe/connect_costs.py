"""What connecting costs, part by part, on a connection that is closed again at once."""

from __future__ import annotations

import socket
import ssl
import time

import msgspec

from wire import Origin


class Dialed(msgspec.Struct, frozen=True):
    """Seconds for the name, the TCP connection and the TLS handshake (None without TLS), and the address reached."""

    address: str
    name_s: float
    tcp_s: float
    tls_s: float | None


def dial(origin: Origin, timeout_s: float, tls: ssl.SSLContext | None) -> Dialed:
    """Connect once and hang up. Raises OSError (ssl.SSLError and socket.gaierror among them)."""
    began_s = time.perf_counter()
    family, kind, protocol, _, address = socket.getaddrinfo(origin.host, origin.port, type=socket.SOCK_STREAM)[0]
    named_s = time.perf_counter()
    with socket.socket(family, kind, protocol) as sock:
        sock.settimeout(timeout_s)
        sock.connect(address)
        connected_s = time.perf_counter()
        tls_s = None
        if origin.tls and tls is not None:
            with tls.wrap_socket(sock, server_hostname=origin.host):
                tls_s = time.perf_counter() - connected_s
    return Dialed(":".join(map(str, address[:2])), named_s - began_s, connected_s - named_s, tls_s)
