"""A run as it goes on, window by window: what a page charts. Read from the books; no request is counted anew."""

from __future__ import annotations

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


class _Arrivals:
    """Events with output by the second that they came in, as workers tell of them."""

    def __init__(self) -> None:
        self.rates: dict[int, float] = {}
        self._by_second: list[float] = []
        self._events: dict[int, int] = {}
        self._heard_s: dict[int, float] = {}

    def heard(self, worker: int, events: int, now_s: float) -> None:
        """A worker has seen so many by now. They are taken to have come evenly since it last told: reports come each
        3 s, so that one window of 5 s would hold one of them and the next two."""
        came = events - self._events.get(worker, 0)
        since_s = self._heard_s.get(worker, 0.0)
        self._events[worker], self._heard_s[worker] = events, now_s
        lasted_s = now_s - since_s
        if lasted_s <= 0:
            return
        self.rates[worker] = came / lasted_s
        self._by_second.extend([0.0] * (int(now_s) + 1 - len(self._by_second)))
        for second in range(int(since_s), int(now_s) + 1):
            self._by_second[second] += came / lasted_s * (min(now_s, second + 1) - max(since_s, second))

    @property
    def told_s(self) -> float:
        """Until when all workers have told."""
        latest_s = max(self._heard_s.values(), default=0.0)
        return min((when_s for when_s in self._heard_s.values() if when_s > latest_s - _SILENT_S), default=0.0)

    def rate(self, start_s: float, end_s: float) -> float | None:
        """Events a second; None for no time at all."""
        if end_s <= start_s:
            return None
        seconds = range(int(start_s), min(ceil(end_s), len(self._by_second)))
        came = sum(self._by_second[each] * (min(end_s, each + 1) - max(start_s, each)) for each in seconds)
        return came / (end_s - start_s)


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
        self._arrivals.heard(worker, output_events, now_s)

    def tokens_per_s(self, worker: int, ledger: Ledger) -> float | None:
        """Of one worker, by its last report."""
        rate = self._arrivals.rates.get(worker)
        return None if rate is None else rate * _tokens_per_event(ledger)

    def tokens_per_s_between(self, start_s: float, end_s: float, ledger: Ledger) -> float | None:
        """Of all users, as far as all workers have told; None where they have not."""
        events = self._arrivals.rate(start_s, min(end_s, self._arrivals.told_s))
        return None if events is None else events * _tokens_per_event(ledger)

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
            told_s = self._arrivals.told_s
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
