"""A run that is refused sends nothing to its server but what found the reason."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.runs.harness import ROOT, RunLocust, StartSimulator, free_port, run_folders

#: Its users need not call stream() to send requests.
OWN = f"""
import sys
sys.path.insert(0, {str(ROOT)!r})
from locust import HttpUser, task
from tokenswarm import StreamingUser

class Api(HttpUser):
    @task
    def look(self):
        self.client.get("/from-a-user")

class Chat(StreamingUser):
    @task
    def ask(self):
        self.stream("hello")
"""


@pytest.mark.parametrize(
    "load",
    [("-u", "5", "-r", "5", "-t", "20s"), ("--levels", "6", "--level-time", "30s", "--processes", "2")],
    ids=["one process", "forked workers"],
)
def test_no_user_is_spawned_once_the_preflight_has_failed(
    run_locust: RunLocust, start_simulator: StartSimulator, tmp_path: Path, load: tuple[str, ...]
) -> None:
    (own := tmp_path / "own.py").write_text(OWN)
    requests = tmp_path / "requests.jsonl"
    simulator = start_simulator("--model", "meta/llama", "--request-log", str(requests))
    run = run_locust("-H", simulator.host, "--model", "nope", "--preflight", "on", *load, locustfile=own)
    assert run.exit_code == 2, run.output
    assert "Check --model 'nope'" in run.output
    assert run.output.count("'meta/llama'") == 1  # not in a warning too
    sent = [json.loads(line) for line in requests.read_text(encoding="utf-8").splitlines()]
    assert "/v1/chat/completions" in {request["path"] for request in sent}  # the preflight's
    assert {request["headers"]["user-agent"] for request in sent} == {"tokenswarm"}
    assert run_folders(run.results) == []


@pytest.mark.slow
@pytest.mark.parametrize("expected", ["1", "2"], ids=["a master that starts", "a master that waits"])
def test_a_worker_of_a_master_that_runs_plain_locust_ends_with_one_sentence(
    run_locust: RunLocust, tmp_path: Path, expected: str
) -> None:
    (own := tmp_path / "own.py").write_text(OWN)
    (plain := tmp_path / "plain.py").write_text(
        "from locust import HttpUser\n\nclass Web(HttpUser):\n    tasks = [id]\n"
    )
    port = str(free_port())
    command = [sys.executable, "-m", "locust", "-f", str(plain), "--master", "--headless", "--expect-workers", expected]
    load = ["--master-bind-port", port, "-u", "1", "-t", "30s", "-H", "http://127.0.0.1:1"]
    master = subprocess.Popen([*command, *load], cwd=tmp_path, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        run = run_locust("--worker", "--master-port", port, locustfile=own, without=["--master-bind-port"])
    finally:
        master.kill()
        master.wait()
    assert run.exit_code == 2, run.output
    assert "Traceback" not in run.output
    assert "without Tokenswarm" in run.output.rstrip().splitlines()[-1]
