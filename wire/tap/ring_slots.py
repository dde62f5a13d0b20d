"""The slots of a tap's ring (TPACKET_V2 of linux/if_packet.h), decoded many at a time."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from tokenswarm.wire.tap.headers import FIN, RST, SYN, HeaderLayout
from tokenswarm.wire.tap.segments import Segments

#: Of a slot's status: the kernel has filled it; packets were lost before it.
FILLED, LOST_BEFORE = 1, 4
#: Where the kernel puts the IP header: behind its own header of 52 bytes, aligned, and 16 bytes.
_PACKET_AT = 80
_SLOT_ALIGNMENT = 128
_NS_PER_S = np.int64(1_000_000_000)


class Decoded(NamedTuple):
    """What slots hold. beginnings: of each new connection its key, and the sequence number of its first byte. closed:
    the keys of those that their servers have closed or reset."""

    segments: Segments
    beginnings: dict[int, int]
    closed: list[int]


def slot_bytes(layout: HeaderLayout) -> int:
    """Of a slot with these headers."""
    return -(-(_PACKET_AT + layout.kept_bytes) // _SLOT_ALIGNMENT) * _SLOT_ALIGNMENT


def slot_type(layout: HeaderLayout) -> np.dtype[Any]:
    """The fields of a slot that are read."""
    ip, tcp = _PACKET_AT, _PACKET_AT + layout.tcp_at
    fields = {
        "status": ("=u4", 0),
        "length": ("=u4", 4),
        "network": ("=u2", 14),
        "seconds": ("=u4", 16),
        "nanoseconds": ("=u4", 20),
        "ip_length": (">u2", ip + layout.length_at),
        **{f"source{word}": (">u4", ip + layout.source_at + 4 * word) for word in range(layout.source_words)},
        "source_port": (">u2", tcp),
        "local_port": (">u2", tcp + 2),
        "sequence": (">u4", tcp + 4),
        "data_offset": ("u1", _PACKET_AT + layout.data_offset_at),
        "flags": ("u1", _PACKET_AT + layout.flags_at),
    }
    formats, offsets = zip(*fields.values(), strict=True)
    return np.dtype({"names": [*fields], "formats": [*formats], "offsets": [*offsets], "itemsize": slot_bytes(layout)})


def decode(slots: NDArray[Any], layout: HeaderLayout) -> Decoded:
    """The segments in filled slots, in the order in which they came."""
    readable = slots["network"] == _PACKET_AT
    if not readable.all():
        slots = slots[readable]
    ip_length = slots["ip_length"].astype(np.int64)
    whole = np.where(ip_length == 0, slots["length"], ip_length + layout.uncounted_bytes).astype(np.int64)
    lengths = whole - layout.tcp_at - (slots["data_offset"] >> 4) * np.int64(4)
    keys = _keys(slots, layout)
    sequences = slots["sequence"].astype(np.uint32)
    times_ns = slots["seconds"] * _NS_PER_S + slots["nanoseconds"]
    flags = slots["flags"]
    begins, closes = (flags & SYN) != 0, (flags & (FIN | RST)) != 0
    beginnings: dict[int, int] = {}
    closed: list[int] = []
    if begins.any() or closes.any():
        first = (sequences[begins] + np.uint32(1)).tolist()  # the SYN itself counts as a byte
        beginnings = dict(zip(keys[begins].tolist(), first, strict=True))
        closed = keys[closes].tolist()
        holds = ~begins & (lengths > 0)
        keys, sequences, lengths, times_ns = (column[holds] for column in (keys, sequences, lengths, times_ns))
    return Decoded(Segments(keys, sequences, lengths, times_ns), beginnings, closed)


def _keys(slots: NDArray[Any], layout: HeaderLayout) -> NDArray[np.uint64]:
    """As segments.connection_key of each."""
    folded = slots["source0"].astype(np.uint64)
    for word in range(1, layout.source_words):
        folded ^= slots[f"source{word}"].astype(np.uint64)
    ports = slots["source_port"].astype(np.uint64) << np.uint64(16) | slots["local_port"].astype(np.uint64)
    return folded << np.uint64(32) | ports
