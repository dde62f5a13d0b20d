"""Requests of a level, or sessions, by the second in which they were sent and ended. Pure."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from math import ceil, floor, sqrt

import numpy as np

from tokenswarm.metrics.intervals import Series


@dataclass(slots=True)
class RequestFlow:
    """Counts requests by second of their level. The mean of a second's requests in flight follows from when in it they
    were sent and ended: nothing is sampled. Where sessions arrive, it counts these in the same way."""

    sent: Counter[int] = field(default_factory=Counter)
    completed: Counter[int] = field(default_factory=Counter)
    _sent_parts: Counter[int] = field(default_factory=Counter)
    _ended: Counter[int] = field(default_factory=Counter)
    _ended_parts: Counter[int] = field(default_factory=Counter)

    def begin(self, when_s: float) -> None:
        """Count one that was sent so long after the level began."""
        when_s = max(0.0, when_s)
        second = floor(when_s)
        self.sent[second] += 1
        self._sent_parts[second] += second + 1 - when_s  # type: ignore[assignment]

    def end(self, when_s: float, *, completed: bool) -> None:
        """Count one that ended so long after the level began; completed: as it should have."""
        when_s = max(0.0, when_s)
        second = floor(when_s)
        self._ended[second] += 1
        self._ended_parts[second] += second + 1 - when_s  # type: ignore[assignment]
        self.completed[second] += completed

    def in_flight(self, seconds: int) -> Series:
        """Mean requests in flight of each of the level's first seconds, of requests that have ended by now; of sessions
        of those whose first turn has."""
        means = np.zeros(seconds)
        before = 0
        for second in range(seconds):
            means[second] = before + self._sent_parts[second] - self._ended_parts[second]
            before += self.sent[second] - self._ended[second]
        return means

    def most_at_once(self, seconds: int) -> int:
        """Requests that may have been in flight at one time in the level's first seconds: within a second, their number
        goes up and down about its mean, as that of independent arrivals does."""
        most = float(self.in_flight(seconds).max()) if seconds else 0.0
        return ceil(most + 2 * sqrt(most))
