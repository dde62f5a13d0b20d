"""Whole runs: Locust as a person starts it, in a process of its own, against a simulator of the test's."""

from __future__ import annotations

import csv
import json
import math
import os
import random
import signal
import socket
import subprocess
import time
import urllib.request
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
RUN_LIMIT_S = 240


@dataclass(frozen=True)
class Run:
    """A run that has ended: what it printed and what it left."""

    exit_code: int
    output: str
    results: Path

    @property
    def folder(self) -> Path:
        folders = run_folders(self.results)
        assert len(folders) == 1, f"expected one results folder, found {folders}; the run said:\n{self.output}"
        return folders[0]

    @property
    def requests(self) -> list[dict[str, str]]:
        return read_csv(self.folder / "requests.csv")

    @property
    def windows(self) -> list[dict[str, str]]:
        return read_csv(self.folder / "windows.csv")

    @property
    def summary(self) -> dict[str, Any]:
        return json.loads((self.folder / "summary.json").read_text())

    @property
    def document(self) -> dict[str, Any]:
        return json.loads((self.folder / "run.json").read_text())


def run_folders(results: Path) -> list[Path]:
    """The folders of runs, the oldest first, without the link to the latest."""
    return sorted(path for path in results.iterdir() if path.name != "latest") if results.exists() else []


def run_files(results: Path, name: str) -> list[Path]:
    """That file of each run that has it."""
    return [folder / name for folder in run_folders(results) if (folder / name).exists()]


def read_csv(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def free_port() -> int:
    """A port of the loopback that is free, and below those that the system gives to connections: the tests that run
    beside this one open many before its server listens."""
    while True:
        port = random.SystemRandom().randrange(10_000, 32_000)
        with socket.socket() as listener, suppress(OSError):
            listener.bind(("127.0.0.1", port))
            return port


def until(condition: Callable[[], bool], limit_s: float = RUN_LIMIT_S) -> None:
    """Wait for what must come; that it comes is the test, when is not."""
    deadline = time.monotonic() + limit_s
    while not condition():
        assert time.monotonic() < deadline, "it never came"
        time.sleep(0.2)


def environment(**variables: str) -> dict[str, str]:
    """The test's environment without what would change a run, and with `variables`."""
    kept = {
        name: value for name, value in os.environ.items() if not name.startswith(("TOKENSWARM_", "LOCUST_", "LLM_"))
    }
    return kept | {"PYTHONUNBUFFERED": "1"} | variables


@dataclass
class Started:
    """A run that goes on."""

    process: subprocess.Popen[str]
    results: Path

    def interrupt(self, number: signal.Signals = signal.SIGINT, whole_group: bool = False) -> None:
        """As a pipeline does, or as a terminal does: to the process and all that it forked."""
        if whole_group:
            os.killpg(self.process.pid, number)
        else:
            self.process.send_signal(number)

    def wait_until_it_answers(self, url: str) -> None:
        """Until something serves the address."""

        def answers() -> bool:
            assert self.process.poll() is None, "it ended"
            with suppress(OSError), urllib.request.urlopen(url, timeout=30):
                return True
            return False

        until(answers)

    def wait_for_requests(self, number: int, folder: str = "*") -> None:
        """Until so many have been recorded, however slow the machine."""
        deadline = time.monotonic() + RUN_LIMIT_S
        while time.monotonic() < deadline:
            written = list(self.results.glob(f"{folder}/requests.csv"))
            if written and len(read_csv(written[0])) >= number:
                return
            time.sleep(0.2)
        raise AssertionError(f"{number} requests were never recorded")

    def end(self) -> Run:
        """Wait for it and read what it left."""
        output, _ = self.process.communicate(timeout=RUN_LIMIT_S)
        return Run(self.process.returncode, output, self.results)


Start = Callable[..., Started]
RunLocust = Callable[..., Run]


@dataclass(frozen=True)
class Simulator:
    """A simulator that runs, and its log of what it sent."""

    host: str
    truth_log: Path
    process: subprocess.Popen[str]

    def truth(self, outcome: str = "ok") -> list[dict[str, str]]:
        return [row for row in read_csv(self.truth_log) if row["outcome"] == outcome]


StartSimulator = Callable[..., Simulator]


FILES = {
    *("run.json", "requests.csv", "windows.csv", "server.csv", "histograms.csv"),
    *("summary.json", "summary.csv", "charts", "report.html"),
}
SHORT_LADDER = ("--levels", "2,4", "--ramp", "0.5s", "--level-time", "2.5s", "--max-tokens", "24")


def assert_whole(run: Run) -> None:
    """The folder is complete and every file of it tells the same story."""
    assert {path.name for path in run.folder.iterdir()} == FILES
    assert {path.name for path in (run.folder / "charts").iterdir()} == {"ttft.png", "token_rate.png"}
    rows, summary = run.requests, run.summary
    counts = dict.fromkeys(("ended", "recorded", "rows"), len(rows))
    assert summary["accounting"] == {**counts, "unaccounted": 0, "complete": True}
    assert len({row["id"] for row in rows}) == len(rows)
    for level in summary["levels"]:
        of_level = [row for row in rows if int(row["level_index"]) == level["index"]]
        assert Counter(row["outcome"] for row in of_level) == level["whole"]["outcomes"]
        held = [row for row in of_level if row["phase"] == "hold"]
        assert level["hold"]["requests"] == len(held)
        assert level["hold"]["ttft_s"]["count"] == sum(
            row["outcome"] == "ok" and row["abandons"] != "True" for row in held
        )
    tokens = sum(int(row["output_tokens"]) for row in rows)
    assert math.isclose(
        sum(float(row["output_tokens"]) for row in run.windows), tokens, abs_tol=0.01 * len(run.windows)
    )
