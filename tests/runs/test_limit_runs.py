"""Whole runs on a machine that allows too little: found before the load, or told apart from the server's failures."""

from __future__ import annotations

import os
import resource
import sys
import time

import pytest

from tests.runs.harness import RunLocust, Start, StartSimulator, assert_whole, until

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not sys.platform.startswith("linux"), reason="another process's limits are set on Linux only"),
]
ALLOWED = ("bash", "-c", 'ulimit -n 250; exec "$@"', "bash")


@pytest.mark.parametrize("processes", [(), ("--processes", "2")], ids=["one process", "two workers"])
def test_a_run_that_needs_more_open_files_than_it_may_have_does_not_begin(
    processes: tuple[str, ...], run_locust: RunLocust, start_simulator: StartSimulator
) -> None:
    host = start_simulator("--profile", "fast").host
    users = "300" if not processes else "600"
    options = ("-H", host, "--engine", "vllm", "-u", users, "-r", "100", "-t", "9s", *processes)
    run = run_locust(*options, within=ALLOWED)
    assert run.exit_code == 2
    assert "300 connections in one process need" in run.output
    assert "ulimit -n" in run.output
    assert "Traceback" not in run.output


def test_requests_that_found_no_open_file_left_are_the_clients_failures_and_make_the_run_suspect(
    start_locust: Start, start_simulator: StartSimulator
) -> None:
    host = start_simulator("--profile", "fast").host
    levels = ("--levels", "2,12", "--ramp", "1s", "--level-time", "6s", "--system-prompt", "off", "--max-tokens", "8")
    started = start_locust("--headless", "-H", host, "--engine", "vllm", *levels)
    started.wait_for_requests(2)
    pid = started.process.pid
    limits = resource.prlimit(pid, resource.RLIMIT_NOFILE)
    in_use = max(int(name) for name in os.listdir(f"/proc/{pid}/fd"))  # noqa: PTH208 - descriptors are no paths
    resource.prlimit(pid, resource.RLIMIT_NOFILE, (in_use + 2, limits[1]))

    def rows_of_limit() -> bool:
        return any("client_limit" in path.read_text() for path in started.results.glob("*/requests.csv"))

    until(rows_of_limit)
    time.sleep(1.0)
    resource.prlimit(pid, resource.RLIMIT_NOFILE, limits)
    run = started.end()
    assert_whole(run)
    failed = [row for row in run.requests if row["outcome"] == "client_limit"]
    assert failed
    assert all("ulimit -n" in row["error"] for row in failed)
    assert {row["outcome"] for row in run.requests} <= {"ok", "client_limit", "cut"}
    assert run.summary["validity"]["verdict"] == "suspect"
    assert any("client_limit" in reason for reason in run.summary["validity"]["reasons"])
    assert sum(level["whole"]["outcomes"].get("client_limit", 0) for level in run.summary["levels"]) == len(failed)
    assert f"client_limit {len(failed)}" in run.output or "client_limit" in run.output
