"""What workers have counted since the run began, by the time of their reports: rates between two moments."""

from __future__ import annotations

from bisect import bisect_right
from typing import NamedTuple

from tokenswarm.run_folder.schema import WINDOW_S

#: A worker that was silent for so long is not waited for: the others' counts go on.
_SILENT_S = 10.0
#: Reports that follow one another faster are kept as one: some tokens are read, and counted, several at a time.
_RESOLUTION_S = 0.25


class ReportedTotals(NamedTuple):
    """What one worker has counted since the run began: events with output, requests sent (those in flight included),
    and requests that ended ok. Of a difference by time, the same per second."""

    output_events: float
    sent: float
    completed: float

    def plus(self, other: ReportedTotals, times: float = 1.0) -> ReportedTotals:
        """self + times · other."""
        return ReportedTotals(*(one + times * each for one, each in zip(self, other)))


_NONE = ReportedTotals(0.0, 0.0, 0.0)


class ReportedCounts:
    """What all workers have counted, by time."""

    def __init__(self) -> None:
        self._workers: dict[int, _WorkerCounts] = {}

    def report(self, worker: int, counts: ReportedTotals, now_s: float) -> None:
        """A worker has counted so much by now_s. Its first report speaks of a window at most: it may have joined
        late."""
        if worker not in self._workers:
            self._workers[worker] = _WorkerCounts(max(0.0, now_s - WINDOW_S))
        self._workers[worker].report(counts, now_s)

    @property
    def reported_s(self) -> float:
        """Until when all workers have reported."""
        times_s = [worker.reported_s for worker in self._workers.values()]
        latest_s = max(times_s, default=0.0)
        return min((when_s for when_s in times_s if when_s > latest_s - _SILENT_S), default=0.0)

    def rates(self, start_s: float, end_s: float) -> ReportedTotals | None:
        """Counted per second by all workers between two times; None for no time at all."""
        if end_s <= start_s:
            return None
        counted = _NONE
        for worker in self._workers.values():
            counted = counted.plus(worker.total_at(end_s)).plus(worker.total_at(start_s), -1.0)
        return _NONE.plus(counted, 1.0 / (end_s - start_s))

    def recent_rates(self, worker: int) -> ReportedTotals | None:
        """Counted per second by one worker over the last window that its reports cover; None before its first."""
        known = self._workers.get(worker)
        if known is None:
            return None
        end_s = known.reported_s
        start_s = max(0.0, end_s - WINDOW_S)
        if end_s <= start_s:
            return None
        return _NONE.plus(known.total_at(end_s).plus(known.total_at(start_s), -1.0), 1.0 / (end_s - start_s))


class _WorkerCounts:
    """What one worker has counted, by time. Between two reports it is taken to have come evenly, so that a window is
    measured only as far as the reports reach."""

    def __init__(self, began_s: float) -> None:
        """began_s: when the first that was counted can have come, at the earliest."""
        self._times_s = [began_s]
        self._totals = [_NONE]

    @property
    def reported_s(self) -> float:
        """Time of the last report."""
        return self._times_s[-1]

    def report(self, total: ReportedTotals, now_s: float) -> None:
        """The worker has counted `total` by `now_s`."""
        if now_s <= self._times_s[-1]:
            self._totals[-1] = ReportedTotals(*map(max, total, self._totals[-1]))
            return
        if len(self._times_s) > 1 and now_s - self._times_s[-2] < _RESOLUTION_S:
            self._times_s[-1], self._totals[-1] = now_s, total
            return
        self._times_s.append(now_s)
        self._totals.append(total)

    def total_at(self, when_s: float) -> ReportedTotals:
        """Counted by `when_s`; what came after the last report is not known and counts as none."""
        behind = bisect_right(self._times_s, when_s)
        if behind == 0:
            return _NONE
        if behind == len(self._times_s):
            return self._totals[-1]
        before_s, after_s = self._times_s[behind - 1 : behind + 1]
        before, after = self._totals[behind - 1 : behind + 1]
        return before.plus(after.plus(before, -1.0), (when_s - before_s) / (after_s - before_s))
