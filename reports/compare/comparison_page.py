"""A comparison as one HTML page: its verdict, its charts, its tables, and what the runs had in common."""

from __future__ import annotations

from reports import units
from reports.comparison import Compared, Comparison
from reports.comparison_charts import page_figures
from reports.comparison_text import (
    LEADING,
    change_interval_told,
    change_told,
    figure_told,
    interval_told,
    method_lines,
    spread_told,
    title,
    verdict,
)
from reports.likeness import FIELDS
from reports.page import Block, Cell, Facts, Figures, Page, Section, Table, Text, html_of


def comparison_html(comparison: Comparison) -> str:
    """The whole document, self-contained."""
    servers = comparison.servers
    runs = sum(len(server.runs) for server in servers)
    sections = [
        Section("", [*_warnings(comparison), *_verdict(comparison)]),
        Section("Charts", [Figures([figure for compared in LEADING for figure in page_figures(comparison, compared)])]),
        Section("Every figure", [_table(comparison, compared) for compared in comparison.compared]),
        Section("What these figures rest on", [Text(line) for line in method_lines(comparison)]),
        Section("What was asked of each", [Facts(_asked(comparison))]),
        Section("The runs", [_runs(comparison)]),
    ]
    subtitle = [f"{units.counted(len(servers), 'server')}, {units.counted(runs, 'run')}"]
    return html_of(Page(f"Comparison of {title(comparison)}", subtitle, sections, "Drawn by tokenswarm compare."))


def _warnings(comparison: Comparison) -> list[Text]:
    return [Text(notice, style="bad") for notice in comparison.notices]


def _verdict(comparison: Comparison) -> list[Block]:
    blocks: list[Block] = []
    for saying in verdict(comparison):
        blocks.append(Text(saying.heading + ("" if saying.told else "."), style="lead"))
        blocks += [Facts(saying.told)] if saying.told else []
    return blocks


def _table(comparison: Comparison, compared: Compared) -> Table:
    """As the terminal's, each interval below its figure, and columns left out in which all rows say the same."""
    both = len({stage.system_prompt for stage in comparison.stages}) > 1
    repeated = any(len(server.runs) > 1 for server in comparison.servers)
    heads = ["users", *(["system prompt"] if both else []), "server", "figure", *(["runs"] if repeated else [])]
    lines = [
        [
            entry.stage.name,
            *([entry.stage.system_prompt] if both else []),
            entry.server.name,
            _with_note(figure_told(entry), interval_told(entry)),
            *([_with_note(str(len(entry.server.levels(entry.stage))), spread_told(entry))] if repeated else []),
            _with_note(change_told(entry), change_interval_told(entry)),
            entry.standing.value,
        ]
        for stage in comparison.stages
        for entry in comparison.of(compared, stage)
    ]
    return Table(compared.name, [*heads, f"against {comparison.base.name}", "which is"], lines)


def _with_note(text: str, note: str) -> Cell:
    # A number and its unit stay on one line, however narrow the page.
    return Cell(text.replace(" ", "\u00a0"), "" if note == units.UNDEFINED else note)


def _asked(comparison: Comparison) -> list[tuple[str, str]]:
    """What makes runs alike, as the runs say it; where they differ, each value once."""
    found = []
    for name, tell in FIELDS.items():
        values = dict.fromkeys(tell(run.results) for server in comparison.servers for run in server.runs)
        found.append((name.replace("_", " "), " or ".join(values)))
    return found


def _runs(comparison: Comparison) -> Table:
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
    heads = ["server", "engine", "version", "host", "started", "figures are", "folder"]
    return Table("The runs that were compared", heads, lines, of_words=True)
