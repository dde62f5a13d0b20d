"""The requests of one probe of a capacity search: those that have ended, and what those that run have proven. Pure."""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from math import inf

import numpy as np
from numpy.typing import NDArray

from tokenswarm.metrics.intervals import Series
from tokenswarm.metrics.objectives import Objectives, worst_score
from tokenswarm.recording.worker_report import OpenRequest, Report, RequestRow


@dataclass(slots=True)
class ProbeRequests:
    """Of one level's hold. Times are seconds of the level; scores as worst_score has them. ended: requests that have
    ended; failures: of these; judged: of these, those that their users were not to leave, which alone have scores."""

    objectives: Objectives
    began_s: float
    _sent_s: array[float] = field(default_factory=lambda: array("d"))
    _ended_s: array[float] = field(default_factory=lambda: array("d"))
    _scores: array[float] = field(default_factory=lambda: array("d"))
    _judged: array[int] = field(default_factory=lambda: array("b"))
    _within: Counter[str] = field(default_factory=Counter)
    failures: int = 0
    ended: int = 0
    judged: int = 0
    #: By worker: its requests that run, and when it reported them.
    _open: dict[int, tuple[float, Sequence[OpenRequest]]] = field(default_factory=dict)

    def add(self, row: RequestRow) -> None:
        """A request of the level has ended."""
        self._sent_s.append(row.sent_ns / 1e9 - self.began_s)
        self._ended_s.append(row.ended_ns / 1e9 - self.began_s)
        scores = self.objectives.scores(row)
        self._scores.append(worst_score(scores))
        self._judged.append(not row.abandons)
        if not row.abandons:
            self.judged += 1
            self._within.update(name for name, score in scores.items() if score <= 1.0)
        self.failures += row.outcome.is_failure
        self.ended += 1

    def take_open(self, report: Report, level_index: int) -> None:
        """The requests that a worker reports as running replace those of its report before."""
        running = [each for each in report.open_requests if each.level_index == level_index]
        self._open[report.worker] = report.reported_ns / 1e9 - self.began_s, running

    @property
    def known(self) -> int:
        """Requests whose times are kept."""
        return len(self._scores)

    @property
    def known_until_s(self) -> float:
        """Of what was sent before, everything is known, as every worker has reported since; -inf before the first
        reports."""
        return min((reported_s for reported_s, _ in self._open.values()), default=-inf)

    def scores(self, from_s: float, until_s: float) -> Series:
        """Of the requests that were sent in this time and that their users are not to leave, in the order in which they
        were sent: NaN for one that runs and has missed nothing so far."""
        sent_s, _, scores, judged = self._all()
        held = judged & (sent_s >= from_s) & (sent_s < until_s)
        found: Series = scores[held][np.argsort(sent_s[held], kind="stable")]
        return found

    def forget(self) -> None:
        """The probe is over: the counts stay."""
        self._sent_s, self._ended_s, self._scores, self._judged = array("d"), array("d"), array("d"), array("b")
        self._open.clear()

    def shares(self) -> dict[str, float]:
        """Of the judged requests, the share (0 to 1) within each bound alone, by the figure's name."""
        return {name: self._within[name] / max(1, self.judged) for name in self.objectives.bounds}

    def durations_s(self) -> Series:
        """From sent to ended, of the requests that have ended."""
        found: Series = np.array(self._ended_s) - np.array(self._sent_s)
        return found

    def in_flight(self, until_s: float) -> Series:
        """Requests in flight, the mean of each whole second before."""
        sent_s, ended_s, _, _ = self._all()
        edges = np.arange(int(max(0.0, until_s)) + 1, dtype=np.float64)
        found: Series = np.diff(_waited_since(sent_s, edges) - _waited_since(ended_s, edges))
        return found

    def means(self, from_s: float, until_s: float, bins: int) -> Series:
        """The mean score of the judged requests of each of so many equal times, those that have not ended left out, and
        none taken for more than 2: how far a miss is off is no matter. Empty where a time has none."""
        sent_s, scores = np.array(self._sent_s), np.array(self._scores)
        judged = np.array(self._judged, dtype=np.bool_)
        known = judged & (sent_s >= from_s) & (sent_s < until_s) & ~np.isnan(scores)
        edges = np.linspace(from_s, until_s, bins + 1)
        places = np.clip(np.searchsorted(edges, sent_s[known], side="right") - 1, 0, bins - 1)
        counts = np.bincount(places, minlength=bins)
        if not counts.all():
            return np.empty(0)
        sums = np.bincount(places, np.minimum(scores[known], 2.0), minlength=bins)
        found: Series = sums / counts
        return found

    def _all(self) -> tuple[Series, Series, Series, NDArray[np.bool_]]:
        """(sent, ended, scores, whether judged) of the requests that have ended, then of those that run."""
        running = [(each, reported_s) for reported_s, some in self._open.values() for each in some]
        sent_s = [each.sent_ns / 1e9 - self.began_s for each, _ in running]
        scores = [
            worst_score(self.objectives.scores_so_far(each.ttft_ns, (reported_s - began_s) * 1e9))
            for (each, reported_s), began_s in zip(running, sent_s, strict=True)
        ]
        return (
            np.concatenate([self._sent_s, sent_s]),
            np.concatenate([self._ended_s, np.full(len(running), inf)]),
            np.concatenate([self._scores, scores]),
            np.array([*self._judged, *(not each.abandons for each, _ in running)], dtype=np.bool_),
        )


def _waited_since(times_s: Series, at_s: Series) -> Series:
    """The sum of the times since each event that lies before, at each moment."""
    ascending = np.sort(times_s[np.isfinite(times_s)])
    before = np.searchsorted(ascending, at_s)
    sums = np.concatenate(([0.0], np.cumsum(ascending)))
    waited: Series = at_s * before - sums[before]
    return waited
