"""What a run prints where, and what becomes of it where nobody reads it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from pathlib import Path

import pytest

from tests.forked_process import close, start_program
from tests.runs.harness import ROOT, RUN_LIMIT_S, Started, environment, free_port, run_folders
from tests.unread_pipe import full_pipe

pytestmark = pytest.mark.slow

SHORT = ("--headless", "--metrics-port", "0", "--levels", "8", "--ramp", "1s", "--level-time", "3s", "--settle", "0s")


def run(
    tmp_path: Path, *arguments: str | Path, stdout: int = subprocess.PIPE, **variables: str
) -> tuple[int, str, str]:
    """Exit code, standard output and standard error of a short run. stdout: a descriptor is closed with its start."""
    folder = ("-f", ROOT / "locustfile.py", "--results", tmp_path / "results", "--system-prompt", "off")
    process = start_program(
        "locust",
        [*map(str, (*folder, *SHORT, "--max-tokens", "8", *arguments))],
        environment(**variables),
        stdin=subprocess.DEVNULL,
        stdout=stdout,
        stderr=subprocess.PIPE,
    )
    output, errors = process.communicate(timeout=RUN_LIMIT_S)
    return process.returncode, output, errors


def test_json_stands_alone_on_the_standard_output_and_a_jobs_summary_keeps_its_text(tmp_path: Path) -> None:
    summary, other = tmp_path / "step_summary.md", tmp_path / "junit.xml"
    summary.write_text("# Of the step before\n")
    options = ("--json", "--markdown", summary, "--junit", other)
    exit_code, output, errors = run(tmp_path, *options, GITHUB_STEP_SUMMARY=str(summary))
    assert exit_code == 0, errors
    assert {entry["name"] for entry in json.loads(output)} >= {"TTFT in ms, system prompt off"}
    (folder,) = run_folders(tmp_path / "results")
    for file in (folder, folder / "report.html", summary, other):
        assert str(file) in errors
    before, _, ours = summary.read_text().partition("\n")
    assert before == "# Of the step before"
    assert ours.startswith("## Tokenswarm")


@pytest.mark.parametrize(
    ("output", "more"), [("a closed pipe", ()), ("/dev/full", ()), ("/dev/full", ("--print-summary",))]
)
def test_a_run_whose_output_cannot_be_written_keeps_its_files_and_its_exit_code(
    tmp_path: Path, output: str, more: tuple[str, ...]
) -> None:
    if output == "/dev/full":
        writer = os.open(output, os.O_WRONLY)
    else:
        reader, writer = os.pipe()
        close(reader)
    junit = tmp_path / "junit.xml"
    exit_code, _, errors = run(tmp_path, "--fail-if", "p50(ttft) > 1us", "--junit", junit, *more, stdout=writer)
    assert "Traceback" not in errors
    assert errors.count("the output could not be written") == (output == "/dev/full"), errors
    (folder,) = run_folders(tmp_path / "results")
    verdict = json.loads((folder / "run.json").read_text())["validity"]["verdict"]
    assert exit_code == (5 if verdict == "valid" else 3), errors  # suspect where the machine was busy
    for file in (junit, folder / "report.html", folder / "charts" / "ttft.png", folder / "charts" / "token_rate.png"):
        assert file.stat().st_size, file


def test_a_run_whose_output_nobody_reads_goes_on_and_ends_with_ctrl_c(tmp_path: Path) -> None:
    """Neither the master's lines nor those of its workers fit into the pipe."""
    reader, writer, _ = full_pipe()
    load = ("--levels", "8", "--ramp", "0s", "--level-time", "10m", "--max-tokens", "8", "--system-prompt", "off")
    results = tmp_path / "results"
    ports = ("--master-bind-port", str(free_port()), "--metrics-port", "0")
    options = ("--headless", "--processes", "2", *ports, "--results", str(results))
    process = start_program(
        *("locust", ["-f", str(ROOT / "locustfile.py"), *options, *load], environment()),
        stdin=subprocess.DEVNULL,
        stdout=writer,
        stderr=subprocess.STDOUT,
    )
    run = Started(process, results)
    try:
        run.wait_for_requests(30)
        run.interrupt(signal.SIGINT)
        ended = run.end()
    finally:
        process.kill()
        os.close(reader)
    assert ended.exit_code == 4
    assert ended.document["status"] == "interrupted"
    assert ended.summary["accounting"]["complete"] is True
    assert (ended.folder / "report.html").stat().st_size
