"""Which bytes of a connection came when, from the TCP segments that carried them. No socket, no clock.

A byte counts as arrived once it and all bytes before it have come: no program can have it earlier. So a segment that
comes out of order, or twice, is no time of its own.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator, Sequence
from itertools import accumulate, pairwise
from operator import eq
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

_SEQUENCES = 1 << 32
_HALF = _SEQUENCES // 2
#: The key of segments that belong to none: no connection is from port 0 to port 0.
NO_CONNECTION = 0


class SegmentRun(NamedTuple):
    """Segments of one connection, in the order in which they came.

    sequences: of their first bytes. lengths: bytes of data. times_ns: when they came (CLOCK_REALTIME). in_order:
    whether each begins where the one before ended, and came no earlier.
    """

    sequences: list[int]
    lengths: list[int]
    times_ns: list[int]
    in_order: bool


class Segments(NamedTuple):
    """Segments of several connections, as columns, in the order in which they came.

    keys: of the connections, see `connection_key`. sequences: of their first bytes. lengths: bytes of data. times_ns:
    when they came, on the system's clock (CLOCK_REALTIME).
    """

    keys: NDArray[np.uint64]
    sequences: NDArray[np.uint32]
    lengths: NDArray[np.int64]
    times_ns: NDArray[np.int64]

    def by_connection(self) -> Iterator[tuple[int, SegmentRun]]:
        """Each connection's key, and its segments."""
        order = self.keys.argsort(kind="stable")
        keys, sequences = self.keys[order], self.sequences[order]
        lengths, times_ns = self.lengths[order], self.times_ns[order]
        if not len(keys):
            return
        begins = keys[1:] != keys[:-1]
        strays = np.flatnonzero(~(begins | _follow(sequences, lengths, times_ns))) + 1
        starts = np.concatenate(([0], np.flatnonzero(begins) + 1))
        disordered = set((np.searchsorted(starts, strays, side="right") - 1).tolist())
        rows = sequences.tolist(), lengths.tolist(), times_ns.tolist()
        bounds = pairwise([*starts.tolist(), len(keys)])
        for at, (key, (first, behind)) in enumerate(zip(keys[starts].tolist(), bounds, strict=True)):
            sequences_of_it, lengths_of_it, times_of_it = (column[first:behind] for column in rows)
            yield key, SegmentRun(sequences_of_it, lengths_of_it, times_of_it, at not in disordered)

    def take_out(self, key: int) -> SegmentRun | None:
        """The segments of one connection, if there are any; they have no connection any more."""
        rows = (self.keys == key).nonzero()[0]
        if not len(rows):
            return None
        self.keys[rows] = NO_CONNECTION
        sequences, lengths, times_ns = self.sequences[rows], self.lengths[rows], self.times_ns[rows]
        return _run_of(sequences.tolist(), lengths.tolist(), times_ns.tolist())


def _run_of(sequences: list[int], lengths: list[int], times_ns: list[int]) -> SegmentRun:
    """Of one connection's segments. These are few: lists take less time than arrays. Where sequence numbers begin anew
    they count as out of order, which costs time and no more."""
    ends = accumulate(lengths, initial=sequences[0])
    in_order = all(map(eq, sequences, ends)) and times_ns == sorted(times_ns)
    return SegmentRun(sequences, lengths, times_ns, in_order)


def _follow(
    sequences: NDArray[np.uint32], lengths: NDArray[np.int64], times_ns: NDArray[np.int64]
) -> NDArray[np.bool_]:
    """Of each but the first: whether it begins where the one before ended, and came no earlier."""
    behind = sequences[:-1] + lengths[:-1].astype(np.uint32)
    follow: NDArray[np.bool_] = (behind == sequences[1:]) & (times_ns[1:] >= times_ns[:-1])
    return follow


def concatenated(tables: Sequence[Segments]) -> Segments:
    """One or more, one behind the other."""
    if len(tables) == 1:
        return tables[0]
    return Segments(*(np.concatenate(columns) for columns in zip(*tables, strict=True)))


