"""Requests of a level by the second in which they were sent and ended. Pure."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from math import floor

import numpy as np

from tokenswarm.metrics.intervals import Series
from tokenswarm.metrics.timeline import Outcome
from tokenswarm.recording.worker_report import RequestRow


@dataclass(slots=True)
class RequestFlow:
    """Counts requests by second of their level. The mean of a second's requests in flight follows from when in it they
    were sent and ended: nothing is sampled."""

    sent: Counter[int] = field(default_factory=Counter)
    completed: Counter[int] = field(default_factory=Counter)
    recorded: int = 0
    _sent_parts: Counter[int] = field(default_factory=Counter)
    _ended: Counter[int] = field(default_factory=Counter)
    _ended_parts: Counter[int] = field(default_factory=Counter)

    def add(self, row: RequestRow, began_s: float) -> None:
        """Count a request that has ended. began_s: of its level."""
        self.recorded += 1
        sent_s, ended_s = (max(0.0, when_ns / 1e9 - began_s) for when_ns in (row.sent_ns, row.ended_ns))
        sent, ended = floor(sent_s), floor(ended_s)
        self.sent[sent] += 1
        self._sent_parts[sent] += sent + 1 - sent_s  # type: ignore[assignment]
        self._ended[ended] += 1
        self._ended_parts[ended] += ended + 1 - ended_s  # type: ignore[assignment]
        self.completed[ended] += row.outcome is Outcome.OK

    def in_flight(self, seconds: int) -> Series:
        """Mean requests in flight of each of the level's first seconds, of requests that have ended by now."""
        means = np.zeros(seconds)
        before = 0
        for second in range(seconds):
            means[second] = before + self._sent_parts[second] - self._ended_parts[second]
            before += self.sent[second] - self._ended[second]
        return means
