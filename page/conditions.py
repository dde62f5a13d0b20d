"""What became of the conditions of a run that is over: --fail-if and --pass-if, for the page."""

from __future__ import annotations

from pathlib import Path

import msgspec

from reports.conditions import ConditionError
from reports.judgement import judge_run
from reports.options import conditions_of
from reports.results import ReportError, load_results


class ConditionResult(msgspec.Struct, frozen=True):
    """One condition at one level. status: pass, fail or inconclusive; figures: what it rests on, in words."""

    condition: str
    level: str
    status: str
    figures: str


class Conditions:
    """Results of runs' conditions, read from the run's folder when it is complete, once for each run."""

    def __init__(self) -> None:
        self._known: tuple[Path, list[ConditionResult]] | None = None

    def of(self, folder: Path) -> list[ConditionResult]:
        """Empty for a run without conditions, and while its folder cannot be read."""
        if self._known is None or self._known[0] != folder:
            try:
                results = load_results(folder)
                judgement = judge_run(conditions_of(results.run.options), results)
            except (ReportError, ConditionError):
                return []
            found = [
                ConditionResult(finding.condition, finding.level, finding.verdict.value, finding.told)
                for finding in judgement.findings
            ]
            self._known = folder, found
        return self._known[1]
