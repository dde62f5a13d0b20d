"""What a run tells, in a terminal, as Markdown, as a page and as CSV: one and the same number everywhere."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from tests.reports.reading import Tables, number_in
from tests.runs.harness import SHORT_LADDER, Run, RunLocust, assert_whole, read_csv

pytestmark = pytest.mark.slow

#: By heading: where summary.json has the figure, which is also what summary.csv calls it, with `_` between.
FIGURES = {
    "requests sent": ("requests",),
    "requests failed": ("failures",),
    "TTFT p50": ("ttft_s", "p50"),
    "TTFT p95": ("ttft_s", "p95"),
    "TTFT p99": ("ttft_s", "p99"),
    "tokens/s all": ("token_rate",),
    "tokens/s one user": ("request_token_rate", "p50"),
    "TPOT p50": ("tpot_s", "p50"),
    "good req/s": ("goodput", "requests_per_s"),
    "good share": ("goodput", "fraction"),
}
#: The headline's own names of the same.
HEADLINE = {
    "TTFT p50": "TTFT p50",
    "TTFT p95": "TTFT p95",
    "tokens/s, all": "tokens/s all",
    "tokens/s, one user": "tokens/s one user",
}


def test_every_number_is_the_same_number_wherever_it_is_told(run_locust: RunLocust, tmp_path: Path) -> None:
    markdown = tmp_path / "run.md"
    run = run_locust(*SHORT_LADDER, "--slo", "ttft=1s", "--markdown", str(markdown), pictures=True)
    assert run.exit_code == 0, run.output
    assert_whole(run)
    page = Tables((run.folder / "report.html").read_text(encoding="utf-8"))
    of_page, headline = page.columns("All figures by level, in the hold"), page.columns("Results by level")
    of_markdown = markdown_columns(markdown.read_text(encoding="utf-8"))
    of_terminal = terminal_rows(run)
    rows = [row for row in read_csv(run.folder / "summary.csv") if row["scope"] == "hold"]
    levels = run.summary["levels"]
    assert len(levels) == len(rows) == len(of_terminal) == 4
    for at, (level, row, line) in enumerate(zip(levels, rows, of_terminal, strict=True)):
        for heading, path in FIGURES.items():
            exact = value_at(level["hold"], path)
            assert float(row["_".join(path)]) == exact, heading
            told = of_page[heading][at]
            assert number_in(told) == pytest.approx(exact, rel=0.0051, abs=0.0005), heading
            assert of_markdown[heading][at] == told
            assert told in line, heading
        for heading, name in HEADLINE.items():
            assert headline[heading][at] == of_page[name][at]


def value_at(figures: dict[str, Any], path: tuple[str, ...]) -> float:
    value: Any = figures
    for name in path:
        value = value[name]
    return float(value["value"] if isinstance(value, dict) else value)


def markdown_columns(text: str) -> dict[str, list[str]]:
    headings, _, *rows = [
        [cell.strip().replace("\\*", "*") for cell in line.strip("|").split("|")]
        for line in text.splitlines()
        if line.startswith("|")
    ]
    return {heading: [row[place] for row in rows] for place, heading in enumerate(headings)}


def terminal_rows(run: Run) -> list[list[str]]:
    """The cells of each level's line in the table, in order."""
    levels = [(level["level"], level["system_prompt"]) for level in run.summary["levels"]]
    lines = [re.split(r" {2,}", line.strip()) for line in run.output.splitlines()]
    return [next(line for line in lines if tuple(line[:2]) == level) for level in levels]
