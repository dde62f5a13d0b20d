"""Where a packet's IP and TCP headers have what the tap needs, for each family of addresses.

A packet begins with its IP header, without options: with those, or IPv6 extension headers, it is not tapped.
"""

from __future__ import annotations

import socket
from typing import NamedTuple

TCP = 6
FIN, SYN, RST = 0x01, 0x02, 0x04
#: Of the TCP header: up to its flags.
_TCP_FLAGS_END = 14


class HeaderLayout(NamedTuple):
    """Offsets in bytes from the packet's beginning.

    ether_type: of the link layer. length_at: of the 16-bit length, which does not count the first `uncounted_bytes`;
    it is 0 for packets above 64 KiB. fragment_at: of the 16 bits that say whether this is a fragment; None where they
    are in an extension header. source_words: 32-bit words of the sender's address.
    """

    family: int
    ether_type: int
    first_byte: int
    first_mask: int
    length_at: int
    uncounted_bytes: int
    fragment_at: int | None
    protocol_at: int
    source_at: int
    source_words: int
    tcp_at: int

    @property
    def flags_at(self) -> int:
        return self.tcp_at + 13

    @property
    def data_offset_at(self) -> int:
        return self.tcp_at + 12

    @property
    def kept_bytes(self) -> int:
        """Of each packet: its headers up to TCP's flags, and nothing of what it carries."""
        return self.tcp_at + _TCP_FLAGS_END


IPV4 = HeaderLayout(
    family=socket.AF_INET,
    ether_type=0x0800,
    first_byte=0x45,
    first_mask=0xFF,
    length_at=2,
    uncounted_bytes=0,
    fragment_at=6,
    protocol_at=9,
    source_at=12,
    source_words=1,
    tcp_at=20,
)
IPV6 = HeaderLayout(
    family=socket.AF_INET6,
    ether_type=0x86DD,
    first_byte=0x60,
    first_mask=0xF0,
    length_at=4,
    uncounted_bytes=40,
    fragment_at=None,
    protocol_at=6,
    source_at=8,
    source_words=4,
    tcp_at=40,
)
