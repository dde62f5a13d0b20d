"""Counts of the requests of a level that their users were to leave, and when all of its requests were under way."""

from __future__ import annotations

from array import array
from dataclasses import dataclass, field

import numpy as np

from tokenswarm.metrics.abandonment import Abandonment
from tokenswarm.metrics.histogram import Histogram
from tokenswarm.metrics.intervals import Series
from tokenswarm.metrics.timeline import Outcome
from tokenswarm.metrics.token_counts import TokenSource
from tokenswarm.recording.worker_report import RequestRow

#: A user of a busy client may leave so late; a response that ends ok later than that was waited for.
_LATE_NS = 250_000_000


@dataclass(slots=True)
class AbandonStats:
    """Of requests sent in the hold: requests; drawn: those whose users were to leave, abandoned: those that they left,
    and ended_before: those that ended ok; overstayed: of these, those that took longer than their user was to wait;
    counted_by_events: abandoned ones whose tokens nobody counted. late_s: how late users left. It also knows when each
    request of the level was sent and was over for its user, 16 bytes for each."""

    plan: Abandonment
    requests: int = 0
    drawn: int = 0
    abandoned: int = 0
    ended_before: int = 0
    overstayed: int = 0
    counted_by_events: int = 0
    late_s: Histogram = field(default_factory=Histogram)
    _sent_s: array[float] = field(default_factory=lambda: array("d"))
    _over_s: array[float] = field(default_factory=lambda: array("d"))

    def add(self, row: RequestRow, in_hold: bool) -> None:
        """Count a request that has ended."""
        self._sent_s.append(row.sent_ns / 1e9)
        self._over_s.append(row.ended_ns / 1e9)
        if not in_hold:
            return
        self.requests += 1
        self.drawn += row.abandons
        if row.outcome is Outcome.ABANDONED:
            self.abandoned += 1
            self.counted_by_events += row.output_tokens_source == TokenSource.EVENTS
            self.late_s.record(max(0, round((row.abandon_late_ns or 0) / 1000)))
        elif row.abandons and row.outcome is Outcome.OK:
            self.ended_before += 1
            after_s = self.plan.after_s
            self.overstayed += after_s is not None and row.ended_ns - row.sent_ns > after_s * 1e9 + _LATE_NS

    def in_flight(self, times_s: Series) -> Series:
        """Requests of the level that were under way at each of these moments of the run, of those that have ended."""
        edges = (np.sort(np.frombuffer(kept, np.float64)) for kept in (self._sent_s, self._over_s))
        sent, over = (np.searchsorted(each, times_s, side="right") for each in edges)
        found: Series = (sent - over).astype(np.float64)
        return found
