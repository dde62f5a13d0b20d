"""Runs of `tokenswarm run` from a folder with files of a user's own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.runs.harness import StartSimulator, run_folders

pytestmark = pytest.mark.slow
OPTIONS = ("--levels", "2", "--ramp", "0s", "--level-time", "2s", "--settle", "0s", "--system-prompt", "off")


def test_a_run_from_a_folder_with_files_of_ones_own_prints_its_summary(
    start_simulator: StartSimulator, tmp_path: Path
) -> None:
    for name in ("users", "metrics", "recording"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text("raise RuntimeError('not to be imported')\n")
    for name in ("locust.py", "locustfile.py"):
        (tmp_path / name).write_text("raise RuntimeError('not to be imported')\n")
    simulator = start_simulator("--profile", "fast")
    command = [sys.executable, "-P", "-m", "tokenswarm", "run", "-H", simulator.host, *OPTIONS, "--json", "--quiet"]
    command += ["--name", "first", "--tag", "gpu=H100", "--tag", "build=a=b"]
    ended = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False)
    assert ended.returncode == 0, ended.stderr
    (folder,) = run_folders(tmp_path / "results")
    assert json.loads(ended.stdout) == json.loads((folder / "summary.json").read_text())
    assert str(folder.name) in ended.stderr
    assert (tmp_path / "results" / "latest").readlink() == Path(folder.name)
    document = json.loads((folder / "run.json").read_text())
    assert (document["name"], document["tags"]) == ("first", {"gpu": "H100", "build": "a=b"})
    assert "<h1>first: load test of " in (folder / "report.html").read_text()
    assert "tok/s  TTFT p50" not in ended.stderr  # a progress line


def test_a_misspelled_option_is_refused_with_the_one_that_was_meant(tmp_path: Path) -> None:
    command = [sys.executable, "-P", "-m", "tokenswarm", "run", "--level", "5"]
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("TOKENSWARM_", "LOCUST_"))}
    ended = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert (ended.returncode, ended.stderr.count("\n")) == (2, 1)
    assert "--levels" in ended.stderr


def test_a_run_without_a_standard_output_leaves_its_folder(start_simulator: StartSimulator, tmp_path: Path) -> None:
    simulator = start_simulator("--profile", "fast")
    words = ["run", "-H", simulator.host, *OPTIONS, "--quiet"]
    command = ["sh", "-c", 'exec "$@" >&-', "sh", sys.executable, "-P", "-m", "tokenswarm", *words]
    ended = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False)
    assert ended.returncode == 0, ended.stderr
    assert ended.stderr.count("the output could not be written (the standard output is closed)") == 1
    (folder,) = run_folders(tmp_path / "results")
    assert json.loads((folder / "summary.json").read_text())["status"] == "finished"


def test_a_run_without_a_standard_error_prints_its_summary_alone(
    start_simulator: StartSimulator, tmp_path: Path
) -> None:
    simulator = start_simulator("--profile", "fast")
    words = ["run", "-H", simulator.host, *OPTIONS, "--json"]
    command = ["sh", "-c", 'exec "$@" 2>&-', "sh", sys.executable, "-P", "-m", "tokenswarm", *words]
    ended = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False)
    assert (ended.returncode, ended.stderr) == (0, "")
    assert json.loads(ended.stdout)["status"] == "finished"
