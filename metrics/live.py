"""A run as it goes on, window by window: what a page charts. Read from the books; no request is counted anew."""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from math import ceil
from typing import NamedTuple

from metrics.histogram import Snapshot
from metrics.ledger import WINDOW_S, Ledger, LevelBooks, WindowBooks
from metrics.stage import Part
from metrics.timeline import Outcome

#: A worker that was silent for so long is not waited for: the others' tokens go on.
_SILENT_S = 10.0
#: Reports that follow one another faster are kept as one: some tokens are read, and counted, several at a time.
_RESOLUTION_S = 0.25
#: A window is shown once it has been observed: users are counted once a second.
_YOUNGEST_S = 1.0

#: A window: (number of its stage, number in the stage).
_Place = tuple[int, int]


class Point(NamedTuple):
    """Five seconds of a stage, as far as they are known. Times in seconds; None where nothing came.

    tokens_per_s: of all users, from the events that arrived in it, those of running requests included. TTFT: of the
    requests that were sent in it and have ended, as in windows.csv. gap, client_delay, failures (by outcome): of those
    that were told of in it, whenever they were sent.
    """

    start_s: float
    end_s: float
    stage: int
    users: int
    in_flight: int
    tokens_per_s: float | None
    ttft_p50_s: float | None
    ttft_p95_s: float | None
    ttft_p99_s: float | None
    gap_p50_s: float | None
    gap_p99_s: float | None
    client_delay_p99_s: float | None
    failures: dict[str, int]


@dataclass(frozen=True, slots=True)
class _Told:
    gap_p50_s: float | None = None
    gap_p99_s: float | None = None
    client_delay_p99_s: float | None = None
    failures: Counter[str] = field(default_factory=Counter)


class _Mark:
    """The books as they were when a window began."""

    def __init__(self, place: _Place, level: LevelBooks, ledger: Ledger) -> None:
        self.place = place
        self._whole = level.parts[Part.WHOLE]
        self._gaps: Snapshot = self._whole.gap_s.snapshot()
        self._delays: Snapshot = self._whole.client_delay_s.snapshot()
        self._failures = _failures(ledger)

    def told(self, ledger: Ledger) -> _Told:
        """What came since."""
        gap_p50_s, gap_p99_s = self._whole.gap_s.values_at((0.5, 0.99), since=self._gaps) or (None, None)
        (delay_s,) = self._whole.client_delay_s.values_at((0.99,), since=self._delays) or (None,)
        return _Told(gap_p50_s, gap_p99_s, delay_s, _failures(ledger) - self._failures)


class _WorkerArrivals:
    """How many events with output one worker has counted, by time. Between two reports they are taken to have come
    evenly, so that a window is measured only as far as the reports reach."""

    def __init__(self, began_s: float) -> None:
        """began_s: when the first counted event can have come, at the earliest."""
        self._times_s = [began_s]
        self._totals = [0]

    @property
    def reported_s(self) -> float:
        """Time of the last report."""
        return self._times_s[-1]

    def report(self, total: int, now_s: float) -> None:
        """The worker has counted `total` events by `now_s`."""
        if now_s <= self._times_s[-1]:
            self._totals[-1] = max(total, self._totals[-1])
            return
        if len(self._times_s) > 1 and now_s - self._times_s[-2] < _RESOLUTION_S:
            self._times_s[-1], self._totals[-1] = now_s, total
            return
        self._times_s.append(now_s)
        self._totals.append(total)

    def total_at(self, when_s: float) -> float:
        """Events counted by `when_s`; what came after the last report is not known and counts as none."""
        behind = bisect_right(self._times_s, when_s)
        if behind == 0:
            return 0.0
        if behind == len(self._times_s):
            return self._totals[-1]
        before_s, after_s = self._times_s[behind - 1 : behind + 1]
        before, after = self._totals[behind - 1 : behind + 1]
        return before + (after - before) * (when_s - before_s) / (after_s - before_s)


class _Arrivals:
    """Events with output of all workers, by time."""

    def __init__(self) -> None:
        self._workers: dict[int, _WorkerArrivals] = {}

    def report(self, worker: int, events: int, now_s: float) -> None:
        """A worker has counted `events` since the run began. Its first report speaks of a window at most: it may have
        joined late."""
        if worker not in self._workers:
            self._workers[worker] = _WorkerArrivals(max(0.0, now_s - WINDOW_S))
        self._workers[worker].report(events, now_s)

    @property
    def reported_s(self) -> float:
        """Until when all workers have reported."""
        times_s = [worker.reported_s for worker in self._workers.values()]
        latest_s = max(times_s, default=0.0)
        return min((when_s for when_s in times_s if when_s > latest_s - _SILENT_S), default=0.0)

    def rate(self, start_s: float, end_s: float) -> float | None:
        """Events per second of all workers between two times; None for no time at all."""
        if end_s <= start_s:
            return None
        came = sum(worker.total_at(end_s) - worker.total_at(start_s) for worker in self._workers.values())
        return came / (end_s - start_s)

    def recent_rate(self, worker: int) -> float | None:
        """Events per second of one worker over the last window that its reports cover; None before its first."""
        known = self._workers.get(worker)
        if known is None:
            return None
        end_s = known.reported_s
        start_s = max(0.0, end_s - WINDOW_S)
        return (known.total_at(end_s) - known.total_at(start_s)) / (end_s - start_s) if end_s > start_s else None


