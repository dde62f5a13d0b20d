"""`tokenswarm report RESULTS`, from the outside."""

from __future__ import annotations

import csv
import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.forked_process import run_command
from tests.reports.folders import Course, write_folder
from tokenswarm.reports import units
from tokenswarm.reports.text_table import summary_table
from tokenswarm.run_folder.reader import load_results

pytestmark = pytest.mark.slow

Write = Callable[..., Path]

ROOT = Path(__file__).parents[2]


def report(*args: str | Path, **variables: str) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if name != "COLUMNS"}
    return run_command("report", *map(str, args), cwd=ROOT, env=environment | variables)


def test_it_prints_the_table_draws_the_charts_and_names_them(write_run: Write) -> None:
    folder = write_run()
    done = report(folder)
    table = summary_table(load_results(folder), 120)
    charts = [folder / "charts" / "ttft.png", folder / "charts" / "token_rate.png"]
    page = folder / "report.html"
    assert done.stdout == f"{table}\n\nPage: {page}\nChart: {charts[0]}\nChart: {charts[1]}\n"
    assert all(file.stat().st_size for file in (*charts, page))
    assert done.returncode == 0


def test_a_folder_that_is_none_is_one_sentence_and_exit_code_2(tmp_path: Path) -> None:
    done = report(tmp_path)
    assert (done.returncode, done.stdout, len(done.stderr.splitlines())) == (2, "", 1)
    assert done.stderr.startswith(f"tokenswarm report: {tmp_path} is not a results folder")


def test_charts_that_cannot_be_written_are_one_sentence_after_the_table(write_run: Write) -> None:
    folder = write_run()
    (folder / "charts").write_text("a file in the way")
    done = report(folder)
    assert done.returncode == 2
    assert done.stdout.startswith("Engine vllm")
    assert done.stderr == f"tokenswarm report: The charts cannot be written to {folder / 'charts'}: File exists.\n"


def test_the_table_is_as_wide_as_the_terminal(write_run: Write) -> None:
    folder = write_run()
    assert report(folder, COLUMNS="80").stdout.startswith(summary_table(load_results(folder), 80) + "\n")


def test_a_terminal_without_unicode_still_gets_its_report(write_run: Write) -> None:
    done = report(write_run(), PYTHONIOENCODING="ascii")
    assert done.returncode == 0
    assert "56.4?64.8 ms" in done.stdout


def test_a_missing_argument_is_one_sentence(tmp_path: Path) -> None:
    done = report()
    assert done.returncode == 2
    assert "RESULTS is missing" in done.stderr


def test_broken_conditions_are_told_below_the_table_with_exit_code_5(write_run: Write) -> None:
    done = report(write_run(), "--fail-if", "p50(ttft)@50/on > 100ms, failures > 0")
    assert done.returncode == 5
    (line,) = [line for line in done.stdout.splitlines() if line.startswith("  FAIL")]
    told = ["fail if p50(ttft)@50/on > 100ms", "50 users with system prompt", "188 ms (177–203 ms at 95 %)"]
    assert " ".join(line.split()[1:]) == " ".join(told)


def test_a_condition_that_cannot_be_read_is_pointed_at_and_nothing_is_reported(write_run: Write) -> None:
    done = report(write_run(), "--fail-if", "p95(ttft) > 500")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.splitlines()[1:] == ["  p95(ttft) > 500", "                 ^"]


def test_objectives_can_be_given_when_the_run_is_over(tmp_path: Path) -> None:
    """Counted again from requests.csv; the folder keeps what it had."""
    folder = write_folder(tmp_path / "run", [Course(ttft_s=0.2), Course(50, ttft_s=0.4)], seed=1)
    kept = (folder / "summary.json").read_bytes()
    with (folder / "requests.csv").open(newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["phase"] == "hold"]
    done = report(folder, "--slo", "ttft=250ms", "--slo-share", "90%", "--fail-if", "goodput@50 < 90%")
    good = [
        sum(float(row["ttft_ms"]) <= 250 for row in rows if row["level_index"] == stage and row["outcome"] == "ok")
        for stage in ("0", "1")
    ]
    sent = [sum(row["level_index"] == stage for row in rows) for stage in ("0", "1")]
    shares = [units.percentage(number / of) for number, of in zip(good, sent, strict=True)]
    lines = [line for line in done.stdout.splitlines() if line.split()[:2] in (["10", "off"], ["50", "off"])]
    assert [" ".join(line.split()[-2:]) for line in lines] == shares
    assert done.returncode == 5
    assert (folder / "summary.json").read_bytes() == kept
    assert report(folder, "--slo", "ttft=250").returncode == 2


def test_a_folder_of_others_leads_to_no_traceback_and_to_no_other_folder(write_run: Write, tmp_path: Path) -> None:
    folder = write_run(run={"options": {"fail_if": ["p95(ttft) > 1s"]}})
    done = report(folder)
    assert (done.returncode, "Traceback" in done.stderr) == (2, False)
    folder = write_run()
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (folder / "charts").symlink_to(elsewhere)
    assert report(folder).returncode == 2
    assert not list(elsewhere.iterdir())


def test_a_condition_about_goodput_needs_objectives(write_run: Write) -> None:
    folder = write_run()
    assert (done := report(folder, "--fail-if", "goodput < 99%")).returncode == 2
    assert "--slo" in done.stderr


def test_requests_whose_end_is_not_known_are_named_and_the_others_are_not_called_wrong(write_run: Write) -> None:
    books = {"ended": 74, "recorded": 74, "rows": 74, "unaccounted": 2, "complete": False}
    done = report(write_run(summary={"accounting": books}))
    (line,) = [line for line in done.stdout.splitlines() if line.startswith("!!!") and "74" in line]
    assert "2 more" in " ".join(done.stdout.split())
    assert "counted twice" not in done.stdout
    assert line


def test_an_unknown_tool_to_count_as_is_refused(write_run: Write) -> None:
    done = report(write_run(), "--as", "abacus")
    assert done.returncode == 2
    assert "takes one of vllm, aiperf" in done.stderr
