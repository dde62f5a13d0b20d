"""Kernel receive times: requesting them from a socket, and converting them to this process's clock."""

from __future__ import annotations

import socket
import struct
import sys
import time
from collections.abc import Iterable, Sequence
from operator import le, sub

# Python's socket module lacks this name; the number is Linux's (asm-generic/socket.h).
_SO_TIMESTAMPNS = 35
# The kernel stamps packets only while some socket of the host wants it, and begins a little late. This one wants it for
# as long as the process lives, so that a user's first packets are not the ones that begin it.
_keeper: socket.socket | None = None
_TIMESPEC = struct.Struct("@qq")
_NS_PER_S = 1_000_000_000
#: Two clocks that are read one after the other are rarely further apart.
_CLOCKS_APART_NS = 50_000
_TIMESPEC_BYTES = _TIMESPEC.size
_SOL_SOCKET = socket.SOL_SOCKET
#: Size of a buffer for one ancillary message that holds a timespec.
ANCILLARY_BYTES = socket.CMSG_SPACE(_TIMESPEC.size) if hasattr(socket, "CMSG_SPACE") else 0


def keep_kernel_stamping() -> None:
    """Have the kernel stamp packets from now on, before the first connection that wants it."""
    global _keeper  # noqa: PLW0603 - one for the process; made after a fork, by whoever comes first
    if _keeper is None:
        try:
            _keeper = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        except OSError:  # no file is left for it: the next connection says so
            return
        enable_kernel_stamps(_keeper)


def enable_kernel_stamps(sock: socket.socket) -> bool:
    """Request a receive time with every read (SO_TIMESTAMPNS). False where the system has no such option."""
    if sys.platform != "linux":
        return False
    try:
        sock.setsockopt(socket.SOL_SOCKET, _SO_TIMESTAMPNS, 1)
    except OSError:
        return False
    return True


def clocks_ns() -> tuple[int, int]:
    """(real_ns, now_ns): CLOCK_REALTIME, by which the kernel stamps, and time.perf_counter_ns()'s.

    In this order and side by side: a process that is suspended between the two makes an arrival late, never early. They
    are read once more where that seems to have been so.
    """
    before_ns = time.perf_counter_ns()
    real_ns, now_ns = time.time_ns(), time.perf_counter_ns()
    if now_ns - before_ns > _CLOCKS_APART_NS:
        return time.time_ns(), time.perf_counter_ns()
    return real_ns, now_ns


def stamp_from_ns(real_ns: int) -> bytes:
    """A time of CLOCK_REALTIME as the kernel would give it, see stamp_of."""
    return _TIMESPEC.pack(*divmod(real_ns, _NS_PER_S))


def ns_from_stamp(stamp: bytes) -> int:
    """The time of CLOCK_REALTIME in what stamp_of returns, unless that is empty."""
    seconds, nanoseconds = _TIMESPEC.unpack(stamp)
    return int(seconds * _NS_PER_S + nanoseconds)


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
    outside [not_before_ns, now_ns] was made across a step, and now_ns is used instead; one that is a little earlier was
    converted with clocks that were read a little further apart, and is not_before_ns.
    """
    if stamp:
        arrived_ns = ns_from_stamp(stamp) - real_ns + now_ns
        if not_before_ns - _CLOCKS_APART_NS <= arrived_ns <= now_ns:
            arrived_ns = max(arrived_ns, not_before_ns)
            return arrived_ns, now_ns - arrived_ns, True
    return now_ns, 0, False


class ArrivalTimes:
    """The arrival times of one connection, read by read.

    emptied_ns: when the socket was read last, and held no more.
    """

    __slots__ = ("_last_ns", "_not_before_ns", "emptied_ns")

    def __init__(self, began_ns: int) -> None:
        self._not_before_ns = self._last_ns = self.emptied_ns = began_ns

    def of(self, stamp: bytes, real_ns: int, now_ns: int) -> tuple[int, int, bool]:
        """As arrival_time_ns, and never earlier than a read before."""
        arrived_ns, delay_ns, kernel = arrival_time_ns(stamp, real_ns, now_ns, self._not_before_ns)
        if kernel:  # after a read without, the kernel's times are still the true ones
            self._not_before_ns = arrived_ns
        self.emptied_ns = now_ns
        self._last_ns = arrived_ns = max(arrived_ns, self._last_ns)
        return arrived_ns, delay_ns, kernel

    def of_parts(self, stamps_ns: Sequence[int], real_ns: int, now_ns: int) -> list[int]:
        """The arrival times of parts of a read that a packet tap has stamped, in their order; empty where a clock was
        stepped. `arrived` is to be called with the last that is used."""
        apart_ns = now_ns - real_ns
        arrived_ns = [stamp_ns + apart_ns for stamp_ns in stamps_ns]
        possible = arrived_ns and max(self._not_before_ns, self._last_ns) <= arrived_ns[0] and arrived_ns[-1] <= now_ns
        return arrived_ns if possible else []

    def arrived(self, arrived_ns: int, now_ns: int) -> None:
        """The last of what was read and used had come then, by the kernel's time."""
        self._not_before_ns = self._last_ns = arrived_ns
        self.emptied_ns = now_ns

    def of_each(
        self, stamps: Sequence[bytes], real_ns: Sequence[int], now_ns: Sequence[int]
    ) -> tuple[Sequence[int], Sequence[int], Sequence[bool]]:
        """The same for several reads in a row, as three columns."""
        if not stamps:
            return (), (), ()
        if all(stamps):
            arrived_ns = [
                seconds * _NS_PER_S + nanoseconds - real + now
                for (seconds, nanoseconds), real, now in zip(
                    _TIMESPEC.iter_unpack(b"".join(stamps)), real_ns, now_ns, strict=True
                )
            ]
            since_ns = max(self._not_before_ns, self._last_ns)
            if [since_ns, *arrived_ns] == sorted([since_ns, *arrived_ns]) and all(map(le, arrived_ns, now_ns)):
                self._not_before_ns = self._last_ns = arrived_ns[-1]
                self.emptied_ns = now_ns[-1]
                return arrived_ns, [*map(sub, now_ns, arrived_ns)], [True] * len(arrived_ns)
        arrived, delays_ns, kernel = zip(*map(self.of, stamps, real_ns, now_ns), strict=True)
        return arrived, delays_ns, kernel
