"""A run that is over, for the page: its warnings, and the results of --fail-if and --pass-if."""

from __future__ import annotations

from pathlib import Path

import msgspec

from tokenswarm.reports.checks.check_options import conditions_of
from tokenswarm.reports.checks.check_report import check_run
from tokenswarm.reports.checks.conditions import ConditionError
from tokenswarm.reports.warnings import warnings_of
from tokenswarm.run_folder.reader import ReportError, load_results


class ConditionResult(msgspec.Struct, frozen=True):
    """One condition at one level. status: pass, fail or inconclusive; figures: the figures behind it, as text."""

    condition: str
    level: str
    status: str
    figures: str


class FinishedRun(msgspec.Struct, frozen=True):
    """warnings: the sentences that the run's table and report begin with. conditions: empty without --fail-if and
    --pass-if."""

    warnings: list[str]
    conditions: list[ConditionResult]


class FinishedRuns:
    """Reads a run's folder once it is complete, once for each run."""

    def __init__(self) -> None:
        self._known: tuple[Path, FinishedRun] | None = None

    def of(self, folder: Path) -> FinishedRun | None:
        """None while the folder cannot be read."""
        if self._known is None or self._known[0] != folder:
            try:
                results = load_results(folder)
                checks = check_run(conditions_of(results.run.options), results)
            except (ReportError, ConditionError):
                return None
            conditions = [
                ConditionResult(result.condition, result.level, result.status.value, result.text)
                for result in checks.check_results
            ]
            self._known = folder, FinishedRun(warnings_of(results), conditions)
        return self._known[1]
