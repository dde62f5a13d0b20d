"""The ring of a tap: memory shared with the kernel, which fills a slot for each packet without a system call.

Linux only (packet(7), Documentation/networking/packet_mmap.rst). Opening one needs CAP_NET_RAW.
"""

from __future__ import annotations

import ctypes
import mmap
import socket
import struct
from collections.abc import Sequence
from typing import Any

import numpy as np
from gevent import monkey
from numpy.typing import NDArray

from tokenswarm.wire.tap.headers import HeaderLayout
from tokenswarm.wire.tap.own_ports import PortRange
from tokenswarm.wire.tap.packet_filter import program
from tokenswarm.wire.tap.ring_slots import FILLED, slot_bytes, slot_type

# Python's socket module lacks these names; the numbers are Linux's (linux/if_packet.h, asm-generic/socket.h).
_SOL_PACKET = 263
_PACKET_RX_RING, _PACKET_STATISTICS, _PACKET_VERSION = 5, 6, 10
_TPACKET_V2 = 1
_SO_ATTACH_FILTER = 26
#: struct sock_fprog: how many instructions, and where they are.
_FILTER_PROGRAM = struct.Struct("@HP")
_INSTRUCTION_BYTES = 8
_RING = struct.Struct("@IIII")
_STATISTICS = struct.Struct("@II")
_BLOCK_BYTES = 1 << 16
#: At 40,000 tokens/s, more than a second.
SLOTS = 1 << 16


class PacketRing:
    """The packets of one family of addresses that come from some ports. Raises OSError where it cannot be opened."""

    def __init__(
        self, layout: HeaderLayout, ports: Sequence[int], local_ports: Sequence[PortRange] = (), slots: int = SLOTS
    ) -> None:
        """slots: a multiple of those in a block."""
        self.layout = layout
        self._slots = slots
        self._next = 0
        plain_socket: type[socket.socket] = monkey.get_original("socket", "socket")
        # With a protocol from the start it gets packets from the start: those before the filter and the ring are
        # dropped when the ring is set up.
        self._socket = plain_socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(layout.ether_type))
        try:
            self.take_only(ports, local_ports)
            self._memory = self._map()
        except OSError:
            self._socket.close()
            raise
        self._type = slot_type(layout)
        self._bytes: NDArray[np.uint8] = np.frombuffer(self._memory, dtype=np.uint8).reshape(slots, -1)
        self._status = self._bytes.view(self._type)[:, 0]["status"]

    def take_only(self, ports: Sequence[int], local_ports: Sequence[PortRange]) -> None:
        """Take packets from these ports alone, to these local ones or, where there are none, to any."""
        code = program(self.layout, ports, local_ports)
        buffer = ctypes.create_string_buffer(code, len(code))
        given = _FILTER_PROGRAM.pack(len(code) // _INSTRUCTION_BYTES, ctypes.addressof(buffer))
        self._socket.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, given)

    def take(self) -> list[NDArray[Any]]:
        """Copies of the slots that were filled since the last call, in their order; one or two tables of them."""
        tables = []
        while filled := self._filled():
            these = slice(self._next, self._next + filled)
            # As bytes: numpy copies fields one by one, which takes ten times as long.
            tables.append(self._bytes[these].copy().view(self._type)[:, 0])
            self._status[these] = 0
            self._next = (self._next + filled) % self._slots
            if self._next:
                break
        return tables

    def lost(self) -> int:
        """How many packets were lost since the last call, as the ring was full."""
        counts = self._socket.getsockopt(_SOL_PACKET, _PACKET_STATISTICS, _STATISTICS.size)
        return int(_STATISTICS.unpack(counts)[1])

    def close(self) -> None:
        """Give the memory back."""
        self._socket.close()
        del self._status, self._bytes
        self._memory.close()

    def _map(self) -> mmap.mmap:
        size = slot_bytes(self.layout)
        per_block = _BLOCK_BYTES // size
        self._socket.setsockopt(_SOL_PACKET, _PACKET_VERSION, _TPACKET_V2)
        ring = _RING.pack(_BLOCK_BYTES, self._slots // per_block, size, self._slots)
        self._socket.setsockopt(_SOL_PACKET, _PACKET_RX_RING, ring)
        return mmap.mmap(self._socket.fileno(), self._slots * size)

    def _filled(self) -> int:
        """How many slots from the next one on are filled, up to the ring's end: the kernel fills them in order."""
        status, first, most = self._status, self._next, self._slots - self._next
        if not status[first] & FILLED:
            return 0
        filled, unfilled = 1, 2  # the first so many are; the one before so many is not, or is to be seen
        while unfilled <= most and status[first + unfilled - 1] & FILLED:
            filled, unfilled = unfilled, unfilled * 4
        unfilled = min(unfilled, most + 1)
        while unfilled - filled > 1:
            middle = (filled + unfilled) // 2
            if status[first + middle - 1] & FILLED:
                filled = middle
            else:
                unfilled = middle
        return filled
