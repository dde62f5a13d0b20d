"""Values in the order of time, beside the histogram that counts them: a histogram alone does not show how much each
value resembles the one before it, which intervals depend on."""

from __future__ import annotations

from array import array

import numpy as np

from tokenswarm.metrics.histogram import Histogram
from tokenswarm.metrics.intervals import Series

_MOST_MS = 2**32 - 1


class TimeOrder:
    """Whole numbers from 0 to 65,535, each with the time it belongs to: six bytes each."""

    __slots__ = ("_at_ms", "_numbers")

    def __init__(self) -> None:
        self._numbers, self._at_ms = array("H"), array("I")

    def add(self, number: int, at_ns: int) -> None:
        """A number of this time, in nanoseconds of the run; kept to the millisecond, those of one in the order in which
        they were added."""
        at_ms = at_ns // 1_000_000
        self._numbers.append(number)
        self._at_ms.append(at_ms if 0 <= at_ms <= _MOST_MS else 0 if at_ms < 0 else _MOST_MS)

    def series(self) -> Series:
        """The numbers in the order of their times."""
        numbers = np.array(self._numbers, dtype=np.float64)
        ordered: Series = numbers[np.argsort(np.array(self._at_ms), kind="stable")]
        return ordered


class TimedHistogram(Histogram):
    """A histogram whose values have times. Only values recorded with `record_at` do: all of them must be."""

    __slots__ = ("_order",)

    def __init__(self, unit: float = 1e-6) -> None:
        super().__init__(unit)
        self._order = TimeOrder()

    def record_at(self, units: int, at_ns: int) -> None:
        """Record a value, in whole units, of this time in nanoseconds of the run."""
        self._order.add(self.record(units), at_ns)

    def series(self) -> Series:
        """The number of each value's bucket, in the order of time: larger values have larger ones."""
        return self._order.series()
