"""What must be said before any figure of a run is believed. Every table, chart and page says these lines."""

from __future__ import annotations

from metrics.stage import PROMPT
from reports import units
from reports.prompt_reuse import prompt_notices
from reports.results import Level, Results, Stage

_STATUS = {
    "running": "NOT ENDED: the run had not ended when this was written, so these figures may still change",
    "interrupted": "INTERRUPTED: the run was stopped before its plan was done",
    "recovered": "RECOVERED: the run did not come to its end, and was rebuilt from what its processes left",
    "failed": "FAILED: the run ended in failure",
}


def notices(results: Results) -> list[str]:
    """One sentence for each reason to doubt the figures, its first words in capitals; none for a sound run."""
    found = [_STATUS[results.status] + "."] if results.status in _STATUS else []
    validity, books = results.summary.validity, results.summary.books
    if validity.verdict == "suspect":
        reasons = "; ".join(validity.reasons) or "no reason was recorded"
        found.append(f"SUSPECT: the results are unreliable: {reasons}.")
    found += [f"ONE CORE IS NOT ENOUGH: {hint}." for hint in results.summary.hints]
    if not books.balanced and books.fired == books.recorded == books.rows and books.unaccounted:
        found.append(
            f"REQUESTS UNACCOUNTED FOR: {units.count(books.rows)} requests ended and are all in these figures; "
            f"{units.count(books.unaccounted)} more had been sent when their process was last heard of; how they ended "
            "is not known."
        )
    elif not books.balanced:
        found.append(
            f"BOOKS DO NOT BALANCE: {units.count(books.fired)} requests fired, {units.count(books.recorded)} recorded, "
            f"{units.count(books.rows)} rows written: some requests are missing from these figures or counted twice."
        )
    found += prompt_notices(results)
    cut_short = [level for level in results.summary.levels if not level.complete]
    if cut_short:
        found.append(f"NOT COMPLETE: {_list(cut_short)}.")
    if results.not_run:
        found.append(f"NOT RUN: {_list(results.not_run)}.")
    return found


def stage_name(stage: Level | Stage) -> str:
    """A stage as a person calls it: `50 users with system prompt`."""
    name = stage.name if isinstance(stage, Level) else stage.level
    return f"{name} users {PROMPT[stage.system_prompt]}"


def _list(stages: list[Level] | tuple[Stage, ...]) -> str:
    return ", ".join(stage_name(stage) for stage in stages)
