"""A user's HTTP client: one connection, kept alive, one request at a time."""

from __future__ import annotations

import ssl
import time
from collections.abc import Mapping

import gevent

from wire.connection import Connection
from wire.errors import WireError
from wire.exchange import Exchange, Receiver
from wire.origin import Origin
from wire.stamps import keep_kernel_stamping
from wire.tls import TlsSettings

#: How long a server may take to close behind an answer: one that is not known yet, and one that was seen to do so.
_CLOSES_WITHIN_S, _CLOSES_AGAIN_WITHIN_S = 0.05, 0.25
#: A connection that was idle for longer may have been closed for that alone.
_IDLE_S = 1.0
_LOOKS_EACH_S = 0.002
#: By server: whether the last connection that had served an answer was still open a moment later.
_keeps_connections: dict[str, bool] = {}


class StreamClient:
    """Sends requests to one origin; each user has one, as each user is one caller.

    A kept-alive connection can have been closed by the server in the meantime; `went_stale` tells that case apart
    from a server that failed.
    """

    def __init__(
        self,
        origin: Origin,
        connect_timeout_s: float,
        headers: Mapping[str, str] | None = None,
        tls: ssl.SSLContext | None = None,
        kernel_stamps: bool = True,
    ) -> None:
        """`headers` go with every request; `tls` is for an origin of https, the system's authorities where None.
        Without kernel_stamps, arrivals have the time at which they were read, as where the kernel gives none. Raises
        ValueError for a header that would break the request's head."""
        self._origin = origin
        self._tls = (tls or TlsSettings().context()) if origin.tls else None
        self._connect_timeout_s = connect_timeout_s
        self._kernel_stamps = kernel_stamps
        if kernel_stamps:
            keep_kernel_stamping()
        self._fixed_headers = _render_headers(
            {"Host": origin.authority, "User-Agent": "tokenswarm", "Accept-Encoding": "identity"} | dict(headers or {})
        )
        self._connection: Connection | None = None
        self._last: Exchange | None = None

    def post(
        self, path: str, body: bytes, headers: Mapping[str, str] | None = None, receiver: Receiver | None = None
    ) -> Exchange:
        """Send a POST and return at once with the exchange; what comes goes to the receiver, or is kept. Raises
        ConnectFailed or ConnectTimedOut."""
        return self._request("POST", path, {**(headers or {}), "Content-Length": str(len(body))}, body, receiver)

    def get(self, path: str) -> Exchange:
        """Send a GET and return at once with the exchange. Raises ConnectFailed or ConnectTimedOut."""
        return self._request("GET", path, {}, b"")

    def fetch(self, path: str, timeout_s: float) -> tuple[int, bytes]:
        """GET a document whole: (status, body). Raises WireError."""
        exchange = self.get(path)
        body = b"".join(arrival.data for arrival in exchange.wait(timeout_s))
        if exchange.error is not None:
            raise exchange.error
        if not exchange.ended:
            raise WireError(f"{self._origin.authority}{path} did not answer within {timeout_s:g} s")
        return exchange.response.status, body

    def connect(self) -> None:
        """Have a connection. Raises ConnectFailed or ConnectTimedOut."""
        if self._connection is not None:
            self._look_for_a_close(self._connection)
        if self._connection is None or not self._connection.reusable:
            self.close()
            self._connection = Connection(self._origin, self._connect_timeout_s, self._tls, self._kernel_stamps)

    def _look_for_a_close(self, connection: Connection) -> None:
        """Notice a close before a request goes out, not after. Some servers close after each answer without having said
        so, a moment after a user has read it: a request sent by then would be lost. So where the server is not known to
        keep connections, it has a moment to close this one."""
        connection.read_now()
        if not connection.has_answered:
            return
        server = self._origin.authority
        closes_within_s = _CLOSES_AGAIN_WITHIN_S if _keeps_connections.get(server) is False else _CLOSES_WITHIN_S
        due_s = time.perf_counter() + closes_within_s
        while not (connection.closed or _keeps_connections.get(server)) and time.perf_counter() < due_s:
            gevent.sleep(_LOOKS_EACH_S)
            connection.read_now()
        if not (connection.closed and self._was_idle()):
            _keeps_connections[server] = not connection.closed

    def _was_idle(self) -> bool:
        """Whether the last answer ended so long ago that a close is no sign of a server that closes behind each."""
        ended_ns = self._last.ended_ns if self._last else None
        return ended_ns is not None and time.perf_counter_ns() - ended_ns > _IDLE_S * 1e9

    def close(self) -> None:
        """Take what has come, and close the connection; what has not is abandoned."""
        if self._connection is not None:
            self._connection.catch_up()
            if self._last is not None and broke_unanswered(self._last):
                _keeps_connections[self._origin.authority] = False  # it may close later than it had time for
            self._connection.close()
            self._connection = self._last = None

    def _request(
        self, method: str, path: str, headers: Mapping[str, str], body: bytes, receiver: Receiver | None = None
    ) -> Exchange:
        line = f"{method} {self._origin.prefix}{path} HTTP/1.1\r\n".encode("ascii")
        request = line + self._fixed_headers + _render_headers(headers) + b"\r\n" + body
        self.connect()
        assert self._connection is not None
        self._last = self._connection.send(request, receiver)
        return self._last


def went_stale(exchange: Exchange) -> bool:
    """Whether a request failed only because its kept-alive connection was closed before the server could have read it.

    Such a request may be sent again. What is known: the request was sent on a connection that had served another one,
    not a byte of a response arrived, and either nothing was sent at all, or the server's orderly close arrived and
    acknowledged nothing of the request. A reset may be the answer of a server that has read the request, and so is no
    such case. Where the system does not tell what was acknowledged (other systems than Linux), only the first is known.
    """
    return broke_unanswered(exchange) and exchange.never_read


def broke_unanswered(exchange: Exchange) -> bool:
    """Whether a request failed on a connection that had served another one, and before any byte of a response. One that
    changes nothing (GET) may be sent again whether the server has read it or not."""
    return not exchange.connect_ns and exchange.error is not None and not exchange.bytes_received


def _render_headers(headers: Mapping[str, str]) -> bytes:
    for name, value in headers.items():
        if not (name + value).isascii() or not (name + value).isprintable():
            raise ValueError(f"the header {name!r} holds a character that no header may hold")
    return "".join(f"{name}: {value}\r\n" for name, value in headers.items()).encode("ascii")
