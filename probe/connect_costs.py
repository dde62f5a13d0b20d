"""What connecting costs, part by part, on a connection that is closed again at once."""

from __future__ import annotations

import socket
import ssl
import time

import msgspec

from tokenswarm.wire import Origin, Proxy


class ConnectCosts(msgspec.Struct, frozen=True):
    """Seconds for the name, the TCP connection and the TLS handshake (None without TLS), and the address reached: with
    a proxy, name, TCP and address are the proxy's."""

    address: str
    name_s: float
    tcp_s: float
    tls_s: float | None
    proxy: str | None = None


def measure_connect(origin: Origin, timeout_s: float, tls: ssl.SSLContext | None, proxy: Proxy | None) -> ConnectCosts:
    """Connect once and hang up. Raises OSError (ssl.SSLError and socket.gaierror among them), ProxyFailed."""
    first = proxy.origin if proxy else origin
    began_s = time.perf_counter()
    family, kind, protocol, _, address = socket.getaddrinfo(first.host, first.port, type=socket.SOCK_STREAM)[0]
    named_s = time.perf_counter()
    with socket.socket(family, kind, protocol) as sock:
        sock.settimeout(timeout_s)
        sock.connect(address)
        connected_s = time.perf_counter()
        tcp_s, tls_s = connected_s - named_s, None
        if origin.tls and tls is not None:
            if proxy is not None:
                proxy.open_tunnel(sock, origin)
                connected_s = time.perf_counter()
            with tls.wrap_socket(sock, server_hostname=origin.host):
                tls_s = time.perf_counter() - connected_s
    return ConnectCosts(
        ":".join(map(str, address[:2])), named_s - began_s, tcp_s, tls_s, proxy.address if proxy else None
    )
