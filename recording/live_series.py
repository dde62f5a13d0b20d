"""A run as it goes on, window by window: what a page charts. Read from the statistics; no request is counted anew."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from tokenswarm.metrics.histogram import Snapshot
from tokenswarm.metrics.level import Scope
from tokenswarm.metrics.quantiles import nearest_rank
from tokenswarm.metrics.timeline import Outcome
from tokenswarm.recording.aggregator import Aggregator, LevelStats
from tokenswarm.recording.reported_counts import ReportedCounts, ReportedTotals
from tokenswarm.recording.window_stats import WindowStats
from tokenswarm.run_folder.schema import WINDOW_S

#: A window is shown once it has been observed: users are counted once a second.
_YOUNGEST_S = 1.0

#: How old a window is in which little changes any more, and how often those are looked at: a run of hours has thousands
#: of them, and a page reads the others each 2 s.
_SETTLED_S = 900.0
_LOOK_AGAIN_S = 60.0

#: A window: (index of its level, number in the level).
_Place = tuple[int, int]


class RequestRates(NamedTuple):
    """Requests/s: due by the schedule (None in a closed loop), sent, and ended ok."""

    offered: float | None
    sent: float
    completed: float


class Point(NamedTuple):
    """Five seconds of a level, as far as they are known. level_index: the level's. In seconds; None where nothing came.

    tokens_per_s: of all users, from the events that arrived in it, those of running requests included. offered_rate:
    requests/s due by the schedule, None in a closed loop; sent_rate: sent, running ones included; completed_rate: ended
    ok. TTFT: of the requests that were sent in it and have ended, as in windows.csv. gap, client_delay, failures (by
    outcome): of those that were reported in it, whenever they were sent.
    """

    start_s: float
    end_s: float
    level_index: int
    users: int
    in_flight: int
    offered_rate: float | None
    sent_rate: float | None
    completed_rate: float | None
    tokens_per_s: float | None
    ttft_p50_s: float | None
    ttft_p95_s: float | None
    ttft_p99_s: float | None
    gap_p50_s: float | None
    gap_p99_s: float | None
    client_delay_p99_s: float | None
    failures: dict[str, int]


@dataclass(frozen=True, slots=True)
class _Increase:
    gap_p50_s: float | None = None
    gap_p99_s: float | None = None
    client_delay_p99_s: float | None = None
    failures: Counter[str] = field(default_factory=Counter)


class _Mark:
    """The statistics as they were when a window began."""

    def __init__(self, place: _Place, level: LevelStats, aggregator: Aggregator) -> None:
        self.place = place
        self._whole = level.scopes[Scope.WHOLE]
        self._gaps: Snapshot = self._whole.gap_s.snapshot()
        self._delays: Snapshot = self._whole.client_delay_s.snapshot()
        self._failures = _failures(aggregator)

    def increase(self, aggregator: Aggregator) -> _Increase:
        """What came since."""
        gap_p50_s, gap_p99_s = self._whole.gap_s.values_at((0.5, 0.99), since=self._gaps) or (None, None)
        (delay_s,) = self._whole.client_delay_s.values_at((0.99,), since=self._delays) or (None,)
        return _Increase(gap_p50_s, gap_p99_s, delay_s, _failures(aggregator) - self._failures)


class LiveSeries:
    """Keeps what the statistics do not: when things were reported. Pure: its times are the run's, given by the caller.

    `revision` grows with every change of a point.
    """

    def __init__(self) -> None:
        self.revision = 0
        self._reported = ReportedCounts()
        self._rates: dict[_Place, ReportedTotals] = {}
        self._mark: _Mark | None = None
        self._increases: dict[_Place, _Increase] = {}
        self._points: dict[_Place, tuple[int, tuple[object, ...], Point]] = {}
        #: How many windows of each level were settled at the last look at all, and the newest revision among those.
        self._settled: dict[int, int] = {}
        self._settled_revision = 0
        self._look_again_s = 0.0

    def enter_report(self, worker: int, counts: ReportedTotals, now_s: float) -> None:
        """A worker has reported what it has counted since the run began."""
        self._reported.report(worker, counts, now_s)

    def tokens_per_s(self, worker: int, aggregator: Aggregator) -> float | None:
        """Of one worker, over the last 5 s that it has reported."""
        rates = self._reported.recent_rates(worker)
        return None if rates is None else rates.output_events * _tokens_per_event(aggregator)

    def tokens_per_s_between(self, start_s: float, end_s: float, aggregator: Aggregator) -> float | None:
        """Of all users, as far as all workers have reported; None where they have not."""
        rates = self._reported.rates(start_s, min(end_s, self._reported.reported_s))
        return None if rates is None else rates.output_events * _tokens_per_event(aggregator)

    def request_rates_between(self, start_s: float, end_s: float, level: LevelStats) -> RequestRates | None:
        """Between two moments of a level, as far as all workers have reported; None where they have not."""
        end_s = min(end_s, self._reported.reported_s)
        rates = self._reported.rates(start_s, end_s)
        return None if rates is None else _with_offered(rates, level, start_s, end_s)

    def recent_request_rates(self, aggregator: Aggregator) -> RequestRates | None:
        """Over the last 5 s of the running level that all workers have reported; None where there is no such time yet,
        and while no level runs."""
        level = aggregator.running_level
        if level is None:
            return None
        end_s = self._reported.reported_s
        return self.request_rates_between(max(level.began_s, end_s - WINDOW_S), end_s, level)

    def recent_tokens_per_s(self, aggregator: Aggregator) -> float | None:
        """Of all users, over the last 5 s of the running level that all workers have reported; None where there is no
        such time yet."""
        level = aggregator.running_level
        end_s = self._reported.reported_s
        began_s = 0.0 if level is None else level.began_s
        return self.tokens_per_s_between(max(began_s, end_s - WINDOW_S), end_s, aggregator)

    def observe(self, aggregator: Aggregator, now_s: float) -> None:
        """Once a second or so: note what was reported in a window when it is over."""
        level = aggregator.running_level
        place = None if level is None else (level.level.index, int((now_s - level.began_s) / WINDOW_S))
        if self._mark is not None and place != self._mark.place:
            self._increases[self._mark.place] = self._mark.increase(aggregator)
            self._mark = None
        if level is not None and place is not None and self._mark is None:
            self._mark = _Mark(place, level, aggregator)

    def points(self, aggregator: Aggregator, now_s: float, since: int) -> list[tuple[int, Point]]:
        """(index from the run's start, point) of each window that has changed since `revision` was `since`. A request
        is entered when it ends, into the window that it was sent in: older ones change too, and come within a
        minute."""
        increases = dict(self._increases)
        if self._mark is not None:
            increases[self._mark.place] = self._mark.increase(aggregator)
        changed: list[tuple[int, Point]] = []
        index = 0
        is_of_all = self._looks_at_all(aggregator, now_s, since)
        for level in aggregator.levels.values():
            first = 0 if is_of_all else self._settled.get(level.level.index, 0)
            index += first
            for number, window in enumerate(aggregator.windows_of(level, now_s, first), first):
                if level.ended_s is None and now_s - level.began_s - number * WINDOW_S < _YOUNGEST_S:
                    break  # nobody has looked at its users yet
                place = (level.level.index, number)
                revision, point = self._point(
                    place, level, window, increases.get(place, _Increase()), aggregator, now_s
                )
                if revision > since:
                    changed.append((index, point))
                index += 1
        if is_of_all:
            self._note_settled(aggregator, now_s)
        return changed

    def _looks_at_all(self, aggregator: Aggregator, now_s: float, since: int) -> bool:
        """Whether settled windows are looked at too: for a page that does not know them as they are, from time to time,
        and where no level runs whose measurement it would disturb."""
        is_time = now_s >= self._look_again_s
        if is_time:
            self._look_again_s = now_s + _LOOK_AGAIN_S
        return is_time or since < self._settled_revision or aggregator.running_level is None

    def _note_settled(self, aggregator: Aggregator, now_s: float) -> None:
        for level in aggregator.levels.values():
            number, known = 0, level.level.index
            while (known, number) in self._points and level.began_s + (number + 1) * WINDOW_S <= now_s - _SETTLED_S:
                self._settled_revision = max(self._settled_revision, self._points[known, number][0])
                number += 1
            self._settled[known] = number

    def _point(
        self,
        place: _Place,
        level: LevelStats,
        window: WindowStats,
        increase: _Increase,
        aggregator: Aggregator,
        now_s: float,
    ) -> tuple[int, Point]:
        """(revision of its last change, the point); made anew only if what it shows has changed."""
        start_s = level.began_s + place[1] * WINDOW_S
        end_s = min(start_s + WINDOW_S, now_s if level.ended_s is None else level.ended_s)
        rates = self._reported_rates(place, start_s, end_s)
        # Rounded: where it changes, every point does.
        tokens = None if rates is None else rates.output_events * round(_tokens_per_event(aggregator), 2)
        state = (end_s, rates, tokens, window.users, window.in_flight, len(window.ttfts_ns), increase)
        known = self._points.get(place)
        if known is None or known[1] != state:
            self.revision += 1
            ttfts_ns = sorted(window.ttfts_ns)
            requests = None if rates is None else _with_offered(rates, level, start_s, end_s)
            point = Point(
                start_s=start_s,
                end_s=end_s,
                level_index=place[0],
                users=window.users,
                in_flight=window.in_flight,
                offered_rate=requests.offered if requests else None,
                sent_rate=requests.sent if requests else None,
                completed_rate=requests.completed if requests else None,
                tokens_per_s=tokens,
                ttft_p50_s=_quantile_s(ttfts_ns, 0.5),
                ttft_p95_s=_quantile_s(ttfts_ns, 0.95),
                ttft_p99_s=_quantile_s(ttfts_ns, 0.99),
                gap_p50_s=increase.gap_p50_s,
                gap_p99_s=increase.gap_p99_s,
                client_delay_p99_s=increase.client_delay_p99_s,
                failures=dict(increase.failures),
            )
            self._points[place] = known = (self.revision, state, point)
        return known[0], known[2]

    def _reported_rates(self, place: _Place, start_s: float, end_s: float) -> ReportedTotals | None:
        rates = self._rates.get(place)
        if rates is None:
            reported_s = self._reported.reported_s
            rates = self._reported.rates(start_s, min(end_s, reported_s))
            if rates is not None and start_s + WINDOW_S <= reported_s:
                self._rates[place] = rates  # an hour has 720 of them, and a page reads them each 2 s
        return rates


def _with_offered(rates: ReportedTotals, level: LevelStats, start_s: float, end_s: float) -> RequestRates:
    """start_s, end_s: since the run began."""
    offered = level.offered_between(start_s - level.began_s, end_s - level.began_s)
    return RequestRates(None if offered is None else offered / (end_s - start_s), rates.sent, rates.completed)


def _quantile_s(ascending_ns: Sequence[int], p: float) -> float | None:
    value_ns = nearest_rank(ascending_ns, p)
    return None if value_ns is None else value_ns / 1e9


def _tokens_per_event(aggregator: Aggregator) -> float:
    """A running stream's tokens are not known before its end, its events are: what one held so far is the measure."""
    return aggregator.output_tokens / aggregator.output_events if aggregator.output_events else 1.0


def _failures(aggregator: Aggregator) -> Counter[str]:
    """Of the run so far, by outcome."""
    counts: Counter[str] = Counter()
    for level in aggregator.levels.values():
        outcomes = level.scopes[Scope.WHOLE].outcomes
        counts.update({name: count for name, count in outcomes.items() if Outcome(name).is_failure})
    return counts