class StreamParts(NamedTuple):
    """Bytes in a row, in parts that arrived together. ends: the offsets behind them in their connection's stream."""

    ends: list[int]
    arrived_ns: list[int]


class SegmentQueue:
    """When the bytes of one connection had come, until they have been read."""

    __slots__ = ("_ahead", "_arrived_ns", "_ends", "_last_ns", "arrived_to", "first_sequence")

    def __init__(self, first_sequence: int | None = None) -> None:
        """first_sequence: that of the stream's byte at offset 0; None where it is set later. Before, nothing is
        added."""
        self.first_sequence = first_sequence
        #: The offset to which all bytes have come.
        self.arrived_to = 0
        self._last_ns = 0
        self._ends: list[int] = []
        self._arrived_ns: list[int] = []
        #: First byte, the offset behind the last, and the time of segments that came ahead of their turn.
        self._ahead: list[tuple[int, int, int]] = []

    def __len__(self) -> int:
        return len(self._ends) + len(self._ahead)

    def add(self, run: SegmentRun) -> None:
        """These came next."""
        if self.first_sequence is None:
            return
        arrived_to = self.arrived_to
        follows = (run.sequences[0] - self.first_sequence - arrived_to) % _SEQUENCES == 0
        if run.in_order and follows and not self._ahead and run.times_ns[0] >= self._last_ns:
            self._ends += [*accumulate(run.lengths, initial=arrived_to)][1:]
            self._arrived_ns += run.times_ns
            self.arrived_to, self._last_ns = self._ends[-1], run.times_ns[-1]
            return
        for sequence, length, came_ns in zip(run.sequences, run.lengths, run.times_ns, strict=True):
            reference = self.first_sequence + self.arrived_to - _HALF
            first = self.arrived_to + (sequence - reference) % _SEQUENCES - _HALF
            self._place(first, first + length, came_ns)

    def parts(self, start: int, end: int) -> StreamParts:
        """The parts of the bytes from offset `start` on, which are read next: to `end`, or as far as all bytes are
        known to have come. Where they are known to the end, they are forgotten."""
        if start > self.arrived_to:
            self._go_on_from(start)
        first, last = bisect_right(self._ends, start), bisect_left(self._ends, end)
        if last == len(self._ends):
            return StreamParts(self._ends[first:], self._arrived_ns[first:])
        parts = StreamParts([*self._ends[first:last], end], self._arrived_ns[first : last + 1])
        self.forget(end)
        return parts

    def forget(self, before: int) -> None:
        """All bytes before this offset have been read."""
        if before > self.arrived_to:
            self._go_on_from(before)
        read = bisect_right(self._ends, before)
        del self._ends[:read], self._arrived_ns[:read]

    def _go_on_from(self, offset: int) -> None:
        """Some segments before it were not seen, and never will be: they have been read."""
        came, self._ahead = sorted(self._ahead, key=lambda segment: segment[2]), []
        self.arrived_to = offset
        for first, behind, came_ns in came:
            self._place(first, behind, came_ns)

    def _place(self, first: int, behind: int, came_ns: int) -> None:
        if first > self.arrived_to:
            self._ahead.append((first, behind, came_ns))
            return
        self._last_ns = max(self._last_ns, came_ns)
        if behind > self.arrived_to:
            self.arrived_to = _joined(behind, self._ahead) if self._ahead else behind
            self._ends.append(self.arrived_to)
            self._arrived_ns.append(self._last_ns)


def connection_key(source_words: Iterable[int], source_port: int, local_port: int) -> int:
    """What identifies a connection among those of this machine: the sender's address, folded, and both ports."""
    folded = 0
    for word in source_words:
        folded ^= word
    return folded << 32 | source_port << 16 | local_port


def _joined(arrived_to: int, ahead: list[tuple[int, int, int]]) -> int:
    """How far all has arrived with what came ahead of its turn; that is taken off the list."""
    ahead.sort()
    while ahead and ahead[0][0] <= arrived_to:
        arrived_to = max(arrived_to, ahead.pop(0)[1])
    return arrived_to
