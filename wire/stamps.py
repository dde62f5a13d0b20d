"""Kernel receive times: asking a socket for them, and bringing them onto this process's clock."""

from __future__ import annotations

import socket
import struct
import sys
import time
from collections.abc import Iterable

# Python's socket module lacks this name; the number is Linux's (asm-generic/socket.h).
_SO_TIMESTAMPNS = 35
# The kernel stamps packets only while some socket of the host wants it, and begins a little late. This one wants it for
# as long as the process lives, so that a user's first packets are not the ones that begin it.
_keeper: socket.socket | None = None
_TIMESPEC = struct.Struct("@qq")
_TIMESPEC_BYTES = _TIMESPEC.size
_SOL_SOCKET = socket.SOL_SOCKET
#: Room for one ancillary message that holds a timespec.
ANCILLARY_BYTES = socket.CMSG_SPACE(_TIMESPEC.size) if hasattr(socket, "CMSG_SPACE") else 0


def keep_kernel_stamping() -> None:
    """Have the kernel stamp packets from now on, before the first connection that wants it."""
    global _keeper  # noqa: PLW0603 - one for the process; made after a fork, by whoever comes first
    if _keeper is None:
        _keeper = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        enable_kernel_stamps(_keeper)


def enable_kernel_stamps(sock: socket.socket) -> bool:
    """Ask for a receive time with every read (SO_TIMESTAMPNS). False where the system has no such option."""
    if sys.platform != "linux":
        return False
    try:
        sock.setsockopt(socket.SOL_SOCKET, _SO_TIMESTAMPNS, 1)
    except OSError:
        return False
    return True


def clocks_ns() -> tuple[int, int]:
    """(real_ns, now_ns): CLOCK_REALTIME, by which the kernel stamps, and time.perf_counter_ns()'s.

    In this order and side by side: a process put aside between the two makes an arrival late, never early.
    """
    return time.time_ns(), time.perf_counter_ns()


def stamp_of(ancillary: Iterable[tuple[int, int, bytes]]) -> bytes:
    """The kernel's receive time in what recvmsg gave besides the bytes; b"" where there is none. The first packets
    after a host's first use of the option can come without."""
    for level, kind, payload in ancillary:
        if kind == _SO_TIMESTAMPNS and level == _SOL_SOCKET and len(payload) >= _TIMESPEC_BYTES:
            return payload[:_TIMESPEC_BYTES]
    return b""


def arrival_time_ns(stamp: bytes, real_ns: int, now_ns: int, not_before_ns: int) -> tuple[int, int, bool]:
    """(arrived_ns, delay_ns, kernel) of a read that returned when the two clocks showed real_ns and now_ns.

    They are to be read within microseconds of the read, so that a clock that was stepped earlier does no harm. A stamp
    outside [not_before_ns, now_ns] was made across a step, and now_ns is used instead.
    """
    if stamp:
        seconds, nanoseconds = _TIMESPEC.unpack(stamp)
        arrived_ns = seconds * 1_000_000_000 + nanoseconds - real_ns + now_ns
        if not_before_ns <= arrived_ns <= now_ns:
            return arrived_ns, now_ns - arrived_ns, True
    return now_ns, 0, False
