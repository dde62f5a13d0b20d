"""Which bytes of a connection came when, from the TCP segments that carried them. No socket, no clock.

A byte counts as arrived once it and all bytes before it have come: no program can have it earlier. So a segment that
comes out of order, or twice, is no time of its own.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

_SEQUENCES = 1 << 32
_HALF = _SEQUENCES // 2


#: Of one segment: the sequence number of its first byte, its bytes of data, and when it came (CLOCK_REALTIME, ns).
Segment = tuple[int, int, int]


class Segments(NamedTuple):
    """Segments of several connections, as columns; those of each connection in the order in which they came.

    keys: of the connections, see `connection_key`, ascending. sequences: of their first bytes. lengths: bytes of data.
    times_ns: when they came, on the system's clock (CLOCK_REALTIME).
    """

    keys: NDArray[np.uint64]
    sequences: NDArray[np.uint32]
    lengths: NDArray[np.int64]
    times_ns: NDArray[np.int64]

    def by_connection(self) -> Iterator[tuple[int, list[Segment]]]:
        """Each connection's key, and its segments."""
        if not len(self.keys):
            return
        starts = np.flatnonzero(np.concatenate(([True], self.keys[1:] != self.keys[:-1])))
        rows = list(zip(self.sequences.tolist(), self.lengths.tolist(), self.times_ns.tolist(), strict=True))
        bounds = [*starts.tolist(), len(rows)]
        for key, (first, behind) in zip(self.keys[starts].tolist(), pairwise(bounds), strict=True):
            yield key, rows[first:behind]


class StreamPart(NamedTuple):
    """Bytes that arrived together. end: the offset behind them in their connection's stream."""

    end: int
    arrived_ns: int


class SegmentQueue:
    """The segments of one connection that have come, until they have been read."""

    __slots__ = ("_arrived_ns", "_rows", "first_sequence")

    def __init__(self, first_sequence: int, rows: list[Segment]) -> None:
        """first_sequence: that of the stream's byte at offset 0. rows: what came before."""
        self.first_sequence = first_sequence
        self._rows = rows
        self._arrived_ns = 0  # of the bytes whose segments are forgotten

    def __len__(self) -> int:
        return len(self._rows)

    def add(self, rows: list[Segment]) -> None:
        """These came next."""
        self._rows += rows

    def parts(self, start: int, end: int) -> list[StreamPart]:
        """As parts_between. Where all bytes to `end` have come, their segments are forgotten."""
        parts = parts_between(self._rows, self.first_sequence, start, end, self._arrived_ns)
        if parts and parts[-1].end >= end:
            self._arrived_ns = parts[-1].arrived_ns
            self.forget(end)
        return parts

    def forget(self, before: int) -> None:
        """Those segments that hold no byte from this offset on."""
        reference = self.first_sequence + before - _HALF
        self._rows = [row for row in self._rows if (row[0] + row[1] - reference) % _SEQUENCES > _HALF]


def connection_key(source_words: Iterable[int], source_port: int, local_port: int) -> int:
    """What identifies a connection among those of this machine: the sender's address, folded, and both ports."""
    folded = 0
    for word in source_words:
        folded ^= word
    return folded << 32 | source_port << 16 | local_port


def parts_between(
    segments: Iterable[Segment], first_sequence: int, start: int, end: int, before_ns: int = 0
) -> list[StreamPart]:
    """The parts of a stream's bytes from offset `start` on, when all before had arrived: to `end`, or as far as the
    segments have all bytes. segments: of the connection, in the order in which they came. first_sequence: that of the
    stream's byte at offset 0. before_ns: when all bytes before `start` had come, as far as the segments do not show
    it."""
    arrived_to, time_ns = start, before_ns
    reference = first_sequence + start - _HALF
    ahead: list[tuple[int, int]] = []
    parts: list[StreamPart] = []
    for sequence, length, came_ns in segments:
        time_ns = max(time_ns, came_ns)
        first = start + (sequence - reference) % _SEQUENCES - _HALF
        behind = first + length
        if behind <= arrived_to:
            continue
        if first > arrived_to:
            ahead.append((first, behind))
            continue
        arrived_to = _joined(behind, ahead) if ahead else behind
        if arrived_to >= end:
            parts.append(StreamPart(end, time_ns))
            break
        parts.append(StreamPart(arrived_to, time_ns))
    return parts


def _joined(arrived_to: int, ahead: list[tuple[int, int]]) -> int:
    """How far all has arrived with what came ahead of its turn; that is taken off the list."""
    ahead.sort()
    while ahead and ahead[0][0] <= arrived_to:
        arrived_to = max(arrived_to, ahead.pop(0)[1])
    return arrived_to
