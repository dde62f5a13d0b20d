"""A histogram of seconds or rates with a stated error, made to be merged and sent.

HdrHistogram (hdrhistogram on PyPI) with 3 significant digits: a value read back is within 0.1 % of the one recorded.
Its counts are read through numpy: walking them in Python costs milliseconds a histogram.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import TypeVar

import numpy as np
from hdrh.histogram import HdrHistogram
from numpy.typing import NDArray

Key = TypeVar("Key", bound=Hashable)

_LOWEST, _HIGHEST, _DIGITS = 1, 24 * 3600 * 1_000_000, 3


class Histogram:
    """Counts of values recorded in `unit`s: 1e-6 s for durations, 1e-3 tokens/s for rates, both up to 86,400.

    Values below one unit are recorded as zero units, values above the range as its end.
    """

    def __init__(self, unit: float = 1e-6) -> None:
        self.unit = unit
        self._hdr = HdrHistogram(_LOWEST, _HIGHEST, _DIGITS)
        self._sum_units = 0

    def record(self, units: int, count: int = 1) -> None:
        """Record a value given in whole units."""
        clamped = min(max(units, 0), _HIGHEST)
        self._hdr.record_value(clamped, count)
        self._sum_units += clamped * count

    def record_many(self, units: NDArray[np.int64]) -> None:
        """Record each of the values, in whole units: the same counts as one by one, at a twentieth of the cost."""
        if not len(units):
            return
        clamped = np.clip(units, 0, _HIGHEST)
        hdr = self._hdr
        np.add.at(_counts(hdr), _bucket_indexes(hdr, clamped), 1)
        hdr.total_count += len(clamped)
        hdr.min_value = min(hdr.min_value, int(clamped.min()))
        hdr.max_value = max(hdr.max_value, int(clamped.max()))
        self._sum_units += int(clamped.sum())

    def add(self, other: Histogram) -> None:
        """Merge: exact, as both count in the same buckets. Raises ValueError for histograms of different units."""
        if other.unit != self.unit:
            raise ValueError(f"cannot merge a histogram of unit {other.unit} into one of unit {self.unit}")
        if other.count:
            self._hdr.add(other._hdr)
            self._sum_units += other._sum_units

    @property
    def count(self) -> int:
        return int(self._hdr.total_count)

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

    def counts_at_or_below(self, bounds: Sequence[float]) -> list[int]:
        """How many values lie at or below each bound (ascending). A bucket counts where its lower edge does, so that a
        value that is recorded exactly at a bound is not put above it."""
        if not self.count:
            return [0] * len(bounds)
        used, cumulative = self._used()
        edges, _ = _bucket_edges(self._hdr, used)
        # Compared in units: 0.1 is no exact float, 100,000 µs is.
        places = np.searchsorted(edges, np.rint(np.asarray(bounds) / self.unit), side="right")
        return [int(cumulative[place - 1]) if place else 0 for place in places]

    def encode(self) -> tuple[bytes, int]:
        """The histogram as bytes to send (HdrHistogram V2, compressed), and its exact sum in units."""
        return self._hdr.encode(), self._sum_units

    @classmethod
    def decode(cls, encoded: tuple[bytes, int], unit: float = 1e-6) -> Histogram:
        """The inverse of `encode`. Raises ValueError for bytes that are no such histogram."""
        histogram = cls(unit)
        payload, histogram._sum_units = encoded
        try:
            histogram._hdr = HdrHistogram.decode(payload)
        except Exception as error:
            raise ValueError(f"these bytes are no encoded histogram: {error!r}") from None
        return histogram

    def _recorded(self) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
        """(values in units at the middle of each bucket in use, cumulative counts), ascending."""
        used, cumulative = self._used()
        edges, widths = _bucket_edges(self._hdr, used)
        return edges + (widths - 1) / 2, cumulative

    def _used(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """(indexes of the buckets in use, cumulative counts), ascending."""
        counts = _counts(self._hdr)
        used = np.flatnonzero(counts)
        return used.astype(np.int64), np.cumsum(counts[used])


def histogram_at(histograms: dict[Key, Histogram], key: Key) -> Histogram:
    """As setdefault, but an empty histogram is 200 kB: one is made only where it is missing."""
    if (histogram := histograms.get(key)) is None:
        histogram = histograms[key] = Histogram()
    return histogram


def _counts(hdr: HdrHistogram) -> NDArray[np.int64]:
    """The library's own counters, to be read and written in place."""
    counters: NDArray[np.int64] = np.frombuffer(hdr.counts, dtype=np.int64)
    return counters


def _bucket_indexes(hdr: HdrHistogram, values: NDArray[np.int64]) -> NDArray[np.int64]:
    """The arithmetic of HdrHistogram's counts index, for many values at once."""
    # frexp's exponent is the bit length: exact, as the values lie far below 2**53.
    bit_lengths = np.frexp((values | hdr.sub_bucket_mask).astype(np.float64))[1].astype(np.int64)
    bucket = bit_lengths - (hdr.sub_bucket_half_count_magnitude + 1)
    sub_bucket = values >> bucket
    first_of_bucket = (bucket + 1) << hdr.sub_bucket_half_count_magnitude
    indexes: NDArray[np.int64] = first_of_bucket + sub_bucket - hdr.sub_bucket_half_count
    return indexes


def _bucket_edges(hdr: HdrHistogram, indexes: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """(lowest value, width) of each bucket: the arithmetic of HdrHistogram.get_value_from_index, for many at once."""
    bucket = (indexes >> hdr.sub_bucket_half_count_magnitude) - 1
    sub_bucket = (indexes & (hdr.sub_bucket_half_count - 1)) + hdr.sub_bucket_half_count
    sub_bucket = np.where(bucket < 0, sub_bucket - hdr.sub_bucket_half_count, sub_bucket)
    widths = np.left_shift(1, np.maximum(bucket, 0))
    return sub_bucket * widths, widths
