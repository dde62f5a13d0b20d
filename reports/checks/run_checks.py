"""Judges each run of a process when its folder is complete: writes what was asked for, and says the exit code."""

from __future__ import annotations

import logging
import os
from collections.abc import Collection, Iterable
from pathlib import Path
from typing import TextIO

from metrics.exit_codes import EXIT_UNUSABLE
from metrics.stage import Stage
from reports.judgement import Judgement, judge_run
from reports.junit import junit_xml
from reports.markdown import run_markdown
from reports.options import JudgingOptions
from reports.results import ReportError, Results, load_results
from sanitize import shown

logger = logging.getLogger("tokenswarm")


class Judge:
    """`prepare` before each run; call it with the run's folder when that is complete."""

    def __init__(self) -> None:
        self._options = JudgingOptions([], None, None)
        self._written: dict[Path, list[str]] = {}

    def prepare(self, options: JudgingOptions, plan: Collection[Stage]) -> None:
        """Conditions of the run to come. Raises ReportError for one that is said of no level of its plan."""
        check_levels(options, ((stage.level, stage.system_prompt) for stage in plan))
        self._options = options

    @property
    def output(self) -> TextIO:
        """Where the run's table goes: not behind the JSON of Locust's --json, which a program reads."""
        return self._options.output

    def written(self, folder: Path) -> list[str]:
        """A line for each file that was written about a run besides those in its folder."""
        return self._written.pop(folder, [])

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
            self._written[folder] = write_files(options, results, judgement)
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
            option = "--pass-if" if condition.pass_if else "--fail-if"
            raise ReportError(f"{option}: {condition.text!r} is said of a level that is not there; there are {told}.")


def write_files(options: JudgingOptions, results: Results, judgement: Judgement) -> list[str]:
    """Write the JUnit and Markdown files that the options name. Returns a line for each that says where it is. Raises
    ReportError."""
    written = []
    if options.junit:
        written.append(write_text("JUnit", options.junit, junit_xml(judgement, results.run.started_at)))
    if options.markdown:
        written.append(write_markdown(options.markdown, run_markdown(results, judgement)))
    return written


def write_markdown(path: Path, text: str) -> str:
    """Write Markdown; append it where the file is the summary of a GitHub Actions job, which other steps write to as
    well. Returns the line that says where it is. Raises ReportError."""
    summary = os.environ.get("GITHUB_STEP_SUMMARY")
    append = bool(summary) and path.absolute() == Path(summary or "").absolute()
    return write_text("Markdown", path, text, append)


def write_text(kind: str, path: Path, text: str, append: bool = False) -> str:
    """Write a file. Returns the line that says where it is. Raises ReportError."""
    try:
        with path.open("a" if append else "w", encoding="utf-8") as file:
            file.write(shown(text))
    except OSError as error:
        raise ReportError(f"{path} cannot be written: {error.strerror}.") from error
    return f"{kind}: {path}"
