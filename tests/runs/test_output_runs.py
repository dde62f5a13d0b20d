"""What a run prints where, and what becomes of it where nobody reads it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.runs.harness import ROOT, RUN_LIMIT_S, environment

pytestmark = pytest.mark.slow

LOCUST = ("import sys; sys.argv[0] = 'locust'; from locust.main import main; main()",)
SHORT = ("--headless", "--metrics-port", "0", "--levels", "2", "--ramp", "1s", "--level-time", "3s", "--settle", "0s")


def command(tmp_path: Path, *arguments: str | Path) -> list[str]:
    folder = ("-f", ROOT / "locustfile.py", "--results", tmp_path / "results", "--system-prompt", "off")
    return [sys.executable, "-c", *LOCUST, *map(str, (*folder, *SHORT, "--max-tokens", "8", *arguments))]


def test_json_stands_alone_on_the_standard_output_and_a_jobs_summary_keeps_its_text(tmp_path: Path) -> None:
    summary, other = tmp_path / "step_summary.md", tmp_path / "junit.xml"
    summary.write_text("# Of the step before\n")
    done = subprocess.run(
        command(tmp_path, "--json", "--markdown", summary, "--junit", other),
        env=environment(GITHUB_STEP_SUMMARY=str(summary)),
        capture_output=True,
        text=True,
        timeout=RUN_LIMIT_S,
    )
    assert done.returncode == 0, done.stderr
    assert {entry["name"] for entry in json.loads(done.stdout)} >= {"TTFT in ms, system prompt off"}
    (folder,) = (tmp_path / "results").iterdir()
    for file in (folder, folder / "report.html", summary, other):
        assert str(file) in done.stderr
    before, _, ours = summary.read_text().partition("\n")
    assert before == "# Of the step before"
    assert ours.startswith("## Tokenswarm")


@pytest.mark.alone
@pytest.mark.parametrize("output", ["a closed pipe", "/dev/full"])
def test_a_run_whose_output_cannot_be_written_keeps_its_files_and_its_exit_code(tmp_path: Path, output: str) -> None:
    if output == "/dev/full":
        writer = os.open(output, os.O_WRONLY)
    else:
        reader, writer = os.pipe()
        os.close(reader)
    junit = tmp_path / "junit.xml"
    done = subprocess.run(
        command(tmp_path, "--fail-if", "p50(ttft) > 1us", "--junit", junit),
        env=environment(),
        stdout=writer,
        stderr=subprocess.PIPE,
        text=True,
        timeout=RUN_LIMIT_S,
    )
    os.close(writer)
    assert done.returncode == 5, done.stderr
    assert "Traceback" not in done.stderr
    (folder,) = (tmp_path / "results").iterdir()
    for file in (junit, folder / "report.html", folder / "charts" / "ttft.png", folder / "charts" / "token_rate.png"):
        assert file.stat().st_size, file
