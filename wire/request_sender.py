"""Hands a request to a connection's socket, and knows how much of it the kernel and the server have."""

from __future__ import annotations

import socket
import time

import gevent.socket

from tokenswarm.wire.loop_pacer import LOOP_PACER
from tokenswarm.wire.tcp_info import acknowledged_bytes

#: A request that is to be sent at a time has at most so long to wait for it: no sleep is as precise.
_LONGEST_SPIN_NS = 1_000_000


def spin_until(moment_ns: int) -> None:
    """Wait without sleeping for a moment on perf_counter_ns, unless it is more than a millisecond away."""
    if moment_ns - time.perf_counter_ns() <= _LONGEST_SPIN_NS:
        while time.perf_counter_ns() < moment_ns:
            pass


class RequestSender:
    """The sending side of one connection.

    sending: whether a request is being sent now. accepted_bytes: how much of the last request the kernel has accepted.
    handed_ns: when the kernel had accepted the first bytes of it (perf_counter_ns), 0 where it has not.
    """

    __slots__ = ("_sock", "_timeout_s", "accepted_bytes", "bytes_before_request", "handed_ns", "sending", "sent_bytes")

    def __init__(self, sock: socket.socket, timeout_s: float) -> None:
        self._sock = sock
        self._timeout_s = timeout_s
        self.sending = False
        self.accepted_bytes = self.handed_ns = 0
        #: Plaintext of all requests; what TLS adds is not counted.
        self.sent_bytes = 0
        #: How much the connection had sent before the last request, as the kernel counts it.
        self.bytes_before_request = 0

    def send(self, view: memoryview) -> None:
        """Send the bytes of a request. Raises TimeoutError where the server accepts nothing for the time limit, and
        OSError."""
        self.sending, late = True, False
        self.accepted_bytes = self.handed_ns = 0
        try:
            while view:
                try:
                    accepted = self._sock.send(view)
                    self.handed_ns = self.handed_ns or time.perf_counter_ns()
                    view, late = view[accepted:], False
                    self.accepted_bytes += accepted
                except BlockingIOError:
                    if late:
                        raise TimeoutError from None
                    with LOOP_PACER.no_delay():
                        late = not self._becomes_writable()
        finally:
            self.sending = False

    def surely_unacknowledged(self) -> bool:
        """Whether the server's system has surely acknowledged nothing of the last request. The socket is open."""
        acknowledged = acknowledged_bytes(self._sock)
        return acknowledged is not None and acknowledged <= self.bytes_before_request

    def _becomes_writable(self) -> bool:
        """False where that takes too long; it may have happened just now, if the process was stopped."""
        try:
            gevent.socket.wait_write(self._sock.fileno(), timeout=self._timeout_s)
        except TimeoutError:
            return False
        return True
