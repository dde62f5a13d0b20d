"""A user's HTTP client: one connection, kept alive, one request at a time."""

from __future__ import annotations

import ssl
import time
from collections.abc import Mapping
from dataclasses import replace

import gevent

from tokenswarm.wire.connection import Connection
from tokenswarm.wire.errors import WireError
from tokenswarm.wire.exchange import Exchange, Receiver
from tokenswarm.wire.origin import Origin
from tokenswarm.wire.proxy import PROXY_AUTHENTICATION_REQUIRED, Proxy
from tokenswarm.wire.request_sender import spin_until
from tokenswarm.wire.stamps import keep_kernel_stamping
from tokenswarm.wire.tap.packet_tap import PacketTap
from tokenswarm.wire.tls import TlsSettings

#: How long a server may take to close behind an answer: one that is not known yet, and one that was seen to do so.
_CLOSES_WITHIN_S, _CLOSES_AGAIN_WITHIN_S = 0.05, 0.25
#: A connection that was idle for longer may have been closed for that alone.
_IDLE_S = 1.0
_LOOKS_EACH_S = 0.002
#: By server: whether the last connection that had served a POST was still open a moment later. A server that closes
#: behind each stream may keep connections behind its pages.
_keeps_connections: dict[str, bool] = {}


class StreamClient:
    """Sends requests to one origin, one at a time; each user has its own.

    A kept-alive connection can have been closed by the server in the meantime; `went_stale` distinguishes
    that case from a server that failed.
    """

    def __init__(
        self,
        origin: Origin,
        connect_timeout_s: float,
        headers: Mapping[str, str] | None = None,
        tls: ssl.SSLContext | None = None,
        kernel_stamps: bool = True,
        proxy: Proxy | None = None,
        tap: PacketTap | None = None,
    ) -> None:
        """`headers` go with every request, in place of what the client would send by the same name; `tls` is for an
        origin of https, the system's authorities where None. Without kernel_stamps, arrivals have the time at which
        they were read, as where the kernel gives none. With a proxy, TLS is tunnelled through it, and other requests
        are sent to it with the server's whole address. With a tap, segments that were read together have their own
        times. Raises ValueError for a header that would break the request's head, and OSError where this process may
        not have a tap."""
        self._origin = origin
        self._tls = (tls or TlsSettings().context()) if origin.tls else None
        self._connect_timeout_s = connect_timeout_s
        self._kernel_stamps = kernel_stamps
        self.proxy = proxy
        to_proxy = proxy is not None and not origin.tls
        self._target = (f"http://{origin.authority}" if to_proxy else "") + origin.prefix
        self._tap = tap
        if kernel_stamps:
            keep_kernel_stamping()
        if tap is not None:
            peer = proxy.origin if proxy is not None else origin
            tap.watch(peer.host, peer.port)
        given = {name.lower() for name in headers or ()}
        own = {"Host": origin.authority, "User-Agent": "tokenswarm", "Accept-Encoding": "identity"}
        fixed = {name: value for name, value in own.items() if name.lower() not in given} | dict(headers or {})
        if proxy is not None and to_proxy:
            fixed |= proxy.headers()
        self._fixed_names = {name.lower() for name in fixed}
        self._fixed_headers = _render_headers(fixed)
        self._connection: Connection | None = None
        self._last: Exchange | None = None
        self._last_was_post = False
        self._settled = False

    def sets(self, name: str) -> bool:
        """Whether every request has this header, whatever is given for one of them."""
        return name.lower() in self._fixed_names

    def post(
        self, path: str, body: bytes, headers: Mapping[str, str] | None = None, receiver: Receiver | None = None
    ) -> Exchange:
        """Send a POST and return at once with the exchange; what comes goes to the receiver, or is kept. Raises
        ConnectFailed or ConnectTimedOut."""
        return self.send_post(self.encode_post(path, body, headers), receiver)

    def encode_post(self, path: str, body: bytes, headers: Mapping[str, str] | None = None) -> bytes:
        """The bytes of a POST, which any client with these settings can send. Raises ValueError as the constructor."""
        return self._encode("POST", path, {**(headers or {}), "Content-Length": str(len(body))}) + body

    def send_post(self, request: bytes, receiver: Receiver | None = None, not_before_ns: int = 0) -> Exchange:
        """As `post`, for an encoded request. not_before_ns: a moment on perf_counter_ns at which it is to be sent, or
        connecting is to begin: it is waited for where it is less than a millisecond away, and all else done before."""
        return self._send(request, receiver, is_post=True, not_before_ns=not_before_ns)

    def get(self, path: str) -> Exchange:
        """Send a GET and return at once with the exchange. Raises ConnectFailed or ConnectTimedOut."""
        return self._send(self._encode("GET", path, {}), None, is_post=False)

    def fetch(self, path: str, timeout_s: float) -> tuple[int, bytes]:
        """GET a document whole: (status, body). Raises WireError."""
        exchange = self.get(path)
        body = b"".join(arrival.data for arrival in exchange.wait(timeout_s))
        if exchange.error is not None:
            raise exchange.error
        if not exchange.ended:
            raise WireError(f"{self._origin.authority}{path} did not answer within {timeout_s:g} s")
        return exchange.response.status, body

    def post_once(self, path: str, timeout_s: float) -> int:
        """POST without a body, and wait for the answer: its status. Raises WireError."""
        exchange = self.post(path, b"")
        for _ in exchange.wait(timeout_s):
            pass
        if exchange.error is not None:
            raise exchange.error
        if not exchange.ended:
            raise WireError(f"{self._origin.authority}{path} did not answer within {timeout_s:g} s")
        return exchange.response.status

    def proxy_refusal(self, status: int) -> str | None:
        """Why the proxy has answered with this status of HTTP in place of the server; None where it is the server's."""
        if self.proxy is None or self._origin.tls or status != PROXY_AUTHENTICATION_REQUIRED:
            return None
        return self.proxy.refusal(status, self._origin.authority)

    def tls_address(self) -> str | None:
        """The https address of an http origin whose server makes a TLS handshake at that port, tried on a connection of
        its own; None where it does not."""
        if self._origin.tls:
            return None
        origin, context = replace(self._origin, tls=True), TlsSettings(insecure=True).context()
        try:
            Connection(origin, self._connect_timeout_s, context, kernel_stamps=False, proxy=self.proxy).close()
        except WireError:
            return None
        return f"https://{origin.authority}{origin.prefix}"

    def connect(self, not_before_ns: int = 0) -> None:
        """Connect, unless the last connection can be used again; not before that moment, see `spin_until`. Raises
        ConnectFailed or ConnectTimedOut."""
        if self._connection is not None and not self._settled:
            self._look_for_a_close(self._connection)
        elif self._connection is not None:
            self._connection.read_now()
        if self._connection is None or not self._connection.reusable:
            self.close()
            spin_until(not_before_ns)
            self._connection = Connection(
                self._origin, self._connect_timeout_s, self._tls, self._kernel_stamps, self.proxy, self._tap
            )

    def settle(self) -> None:
        """After a response: give a server that closes behind its answers a moment to do so. The next request is then
        sent without that wait."""
        if self._connection is not None:
            if not _keeps_connections.get(self._origin.authority):
                self._look_for_a_close(self._connection)
            self._settled = True

    def _look_for_a_close(self, connection: Connection) -> None:
        """Notice a close before a request goes out, not after. Some servers close after each answer without having said
        so, a moment after a user has read it: a request sent by then would be lost. So where the server is not known to
        keep connections, it has a moment to close this one."""
        connection.read_now()
        if not (connection.has_answered and self._last_was_post):
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
        """Process what has come, and close the connection; the rest of the response is abandoned."""
        if self._connection is not None:
            self._connection.catch_up()
            if self._last is not None and self._last_was_post and broke_unanswered(self._last):
                _keeps_connections[self._origin.authority] = False  # it may close later than it had time for
            self._connection.close()
            self._connection = self._last = None

    def _encode(self, method: str, path: str, headers: Mapping[str, str]) -> bytes:
        """Everything before the body."""
        line = f"{method} {self._target}{path} HTTP/1.1\r\n".encode("ascii")
        more = {name: value for name, value in headers.items() if name.lower() not in self._fixed_names}
        return line + self._fixed_headers + _render_headers(more) + b"\r\n"

    def _send(self, request: bytes, receiver: Receiver | None, is_post: bool, not_before_ns: int = 0) -> Exchange:
        self.connect(not_before_ns)
        assert self._connection is not None
        self._settled = False
        self._last = self._connection.send(request, receiver, not_before_ns)
        self._last_was_post = is_post
        return self._last


def went_stale(exchange: Exchange) -> bool:
    """Whether a request failed only because its kept-alive connection was closed before the server could have read it.

    Such a request may be sent again. What is known: the request was sent on a connection that had served another one,
    not a byte of a response arrived, and either nothing was sent at all, or the server's orderly close arrived and
    acknowledged nothing of the request. A reset may be the answer of a server that has read the request, and so is no
    such case. Where the system does not report what was acknowledged (other than Linux), only the first is known.
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
