"""An HTTP proxy before the server: the tunnel to an https server (CONNECT), and what a plain request has for it."""

from __future__ import annotations

import re
from base64 import b64encode
from dataclasses import dataclass, field
from typing import Protocol
from urllib.parse import unquote

from tokenswarm.wire.errors import ProxyFailed, UnusableUrl
from tokenswarm.wire.origin import Origin

#: HTTP's status of a proxy that requires a user name and password.
PROXY_AUTHENTICATION_REQUIRED = 407
_STATUS = re.compile(rb"HTTP/1\.[01] (\d{3})[ \r]")
_MOST_HEAD_BYTES = 65536
#: Without an address that holds credentials: those are cut out of all output.
_WRITE = "--proxy takes http://HOST:PORT, with NAME:PASSWORD@ before HOST where the proxy requires it"


class _Socket(Protocol):
    def sendall(self, data: bytes, /) -> object: ...

    def recv(self, size: int, /) -> bytes: ...


@dataclass(frozen=True, slots=True)
class Proxy:
    """A proxy's address. credentials: NAME:PASSWORD for HTTP Basic, as they are sent; "" where there are none. They
    are in no text of this class."""

    origin: Origin
    credentials: str = field(default="", repr=False)

    @classmethod
    def parse(cls, url: str) -> Proxy:
        """Read `[http://][NAME:PASSWORD@]HOST[:PORT]`, percent-encoded where need be. Raises UnusableUrl, which does
        not repeat the address."""
        credentials, address = split_credentials(url)
        scheme = address.partition("://")[0]
        if scheme != "http":
            raise UnusableUrl(f"{_WRITE}; other proxies than HTTP's, and TLS to the proxy itself, are not supported.")
        try:
            origin = Origin.parse(address)
        except UnusableUrl:
            raise UnusableUrl(f"{_WRITE}; what was given (not repeated here) has no usable host or port.") from None
        if origin.prefix:
            raise UnusableUrl(f"{_WRITE}, without a path.")
        return cls(origin, unquote(credentials))

    @property
    def address(self) -> str:
        """http://host:port, without credentials."""
        return self.origin.root

    def headers(self) -> dict[str, str]:
        """What a request to the proxy has for it."""
        if not self.credentials:
            return {}
        return {"Proxy-Authorization": f"Basic {b64encode(self.credentials.encode()).decode()}"}

    def open_tunnel(self, sock: _Socket, server: Origin) -> None:
        """Have the proxy connect this socket to the server. Raises ProxyFailed, OSError."""
        host = f"[{server.host}]" if ":" in server.host else server.host
        target = f"{host}:{server.port}"
        lines = [f"CONNECT {target} HTTP/1.1", f"Host: {target}"]
        lines += [f"{name}: {value}" for name, value in self.headers().items()]
        sock.sendall("".join(f"{line}\r\n" for line in (*lines, "")).encode("ascii"))
        head = b""
        while b"\r\n\r\n" not in head and len(head) < _MOST_HEAD_BYTES:
            if not (received := sock.recv(4096)):
                raise ProxyFailed(f"the proxy {self.address} closed the connection instead of a tunnel to {target}")
            head += received
        match = _STATUS.match(head)
        status = int(match[1]) if match else None
        if status is None or not 200 <= status < 300:
            raise ProxyFailed(self.refusal(status, target))

    def refusal(self, status: int | None, target: str) -> str:
        """Why the proxy does not pass requests on to the target, and what to do; status: its answer's, None where that
        is no HTTP."""
        if status is None:
            return f"the proxy {self.address} answers with something else than HTTP; is --proxy right?"
        if status == PROXY_AUTHENTICATION_REQUIRED and self.credentials:
            return f"the proxy {self.address} does not accept the user name and password of --proxy (HTTP {status})"
        if status == PROXY_AUTHENTICATION_REQUIRED:
            return (
                f"the proxy {self.address} requires a user name and password (HTTP {status}): put "
                "NAME:PASSWORD@ before the host in --proxy"
            )
        return (
            f"the proxy {self.address} refuses a connection to {target} (HTTP {status}): check --host, and what the "
            "proxy may connect to"
        )


def split_credentials(url: str) -> tuple[str, str]:
    """(NAME:PASSWORD as it was written, "" without any; the address without it)"""
    scheme, mark, rest = url.strip().partition("://") if "://" in url else ("http", "://", url.strip())
    credentials, _, address = rest.rpartition("@")
    return credentials, f"{scheme.lower()}{mark}{address}"
