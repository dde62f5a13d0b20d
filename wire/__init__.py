"""The bytes and when they arrived: HTTP/1.1 streaming on gevent, with the kernel's receive times.

Knows sockets, HTTP and clocks; knows nothing of tokens, of Locust or of any engine's dialect.
"""

from tokenswarm.wire.arrival import Arrival
from tokenswarm.wire.client import StreamClient, broke_unanswered, went_stale
from tokenswarm.wire.errors import (
    CertificateNotTrusted,
    ClientCertificateRefused,
    ClientLimitReached,
    ConnectFailed,
    ConnectTimedOut,
    NotHttp,
    NoTls,
    ProxyFailed,
    ServerBrokeProtocol,
    UnusableCertificates,
    UnusableUrl,
    WireError,
)
from tokenswarm.wire.exchange import Exchange, Receiver
from tokenswarm.wire.http import ResponseParser
from tokenswarm.wire.limits import Limits, process_limits, shortage
from tokenswarm.wire.origin import Origin
from tokenswarm.wire.proxy import Proxy, split_credentials
from tokenswarm.wire.tap.packet_tap import PACKET_TAP, PacketTap, tap_refusal
from tokenswarm.wire.tls import TlsSettings

__all__ = [
    "PACKET_TAP",
    "Arrival",
    "CertificateNotTrusted",
    "ClientCertificateRefused",
    "ClientLimitReached",
    "ConnectFailed",
    "ConnectTimedOut",
    "Exchange",
    "Limits",
    "NoTls",
    "NotHttp",
    "Origin",
    "PacketTap",
    "Proxy",
    "ProxyFailed",
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
    "split_credentials",
    "tap_refusal",
    "went_stale",
]

if __name__ != "tokenswarm.wire":
    raise __import__("tokenswarm").bare_import(__name__)