class LiveSeries:
    """Keeps what the books forget: when things were told. Pure: its times are the run's, given by the caller.

    `revision` grows with every change of a point.
    """

    def __init__(self) -> None:
        self.revision = 0
        self._arrivals = _Arrivals()
        self._events: dict[_Place, float] = {}
        self._mark: _Mark | None = None
        self._told: dict[_Place, _Told] = {}
        self._points: dict[_Place, tuple[int, tuple[object, ...], Point]] = {}

    def heard(self, worker: int, output_events: int, now_s: float) -> None:
        """A worker told how many events with output it has seen since the run began."""
        self._arrivals.report(worker, output_events, now_s)

    def tokens_per_s(self, worker: int, ledger: Ledger) -> float | None:
        """Of one worker, over the last 5 s that it has reported."""
        rate = self._arrivals.recent_rate(worker)
        return None if rate is None else rate * _tokens_per_event(ledger)

    def tokens_per_s_between(self, start_s: float, end_s: float, ledger: Ledger) -> float | None:
        """Of all users, as far as all workers have told; None where they have not."""
        events = self._arrivals.rate(start_s, min(end_s, self._arrivals.reported_s))
        return None if events is None else events * _tokens_per_event(ledger)

    def recent_tokens_per_s(self, ledger: Ledger) -> float | None:
        """Of all users, over the last 5 s of the running level that all workers have reported; None where there is no
        such time yet."""
        level = ledger.running_level
        end_s = self._arrivals.reported_s
        began_s = 0.0 if level is None else level.began_s
        return self.tokens_per_s_between(max(began_s, end_s - WINDOW_S), end_s, ledger)

    def observe(self, ledger: Ledger, now_s: float) -> None:
        """Once a second or so: note what was told in a window when it is over."""
        level = ledger.running_level
        place = None if level is None else (level.stage.stage, int((now_s - level.began_s) / WINDOW_S))
        if self._mark is not None and place != self._mark.place:
            self._told[self._mark.place] = self._mark.told(ledger)
            self._mark = None
        if level is not None and place is not None and self._mark is None:
            self._mark = _Mark(place, level, ledger)

    def points(self, ledger: Ledger, now_s: float, since: int) -> list[tuple[int, Point]]:
        """(index from the run's start, point) of each window that has changed since `revision` was `since`. A request
        is entered when it ends, into the window that it was sent in: older ones change too."""
        told = dict(self._told)
        if self._mark is not None:
            told[self._mark.place] = self._mark.told(ledger)
        changed: list[tuple[int, Point]] = []
        index = 0
        for level in ledger.levels.values():
            for number, window in enumerate(ledger.windows_of(level, now_s)):
                if level.ended_s is None and now_s - level.began_s - number * WINDOW_S < _YOUNGEST_S:
                    break  # nobody has looked at its users yet
                place = (level.stage.stage, number)
                revision, point = self._point(place, level, window, told.get(place, _Told()), ledger, now_s)
                if revision > since:
                    changed.append((index, point))
                index += 1
        return changed

    def _point(
        self, place: _Place, level: LevelBooks, window: WindowBooks, told: _Told, ledger: Ledger, now_s: float
    ) -> tuple[int, Point]:
        """(revision of its last change, the point); made anew only if what it shows has changed."""
        start_s = level.began_s + place[1] * WINDOW_S
        end_s = min(start_s + WINDOW_S, now_s if level.ended_s is None else level.ended_s)
        rate = self._rate(place, start_s, end_s, ledger)
        state = (end_s, rate, window.users, window.in_flight, len(window.ttfts_ns), told)
        known = self._points.get(place)
        if known is None or known[1] != state:
            self.revision += 1
            ttfts_ns = sorted(window.ttfts_ns)
            point = Point(
                start_s=start_s,
                end_s=end_s,
                stage=place[0],
                users=window.users,
                in_flight=window.in_flight,
                tokens_per_s=rate,
                ttft_p50_s=_nearest_rank_s(ttfts_ns, 0.5),
                ttft_p95_s=_nearest_rank_s(ttfts_ns, 0.95),
                ttft_p99_s=_nearest_rank_s(ttfts_ns, 0.99),
                gap_p50_s=told.gap_p50_s,
                gap_p99_s=told.gap_p99_s,
                client_delay_p99_s=told.client_delay_p99_s,
                failures=dict(told.failures),
            )
            self._points[place] = known = (self.revision, state, point)
        return known[0], known[2]

    def _rate(self, place: _Place, start_s: float, end_s: float, ledger: Ledger) -> float | None:
        events = self._events.get(place)
        if events is None:
            told_s = self._arrivals.reported_s
            events = self._arrivals.rate(start_s, min(end_s, told_s))
            if events is not None and start_s + WINDOW_S <= told_s:
                self._events[place] = events  # an hour has 720 of them, and a page asks each 2 s
        # Rounded: where it changes, every point does.
        return None if events is None else events * round(_tokens_per_event(ledger), 2)


def _nearest_rank_s(ascending_ns: Sequence[int], share: float) -> float | None:
    return ascending_ns[ceil(share * len(ascending_ns)) - 1] / 1e9 if ascending_ns else None


def _tokens_per_event(ledger: Ledger) -> float:
    """A running stream's tokens are not known before its end, its events are: what one held so far is the measure."""
    return ledger.output_tokens / ledger.output_events if ledger.output_events else 1.0


def _failures(ledger: Ledger) -> Counter[str]:
    """Of the run so far, by outcome."""
    counts: Counter[str] = Counter()
    for level in ledger.levels.values():
        outcomes = level.parts[Part.WHOLE].outcomes
        counts.update({name: count for name, count in outcomes.items() if Outcome(name).is_failure})
    return counts
