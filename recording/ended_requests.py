"""A request that has ended, as a worker counts and keeps it, and how ended requests become a report."""

from __future__ import annotations

from collections import defaultdict

import msgspec
import numpy as np

from tokenswarm.metrics.client_health import WorkerHealth
from tokenswarm.metrics.histogram import Histogram
from tokenswarm.metrics.level import LevelPhase, Phase
from tokenswarm.recording.worker_report import Report, RequestRow

#: Of durations that are entered in a histogram together, which takes half a millisecond.
_MOST_PENDING_BYTES = 65_536


class LocustCount(msgspec.Struct, frozen=True, array_like=True):
    """What Locust's own statistics count for the request. response_ms: None for a request that was cut; error: None for
    one that did not fail."""

    method: str
    name: str
    response_ms: float | None
    response_bytes: int
    error: str | None = None


class EndedRequest(msgspec.Struct, frozen=True, array_like=True):
    """One ended request. place: of its sending; gaps_ns and delays_ns: nanoseconds as 64-bit integers of this machine's
    byte order, gaps of ok requests only."""

    row: RequestRow
    place: tuple[int, Phase]
    tokens_by_window: dict[int, float]
    gaps_ns: bytes
    delays_ns: bytes
    in_locust: LocustCount | None = None


class _Durations:
    """Durations of one place, on their way into a histogram: to enter each by itself costs ten times as much, and to
    enter all of some seconds at once blocks the event loop for tens of milliseconds."""

    def __init__(self) -> None:
        self._histogram = Histogram()
        self._pending = bytearray()

    def add(self, many_ns: bytes) -> None:
        """Nanoseconds as 64-bit integers of this machine's byte order."""
        self._pending += many_ns
        if len(self._pending) >= _MOST_PENDING_BYTES:
            self._enter()

    def histogram(self) -> Histogram:
        """Of all of them."""
        self._enter()
        return self._histogram

    def _enter(self) -> None:
        pending, self._pending = self._pending, bytearray()
        self._histogram.record_many(np.rint(np.frombuffer(pending, np.int64) / 1000).astype(np.int64))


class ReportBuilder:
    """Collects ended requests for the next report."""

    def __init__(self) -> None:
        self._clear()

    def _clear(self) -> None:
        self.rows: list[RequestRow] = []
        self._tokens_by_window: dict[tuple[int, int], float] = {}
        self._gaps: defaultdict[LevelPhase, _Durations] = defaultdict(_Durations)
        self._delays: defaultdict[LevelPhase, _Durations] = defaultdict(_Durations)

    def add(self, ended: EndedRequest) -> None:
        """Count one more."""
        for window, tokens in ended.tokens_by_window.items():
            in_window = (ended.row.level_index, window)
            self._tokens_by_window[in_window] = self._tokens_by_window.get(in_window, 0.0) + tokens
        if ended.gaps_ns:
            self._gaps[ended.place].add(ended.gaps_ns)
        if ended.delays_ns:
            self._delays[ended.place].add(ended.delays_ns)
        self.rows.append(ended.row)

    def take(
        self, worker: int, number: int, ended: int, in_flight: int, output_events: int, health: WorkerHealth
    ) -> Report:
        """All since the last time, as the report of that number."""
        report = Report(
            worker,
            number,
            ended,
            in_flight,
            output_events,
            self.rows,
            self._tokens_by_window,
            {place: durations.histogram() for place, durations in self._gaps.items()},
            {place: durations.histogram() for place, durations in self._delays.items()},
            health,
        )
        self._clear()
        return report
