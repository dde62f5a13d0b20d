"""What a sweep shows: each cell's runs pooled, the same in table, page and CSV."""

from __future__ import annotations

import csv
import io
import json
import re
from datetime import UTC, datetime
from pathlib import Path
from statistics import mean

import pytest

from tests.reports.folders import Course, write_folder
from tokenswarm.command_line.exit_codes import EXIT_UNUSABLE, IN_SHORT
from tokenswarm.reports.compare.comparison import TOKEN_RATE
from tokenswarm.sweep.cell_figures import VALID, exit_text, rows_of
from tokenswarm.sweep.manifest import Manifest, RunState, SweepRun
from tokenswarm.sweep.sweep_charts import sweep_charts
from tokenswarm.sweep.sweep_page import sweep_html
from tokenswarm.sweep.sweep_table import highlights, sweep_csv, sweep_table

NOW = datetime(2026, 7, 1, 12, tzinfo=UTC)
#: Of each cell: its course, and how many of its three runs there are.
CELLS = ((Course(10), 3), (Course(50, token_rate=5000), 3), (Course(100, ttft_s=0.5, failures=9), 2))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("sweep")


@pytest.fixture(scope="module")
def manifest(folder: Path) -> Manifest:
    runs = []
    for repeat in (1, 2, 3):
        for cell, (course, there) in enumerate(CELLS, start=1):
            number = len(runs) + 1
            made = repeat <= there
            name = f"2026-{number}"
            if made:
                write_folder(folder / name, (course,), number)
                (folder / name / "report.html").write_text("")
            runs.append(
                SweepRun(
                    number=number,
                    cell=cell,
                    repeat=repeat,
                    name=f"levels {course.users}",
                    values={"levels": str(course.users), "body": "=1+1"},
                    words=[],
                    state=RunState.FINISHED if made else RunState.FAILED,
                    exit_code=0 if made else -15,
                    folder=name if made else None,
                )
            )
    varied = ["levels", "body"]
    return Manifest(started_at=NOW, current_folder="/", command=["--x"], varied=varied, repeat=3, runs=runs)


def token_rates(folder: Path, manifest: Manifest, cell: int) -> list[float]:
    summaries = [
        json.loads((folder / run.folder / "summary.json").read_text())
        for run in manifest.runs
        if run.cell == cell and run.folder
    ]
    return [summary["levels"][0]["hold"]["token_rate"] for summary in summaries]


def test_the_csv_file_has_the_mean_of_each_cells_runs(folder: Path, manifest: Manifest) -> None:
    rows = list(csv.DictReader(io.StringIO(sweep_csv(manifest, rows_of(manifest, folder)))))
    assert [(row["cell"], row["levels"], row["level"], row["runs"], row["runs_planned"]) for row in rows] == [
        ("1", "10", "10", "3", "3"),
        ("2", "50", "50", "3", "3"),
        ("3", "100", "100", "2", "3"),
    ]
    for row in rows:
        rates = token_rates(folder, manifest, int(row["cell"]))
        assert float(row["rate"]) == pytest.approx(mean(rates))
        assert (float(row["rate_smallest"]), float(row["rate_largest"])) == (min(rates), max(rates))
        assert (row["rate_low"] == "") is (len(rates) == 2)  # two runs have no interval
        assert row["body"] == "'=1+1"  # no formula of a spreadsheet
    assert float(rows[2]["failures"]) > 0
    assert rows[2]["verdict"] == "valid, 1 run failed, ended by SIGTERM"


def test_table_and_page_show_the_same_and_lead_to_each_report(folder: Path, manifest: Manifest) -> None:
    rows = rows_of(manifest, folder)
    page, table = sweep_html(manifest, rows, "0.1.0"), sweep_table(manifest, rows, 200)
    for row in rows:
        for text in (row.text(compared) for compared in row.entries):
            assert text.replace(" ", "\u00a0") in page
        line = next(line for line in table.splitlines() if re.match(rf" +{row.cell}  {row.values['levels']} ", line))
        for compared, text in ((compared, row.text(compared)) for compared in row.entries):
            assert text in line or not compared.figure.name.startswith(("ttft", "rate")), line
    links = re.findall(r'<a href="([^"]+)">repeat\u00a0(\d)</a>', page)
    assert len(links) == 8
    assert all((folder / address).is_file() for address, _ in links)
    assert "2 of 3 runs" in page


def test_only_cells_whose_runs_are_all_valid_stand_out(folder: Path, manifest: Manifest) -> None:
    fastest, lowest = highlights(rows_of(manifest, folder))
    assert fastest.endswith("cell 2 (levels 50).")
    assert "cell 3" not in lowest
    valid = [row for row in rows_of(manifest, folder) if row.verdict == VALID]
    for of_all, of_valid in zip((fastest, lowest), highlights(valid), strict=True):
        assert of_all.replace(" of the valid cells", "") == of_valid != of_all


def test_a_cell_without_figures_is_a_row_all_the_same(folder: Path, manifest: Manifest) -> None:
    runs = [SweepRun(number=1, cell=1, repeat=1, name="", values={}, words=[], state=RunState.FAILED, exit_code=2)]
    alone = Manifest(started_at=NOW, current_folder="/", command=[], varied=[], repeat=1, runs=runs)
    (row,) = rows_of(alone, folder)
    assert (row.verdict, row.level, dict(row.entries)) == ("failed, exit code 2", None, {})
    assert "failed, exit code 2" in sweep_table(alone, [row], 100)
    assert "No cell is valid:" in sweep_html(alone, [row], "")
    meaning = IN_SHORT[EXIT_UNUSABLE].partition(";")[0]
    assert all(
        meaning in " ".join(text.split()) for text in (sweep_table(alone, [row], 100), sweep_html(alone, [row], ""))
    )


@pytest.mark.parametrize("width", [80, 120])
def test_lines_of_text_keep_within_the_terminal(folder: Path, manifest: Manifest, width: int) -> None:
    table, _, notes = sweep_table(manifest, rows_of(manifest, folder), width).partition("\n\n")
    assert max(map(len, notes.splitlines())) <= width
    assert len(table.splitlines()) == 4


def test_exit_codes_in_words() -> None:
    assert [exit_text(code) for code in (None, 3, -9)] == ["", "exit code 3", "ended by SIGKILL"]


def test_the_charts_are_over_the_option_with_the_most_numbers(folder: Path, manifest: Manifest) -> None:
    rows = rows_of(manifest, folder)
    rate, ttft = sweep_charts(manifest, rows)
    (text,) = {row.text(TOKEN_RATE) for row in rows if row.cell == 2}
    assert rate.alt.startswith("Token rate of all users over levels. body =1+1: ")
    assert f"{text} at 50" in rate.alt
    assert (ttft.title, "<svg" in ttft.svg) == ("TTFT, median", True)
    words = [SweepRun(number=1, cell=1, repeat=1, name="", values={"body": "x"}, words=[])]
    alone = Manifest(started_at=NOW, current_folder="/", command=[], varied=["body"], repeat=1, runs=words)
    assert sweep_charts(alone, rows_of(alone, folder)) == []
