"""Locust and simulators as fixtures: each in a process of its own, ended with the test."""

from __future__ import annotations

import os
import re
import signal
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from tests.forked_process import start_program
from tests.runs.harness import (
    ROOT,
    Run,
    RunLocust,
    Simulator,
    Start,
    Started,
    StartSimulator,
    environment,
    free_port,
)


def pytest_itemcollected(item: pytest.Item) -> None:
    """Whole runs are slow, also where their module does not say so."""
    item.add_marker(pytest.mark.slow)


@pytest.fixture
def start_locust(tmp_path: Path) -> Iterator[Start]:
    """Start `locust` with the project's locustfile, in a folder of its own (or in `cwd`). `without`: defaults of
    the tests that are not given. `pictures`: whether the test looks at the charts that are drawn in the end, or at all
    that the run writes; they are made and left empty otherwise."""
    started: list[subprocess.Popen[str]] = []

    def start(
        *arguments: str,
        env: dict[str, str] | None = None,
        cwd: Path = tmp_path,
        locustfile: Path = ROOT / "locustfile.py",
        within: Sequence[str] = (),
        without: Sequence[str] = (),
        pictures: bool = False,
    ) -> Started:
        command = ["-f", str(locustfile)]
        port = str(free_port())  # of the master, where there is one: runs beside this one have theirs
        defaults = {
            "--results": str(tmp_path / "results"),
            "--metrics-port": "0",
            "--settle": "0s",
            "--preflight": "off",
            "--master-bind-port": port,
        }
        for option, value in defaults.items():
            if option not in (*arguments, *without):
                command += [option, value]
        process = start_program(
            "locust",
            [*command, *arguments],
            env=environment(**(env or {})),
            within=within,
            pictures=pictures,
            cwd=cwd,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        started.append(process)
        return Started(process, tmp_path / "results")

    yield start
    for process in started:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


@pytest.fixture
def run_locust(start_locust: Start) -> RunLocust:
    """Run `locust --headless` to its end."""

    def run(*arguments: str, **how: Any) -> Run:
        return start_locust("--headless", *arguments, **how).end()

    return run


@pytest.fixture
def start_simulator(tmp_path: Path) -> Iterator[StartSimulator]:
    """Start `tokenswarm simulate` on a free port."""
    started: list[subprocess.Popen[str]] = []

    def start(*arguments: str, env: dict[str, str] | None = None) -> Simulator:
        truth_log = tmp_path / f"truth-{len(started)}.csv"
        process = start_program(
            "simulate",
            ["--port", "0", "--truth-log", str(truth_log), *arguments],
            env=environment(**(env or {})),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
        )
        started.append(process)
        assert process.stdout is not None
        line = process.stdout.readline()
        match = re.search(r"http://\S+", line)
        assert match, f"the simulator said {line!r}"
        return Simulator(match[0], truth_log, process)

    yield start
    for process in started:
        process.terminate()
        process.wait(timeout=10)
