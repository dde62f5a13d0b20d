"""Ports of this machine that one process has for itself, so that its tap need not see other processes' connections.

The kernel's range of ports for outgoing connections is divided into slices. A process has a slice while it holds a
socket bound to the slice's name in the abstract namespace (unix(7)), which ends with the process, and is of a network
namespace as ports are. Its connections get ports of its slices (IP_LOCAL_PORT_RANGE, ip(7); from Linux 6.3 on). Where
these are used up, it takes another. Where none is left, or the system lets it have none, it has the ports of all, and
its tap sees other processes' connections to its servers, which costs time alone.
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from gevent import monkey

# Python's socket module lacks this name; the number is Linux's (linux/in.h).
_IP_LOCAL_PORT_RANGE = 51
#: For as many processes at most. Each has a few thousand ports: one that is free is soon used again, and some networks
#: remember a closed connection for a while.
MOST_RANGES = 8
_BOUNDS = struct.Struct("=I")
_RANGE_FILE = Path("/proc/sys/net/ipv4/ip_local_port_range")
_NAME = "\0tokenswarm-ports-{}"

_PlainSocket: type[socket.socket] = monkey.get_original("socket", "socket")


class PortRange(NamedTuple):
    """Both ends belong to it."""

    first: int
    last: int


class OwnPorts:
    """The slices that this process has. ranges: their ports; empty where it has the ports of all."""

    def __init__(self, on_change: Callable[[], object]) -> None:
        """on_change: called when `ranges` is another, before the first connection from there. May raise OSError."""
        self.ranges: list[PortRange] = []
        self._on_change = on_change
        self._held: list[socket.socket] = []
        self._has_those_of_all = False

    def restrict(self, sock: socket.socket) -> PortRange | None:
        """Let this socket, which is to be connected, have a port of the slice in use. Returns the slice, None where it
        may have any port."""
        if not self._has_those_of_all and not self.ranges:
            self._take_another()
        if self._has_those_of_all:
            return None
        current = self.ranges[-1]
        try:
            sock.setsockopt(socket.IPPROTO_IP, _IP_LOCAL_PORT_RANGE, _BOUNDS.pack(current.last << 16 | current.first))
        except OSError:  # the kernel has no such option
            self._have_those_of_all()
            return None
        return current

    def check(self, sock: socket.socket, wanted: PortRange | None) -> None:
        """The socket, which was restricted to a slice, has been bound: where the kernel's range was changed meanwhile,
        it may have another port."""
        if wanted is not None and not wanted.first <= sock.getsockname()[1] <= wanted.last:
            self._have_those_of_all()

    def are_used_up(self, tried: PortRange) -> None:
        """No port of this slice was free."""
        if self.ranges and self.ranges[-1] == tried:  # else another connection found that out before
            self._take_another()

    def release(self) -> None:
        """Others may have them."""
        for held in self._held:
            held.close()
        self._held.clear()
        self.ranges = []
        self._has_those_of_all = False

    def _take_another(self) -> None:
        for number, ports in enumerate(slices()):
            if ports in self.ranges:
                continue
            with suppress(OSError):  # another process has it, or this one may have none
                self._held.append(_bound_to(_NAME.format(number)))
                self.ranges = [*self.ranges, ports]
                self._on_change()
                return
        self._have_those_of_all()

    def _have_those_of_all(self) -> None:
        self.release()
        self._has_those_of_all = True
        with suppress(OSError):  # then the filter stays as it is, and connections that it leaves out are not tapped
            self._on_change()


def slices() -> Sequence[PortRange]:
    """The kernel's ports for outgoing connections, in parts of one size; none where they are not known."""
    with suppress(OSError, ValueError):
        first, last = map(int, _RANGE_FILE.read_text(encoding="ascii").split())
        return parts_of(first, last)
    return ()


def parts_of(first: int, last: int) -> list[PortRange]:
    """So many parts of one size, of these ports; the last few may belong to none."""
    size = (last + 1 - first) // MOST_RANGES
    return [PortRange(at, at + size - 1) for at in range(first, first + size * MOST_RANGES, size)] if size else []


def _bound_to(name: str) -> socket.socket:
    """A socket of this name in the abstract namespace. Raises OSError where another process has it, and where this one
    may have no such socket."""
    sock = _PlainSocket(socket.AF_UNIX, socket.SOCK_DGRAM)
    try:
        sock.bind(name)
    except OSError:
        sock.close()
        raise
    return sock
