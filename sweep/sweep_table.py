"""A sweep as a table in plain text and as CSV, and what stands out in it. Pure."""

from __future__ import annotations

import csv
import io
import textwrap
from collections.abc import Sequence

from tokenswarm.command_line.exit_codes import IN_SHORT
from tokenswarm.metrics.level import PROMPT, users_of
from tokenswarm.reports import units
from tokenswarm.reports.checks.conditions import TIMES
from tokenswarm.reports.compare.comparison import GOODPUT, TOKEN_RATE, TTFT, Compared, ComparedLevel
from tokenswarm.reports.text_grid import TextColumn, grid_lines
from tokenswarm.sanitize import cell, shortened
from tokenswarm.sweep.cell_figures import FAILURES, FIGURES, TPOT, TTFT_P95, USER_RATE, VALID, CellRow
from tokenswarm.sweep.manifest import Manifest, RunState

#: Heads of the figures' columns.
HEADS = {
    TTFT: "TTFT p50",
    TTFT_P95: "TTFT p95",
    TOKEN_RATE: "tokens/s, all",
    USER_RATE: "tokens/s, one user",
    TPOT: "TPOT p50",
    FAILURES: "failed",
    GOODPUT: "good",
}
#: With their intervals in the text table, where they fit.
_WITH_INTERVAL = (TTFT, TOKEN_RATE)
_INTERVAL = "interval"
_MOST_VALUE = 30
_METHOD = (
    "Figures are of each level's hold. Repeated runs are pooled: a figure is their mean, and from three runs on its "
    "95 % interval covers what differs from run to run; of two runs the smaller and the larger stand there; one "
    "run keeps its own interval."
)
#: Where a run said what was wrong, of which its folder keeps nothing.
_SEE = "the output of the sweep says which, at the run"
_GOOD = "Good: the share of requests that met every objective of the SLO."
_CSV_COUNTS = ("runs", "runs_planned", "requests", "verdict")


def sweep_table(manifest: Manifest, rows: Sequence[CellRow], width: int) -> str:
    """The whole sweep in lines of at most `width` characters, as far as its options allow."""
    columns = _columns(manifest, rows, with_intervals=True)
    if max(map(len, grid_lines(columns))) > width:
        columns = _columns(manifest, rows, with_intervals=False)
    lines = [line.rstrip() for line in grid_lines(columns)]
    notes = [progress_text(manifest), *exit_code_notes(manifest), *highlights(rows), method(rows)]
    wrapped = [line for note in notes for line in textwrap.wrap(note, width, break_on_hyphens=False)]
    return "\n".join([*lines, "", *wrapped])


def method(rows: Sequence[CellRow]) -> str:
    """What the figures are of."""
    return f"{_METHOD} {_GOOD}" if GOODPUT in figures_of(rows) else _METHOD


def exit_code_notes(manifest: Manifest) -> list[str]:
    """What the exit codes of its runs mean, a sentence each; none of 0 and of signals."""
    codes = sorted({run.exit_code for run in manifest.runs if run.exit_code})
    return [f"Exit code {code}: {IN_SHORT[code].replace('see above', _SEE)}." for code in codes if code in IN_SHORT]


def progress_text(manifest: Manifest) -> str:
    """How many cells and runs there are, and what became of them."""
    done, every = manifest.count(RunState.FINISHED), len(manifest.runs)
    others = [
        f"{number} {word}"
        for state, word in (
            (RunState.FAILED, "failed"),
            (RunState.INTERRUPTED, "interrupted"),
            (RunState.RUNNING, "running"),
            (RunState.PLANNED, "not run"),
        )
        if (number := manifest.count(state))
    ]
    what = f"{units.counted(len(manifest.cells), 'cell')}, {units.counted(every, 'run')}"
    return f"{what}: {', '.join([f'{done} finished', *others])}."


def highlights(rows: Sequence[CellRow]) -> list[str]:
    """A sentence each on the highest token rate and the lowest TTFT among cells whose runs are all valid."""
    found = []
    with_level = names_levels(rows)
    for compared, words in ((TOKEN_RATE, "Highest token rate"), (TTFT, "Lowest TTFT (median)")):
        valid = [row for row in rows if row.verdict == VALID and compared in row.entries]
        if len(valid) < 2:
            continue
        chosen = "" if len(valid) == sum(compared in row.entries for row in rows) else " of the valid cells"
        best = (max if compared.higher_is_better else min)(valid, key=lambda row: _value(row, compared))
        unit = " tok/s" if compared is TOKEN_RATE else ""
        interval = best.interval(compared)
        found.append(
            f"{words}{chosen}: {best.text(compared)}{unit}{f' ({interval})' if interval else ''}, cell {best.cell}"
            f"{f' ({best.runs[0].name})' if best.runs[0].name else ''}{_at(best.level) if with_level else ''}."
        )
    return found


