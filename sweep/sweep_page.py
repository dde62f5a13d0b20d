"""A sweep as one HTML page: a row for each cell, with links to the reports of its runs."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from urllib.parse import quote

from tokenswarm.reports import units
from tokenswarm.reports.compare.comparison import Compared
from tokenswarm.reports.html.document import Block, Cell, Charts, Code, Page, Row, Section, Table, Text, html_of
from tokenswarm.sweep.cell_figures import VALID, CellRow, exit_text
from tokenswarm.sweep.manifest import Manifest, RunState, SweepRun
from tokenswarm.sweep.sweep_charts import sweep_charts
from tokenswarm.sweep.sweep_table import (
    HEADS,
    exit_code_notes,
    figures_of,
    highlights,
    level_words,
    method,
    names_levels,
    progress_text,
    runs_words,
)

_NO_BREAK = "\u00a0"
_CHARTS_NOTE = Text("An upright line through a point: the interval of its cell, or its two runs.", style="quiet")


def sweep_html(manifest: Manifest, rows: Sequence[CellRow], version: str) -> str:
    """The whole document; its links lead into the folder that it lies in."""
    title = f"{manifest.name}: sweep" if manifest.name else "Sweep"
    over = " and ".join(manifest.varied) if len(manifest.varied) < 3 else f"{len(manifest.varied)} options"
    sections = [
        Section("", _summary(manifest, rows)),
        Section("Charts", [_CHARTS_NOTE, Charts(charts)] if (charts := sweep_charts(manifest, rows)) else []),
        Section("Cells", [_cells(manifest, rows), Text(method(rows), style="quiet")]),
        Section("Runs in their order", [_runs(manifest)]),
        Section("Command", [Code(shlex.join(["tokenswarm", "sweep", *manifest.command]))]),
    ]
    subtitle = [f"{units.moment(manifest.started_at)} · {progress_text(manifest).removesuffix('.')}"]
    footer = f"Tokenswarm {version}".strip() + ". Exact definitions of all figures: docs/metrics.md."
    return html_of(Page(f"{title} over {over}" if over else title, subtitle, sections, footer))


def _summary(manifest: Manifest, rows: Sequence[CellRow]) -> list[Block]:
    blocks: list[Block] = [Text(sentence, style="lead") for sentence in highlights(rows)]
    wrong = {row.cell: row for row in rows if row.verdict != VALID}
    if manifest.count(RunState.PLANNED, RunState.INTERRUPTED, RunState.RUNNING):
        blocks.append(
            Text("tokenswarm sweep --resume FOLDER runs what has not finished.", "Not all runs are done.", "bad")
        )
    if wrong:
        strong = "No cell is valid:" if len(wrong) == len({row.cell for row in rows}) else "Not every cell is valid:"
        codes = " ".join(exit_code_notes(manifest))
        blocks.append(Text(f"{_by_verdict(list(wrong.values()))}. {codes}".strip(), strong, "bad"))
    elif rows:
        blocks.append(Text("All of their requests are accounted for.", "Every run is valid.", "good"))
    return blocks


def _by_verdict(rows: Sequence[CellRow]) -> str:
    """`suspect: cells 1, 2; not run: cell 3`."""
    cells: dict[str, list[str]] = {}
    for row in rows:
        cells.setdefault(row.verdict, []).append(str(row.cell))
    return "; ".join(
        f"{verdict}: {'cell' if len(numbers) == 1 else 'cells'} {', '.join(numbers)}"
        for verdict, numbers in cells.items()
    )


def _cells(manifest: Manifest, rows: Sequence[CellRow]) -> Table:
    figures, with_level = figures_of(rows), names_levels(rows)
    headings = [
        "cell",
        *manifest.varied,
        *(["level"] if with_level else []),
        *(HEADS[compared] for compared in figures),
        "verdict",
        "reports",
    ]
    lines: list[Row] = [
        [
            str(row.cell),
            *(row.values.get(option, "") for option in manifest.varied),
            *([level_words(row.level)] if with_level else []),
            *(_figure(row, compared) for compared in figures),
            _verdict(row),
            _reports(row),
        ]
        for row in rows
    ]
    caption = (
        "A cell is one combination of the options' values; its repeated runs are pooled. Below a figure: its 95 % "
        "interval (with ≥ or ≤, there were too few requests for its other end), or both runs"
    )
    return Table(caption, headings, lines)


def _figure(row: CellRow, compared: Compared) -> Cell:
    return Cell(row.text(compared).replace(" ", _NO_BREAK), row.interval(compared))


def _verdict(row: CellRow) -> Cell:
    """What became of runs without figures stands below it."""
    word, _, others = row.verdict.partition(", ")
    return Cell(word, others)


def _reports(row: CellRow) -> Cell:
    """A link to each run's page."""
    links = [(quote(address), f"repeat{_NO_BREAK}{words}") for address, words in row.reports]
    if len(row.runs) == 1:
        links = [(address, "report") for address, _ in links]
    runs = "" if row.measured == len(row.runs) else f"{runs_words(row)} runs"
    return Cell("" if links else units.UNDEFINED, runs, links)


def _runs(manifest: Manifest) -> Table:
    headings = ["run", "cell", "repeat", "state", "took", "folder"]
    return Table("Each run of each cell", headings, [_run(run) for run in manifest.runs], of_words=True)


def _run(run: SweepRun) -> Row:
    took = (run.ended_at - run.started_at).total_seconds() if run.ended_at and run.started_at else None
    return [
        str(run.number),
        str(run.cell),
        str(run.repeat),
        Cell(run.state.value.replace(RunState.PLANNED, "not run"), exit_text(run.exit_code) if run.exit_code else ""),
        units.UNDEFINED if took is None else units.length_of_time(round(took)).replace(" ", _NO_BREAK),
        Cell(run.folder or units.UNDEFINED, ", ".join(f"earlier: {name}" for name in run.kept_apart)),
    ]
