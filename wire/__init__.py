"""The bytes and when they arrived: HTTP/1.1 streaming on gevent, with the kernel's receive times.

Knows sockets, HTTP and clocks; knows nothing of tokens, of Locust or of any engine's dialect.
"""

from wire.client import StreamClient, broke_unanswered, went_stale
from wire.errors import (
    ClientLimitReached,
    ConnectFailed,
    ConnectTimedOut,
    ServerBrokeProtocol,
    UnusableCertificates,
    UnusableUrl,
    WireError,
)
from wire.exchange import Exchange, Receiver
from wire.http import ResponseParser
from wire.limits import Limits, process_limits, shortage
from wire.origin import Origin
from wire.records import Arrival
from wire.tls import TlsSettings

__all__ = [
    "Arrival",
    "ClientLimitReached",
    "ConnectFailed",
    "ConnectTimedOut",
    "Exchange",
    "Limits",
    "Origin",
    "Receiver",
    "ResponseParser",
    "ServerBrokeProtocol",
    "StreamClient",
    "TlsSettings",
    "UnusableCertificates",
    "UnusableUrl",
    "WireError",
    "broke_unanswered",
    "process_limits",
    "shortage",
    "went_stale",
]