def figures_of(rows: Sequence[CellRow]) -> list[Compared]:
    """The figures that any row has, failures only where there are some."""
    found = [compared for compared in FIGURES if any(compared in row.entries for row in rows)]
    failed = any(FAILURES in row.entries and _value(row, FAILURES) > 0 for row in rows)
    return [compared for compared in found if compared is not FAILURES or failed]


def names_levels(rows: Sequence[CellRow]) -> bool:
    """Whether the rows' levels have to be named: a cell has several, or its options do not say which it has."""
    cells = [row.cell for row in rows]
    modes = {row.level.system_prompt for row in rows if row.level}
    said = all(row.level is None or row.level.level.removesuffix("/s") in row.values.values() for row in rows)
    return len(set(cells)) < len(cells) or not said or len(modes) > 1


def level_words(level: ComparedLevel | None) -> str:
    """`50 users`, with its system-prompt mode where that is on."""
    if level is None:
        return units.UNDEFINED
    return users_of(level.name) + (f" {PROMPT['on']}" if level.system_prompt == "on" else "")


def runs_words(row: CellRow) -> str:
    """`2`, or `1 of 2` where not all have this level."""
    planned = len(row.runs)
    return str(planned) if row.measured == planned else f"{row.measured} of {planned}"


def sweep_csv(manifest: Manifest, rows: Sequence[CellRow]) -> str:
    """A row for each cell and level: of each figure its value, interval, smallest and largest run, in seconds, tokens a
    second and shares from 0 to 1, unrounded; empty where there is none."""
    names = [_csv_name(compared) for compared in FIGURES]
    ends = ("", "_low", "_high", "_smallest", "_largest")
    columns = ["cell", *manifest.varied, "level", "system_prompt", *_CSV_COUNTS]
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow([*columns, *(f"{name}{end}" for name in names for end in ends)])
    for row in rows:
        counts = (row.measured, len(row.runs), row.requests, cell(row.verdict))
        level = (row.level.level, row.level.system_prompt) if row.level else ("", "")
        values = (cell(row.values.get(option, "")) for option in manifest.varied)
        writer.writerow(
            [row.cell, *values, *level, *counts, *(each for compared in FIGURES for each in _ends(row, compared))]
        )
    return out.getvalue()


def _columns(manifest: Manifest, rows: Sequence[CellRow], with_intervals: bool) -> list[TextColumn]:
    columns = [TextColumn("cell", [str(row.cell) for row in rows])]
    for option in manifest.varied:
        texts = [shortened(row.values.get(option, ""), _MOST_VALUE) for row in rows]
        columns.append(TextColumn(option, texts, left=True))
    if names_levels(rows):
        columns.append(TextColumn("level", [level_words(row.level) for row in rows], left=True))
    columns.append(TextColumn("runs", [runs_words(row) for row in rows]))
    for compared in figures_of(rows):
        columns.append(TextColumn(HEADS[compared], [row.text(compared) for row in rows]))
        if with_intervals and compared in _WITH_INTERVAL:
            texts = [row.interval(compared) or units.UNDEFINED for row in rows]
            columns.append(TextColumn(_INTERVAL, texts))
    return [*columns, TextColumn("verdict", [row.verdict for row in rows], left=True)]


def _at(level: ComparedLevel | None) -> str:
    return "" if level is None else f" at {level_words(level)}"


def _value(row: CellRow, compared: Compared) -> float:
    pooled = row.entries[compared].pooled
    assert pooled is not None
    return pooled.estimate.value


def _csv_name(compared: Compared) -> str:
    """`ttft_p50_s`, `rate`."""
    figure = compared.figure
    name = f"{figure.name}_{figure.function}" if figure.function else figure.name
    return f"{name}_s" if figure.name in TIMES else name


def _ends(row: CellRow, compared: Compared) -> tuple[float | str, ...]:
    entry = row.entries.get(compared)
    if entry is None or entry.pooled is None:
        return ("",) * 5
    pooled = entry.pooled
    low, high = ("" if end is None else end for end in (pooled.estimate.low, pooled.estimate.high))
    return pooled.estimate.value, low, high, pooled.smallest, pooled.largest
