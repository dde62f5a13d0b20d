"""Which load a capacity search probes next, from the outcomes so far. Pure.

The load grows by a factor until a probe fails, and the gap between the largest pass and the smallest fail is halved on
the scale of logarithms until it is as narrow as the precision. Then the two edges are probed again, in turn: a load
that passes once and fails once has no outcome, and the search goes on around it. A probe without a decision is neither
a pass nor a fail: it only says where to look next.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from math import inf

from tokenswarm.shapes.capacity.search_range import SearchRange

#: Each edge of the bracket is probed so often.
PROBES_OF_AN_EDGE = 2
#: No search takes more probes: one whose server contradicts itself would not end.
MOST_PROBES = 20


class Verdict(StrEnum):
    """What a probe has shown of its load. INCONCLUSIVE: neither, within its time."""

    PASS = "pass"  # noqa: S105 - no secret
    FAIL = "fail"
    INCONCLUSIVE = "inconclusive"


class Conclusion(StrEnum):
    """What a search has found. BRACKET: a load that passed below one that failed. NO_PASS: the lowest load failed.
    NO_FAIL: the highest passed. INCONCLUSIVE: the probes were too short to show a pass, or a fail. UNFINISHED: the
    search was stopped, or took as many probes as it may, before its bracket was confirmed."""

    BRACKET = "bracket"
    NO_PASS = "no_pass"  # noqa: S105
    NO_FAIL = "no_fail"
    INCONCLUSIVE = "inconclusive"
    UNFINISHED = "unfinished"


@dataclass(frozen=True, slots=True)
class ProbeOutcome:
    """Of one probe. leans_good: whether the share of good requests was above the target, decided or not. low, high: the
    ends of the interval of that share, 0 to 1."""

    load: float
    verdict: Verdict
    leans_good: bool
    low: float = 0.0
    high: float = 1.0


class CapacitySearch:
    """One search. `next_load` says what to probe until it is None; `record` takes what came of it."""

    def __init__(self, of: SearchRange, most_probes: int = MOST_PROBES) -> None:
        self.range = of
        self.outcomes: list[ProbeOutcome] = []
        self._most_probes = most_probes

    def record(self, outcome: ProbeOutcome) -> None:
        """A probe has ended."""
        self.outcomes.append(outcome)

    @property
    def best(self) -> float | None:
        """The largest load that passed, below every load that failed; None where there is none."""
        return max(self._passed, default=None)

    @property
    def failing(self) -> float | None:
        """The smallest load that failed; None where there is none."""
        return min((load for load in self._loads if self.verdict_at(load) is Verdict.FAIL), default=None)

    @property
    def contradicted(self) -> Sequence[float]:
        """The loads that passed once and failed once, in order."""
        return [load for load in self._loads if {Verdict.PASS, Verdict.FAIL} <= self._verdicts(load)]

    @property
    def unsteady(self) -> Sequence[float]:
        """The loads whose probes differ by more than chance within them explains, in order: the server was faster in
        one of them."""
        return [load for load in self._loads if load in self.contradicted or self._differ(load)]

    @property
    def inconclusive(self) -> Sequence[float]:
        """The loads that were probed and neither passed nor failed, in order."""
        return [load for load in self._loads if self.verdict_at(load) is Verdict.INCONCLUSIVE]

    def verdict_at(self, load: float) -> Verdict:
        """Of all probes of a load: inconclusive where they contradict each other."""
        decided = self._verdicts(load) - {Verdict.INCONCLUSIVE}
        return decided.pop() if len(decided) == 1 else Verdict.INCONCLUSIVE

    def probes_of(self, load: float) -> int:
        """How often the load was probed."""
        return sum(outcome.load == load for outcome in self.outcomes)

    def next_load(self) -> float | None:
        """The load to probe; None where the search is over."""
        if len(self.outcomes) >= self._most_probes:
            return None
        if not self.outcomes:
            return self.range.first
        if self.failing is None and (largest := self._loads[-1]) < self.range.high:
            return self.range.grown(largest)
        narrower = self._within(self.best, self.failing)
        return self._repeat() if narrower is None else narrower

    @property
    def conclusion(self) -> Conclusion:
        """What the outcomes so far show."""
        best, following = self.best, self.failing
        if best is not None and best >= self.range.high:
            return Conclusion.NO_FAIL
        if following is not None and following <= self.range.low:
            return Conclusion.NO_PASS
        if self.next_load() is not None or len(self.outcomes) >= self._most_probes:
            return Conclusion.UNFINISHED
        return Conclusion.INCONCLUSIVE if best is None or following is None else Conclusion.BRACKET

    def _within(self, best: float | None, failing: float | None) -> float | None:
        """A load to probe between the largest pass and the smallest fail, None where these are close enough. Loads
        without a decision lie between them, or stand for an edge that there is not."""
        between = [load for load in self.inconclusive if (best or 0.0) < load < (failing or inf)]
        if best is None:
            leaning = [load for load in between if self._leans_good(load)]
            if not leaning:
                return None if self.probes_of(self.range.low) else self.range.low
            best = leaning[-1]
            between = [load for load in between if load > best]
        if failing is None:
            if not between:
                return None
            failing = between.pop()
        if not between or self.range.are_close(best, failing):
            return self.range.between(best, failing)
        below, above = self.range.beside(between[0])[0], self.range.beside(between[-1])[1]
        pair = (above, below) if self._leans_good(between[-1]) else (below, above)
        return next((load for load in pair if best < load < failing and not self.probes_of(load)), None)

    def _repeat(self) -> float | None:
        """The edge of the bracket that was probed less often, the lower one first."""
        edges = [edge for edge in (self.best, self.failing) if edge is not None]
        if len(edges) < 2:
            return None
        return next(
            (edge for count in range(1, PROBES_OF_AN_EDGE) for edge in edges if self.probes_of(edge) <= count), None
        )

    @property
    def _loads(self) -> list[float]:
        return sorted({outcome.load for outcome in self.outcomes})

    @property
    def _passed(self) -> list[float]:
        following = self.failing
        passed = [load for load in self._loads if self.verdict_at(load) is Verdict.PASS]
        return [load for load in passed if following is None or load < following]

    def _differ(self, load: float) -> bool:
        probes = [outcome for outcome in self.outcomes if outcome.load == load]
        return max(probe.low for probe in probes) > min(probe.high for probe in probes)

    def _verdicts(self, load: float) -> set[Verdict]:
        return {outcome.verdict for outcome in self.outcomes if outcome.load == load}

    def _leans_good(self, load: float) -> bool:
        """Whether larger loads are worth a probe: it passed, or has no decision and more good requests than needed."""
        verdict = self.verdict_at(load)
        if verdict is not Verdict.INCONCLUSIVE:
            return verdict is Verdict.PASS
        leaning = [outcome.leans_good for outcome in self.outcomes if outcome.load == load]
        return load not in self.contradicted and all(leaning)
