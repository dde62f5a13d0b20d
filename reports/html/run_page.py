"""`report.html`: a run as one page that can be forwarded, from its folder alone."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from tokenswarm.metrics.drift import Drift
from tokenswarm.metrics.intervals import Estimate
from tokenswarm.metrics.level import PROMPT
from tokenswarm.reports import units
from tokenswarm.reports.cache_notes import with_cache_audit
from tokenswarm.reports.checks.check_report import CheckReport
from tokenswarm.reports.hardware_table import with_hardware_figures
from tokenswarm.reports.html import chart_sections, length_sections, load_charts, table_sections
from tokenswarm.reports.html.abandon_section import abandonment
from tokenswarm.reports.html.cache_section import prefix_cache
from tokenswarm.reports.html.document import Block, Page, Section, Text, html_of
from tokenswarm.reports.html.hardware_section import by_hardware
from tokenswarm.reports.html.load_audit_section import load_audit
from tokenswarm.reports.html.mix_section import mix_tables
from tokenswarm.reports.html.open_loop_section import open_loop
from tokenswarm.reports.html.run_config import definition
from tokenswarm.reports.html.session_section import sessions
from tokenswarm.reports.html.think_time_section import think_times
from tokenswarm.reports.html.verdict import RATE, conditions_table, verdict_blocks
from tokenswarm.reports.search_levels import in_load_order
from tokenswarm.reports.stats.estimates import RunData
from tokenswarm.run_folder.files import write_whole
from tokenswarm.run_folder.reader import ReportError, Results
from tokenswarm.sanitize import shown

PAGE = "report.html"
OPEN_LOOP = "Open loop"
LOAD = "Requested and measured load"
THINK_TIME = "Think time"
SESSIONS = "Sessions"
CACHE = "Prefix cache"
HARDWARE = "By hardware"
ABANDONED = "Abandoned requests"


def draw_page(results: Results, checks: CheckReport) -> Path:
    """Write `report.html` into the run's folder, over an older one, and return its path. Raises ReportError."""
    path = results.folder / PAGE
    text = shown(html_of(page_of(results, checks)))
    try:
        write_whole(path, text)
    except OSError as error:
        raise ReportError(f"{path} cannot be written: {error.strerror or error}.") from error
    return path


def page_of(results: Results, checks: CheckReport) -> Page:
    """The page. A section whose journal cannot be read says so in its place."""
    results = in_load_order(results)
    measured, levels = RunData(results), results.summary.levels
    rates: dict[int, Estimate | None] = {}
    drifts: dict[int, Drift | None] = {}
    with suppress(ReportError):  # the sections that are about them say what is missing
        rates = {level.index: measured.estimate(level, RATE) for level in levels}
        drifts = {level.index: measured.drift(level) for level in levels}
    parts: list[tuple[str, Callable[[], list[Block]]]] = [
        ("TTFT and token rate", lambda: chart_sections.bars(measured, rates)),
        ("Throughput against load", lambda: load_charts.throughput(measured, rates)),
        ("Latency distributions", lambda: chart_sections.spreads(measured)),
        ("TTFT over time", lambda: load_charts.heat_map(measured)),
        ("Timeline", lambda: chart_sections.run_timeline(measured)),
        (OPEN_LOOP, lambda: open_loop(measured)),
        (LOAD, lambda: load_audit(measured)),
        (THINK_TIME, lambda: think_times(measured)),
        (SESSIONS, lambda: sessions(measured)),
        (ABANDONED, lambda: abandonment(measured)),
        ("Models, hosts and names", lambda: mix_tables(measured)),
        ("Drift within a level", lambda: table_sections.drift(measured)),
        ("Effect of the system prompt", lambda: table_sections.effects(measured)),
        ("Fairness over users", lambda: table_sections.fairness(measured)),
        ("Tokens per event", lambda: table_sections.tokens_per_event(measured)),
        ("Requested and actual lengths", lambda: length_sections.lengths(measured)),
        (CACHE, lambda: prefix_cache(measured)),
        ("Server-side metrics", lambda: chart_sections.server(measured)),
        (HARDWARE, lambda: by_hardware(measured)),
        ("Failures", lambda: table_sections.failures(measured)),
        ("Client health", lambda: table_sections.client(measured)),
        ("Conditions", lambda: conditions_table(checks.check_results)),
        ("All figures", lambda: table_sections.all_figures(measured)),
        ("Run configuration", lambda: definition(results)),
    ]
    if all(level.open_loop is None for level in levels):
        parts = [part for part in parts if part[0] != OPEN_LOOP]
    if all(level.load_audit is None for level in levels):
        parts = [part for part in parts if part[0] != LOAD]
    if all(level.think_time is None for level in levels):
        parts = [part for part in parts if part[0] != THINK_TIME]
    if all(level.sessions is None for level in levels):
        parts = [part for part in parts if part[0] != SESSIONS]
    if all(level.abandonment is None for level in levels):
        parts = [part for part in parts if part[0] != ABANDONED]
    if not with_hardware_figures(levels):
        parts = [part for part in parts if part[0] != HARDWARE]
    if not with_cache_audit(levels):
        parts = [part for part in parts if part[0] != CACHE]
    top = Section("", verdict_blocks(results, checks, rates, drifts))
    modes = {level.system_prompt for level in levels}
    return Page(
        _title(results),
        _subtitle(results),
        [top, *(_section(heading, build) for heading, build in parts)],
        f"Tokenswarm {results.run.tokenswarm_version}".strip()
        + f". Made from the files in {results.folder.name}; its requests.csv has every request. "
        "Exact definitions of all figures: docs/metrics.md.",
        said_once=PROMPT[levels[0].system_prompt] if len(modes) == 1 else "",
    )


def _title(results: Results) -> str:
    """With the run's name in front, where it has one."""
    name = f"{results.run.name}: load" if results.run.name else "Load"
    return f"{name} test of {results.summary.engine}, {results.summary.model or 'model not named'}"


def _subtitle(results: Results) -> list[str]:
    """When it was and how it ended, and its tags."""
    run = results.run
    ended = f"{units.moment(run.started_at)} · run {results.status} · verdict {results.summary.validity.verdict}"
    tags = ", ".join(f"{key}={value}" for key, value in run.tags.items())
    return [ended, *([f"{'tag' if len(run.tags) == 1 else 'tags'}: {tags}"] if tags else [])]


def _section(heading: str, build: Callable[[], list[Block]]) -> Section:
    try:
        return Section(heading, build())
    except ReportError as error:
        return Section(heading, [Text(str(error), "Not available.", "bad")])
