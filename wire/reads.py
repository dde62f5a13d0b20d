"""Reads of one stream that are put aside, to be looked at together.

Who looks at each read at once fetches all that this takes into the processor's cache for every token, and again for the
next stream's. What a read must have at once is its time.
"""

from __future__ import annotations

from array import array


class Reads:
    """In the order they were made, all with the kernel's times.

    datas: the bytes. arrived_ns: when they arrived, never earlier than those before. delays_ns: how much later they
    were read.
    """

    __slots__ = ("arrived_ns", "datas", "delays_ns", "emptied_ns")

    def __init__(self, emptied_ns: int) -> None:
        """emptied_ns: when the socket was read before, and held no more."""
        self.emptied_ns = emptied_ns
        self.datas: list[bytes] = []
        self.arrived_ns = array("q")
        self.delays_ns = array("q")

    def add(self, data: bytes, arrived_ns: int, delay_ns: int) -> None:
        self.datas.append(data)
        self.arrived_ns.append(arrived_ns)
        self.delays_ns.append(delay_ns)

    def earliest_ns(self, at: int) -> int:
        """No byte of that read came earlier."""
        return min(self.arrived_ns[at - 1] + self.delays_ns[at - 1] if at else self.emptied_ns, self.arrived_ns[at])
