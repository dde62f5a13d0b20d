"""A comparison as one HTML page: its verdict, its charts, its tables, and what the runs had in common."""

from __future__ import annotations

from tokenswarm.metrics.level import PROMPT
from tokenswarm.reports import units
from tokenswarm.reports.compare.comparability import FIELDS
from tokenswarm.reports.compare.comparison import Compared, Entry, RunComparison, Standing
from tokenswarm.reports.compare.comparison_charts import modes_of, page_figures
from tokenswarm.reports.compare.comparison_text import (
    LEADING,
    change_interval_text,
    change_text,
    entry_text,
    interval_text,
    method_lines,
    spread_text,
    title,
    verdict,
)
from tokenswarm.reports.compare.pareto_charts import page_blocks
from tokenswarm.reports.html.document import (
    Block,
    Cell,
    Charts,
    Details,
    Facts,
    Page,
    Row,
    Section,
    Table,
    Text,
    html_of,
)


def comparison_html(comparison: RunComparison) -> str:
    """The whole document, self-contained."""
    servers = comparison.servers
    runs = sum(len(server.runs) for server in servers)
    sections = [
        Section("", [*_warnings(comparison), *_verdict(comparison)]),
        Section("Charts", [Charts([figure for compared in LEADING for figure in page_figures(comparison, compared)])]),
        Section("Throughput against latency", page_blocks(comparison)),
        Section("Every figure", _every_figure(comparison)),
        Section("How to read these figures", [Text(line) for line in method_lines(comparison)]),
        Section("Settings of the runs", [Facts(_settings(comparison))]),
        Section("The runs", [_runs(comparison)]),
    ]
    modes = modes_of(comparison)
    mode = f", all {PROMPT[modes[0]]}" if len(modes) == 1 else ""
    subtitle = [f"{units.counted(len(servers), 'server')}, {units.counted(runs, 'run')}{mode}"]
    return html_of(Page(f"Comparison of {title(comparison)}", subtitle, sections, "Drawn by tokenswarm compare."))


def _warnings(comparison: RunComparison) -> list[Block]:
    by_run = [reasons for notices in comparison.server_notices for reasons in notices.by_run]
    warnings: list[Block] = [Text(notice, style="bad") for notice in comparison.head_notices]
    return [*warnings, Details("Reasons, by run", by_run)] if by_run else warnings


def _verdict(comparison: RunComparison) -> list[Block]:
    blocks: list[Block] = []
    for section in verdict(comparison):
        blocks.append(Text(section.heading + ("" if section.lines else "."), style="lead"))
        blocks += [Facts(section.lines)] if section.lines else []
    return blocks


def _every_figure(comparison: RunComparison) -> list[Block]:
    blocks: list[Block] = [_table(comparison, compared) for compared in comparison.compared]
    if any(entry.standing is Standing.INCONCLUSIVE for entry in comparison.entries):
        rule = 'What makes a result inconclusive is said below the tables, in "How to read these figures".'
        return [Text(rule, style="quiet"), *blocks]
    return blocks


def _table(comparison: RunComparison, compared: Compared) -> Table:
    """A row a level: the figure of each server with its interval, and how it changes against the first server."""
    both = len(modes_of(comparison)) > 1
    servers, others = comparison.servers, [one for one in comparison.servers if one is not comparison.base]
    base = f"against {comparison.base.label}"
    heads = [head for one in others for head in (base if len(others) == 1 else f"{one.name} {base}", "result")]
    lines: list[Row] = []
    for level in comparison.levels:
        entries = {entry.server.name: entry for entry in comparison.of(compared, level)}
        changes = [
            (_with_note(change_text(entry), change_interval_text(entry)), entry.standing.value.partition(" (")[0])
            for entry in (entries[one.name] for one in others)
        ]
        lines.append(
            [
                Cell(level.name, PROMPT[level.system_prompt] if both else ""),
                *(_figure(entries[one.name]) for one in servers),
                *(cell for change in changes for cell in change),
            ]
        )
    names = [f"{one.name} ({Standing.BASE})" if one is comparison.base else one.name for one in servers]
    return Table(compared.name, ["users", *names, *heads], lines)


def _figure(entry: Entry) -> Cell:
    """With its interval; of two runs, which have none, the smaller and the larger."""
    interval, spread = interval_text(entry), spread_text(entry)
    if interval == units.UNDEFINED and spread != units.UNDEFINED:
        interval = f"runs {spread}"
    return _with_note(entry_text(entry), interval)


def _with_note(text: str, note: str) -> Cell:
    # A number and its unit stay on one line, however narrow the page.
    return Cell(text.replace(" ", "\u00a0"), "" if note == units.UNDEFINED else note)


def _settings(comparison: RunComparison) -> list[tuple[str, str]]:
    """What makes runs comparable, as the runs record it; where they differ, each value once."""
    found = []
    for name, setting_of in FIELDS.items():
        values = dict.fromkeys(setting_of(run.results).words for server in comparison.servers for run in server.runs)
        found.append((name.replace("_", " "), " or ".join(values)))
    return found


def _runs(comparison: RunComparison) -> Table:
    lines = [
        [
            server.name,
            run.results.summary.engine,
            run.results.run.engine_version or units.UNDEFINED,
            run.results.summary.host or units.UNDEFINED,
            units.moment(run.results.run.started_at),
            run.results.summary.validity.verdict,
            run.results.folder.name,
        ]
        for server in comparison.servers
        for run in server.runs
    ]
    heads = ["server", "engine", "version", "host", "started", "verdict", "folder"]
    return Table("The runs that were compared", heads, lines, of_words=True)
