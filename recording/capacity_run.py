"""A capacity search while its run lasts: what its probes have come to, and the next one. Pure: its times are the run's,
given by the caller."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tokenswarm.metrics.backlog import backlog_growth, filling_s
from tokenswarm.metrics.drift import drift_of
from tokenswarm.metrics.intervals import Series
from tokenswarm.metrics.objectives import Objectives
from tokenswarm.recording.aggregator import Aggregator, LevelStats
from tokenswarm.recording.probe_requests import ProbeRequests
from tokenswarm.run_folder.capacity_figures import CapacityFigures, ProbeFigures, binding_objective
from tokenswarm.shapes.capacity.probe_verdict import (
    FEWEST_REQUESTS,
    LOOKS,
    Decision,
    Stability,
    decide,
    look_times,
)
from tokenswarm.shapes.capacity.search import CapacitySearch, ProbeOutcome, Verdict
from tokenswarm.shapes.plan import PlannedLevel, SearchPlan

#: A drift is looked for in so many equal parts of a hold, each of which has so many requests in the mean at least.
_PARTS = (60, 40, 20)
_REQUESTS_OF_A_PART = 10
#: Scores that rise by less than this share, or that a steady level shows more often than this, are no reason for a
#: fail.
_NOTICED_RISE = 0.1
_SELDOM = 0.001


@dataclass(slots=True)
class _Probe:
    """index: of its level; looks: made so far; decision: the latest one; reason: why it failed, where that is not its
    share."""

    index: int
    load: float
    looks: int = 0
    decision: Decision | None = None
    reason: str = ""


class CapacityRun:
    """Of one run. `search` is what it has found so far."""

    def __init__(self, plan: SearchPlan, objectives: Objectives, first_index: int = 0) -> None:
        """first_index: of the level of the first probe."""
        self._plan, self._objectives = plan, objectives
        self.search = CapacitySearch(plan.range)
        self._probes = [_Probe(first_index, plan.range.first)]

    def is_decided(self, aggregator: Aggregator) -> bool:
        """Whether the running level is a probe with a verdict. Looks at it where a look is due."""
        level, probe = aggregator.running_level, self._probes[-1]
        if level is None or level.level.index != probe.index or level.probe is None:
            return False
        if _has_verdict(probe.decision):
            return True
        held_s = level.probe.known_until_s - level.level.ramp_s
        times_s = self._look_times(level)
        if probe.looks >= LOOKS - 1 or held_s < times_s[probe.looks]:
            return False  # the last look is made when its last requests have ended
        self._look(level, probe, times_s[probe.looks])
        return _has_verdict(probe.decision)

    def latest(self, aggregator: Aggregator) -> ProbeFigures | None:
        """The latest probe that is over."""
        return self.figures(aggregator).probes[-1] if self.search.outcomes else None

    def next_probe(self, aggregator: Aggregator) -> PlannedLevel | None:
        """The level before is over: what it came to is recorded. None where the search is over."""
        probe = self._probes[-1]
        if (level := aggregator.levels.get(probe.index)) is not None and not _has_verdict(probe.decision):
            self._look(level, probe, self._look_times(level)[-1], last=True)
        self.search.record(_outcome(probe, self._objectives.share))
        if level is not None and level.probe is not None:
            level.probe.forget()
        if (load := self.search.next_load()) is None:
            return None
        self._probes.append(_Probe(probe.index + 1, load))
        return self._plan.probe(probe.index + 1, load, self.search.probes_of(load) + 1)

    def figures(self, aggregator: Aggregator) -> CapacityFigures:
        """What is found so far: a probe without a verdict is in none of it."""
        search, of = self.search, self._plan.range
        probes = tuple(
            _figures(probe, outcome.verdict, aggregator)
            for probe, outcome in zip(self._probes, search.outcomes, strict=False)
        )
        failed = [probe for probe in probes if probe.load == search.failing and probe.verdict == Verdict.FAIL]
        return CapacityFigures(
            unit="users" if of.whole else "requests/s",
            low=of.low,
            high=of.high,
            precision=of.precision,
            share=self._objectives.share,
            conclusion=search.conclusion.value,
            best=search.best,
            failing=search.failing,
            inconclusive=tuple(search.inconclusive),
            unsteady=tuple(search.unsteady),
            binding=binding_objective(failed[0]) if failed else "",
            probes=probes,
        )

    def _look_times(self, level: LevelStats) -> tuple[float, ...]:
        """Since the hold began, of the longest time that the probe may take."""
        return look_times(self._plan.template.level_time_s - level.level.ramp_s)

    def _look(self, level: LevelStats, probe: _Probe, held_s: float, *, last: bool = False) -> None:
        requests, hold_s, arrivals = level.probe, level.level.ramp_s, level.level.arrivals
        arriving = None if arrivals is None else arrivals.mean_rate
        assert requests is not None
        durations_s = np.sort(requests.durations_s())
        p50_s, p95_s = np.quantile(durations_s, (0.5, 0.95)).tolist() if len(durations_s) else (0.0, 0.0)
        filling = filling_s(p50_s, p95_s, held_s)
        from_s, until_s = hold_s + filling, hold_s + held_s
        stability, probe.reason = stability_of(requests, (from_s, until_s), arriving)
        fewest = max(FEWEST_REQUESTS, level.level.users)
        scores = requests.scores(from_s, until_s)
        probe.decision = decide(scores, self._objectives.share, stability, fewest=fewest, last=last)
        probe.looks += 1


def _has_verdict(decision: Decision | None) -> bool:
    return decision is not None and decision.verdict is not None


def stability_of(requests: ProbeRequests, span_s: tuple[float, float], arriving: float | None) -> tuple[Stability, str]:
    """(whether the server keeps up, in what it does not) from one time of the level to another. arriving: requests/s
    of an open loop, None in a closed one."""
    from_s, until_s = span_s
    if arriving is not None:
        in_flight: Series = requests.in_flight(until_s)[round(from_s) :]
        growth = backlog_growth(in_flight, 1.0, arriving)
        if growth is None or growth.slope.low is None or growth.slope.low <= 0:
            return Stability.STEADY, ""
        return (Stability.GROWING, "backlog") if growth.is_unstable else (Stability.SUSPECT, "")
    parts = next((parts for parts in _PARTS if requests.known >= _REQUESTS_OF_A_PART * parts), None)
    drift = drift_of(requests.means(from_s, until_s, parts)) if parts else None
    if drift is None or drift.course != "rises":
        return Stability.STEADY, ""
    is_growing = drift.change.value > _NOTICED_RISE and drift.chance < _SELDOM
    return (Stability.GROWING, "drift") if is_growing else (Stability.SUSPECT, "")


def _outcome(probe: _Probe, target: float) -> ProbeOutcome:
    decision = probe.decision
    verdict = decision.verdict if decision and decision.verdict else Verdict.INCONCLUSIVE
    bounds = decision.bounds if decision else None
    if bounds is None:
        return ProbeOutcome(probe.load, verdict, leans_good=False)
    return ProbeOutcome(probe.load, verdict, bounds.share >= target, bounds.low, bounds.high)


def _figures(probe: _Probe, verdict: Verdict, aggregator: Aggregator) -> ProbeFigures:
    bounds = probe.decision.bounds if probe.decision else None
    level = aggregator.levels.get(probe.index)
    requests = level.probe if level else None
    return ProbeFigures(
        index=probe.index,
        level=level.level.name if level else "",
        load=probe.load,
        verdict=verdict.value,
        reason=probe.reason if verdict is Verdict.FAIL else "",
        requests=bounds.requests if bounds else 0,
        independent=round(bounds.independent, 1) if bounds else 0.0,
        share=bounds.share if bounds else None,
        share_low=bounds.low if bounds else None,
        share_high=bounds.high if bounds else None,
        shares=requests.shares() if requests else {},
        failed=requests.failures / requests.ended if requests and requests.ended else 0.0,
    )
