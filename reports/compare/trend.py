"""One server's runs in the order of time: each figure against a baseline, and which runs departed from it. Pure.

A run departs where neither chance within the runs nor what differs from run to run explains its change
(stats/changes.py). One series of runs makes many comparisons: of twenty series without a change, at most one shall
show a departure by chance, so that each probability is held against Holm's bound.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property

from tokenswarm.metrics import intervals
from tokenswarm.metrics.intervals import Estimate, Pooled
from tokenswarm.reports import units
from tokenswarm.reports.compare.comparability import check_comparable, differences, reasons_unreliable
from tokenswarm.reports.compare.comparison import (
    COMPARED,
    GOODPUT,
    Compared,
    ComparedLevel,
    common_objectives,
    compared_levels,
)
from tokenswarm.reports.stats.changes import ASSUMED_VARIATION, Change, assumed_variation, change_between, holm
from tokenswarm.reports.stats.estimates import RunData
from tokenswarm.run_folder.reader import ReportError, Results
from tokenswarm.sanitize import full_stop, shortened

#: Runs that the baseline is made of where nobody says how many: half of them, but no more than these.
MOST_BASELINE = 5
#: The chance of a departure to either side in a series without a change.
_FALSE_ALARMS = 0.025
#: Of the reasons why runs are unreliable, so many are named, with so many characters of each.
_REASONS, _REASON_CHARACTERS = 3, 120
_NUMBER = re.compile(r"\d[\d,.]*")
#: Of the runs that are left out, so many are named.
_NAMES = 3


class TrendResult(StrEnum):
    """How a run stands to the baseline. POSSIBLE: its own interval excludes no change, but one of so many runs may show
    that by chance. INCONCLUSIVE: the sample is too small for the end of the interval that would decide; or the run
    differs by more than its own requests explain, and only the variation that is assumed from run to run speaks
    against it."""

    BASELINE = "baseline"
    BETTER = "better"
    WORSE = "worse"
    POSSIBLE = "may be chance, as one of several runs"
    UNCHANGED = "no significant difference"
    INCONCLUSIVE = f"inconclusive ({units.TOO_FEW})"


@dataclass(frozen=True, slots=True)
class TrendRun:
    """A run and, where its figures are unreliable, why."""

    data: RunData
    unreliable: tuple[str, ...]

    @property
    def results(self) -> Results:
        """Its folder."""
        return self.data.results


@dataclass(frozen=True, slots=True)
class TrendPoint:
    """A figure of a run. change: to the baseline, None for its own runs and where it is not defined."""

    run: TrendRun
    estimate: Estimate
    change: Change | None
    result: TrendResult


@dataclass(frozen=True, slots=True)
class TrendSeries:
    """A figure at a level, run by run in the order of time."""

    compared: Compared
    level: ComparedLevel
    baseline: Pooled
    points: tuple[TrendPoint, ...]

    @property
    def undecided(self) -> list[TrendPoint]:
        """The runs of which the sample is too small to decide."""
        return [point for point in self.points if point.result is TrendResult.INCONCLUSIVE]

    @property
    def departed(self) -> list[TrendPoint]:
        """The runs that differ significantly from the baseline."""
        return [point for point in self.points if point.result in (TrendResult.BETTER, TrendResult.WORSE)]


class Trend:
    """Runs with the same settings, in the order of time. Raises ReportError, OptionErrors."""

    def __init__(
        self,
        runs: Sequence[Results],
        baseline: int | None = None,
        allowed: Collection[str] = (),
        variation: float = ASSUMED_VARIATION,
    ) -> None:
        """baseline: how many reliable runs, the oldest ones, make it. variation: standard deviation from run to run, as
        a share, where there are too few runs to measure it."""
        in_order = sorted(runs, key=lambda run: run.run.started_at)
        check_comparable(in_order, allowed)
        self.variation = variation
        self.runs = [TrendRun(RunData(run), tuple(reasons_unreliable(run))) for run in in_order]
        reliable = [run for run in self.runs if not run.unreliable]
        number = min(MOST_BASELINE, max(1, len(reliable) // 2)) if baseline is None else baseline
        if len(reliable) <= number:
            raise ReportError(_too_few(number, self.runs))
        self.baseline = reliable[:number]

    @cached_property
    def series(self) -> list[TrendSeries]:
        """Each figure at each level that a run of the baseline has."""
        results = [run.results for run in self.runs]
        compared = (*COMPARED, GOODPUT) if common_objectives(results) else COMPARED
        levels = compared_levels(results)
        found = (self._series(each, level) for each in compared for level in levels)
        return [series for series in found if series is not None]

    @property
    def newest(self) -> TrendRun:
        """The run that began last."""
        return self.runs[-1]

    @property
    def compared(self) -> list[tuple[TrendSeries, TrendPoint]]:
        """Each comparison with the baseline: a run that is none of it, in one figure at one level."""
        points = ((series, point) for series in self.series for point in series.points)
        return [(series, point) for series, point in points if point.result is not TrendResult.BASELINE]

    @property
    def undecided(self) -> list[tuple[TrendSeries, TrendPoint]]:
        """The comparisons that the sample is too small to decide."""
        return [(series, point) for series, point in self.compared if point.result is TrendResult.INCONCLUSIVE]

    @property
    def worse_now(self) -> list[TrendSeries]:
        """The series in which the newest run is worse than the baseline."""
        return [
            series
            for series in self.series
            if series.points[-1].run is self.newest and series.points[-1].result is TrendResult.WORSE
        ]

    def _series(self, compared: Compared, level: ComparedLevel) -> TrendSeries | None:
        known = [(run, estimate) for run in self.runs if (estimate := _estimate(run, compared, level)) is not None]
        base = [estimate for run, estimate in known if run in self.baseline]
        if not base:
            return None
        changes = [None if run in self.baseline else self._change(compared, base, estimate) for run, estimate in known]
        judged = [place for place, change in enumerate(changes) if change is not None and change.chance is not None]
        chances = [change.chance for change in changes if change is not None and change.chance is not None]
        departed = {judged[at] for at in holm(chances, _FALSE_ALARMS, _FALSE_ALARMS)}
        points = [
            TrendPoint(run, estimate, change, self._result(compared, run, change, place in departed))
            for place, ((run, estimate), change) in enumerate(zip(known, changes, strict=True))
        ]
        return TrendSeries(compared, level, intervals.pooled(base), tuple(points))

    def _change(self, compared: Compared, base: Sequence[Estimate], new: Estimate) -> Change | None:
        variation = assumed_variation(compared.figure, self.variation)
        return change_between(base, [new], share=compared.share, variation=variation)

    def _result(self, compared: Compared, run: TrendRun, change: Change | None, departed: bool) -> TrendResult:
        if run in self.baseline:
            return TrendResult.BASELINE
        if change is None or change.chance is None:
            return TrendResult.INCONCLUSIVE
        none = 0.0 if compared.share else 1.0
        if not departed and change.estimate.excludes(none):
            return TrendResult.POSSIBLE
        if not departed:
            unknown = change.assumed and change.within.excludes(none)
            return TrendResult.INCONCLUSIVE if unknown else TrendResult.UNCHANGED
        rose = change.estimate.value > none
        return TrendResult.BETTER if rose is compared.higher_is_better else TrendResult.WORSE


def _too_few(number: int, runs: Sequence[TrendRun]) -> str:
    """Why there is no trend: how many runs a baseline of so many takes, and why the others are unreliable."""
    by_kind = defaultdict[str, list[TrendRun]](list)  # reasons that differ in their numbers alone are one
    for run in runs:
        for reason in run.unreliable[:1]:
            by_kind[_NUMBER.sub("0", reason)].append(run)
    reasons = sorted(by_kind.values(), key=len, reverse=True)
    unreliable = sum(map(len, reasons))
    why = "; ".join(map(_reason_of, reasons[:_REASONS]))
    others = "; …" if len(reasons) > _REASONS else ""
    return (
        f"A baseline of {units.counted(number, 'run')} takes {number + 1} reliable runs at least, got "
        f"{len(runs) - unreliable} of {len(runs)}{f' ({why}{others})' if why else ''}."
    )


def _reason_of(runs: Sequence[TrendRun]) -> str:
    """Why the runs are unreliable; where each has numbers of its own, those of the newest, by its name."""
    reason = full_stop(shortened(runs[-1].unreliable[0], _REASON_CHARACTERS)).rstrip(".")
    of_all = len({run.unreliable[0] for run in runs}) == 1
    whose = "" if of_all else f" with numbers of their own, in {runs[-1].results.folder.name}"
    return f"{units.counted(len(runs), 'run')}{whose}: {reason}"


def like_newest(
    runs: Sequence[Results], allowed: Collection[str] = ()
) -> tuple[list[Results], list[tuple[Results, list[str]]]]:
    """(those of the runs that have the settings of the newest, itself included; each other one with the names of its
    other settings)."""
    newest = max(runs, key=lambda run: run.run.started_at)
    kept, others = [], []
    for run in runs:
        found = [] if run is newest else [unlike.field for unlike in differences(newest, run, allowed)]
        if found:
            others.append((run, found))
        else:
            kept.append(run)
    return kept, others


def left_out(others: Sequence[tuple[Results, Sequence[str]]]) -> str:
    """A sentence on the runs with other settings than the newest: how many there are, and in how many of them each
    setting differs."""
    counts = Counter(field for _, fields in others for field in fields)
    fields = ", ".join(f"{field} in {times}" for field, times in counts.most_common())
    names = ", ".join(run.folder.name for run, _ in others[:_NAMES]) + (", …" if len(others) > _NAMES else "")
    number = f"{units.counted(len(others), 'run')} {'is' if len(others) == 1 else 'are'} left out ({names})"
    return f"{number}: settings differ from those of the newest run ({fields})."


def _estimate(run: TrendRun, compared: Compared, level: ComparedLevel) -> Estimate | None:
    found = [one for one in run.results.summary.levels if (one.level, one.system_prompt) == level[:2]]
    return run.data.estimate(found[-1], compared.figure) if found else None
