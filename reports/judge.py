"""Judges each run of a process when its folder is complete: writes what was asked for, and says the exit code."""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterable
from pathlib import Path

from metrics.run import EXIT_UNUSABLE
from metrics.stage import Stage
from reports.judgement import Judgement, judge_run
from reports.junit import junit_xml
from reports.markdown import run_markdown
from reports.options import JudgingOptions
from reports.results import ReportError, Results, load_results

logger = logging.getLogger("tokenswarm")


class Judge:
    """`prepare` before each run; call it with the run's folder when that is complete."""

    def __init__(self) -> None:
        self._options = JudgingOptions([], None, None)

    def prepare(self, options: JudgingOptions, plan: Collection[Stage]) -> None:
        """Conditions of the run to come. Raises ReportError for one that is said of no level of its plan."""
        check_levels(options, ((stage.level, stage.system_prompt) for stage in plan))
        self._options = options

    def judgement(self, results: Results) -> Judgement:
        """The run held against the conditions."""
        return judge_run(self._options.conditions, results)

    def __call__(self, folder: Path) -> int | None:
        """Write the files that were asked for. Returns the exit code of a run that went to its end, None to leave it to
        Locust: where there are no conditions, and where they are met and none is about failures. What they allow of
        failures is allowed, so that Locust's own rule (any is one too many) gives way to them."""
        options = self._options
        if not (options.conditions or options.junit or options.markdown):
            return None
        try:
            results = load_results(folder)
            judgement = self.judgement(results)
            write_files(options, results, judgement)
        except ReportError as error:
            logger.error("The run cannot be judged: %s", error)
            return EXIT_UNUSABLE
        if not options.conditions:
            return None
        tolerant = any(condition.figure and condition.figure.name == "failures" for condition in options.conditions)
        return judgement.exit_code or (0 if tolerant else None)


def check_levels(options: JudgingOptions, levels: Iterable[tuple[str, str]]) -> None:
    """Raises ReportError for a condition that is said of none of these (level, system prompt)."""
    there = list(levels)
    for condition in options.conditions:
        if not any(
            condition.level in (None, level) and condition.system_prompt in (None, mode) for level, mode in there
        ):
            told = " ".join(f"{level}/{mode}" for level, mode in there)
            raise ReportError(f"--fail-if: {condition.text!r} is said of a level that is not there; there are {told}.")


def write_files(options: JudgingOptions, results: Results, judgement: Judgement) -> None:
    """Raises ReportError."""
    if options.junit:
        write_text(options.junit, junit_xml(judgement, results.run.started_at))
    if options.markdown:
        write_text(options.markdown, run_markdown(results, judgement))


def write_text(path: Path, text: str) -> None:
    """Raises ReportError."""
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise ReportError(f"{path} cannot be written: {error.strerror}.") from error
