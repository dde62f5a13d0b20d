"""Body bytes with the time they arrived."""

from __future__ import annotations

import msgspec


class Arrival(msgspec.Struct, frozen=True, gc=False):
    """Body bytes of one read of the socket.

    arrived_ns: when the last of these bytes reached this machine, on time.perf_counter_ns()'s clock.
    delay_ns: how much later this process read them. Any client that stamps in user space adds this to its results.
    kernel: whether arrived_ns is the kernel's receive time; if not, it is the time of the read and delay_ns is 0.
    earliest_ns: the first of these bytes came no earlier. The kernel stamps the last packet in a read: where it
    held several, the earlier ones came in between.
    """

    arrived_ns: int
    delay_ns: int
    kernel: bool
    data: bytes
    earliest_ns: int
