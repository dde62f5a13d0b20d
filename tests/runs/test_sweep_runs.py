"""A small sweep to its end: its runs, manifest, table and page."""

from __future__ import annotations

import csv
import json
import re
from pathlib import Path

import pytest

from tests.forked_process import run_command
from tests.runs.harness import StartSimulator, environment, run_folders

pytestmark = pytest.mark.slow
SHORT = ("--ramp", "0s", "--level-time", "2s", "--settle", "0s", "--system-prompt", "off", "--max-tokens", "8")


def test_a_sweep_of_two_cells(start_simulator: StartSimulator, tmp_path: Path) -> None:
    simulator = start_simulator("--profile", "fast")
    words = ("sweep", "-H", simulator.host, "--vary", "levels=1,2", *SHORT, "--tag", "build=7", "--metrics-port", "0")
    ended = run_command(*words, cwd=tmp_path, env=environment())
    assert ended.returncode == 0, ended.stderr
    (folder,) = (path for path in (tmp_path / "results").iterdir())
    runs = json.loads((folder / "sweep.json").read_text())["runs"]
    assert [(each["values"], each["state"], each["exit_code"]) for each in runs] == [
        ({"levels": "1"}, "finished", 0),
        ({"levels": "2"}, "finished", 0),
    ]
    assert [each["folder"] for each in runs] == [path.name for path in run_folders(folder) if path.is_dir()]
    with (folder / "sweep.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    for each, row in zip(runs, rows, strict=True):
        document = json.loads((folder / each["folder"] / "run.json").read_text())
        summary = json.loads((folder / each["folder"] / "summary.json").read_text())
        assert (document["name"], document["tags"]) == (each["name"], {"levels": row["levels"], "build": "7"})
        assert [level["users"] for level in document["plan"]] == [int(row["levels"])]
        assert float(row["rate"]) == summary["levels"][0]["hold"]["token_rate"]
        assert each["name"] == f"levels {row['levels']}"
    page = (folder / "sweep.html").read_text()
    assert re.findall(r'href="([^"]+report.html)"', page) == [f"{each['folder']}/report.html" for each in runs]
    again = run_command("sweep", "--resume", str(folder), cwd=tmp_path, env=environment())
    assert (again.returncode, len(run_folders(folder)) - 3) == (0, 2), again.stderr  # nothing is run again
