"""Deferred reads of one stream, to be processed together.

Processing each read at once would load the code and data for it into the processor's cache for every token, and again
for the next stream's. Only the time of the read must be noted at once.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from tokenswarm.wire.stamps import ArrivalTimes

#: Of each read: its bytes, the kernel's stamp (see stamps.stamp_of), and the two times of clocks_ns().
FIELDS_PER_READ = 4


class ReadBatch(NamedTuple):
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
        """All columns of one read. Where a tap has cut a read, its parts were read together: each came after the one
        before."""
        emptied_ns = self.emptied_ns[at]
        if at and emptied_ns == self.emptied_ns[at + 1]:
            emptied_ns = self.arrived_ns[at - 1]
        return self.datas[at], self.arrived_ns[at], self.delays_ns[at], self.kernel[at], emptied_ns


NO_READS = ReadBatch((), (), (), (), ())


def read_batch_of(fields: Sequence[Any], times: ArrivalTimes) -> ReadBatch:
    """The batch of one or more reads in a row, from their fields one after the other."""
    datas, stamps, real_ns, now_ns = (fields[column::FIELDS_PER_READ] for column in range(FIELDS_PER_READ))
    emptied_ns = (times.emptied_ns, *now_ns)
    return ReadBatch(datas, *times.of_each(stamps, real_ns, now_ns), emptied_ns)
