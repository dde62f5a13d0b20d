"""`report.html`: a run as one page that can be forwarded, from its folder alone."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from metrics.files import write_whole
from reports import chart_sections, table_sections, units
from reports.definition import definition
from reports.drift import Drift
from reports.estimates import Measured
from reports.intervals import Estimate
from reports.judgement import Judgement
from reports.page import Block, Page, Section, Text, html_of
from reports.results import ReportError, Results
from reports.verdict import RATE, conditions_table, verdict_blocks
from sanitize import shown

PAGE = "report.html"


def draw_page(results: Results, judgement: Judgement) -> Path:
    """Write `report.html` into the run's folder, over an older one, and return its path. Raises ReportError."""
    path = results.folder / PAGE
    text = shown(html_of(page_of(results, judgement)))
    try:
        write_whole(path, text)
    except OSError as error:
        raise ReportError(f"{path} cannot be written: {error.strerror or error}.") from error
    return path


def page_of(results: Results, judgement: Judgement) -> Page:
    """The page. A section whose journal cannot be read says so in its place."""
    measured, levels = Measured(results), results.summary.levels
    rates: dict[int, Estimate | None] = {}
    drifts: dict[int, Drift | None] = {}
    with suppress(ReportError):  # the sections that are about them say what is missing
        rates = {level.stage: measured.estimate(level, RATE) for level in levels}
        drifts = {level.stage: measured.drift(level) for level in levels}
    parts: list[tuple[str, Callable[[], list[Block]]]] = [
        ("TTFT and token rate", lambda: chart_sections.bars(measured, rates)),
        ("How latencies are spread", lambda: chart_sections.spreads(measured)),
        ("The course of the run", lambda: chart_sections.course_of_the_run(measured)),
        ("Drift within a level", lambda: table_sections.drift(measured)),
        ("What the system prompt does", lambda: table_sections.effects(measured)),
        ("Fairness over users", lambda: table_sections.fairness(measured)),
        ("Tokens in an event", lambda: table_sections.tokens_per_event(measured)),
        ("What the server told of itself", lambda: chart_sections.server(measured)),
        ("Failures", lambda: table_sections.failures(measured)),
        ("The client itself", lambda: table_sections.client(measured)),
        ("Conditions", lambda: conditions_table(judgement.findings)),
        ("All figures", lambda: table_sections.all_figures(measured)),
        ("What defines this run", lambda: definition(results)),
    ]
    top = Section("", verdict_blocks(results, judgement, rates, drifts))
    return Page(
        f"Load test of {results.summary.engine}, {results.summary.model or 'model not named'}",
        [f"{units.moment(results.run.started_at)} · run {results.status} · figures {results.summary.validity.verdict}"],
        [top, *(_section(heading, build) for heading, build in parts)],
        f"Tokenswarm {results.run.tokenswarm_version}".strip()
        + f". Made from {results.folder.name}: summary.json and the journals beside it hold every request. "
        "What each figure is, to the letter: docs/metrics.md.",
    )


def _section(heading: str, build: Callable[[], list[Block]]) -> Section:
    try:
        return Section(heading, build())
    except ReportError as error:
        return Section(heading, [Text(str(error), "Cannot be told.", "bad")])
