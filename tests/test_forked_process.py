"""Processes forked from one that has imported everything are as those that were started."""

from __future__ import annotations

import os
import signal
import subprocess
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.fork_server import ROOT, STATUS
from tests.forked_process import ForkedProcess, _Server, close, may_be_forked


def started(*arguments: str, **how: Any) -> ForkedProcess:
    return ForkedProcess(arguments, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True, **how)


def simulating(**how: Any) -> ForkedProcess:
    process = started("simulate", "--port", "0", **how)
    assert process.stdout is not None
    assert "http://" in process.stdout.readline()
    return process


@pytest.mark.slow
def test_output_and_exit_code_are_its_own() -> None:
    right, wrong = started("locust", "--version"), started("locust", "--no-such-option", stderr=subprocess.STDOUT)
    assert right.communicate(timeout=60)[0].startswith("locust ")
    assert "--no-such-option" in wrong.communicate(timeout=60)[0]
    assert (right.returncode, wrong.returncode) == (0, 2)


def test_what_ends_before_the_event_loop_runs_is_read_to_its_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where gevent's own close left this process a writer of the pipes, nothing would wake the loop that closes it."""
    ask = _Server.ask

    def ask_and_wait(server: _Server, message: bytes, fds: list[int]) -> None:
        reader, writer = os.pipe()
        ask(server, message, [*fds[:3], writer])
        close(writer)
        statuses = b""  # the pid, and the exit code
        while len(statuses) < 2 * STATUS.size:
            statuses += os.read(reader, STATUS.size)  # blocks the whole process
        close(reader)
        os.write(fds[3], statuses)

    monkeypatch.setattr(_Server, "ask", ask_and_wait)
    process = started("tokenswarm", "report", "--help", stderr=subprocess.PIPE)
    output, errors = process.communicate(timeout=20)
    assert (process.returncode, "usage: tokenswarm report" in output, errors) == (0, True, "")


def test_it_runs_where_and_with_what_it_is_told(tmp_path: Path) -> None:
    process = simulating(cwd=tmp_path, env={"ONLY": "this"}, start_new_session=True)
    as_seen = psutil.Process(process.pid)
    assert as_seen.cwd() == str(tmp_path)
    assert os.getsid(process.pid) == process.pid != os.getsid(0)
    with pytest.raises(subprocess.TimeoutExpired):
        process.wait(timeout=0.01)
    assert process.poll() is None
    process.terminate()
    assert process.wait(timeout=60) == 0
    assert process.poll() == 0


def test_a_signal_that_ended_it_is_its_return_code() -> None:
    first, second = simulating(), simulating()
    first.kill()
    assert first.wait(timeout=60) == -signal.SIGKILL
    assert second.poll() is None
    second.terminate()
    assert second.wait(timeout=60) == 0


@pytest.mark.slow
def test_what_it_starts_is_waited_for(tmp_path: Path) -> None:
    """The self-check starts processes of its own."""
    options = ("--headless", "--self-check", "-f", str(ROOT / "locustfile.py"), "--results", str(tmp_path / "results"))
    load = ("-u", "1", "-t", "1s", "--metrics-port", "0", "--preflight", "off", "--max-tokens", "8")
    process = started("locust", *options, *load, stderr=subprocess.STDOUT, cwd=tmp_path)
    output, _ = process.communicate(timeout=120)
    assert process.returncode == 0, output


@pytest.mark.parametrize("name", ["PYTHONHASHSEED", "LC_ALL", "MPLBACKEND"])
def test_what_is_read_when_python_starts_needs_a_start(name: str) -> None:
    assert not may_be_forked(os.environ | {name: "other"})
    assert may_be_forked(os.environ | {"LLM_API_KEY": "sk", "PYTHONUNBUFFERED": "1"})
    assert may_be_forked(None)
