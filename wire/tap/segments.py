"""Which bytes of a connection came when, from the TCP segments that carried them. No socket, no clock.

A byte counts as arrived once it and all bytes before it have come: no program can have it earlier. So a segment that
comes out of order, or twice, is no time of its own.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

_SEQUENCES = 1 << 32


class Segments(NamedTuple):
    """Segments of several connections, as columns; those of each connection in the order in which they came.

    keys: of the connections, see `connection_key`, ascending. sequences: of their first bytes. lengths: bytes of data.
    times_ns: when they came, on the system's clock (CLOCK_REALTIME).
    """

    keys: NDArray[np.uint64]
    sequences: NDArray[np.uint32]
    lengths: NDArray[np.int64]
    times_ns: NDArray[np.int64]

    def of(self, key: int) -> Iterable[tuple[int, int, int]]:
        """(sequence, length, time) of each segment of a connection."""
        first, behind = self.keys.searchsorted(np.array((key, key + 1), dtype=np.uint64)).tolist()
        if first == behind:
            return ()
        these = slice(first, behind)
        columns = self.sequences[these].tolist(), self.lengths[these].tolist(), self.times_ns[these].tolist()
        return zip(*columns, strict=True)


class StreamPart(NamedTuple):
    """Bytes that arrived together. end: the offset behind them in their connection's stream."""

    end: int
    arrived_ns: int


def merged(earlier: Segments, later: Segments) -> Segments:
    """All of both, where all of `later` came later."""
    keys = np.concatenate((earlier.keys, later.keys))
    order = keys.argsort(kind="stable")
    return Segments(
        keys[order],
        np.concatenate((earlier.sequences, later.sequences))[order],
        np.concatenate((earlier.lengths, later.lengths))[order],
        np.concatenate((earlier.times_ns, later.times_ns))[order],
    )


def connection_key(source_words: Iterable[int], source_port: int, local_port: int) -> int:
    """What identifies a connection among those of this machine: the sender's address, folded, and both ports."""
    folded = 0
    for word in source_words:
        folded ^= word
    return folded << 32 | source_port << 16 | local_port


def parts_between(
    segments: Iterable[tuple[int, int, int]], first_sequence: int, start: int, end: int
) -> list[StreamPart]:
    """The parts of a stream's bytes from offset `start` on, when all before had arrived: to `end`, or as far as the
    segments have all bytes. segments: of the connection, as Segments.of. first_sequence: that of the stream's byte at
    offset 0."""
    arrived_to, time_ns = start, 0
    ahead: list[tuple[int, int]] = []
    parts: list[StreamPart] = []
    for sequence, length, came_ns in segments:
        time_ns = max(time_ns, came_ns)
        first = start + _signed(sequence - first_sequence - start)
        behind = first + length
        if behind <= arrived_to:
            continue
        if first > arrived_to:
            ahead.append((first, behind))
            continue
        arrived_to = _joined(behind, ahead)
        parts.append(StreamPart(min(arrived_to, end), time_ns))
        if arrived_to >= end:
            break
    return parts


def _joined(arrived_to: int, ahead: list[tuple[int, int]]) -> int:
    """How far all has arrived with what came ahead of its turn; that is taken off the list."""
    ahead.sort()
    while ahead and ahead[0][0] <= arrived_to:
        arrived_to = max(arrived_to, ahead.pop(0)[1])
    return arrived_to


def _signed(difference: int) -> int:
    """The difference of two sequence numbers, which begin again at 0 behind 2³² − 1."""
    return (difference + _SEQUENCES // 2) % _SEQUENCES - _SEQUENCES // 2
