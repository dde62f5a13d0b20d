"""A histogram of seconds or rates with a stated error, made to be merged and sent.

Its buckets are HdrHistogram's (http://hdrhistogram.org) of 3 significant digits: a value read back is within 0.1 % of
the one recorded. Values are noted one by one and counted some hundred at a time, in a numpy array of all buckets; a
histogram of fewer values has none. Only buckets in use are sent.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from math import ceil
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

Key = TypeVar("Key", bound=Hashable)

#: A histogram's counts at one moment.
Snapshot = NDArray[np.int64]

_HIGHEST = 24 * 3600 * 1_000_000
#: So many values are noted before they are counted: that takes 20 µs.
_MOST_NOTED = 512
#: The first 2,048 buckets hold one unit each; then come 1,024 of 2 units, 1,024 of 4, and so on.
_FINE_BITS, _HALF_BITS = 11, 10
_FINE_MASK = (1 << _FINE_BITS) - 1


def bucket_index(units: int) -> int:
    """The number of the bucket, from 0, in which a value is counted that is given in whole units. Values with the same
    leading 11 bits share a bucket."""
    value = _clamped(units)
    shift = (value | _FINE_MASK).bit_length() - _FINE_BITS
    return (shift << _HALF_BITS) + (value >> shift)


def _clamped(units: int) -> int:
    if 0 <= units <= _HIGHEST:
        return units
    return 0 if units < 0 else _HIGHEST


_BUCKETS = bucket_index(_HIGHEST) + 1
_WIDTHS = (1, 2, 4, 8)
_NOTHING = np.zeros(0, dtype=np.int64)


def as_recorded(values: NDArray[np.float64], unit: float = 1e-6) -> NDArray[np.float64]:
    """Values as they are read back from a histogram of this unit: the middles of their buckets, at most 0.05 % off."""
    units = np.clip(np.rint(values / unit), 0, _HIGHEST).astype(np.int64)
    edges, widths = _bucket_edges(_bucket_indexes(units))
    middles: NDArray[np.float64] = (edges + (widths - 1) / 2) * unit
    return middles


class Histogram:
    """Counts of values recorded in `unit`s: 1e-6 s for durations, 1e-3 tokens/s for rates, both up to 86,400.

    Values below one unit are recorded as zero units, values above the range as its end.
    """

    __slots__ = ("_counts", "_few", "_noted", "_sum_units", "count", "unit")

    def __init__(self, unit: float = 1e-6) -> None:
        self.unit = unit
        self.count = 0
        self._counts = _NOTHING
        #: In place of an array of all buckets: the numbers of those in use, and their counts.
        self._few: tuple[NDArray[np.int64], NDArray[np.int64]] | None = None
        #: The bucket's number of each value that is not counted yet.
        self._noted: list[int] = []
        self._sum_units = 0

    def record(self, units: int, count: int = 1) -> int:
        """Record a value given in whole units, so many times. Returns its bucket's number."""
        value = _clamped(units)
        shift = (value | _FINE_MASK).bit_length() - _FINE_BITS
        index = (shift << _HALF_BITS) + (value >> shift)
        self.count += count
        self._sum_units += value * count
        if count > 1:
            self._allocated_counts()[index] += count
            return index
        self._noted.append(index)
        if len(self._noted) > _MOST_NOTED:
            self._allocated_counts()
        return index

    def record_many(self, units: NDArray[np.int64]) -> None:
        """Record each of the values, in whole units: the same counts as one by one, at a twentieth of the cost."""
        if not len(units):
            return
        clamped = np.clip(units, 0, _HIGHEST)
        indexes = _bucket_indexes(clamped)
        if len(units) <= _MOST_NOTED:
            self._noted += indexes.tolist()
        elif not self.count:
            self._few = np.unique(indexes, return_counts=True)
        else:
            np.add.at(self._allocated_counts(), indexes, 1)
        self.count += len(clamped)
        self._sum_units += int(clamped.sum())

    def add(self, other: Histogram) -> None:
        """Merge: exact, as both count in the same buckets. Raises ValueError for histograms of different units."""
        if other.unit != self.unit:
            raise ValueError(f"cannot merge a histogram of unit {other.unit} into one of unit {self.unit}")
        if other.count:
            used, counts = other._used()
            self._allocated_counts()[used] += counts
            self.count += other.count
            self._sum_units += other._sum_units

    @property
    def sum(self) -> float:
        """Exact sum of the recorded values (not of their buckets)."""
        return self._sum_units * self.unit

    @property
    def mean(self) -> float | None:
        return self.sum / self.count if self.count else None

    @property
    def minimum(self) -> float | None:
        return self.value_at_rank(1) if self.count else None

    @property
    def maximum(self) -> float | None:
        return self.value_at_rank(self.count) if self.count else None

    def value_at_rank(self, rank: int) -> float:
        """The rank-th smallest value, from 1 to count: the middle of its bucket, at most 0.05 % off."""
        values, cumulative = self._recorded()
        return float(values[int(np.searchsorted(cumulative, rank))]) * self.unit

    def values_at(self, shares: Sequence[float], since: Snapshot | None = None) -> list[float] | None:
        """The value of rank ceil(p n) for each share p (0 < p ≤ 1), in one walk; of what was recorded since a snapshot,
        if one is given. None where there is nothing."""
        used, counts = self._used()
        if since is not None:
            counts = counts - since[used]
            used, counts = used[counts > 0], counts[counts > 0]
        if not len(used):
            return None
        cumulative = np.cumsum(counts)
        ranks = [ceil(share * int(cumulative[-1])) for share in shares]
        edges, widths = _bucket_edges(used[np.searchsorted(cumulative, ranks)])
        return [float(value) * self.unit for value in edges + (widths - 1) / 2]

    def snapshot(self) -> Snapshot:
        """What is recorded by now, for `values_at`."""
        return self._allocated_counts().copy()

    def counts_at_or_below(self, bounds: Sequence[float]) -> list[int]:
        """How many values lie at or below each bound (ascending). A bucket counts where its lower edge does, so that a
        value that is recorded exactly at a bound is not put above it."""
        if not self.count:
            return [0] * len(bounds)
        used, counts = self._used()
        cumulative = np.cumsum(counts)
        edges, _ = _bucket_edges(used)
        # Compared in units: 0.1 is no exact float, 100,000 µs is.
        places = np.searchsorted(edges, np.rint(np.asarray(bounds) / self.unit), side="right")
        return [int(cumulative[place - 1]) if place else 0 for place in places]

    def buckets(self) -> list[tuple[float, int]]:
        """(the largest value that it counts, how many it counted) of each bucket in use, ascending: all that is known,
        at the histogram's own resolution."""
        used, counts = self._used()
        edges, widths = _bucket_edges(used)
        return [(float(end) * self.unit, int(count)) for end, count in zip(edges + widths - 1, counts)]

    def encode(self) -> tuple[bytes, int]:
        """The histogram as bytes to send, and its exact sum in units. The bytes: how many a count takes (1, 2, 4 or 8);
        of each bucket in use the distance from the one before, in 2; of each its count. All little-endian."""
        used, counts = self._used()
        most = int(counts.max()) if len(counts) else 0
        width = next(width for width in _WIDTHS if most < 1 << 8 * width)
        distances = used.astype("<u2")
        distances[1:] -= distances[:-1].copy()
        return bytes([width]) + distances.tobytes() + counts.astype(f"<u{width}").tobytes(), self._sum_units

    @classmethod
    def decode(cls, encoded: tuple[bytes, int], unit: float = 1e-6) -> Histogram:
        """The inverse of `encode`. Raises ValueError for bytes that are no such histogram."""
        payload, sum_units = encoded
        width = payload[0] if payload else 0
        buckets, rest = divmod(len(payload) - 1, 2 + width)
        if width not in _WIDTHS or rest:
            raise ValueError("these bytes are no encoded histogram")
        used = np.cumsum(np.frombuffer(payload, "<u2", buckets, offset=1), dtype=np.int64)
        histogram = cls(unit)
        if buckets:
            if used[-1] >= _BUCKETS:
                raise ValueError("these bytes are no encoded histogram: a bucket lies beyond the last")
            counts = np.frombuffer(payload, f"<u{width}", offset=1 + 2 * buckets).astype(np.int64)
            histogram._few = used, counts
            histogram.count = int(counts.sum())
            histogram._sum_units = sum_units
        return histogram

    def _allocated_counts(self) -> NDArray[np.int64]:
        """All buckets, to be counted in; what was noted is counted."""
        if not len(self._counts):
            self._counts = np.zeros(_BUCKETS, dtype=np.int64)
        if self._few is not None:
            used, counts = self._few
            self._counts[used] += counts
            self._few = None
        if self._noted:
            np.add.at(self._counts, self._noted, 1)
            self._noted.clear()
        return self._counts

    def _recorded(self) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
        """(values in units at the middle of each bucket in use, cumulative counts), ascending."""
        used, counts = self._used()
        edges, widths = _bucket_edges(used)
        return edges + (widths - 1) / 2, np.cumsum(counts)

    def _used(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """(indexes of the buckets in use, their counts), ascending."""
        if not len(self._counts):
            if self._few is None and self._noted:
                self._few = np.unique(np.array(self._noted, dtype=np.int64), return_counts=True)
                self._noted.clear()
            if self._few is not None and not self._noted:
                return self._few
        used = np.flatnonzero(self._allocated_counts())
        return used.astype(np.int64), self._counts[used]


def histogram_at(histograms: dict[Key, Histogram], key: Key) -> Histogram:
    """As setdefault, but an empty histogram is made only where it is missing."""
    if (histogram := histograms.get(key)) is None:
        histogram = histograms[key] = Histogram()
    return histogram


def _bucket_indexes(values: NDArray[np.int64]) -> NDArray[np.int64]:
    """As bucket_index, for many values at once."""
    # frexp's exponent is the bit length: exact, as the values lie far below 2**53.
    bit_lengths = np.frexp((values | _FINE_MASK).astype(np.float64))[1].astype(np.int64)
    shifts = bit_lengths - _FINE_BITS
    indexes: NDArray[np.int64] = (shifts << _HALF_BITS) + (values >> shifts)
    return indexes


def _bucket_edges(indexes: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """(lowest value, width) of each bucket."""
    shifts = np.maximum((indexes >> _HALF_BITS) - 1, 0)
    return (indexes - (shifts << _HALF_BITS)) << shifts, np.left_shift(1, shifts)
