"""What the kernel knows of a TCP connection (Linux: TCP_INFO), and how soon it acknowledges."""

from __future__ import annotations

import socket
import struct
import sys
from array import array

# struct tcp_info of linux/tcp.h: tcpi_bytes_acked, since Linux 4.1.
_BYTES_ACKED = struct.Struct("=120xQ")
#: tcpi_bytes_received, behind it.
_BYTES_RECEIVED = struct.Struct("=128xQ")
#: tcpi_data_segs_in, since Linux 4.6.
_DATA_SEGMENTS_RECEIVED = struct.Struct("=152xI")
#: Of linux/tcp.h, since Linux 6.15: the longest delay of an acknowledgement.
_TCP_DELACK_MAX_US = 46
#: The kernel rounds it up to its own steps: 5 to 8 ms.
_DELAY_US = 5_000
#: The kernel counts the SYN as a byte.
_SYN_BYTES = 1
#: Bytes may arrive between two calls of the kernel.
_TRIES = 5


def acknowledged_bytes(sock: socket.socket) -> int | None:
    """How many of the bytes sent on a connection the peer's kernel has acknowledged, None where this system does not
    say. It says so of a connection that the peer has closed or reset, too."""
    option = getattr(socket, "TCP_INFO", None)
    if option is None:
        return None
    try:
        info = sock.getsockopt(socket.IPPROTO_TCP, option, _BYTES_ACKED.size)
    except OSError:
        return None
    if len(info) < _BYTES_ACKED.size:
        return None
    (acknowledged,) = _BYTES_ACKED.unpack(info)
    return max(0, int(acknowledged) - _SYN_BYTES)


def consumed_bytes(sock: socket.socket) -> int | None:
    """How many of the bytes that the peer has sent were read from this socket; None where this system does not say."""
    option = getattr(socket, "TCP_INFO", None)
    if option is None:
        return None
    try:
        for _ in range(_TRIES):
            before = _unread_bytes(sock)
            info = sock.getsockopt(socket.IPPROTO_TCP, option, _BYTES_RECEIVED.size)
            if len(info) < _BYTES_RECEIVED.size:
                return None
            if before == _unread_bytes(sock):
                return int(_BYTES_RECEIVED.unpack(info)[0]) - before
    except (OSError, ValueError):  # it is closed
        pass
    return None


def received_segments(sock: socket.socket) -> int | None:
    """How many segments with data have come, also those that came again; None where this system does not say."""
    option = getattr(socket, "TCP_INFO", None)
    if option is None:
        return None
    try:
        info = sock.getsockopt(socket.IPPROTO_TCP, option, _DATA_SEGMENTS_RECEIVED.size)
    except OSError:  # it is closed
        return None
    return int(_DATA_SEGMENTS_RECEIVED.unpack(info)[0]) if len(info) == _DATA_SEGMENTS_RECEIVED.size else None


def acknowledge_soon(sock: socket.socket) -> bool:
    """Have the kernel acknowledge what comes within some milliseconds, unread or not: without that it takes up to 40 ms
    until 536 bytes have come. Returns whether this system does so."""
    if sys.platform != "linux":
        return False
    try:
        sock.setsockopt(socket.IPPROTO_TCP, _TCP_DELACK_MAX_US, _DELAY_US)
    except OSError:  # an older kernel
        return False
    return True


def _unread_bytes(sock: socket.socket) -> int:
    import fcntl
    import termios

    count = array("i", [0])
    fcntl.ioctl(sock.fileno(), termios.FIONREAD, count)
    return count[0]
