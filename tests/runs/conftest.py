"""Locust and simulators as fixtures: each in a process of its own, ended with the test."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

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

# The locust command, but with Ctrl-C in force: a runner in a shell's background ignores it, and children inherit that.
_WITH_CTRL_C = (
    "import signal, sys; signal.signal(signal.SIGINT, signal.default_int_handler); "
    "sys.argv[0] = 'locust'; from locust.main import main; main()"
)


@pytest.fixture
def start_locust(tmp_path: Path) -> Iterator[Start]:
    """Start `locust` with the project's locustfile, in a folder of its own (or in `cwd`). `without`: defaults of
    the tests that are not given."""
    started: list[subprocess.Popen[str]] = []

    def start(
        *arguments: str,
        env: dict[str, str] | None = None,
        cwd: Path = tmp_path,
        locustfile: Path = ROOT / "locustfile.py",
        within: Sequence[str] = (),
        without: Sequence[str] = (),
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
        process = subprocess.Popen(
            [*within, sys.executable, "-c", _WITH_CTRL_C, *command, *arguments],
            cwd=cwd,
            env=environment(**(env or {})),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
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
        process = subprocess.Popen(
            [
                sys.executable,
                str(ROOT / "tokenswarm.py"),
                "simulate",
                "--port",
                "0",
                "--truth-log",
                str(truth_log),
                *arguments,
            ],
            env=environment(**(env or {})),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            text=True,
        )
        started.append(process)
        assert process.stdout is not None
        line = process.stdout.readline()
        match = re.search(r"http://\S+", line)
        assert match, f"the simulator said {line!r}"
        return Simulator(match[0], truth_log)

    yield start
    for process in started:
        process.terminate()
        process.wait(timeout=10)
