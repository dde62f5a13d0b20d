"""A run that is refused sends nothing to its server but what found the reason."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.runs.harness import ROOT, RunLocust, StartSimulator, run_folders

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
