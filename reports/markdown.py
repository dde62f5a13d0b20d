"""A run as Markdown, for a pull request or a CI job's summary: the table of the terminal, and the judgement."""

from __future__ import annotations

from collections.abc import Sequence

from reports.judgement import Judgement, Verdict
from reports.notices import notices
from reports.results import Results
from reports.table import COLUMNS, header_lines, notes

_OF_SEVERAL = {Verdict.BROKEN: "failed", Verdict.UNDECIDED: "inconclusive"}


def run_markdown(results: Results, judgement: Judgement) -> str:
    """The whole document."""
    headings = [f"{column.group} {column.head}".strip() for column in COLUMNS]
    rows = [[escaped(column.cell(level)) for column in COLUMNS] for level in results.summary.levels]
    parts = [
        f"## Tokenswarm: {escaped(results.summary.engine)}, {verdict_words(judgement)}",
        *(escaped(line) + "  " for line in header_lines(results)),
        *(f"\n> **{escaped(notice)}**" for notice in notices(results)),
        "",
        *table(headings, rows),
        "",
        *judgement_markdown(judgement),
        *(escaped(note) + "  " for note in notes(results.summary.levels)),
    ]
    return "\n".join(parts) + "\n"


def verdict_words(judgement: Judgement) -> str:
    """The judgement in a word or two."""
    if judgement.doubts:
        return "not to be believed"
    verdicts = [finding.verdict for finding in judgement.findings]
    if not verdicts:
        return "valid"
    for verdict in (Verdict.BROKEN, Verdict.UNDECIDED):
        if number := verdicts.count(verdict):
            return f"{number} of {len(verdicts)} conditions {_OF_SEVERAL[verdict]}"
    return "all conditions passed"


def judgement_markdown(judgement: Judgement) -> list[str]:
    """The findings as a table, and the doubts; no line where there are neither."""
    lines = [f"- **In doubt:** {escaped(doubt)}" for doubt in judgement.doubts]
    if judgement.findings:
        rows = [
            [
                _strong(finding.verdict),
                f"<code>{escaped(finding.condition)}</code>",
                *(escaped(text) for text in (finding.level, finding.told)),
            ]
            for finding in judgement.findings
        ]
        lines += ["", *table(["result", "condition", "level", "figures"], rows)]
    return [*lines, ""] if lines else []


def table(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """A table's lines, of cells that are Markdown already."""
    return ["| " + " | ".join(line) + " |" for line in (headings, ["---"] * len(headings), *rows)]


def _strong(verdict: Verdict) -> str:
    return verdict.value if verdict is Verdict.MET else f"**{verdict.value}**"


def escaped(text: str) -> str:
    """Text as a cell of a table shows it."""
    return text.replace("|", "\\|").replace("<", "&lt;").replace("*", "\\*").replace("\n", " ")
