"""A run as Markdown, for a pull request or a CI job's summary: the table of the terminal, and the checks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from tokenswarm.reports.abandon_lines import abandon_lines
from tokenswarm.reports.checks.check_report import CheckReport, CheckStatus, Reason
from tokenswarm.reports.level_names import level_name
from tokenswarm.reports.load_audit_lines import load_lines
from tokenswarm.reports.mix_table import KINDS, MIX_NOTE, mix_rows, shown_columns
from tokenswarm.reports.open_loop_table import OPEN_LOOP_NOTE, level_heading, open_loop_columns
from tokenswarm.reports.search_levels import in_load_order
from tokenswarm.reports.session_table import session_grids, session_note
from tokenswarm.reports.text_table import COLUMNS, header_lines, known_columns, notes
from tokenswarm.reports.warnings import warnings_of
from tokenswarm.run_folder.reader import Results
from tokenswarm.run_folder.schema import LevelSummary

_OF_SEVERAL = {CheckStatus.FAIL: "failed", CheckStatus.UNKNOWN: "unknown", CheckStatus.INCONCLUSIVE: "inconclusive"}


def run_markdown(results: Results, checks: CheckReport) -> str:
    """The whole document."""
    results = in_load_order(results)
    levels = results.summary.levels
    columns, warnings = known_columns(COLUMNS, levels), warnings_of(results)
    headings = [level_heading(levels), *(f"{column.group} {column.head}".strip() for column in columns[1:])]
    rows = [[escaped(column.cell(level)) for column in columns] for level in levels]
    parts = [
        f"## Tokenswarm: {escaped(results.summary.engine)}, {status_words(checks)}",
        *(escaped(line) + "  " for line in header_lines(results)),
        *(f"\n> **{escaped(notice)}**" for notice in warnings),
        "",
        *table(headings, rows),
        "",
        *_by_member(levels),
        *_sessions(levels),
        *_open_loop(levels),
        *check_markdown(_without_shown(checks, warnings)),
        *(escaped(line) + "  " for line in load_lines(results)),
        *(escaped(line) + "  " for line in abandon_lines(levels)),
        *(escaped(note) + "  " for note in notes(levels)),
    ]
    return "\n".join(parts) + "\n"


def _open_loop(levels: Sequence[LevelSummary]) -> list[str]:
    if all(level.open_loop is None for level in levels):
        return []
    columns = open_loop_columns(levels)
    headings = ["level", *(f"{column.group} {column.head}".strip() for column in columns)]
    rows = [[escaped(level.name), *(escaped(column.cell(level)) for column in columns)] for level in levels]
    return [*table(headings, rows), "", escaped(OPEN_LOOP_NOTE), ""]


def _sessions(levels: Sequence[LevelSummary]) -> list[str]:
    lines: list[str] = []
    for grid in session_grids(levels):
        headings = [*grid.keys, *(f"{column.group} {column.head}".strip() for column in grid.columns)]
        lines += [*table(headings, [[escaped(cell) for cell in row] for row in grid.rows]), ""]
    return [*lines, escaped(session_note(levels)), ""] if lines else []


def _by_member(levels: Sequence[LevelSummary]) -> list[str]:
    lines: list[str] = []
    for kind, of in KINDS:
        if not (found := mix_rows(levels, of)):
            continue
        columns = shown_columns(found)
        headings = ["level", kind, *(f"{column.group} {column.head}".strip() for column in columns)]
        rows = [
            [
                escaped(level_name(row.level)),
                escaped(row.figures.name),
                *(escaped(column.cell(row.figures)) for column in columns),
            ]
            for row in found
        ]
        lines += [*table(headings, rows), ""]
    return [*lines, escaped(MIX_NOTE), ""] if lines else []


def _without_shown(checks: CheckReport, warnings: Sequence[str]) -> CheckReport:
    """The checks without the reasons that the warnings have said."""

    def others(reasons: Sequence[Reason]) -> list[Reason]:
        return [reason for reason in reasons if not any(reason.text.rstrip(".") in warning for warning in warnings)]

    return replace(checks, unreliable=others(checks.unreliable), allowed=others(checks.allowed))


def status_words(checks: CheckReport) -> str:
    """The checks in a word or two."""
    if checks.unreliable:
        return checks.state
    words = _statuses_in_words([result.status for result in checks.check_results])
    return f"{words} ({checks.state}, which is allowed)" if checks.allowed else words


def _statuses_in_words(statuses: Sequence[CheckStatus]) -> str:
    if not statuses:
        return "valid"
    for status, word in _OF_SEVERAL.items():
        if number := statuses.count(status):
            return f"{number} of {len(statuses)} conditions {word}"
    return "all conditions passed"


def check_markdown(checks: CheckReport) -> list[str]:
    """The results of the checks as a table, and why the run is unreliable; no line where there are neither."""
    lines = [f"- **{reason.state.capitalize()}:** {escaped(reason.text)}" for reason in checks.unreliable]
    lines += [
        f"- **{reason.state.capitalize()}, which is allowed:** {escaped(reason.text)}" for reason in checks.allowed
    ]
    lines += ["", escaped(checks.remedy)] if checks.unreliable and checks.remedy else []
    if checks.check_results:
        rows = [
            [
                _strong(result.status),
                f"<code>{escaped(result.condition)}</code>",
                *(escaped(text) for text in (result.level, result.text)),
            ]
            for result in checks.check_results
        ]
        lines += ["", *table(["result", "condition", "level", "figures"], rows)]
    return [*lines, ""] if lines else []


def table(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """A table's lines, of cells that are Markdown already."""
    return ["| " + " | ".join(line) + " |" for line in (headings, ["---"] * len(headings), *rows)]


def _strong(status: CheckStatus) -> str:
    return status.value if status is CheckStatus.PASS else f"**{status.value}**"


def escaped(text: str) -> str:
    """Text as a cell of a table shows it."""
    return text.replace("|", "\\|").replace("<", "&lt;").replace("*", "\\*").replace("\n", " ")
