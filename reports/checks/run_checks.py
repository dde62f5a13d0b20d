"""Checks each run of a process when its folder is complete: writes JUnit and Markdown files, gives the exit code."""

from __future__ import annotations

import logging
import os
from collections.abc import Collection, Iterable
from pathlib import Path
from typing import TextIO

from tokenswarm.command_line.exit_codes import EXIT_UNUSABLE
from tokenswarm.metrics.level import Level
from tokenswarm.reports.capacity_sentence import capacity_sentence
from tokenswarm.reports.checks.check_options import CheckOptions
from tokenswarm.reports.checks.check_report import CheckReport, check_run
from tokenswarm.reports.checks.junit import junit_xml
from tokenswarm.reports.markdown import run_markdown
from tokenswarm.run_folder.reader import ReportError, Results, load_results
from tokenswarm.sanitize import shown

logger = logging.getLogger("tokenswarm")


class RunChecks:
    """`prepare` before each run; call it with the run's folder when that is complete."""

    def __init__(self) -> None:
        self._options = CheckOptions([], None, None)
        self._written: dict[Path, list[str]] = {}
        #: Why the last run's exit code is 3, in a few words; "" where its conditions do not say so.
        self.unreliable_because = ""

    def prepare(self, options: CheckOptions, plan: Collection[Level]) -> None:
        """Conditions of the run to come. Raises ReportError for one that is said of no level of its plan."""
        check_levels(options, ((level.name, level.system_prompt) for level in plan))
        self._options = options

    @property
    def output(self) -> TextIO:
        """Where the run's table goes: not behind the JSON of Locust's --json, which a program reads."""
        return self._options.output

    @property
    def prints_summary(self) -> bool:
        """Whether summary.json is printed on standard output."""
        return self._options.prints_summary

    @property
    def opens_page(self) -> bool:
        """Whether the run's page is opened in a browser."""
        return self._options.opens_page

    def written(self, folder: Path) -> list[str]:
        """A line for each file that was written about a run besides those in its folder."""
        return self._written.pop(folder, [])

    def checks(self, results: Results) -> CheckReport:
        """The run held against the conditions."""
        return check_run(self._options.conditions, results)

    def __call__(self, folder: Path) -> int | None:
        """Write the files that the options name. Returns the exit code of a run that went to its end, None to leave it
        to Locust: where there are no conditions, and where they are met and none is about failures. What they allow of
        failures is allowed, so that Locust's own rule (any is one too many) gives way to them."""
        options, self.unreliable_because = self._options, ""
        if not (options.conditions or options.junit or options.markdown):
            return None
        try:
            results = load_results(folder)
            checks = self.checks(results)
        except ReportError as error:
            logger.error("The run cannot be checked: %s", error)
            return EXIT_UNUSABLE
        try:
            self._written[folder] = write_files(options, results, checks)
        except ReportError as error:
            logger.error("%s The results of the checks follow, and are in the report in %s", error, folder)
            return EXIT_UNUSABLE
        if not options.conditions:
            return None
        self.unreliable_because = checks.unreliable_because
        tolerant = any(condition.figure and condition.figure.name == "failures" for condition in options.conditions)
        return checks.exit_code or (0 if tolerant else None)


def check_levels(options: CheckOptions, levels: Iterable[tuple[str, str]]) -> None:
    """Raises ReportError for a condition that is said of none of these (level, system prompt)."""
    there = list(levels)
    for condition in options.conditions:
        if not any(
            condition.level in (None, level) and condition.system_prompt in (None, mode) for level, mode in there
        ):
            known = ", ".join(f"@{level}/{mode}" for level, mode in there) or "none"
            option = "--pass-if" if condition.pass_if else "--fail-if"
            raise ReportError(f"{option}: {condition.text!r} names a level that is not there; the levels: {known}.")


def write_files(options: CheckOptions, results: Results, checks: CheckReport) -> list[str]:
    """Write the JUnit and Markdown files that the options name. Returns a line for each that says where it is. Raises
    ReportError."""
    written = []
    if options.junit:
        written.append(
            write_text(
                "JUnit", options.junit, junit_xml(checks, results.run.started_at, capacity_sentence(results.summary))
            )
        )
    if options.markdown:
        written.append(write_markdown(options.markdown, run_markdown(results, checks)))
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
