"""When the requests of an open-loop level were sent, for the audit of its load: all of them, or those of blocks of time
that are spread evenly over the level. Pure."""

from __future__ import annotations

from array import array
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from tokenswarm.metrics.intervals import Series

#: Times that are kept of a level: 400 kB.
MOST_TIMES = 50_000
#: A block holds so many requests in the mean, and lasts a second at least.
_REQUESTS_PER_BLOCK = 1000


class Block(NamedTuple):
    """A time of the level, in seconds, of which every time is kept; times_s: in order."""

    from_s: float
    until_s: float
    times_s: Series


class SentTimes:
    """Keeps times, in any order. Where there are too many, every second block of time is left out, then every second
    of the rest, and so on; where one block alone has too many, no more are taken."""

    def __init__(self, rate: float, most: int = MOST_TIMES) -> None:
        """rate: requests/s, in the mean; most: times that are kept."""
        self._block_s = max(1.0, _REQUESTS_PER_BLOCK / rate)
        self._most = most
        self._every = 1
        self._latest_s = 0.0
        self._times_s = array("d")

    def add(self, sent_s: float) -> None:
        """A request was sent at this time of the level, in seconds."""
        self._latest_s = max(self._latest_s, sent_s)
        if int(sent_s / self._block_s) % self._every:
            return
        if len(self._times_s) < self._most or self._thin_out():
            self._times_s.append(sent_s)

    def blocks(self, until_s: float) -> Iterator[Block]:
        """What is known, up to this time of the level: one block where every time is kept."""
        times_s = np.sort(np.array(self._times_s))
        if self._every == 1:
            yield Block(0.0, until_s, times_s[times_s < until_s])
            return
        for start_s in np.arange(0.0, until_s - self._block_s, self._every * self._block_s).tolist():
            first, behind = np.searchsorted(times_s, (start_s, start_s + self._block_s))
            yield Block(start_s, start_s + self._block_s, times_s[first:behind])

    def keeps(self, times_s: Series) -> NDArray[np.bool_]:
        """Which of these times lie in a block that is kept."""
        kept: NDArray[np.bool_] = (times_s // self._block_s).astype(np.int64) % self._every == 0
        return kept

    def _thin_out(self) -> bool:
        """Whether there is space for one more time then."""
        while len(self._times_s) >= self._most and self._every * self._block_s <= self._latest_s:
            self._every *= 2
            times_s = np.array(self._times_s)
            self._times_s = array("d", times_s[self.keeps(times_s)].tobytes())
        return len(self._times_s) < self._most
