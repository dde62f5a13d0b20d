"""Reads of one stream that were put aside, to be looked at together.

Who looks at each read at once fetches all that this takes into the processor's cache for every token, and again for the
next stream's. What must be noted down at once is when it was read.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from wire.stamps import ArrivalTimes

#: What is noted down of a read: its bytes, the kernel's stamp (see stamps.stamp_of), and what clocks_ns() told then.
NOTES = 4


class Reads(NamedTuple):
    """In the order they were made.

    datas: the bytes. arrived_ns: when they arrived, never earlier than those before. delays_ns: how much later they
    were read. kernel: whether the times are the kernel's. emptied_ns: when the socket had been read before, and held no
    more: no byte came earlier.
    """

    datas: Sequence[bytes]
    arrived_ns: Sequence[int]
    delays_ns: Sequence[int]
    kernel: Sequence[bool]
    emptied_ns: Sequence[int]

    def one(self, at: int) -> tuple[bytes, int, int, bool, int]:
        """What is told of that read."""
        return self.datas[at], self.arrived_ns[at], self.delays_ns[at], self.kernel[at], self.emptied_ns[at]


def reads_of(notes: Sequence[Any], times: ArrivalTimes) -> Reads:
    """What the notes of one or more reads in a row come to."""
    datas, stamps, real_ns, now_ns = (notes[column::NOTES] for column in range(NOTES))
    emptied_ns = (times.emptied_ns, *now_ns)
    return Reads(datas, *times.of_each(stamps, real_ns, now_ns), emptied_ns)
