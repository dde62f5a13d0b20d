"""The floor, against a paced server's own log."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tokenswarm.simulator.paced_log import read_server_log

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.slow
def test_the_floor_reads_every_answer_to_its_end(tmp_path: Path) -> None:
    log = str(tmp_path / "server.csv")
    paced = [sys.executable, "-m", "tokenswarm.simulator.paced", "--log", log, "--tokens", "4", "8"]
    with subprocess.Popen(
        [*paced, "--tokens-per-s", "500", "--ttft-ms", "20"],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as server:
        host = server.stdout.readline().split()[-1]
        options = ["--host", host, "--users", "3", "--users-per-s", "1000", "--seconds", "1"]
        subprocess.run([sys.executable, "-m", "benchmarks.floor", *options], cwd=ROOT, check=True, timeout=20)
        server.stdin.close()
        assert server.wait(timeout=20) == 0
    rows = read_server_log(tmp_path / "server.csv")
    assert len(rows) > 3  # more than one for each user
    assert {row.outcome for row in rows} == {"ok"}
