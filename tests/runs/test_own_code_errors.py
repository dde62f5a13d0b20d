"""Errors in a locustfile's own code are named once, by their own cause."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.runs.harness import ROOT, RunLocust

HEAD = f"""
import sys
sys.path.insert(0, {str(ROOT)!r})
from locust import task
from tokenswarm import StreamingUser, events

class Broken(StreamingUser):
    def __init__(self, environment):
        super().__init__(environment)
        raise ValueError("no config file")

    @task
    def ask(self):
        self.stream("hello")
"""
WITH_OTHERS = (
    HEAD
    + """
class Whole(StreamingUser):
    @task
    def ask(self):
        self.stream("hello", max_tokens=8)

@events.request_timed.add_listener
def count(timeline, **_):
    {}["missing"]
"""
)
NOT_CREATED = "Broken cannot be created: ValueError: no config file (own.py, line 10, in __init__)"
FAILED_LISTENER = "the listener count of request_timed raised KeyError: 'missing' (own.py, line 23, in count)"


@pytest.mark.parametrize("processes", [(), ("--processes", "2")], ids=["one process", "forked workers"])
def test_a_run_whose_users_cannot_be_created_ends_at_once_with_the_reason(
    run_locust: RunLocust, tmp_path: Path, processes: tuple[str, ...]
) -> None:
    (own := tmp_path / "own.py").write_text(HEAD)
    run = run_locust("-u", "2", "-t", "600s", *processes, locustfile=own)
    assert run.exit_code == 3, run.output
    assert run.document["status"] == "failed"
    assert run.document["stop_reason"] == f"no user is there: {NOT_CREATED}"
    assert [issue["kind"] for issue in run.summary["validity"]["issues"]] == ["run_failed"]
    for false in ("Traceback", "No user of the class", "stream()", "does nothing else"):
        assert false not in run.output
    assert f": {NOT_CREATED}" in run.output.rstrip().splitlines()[-1]


def test_users_that_fail_and_a_listener_that_does_are_named_beside_the_figures_of_the_others(
    run_locust: RunLocust, tmp_path: Path
) -> None:
    (own := tmp_path / "own.py").write_text(WITH_OTHERS)
    run = run_locust("-u", "4", "-r", "4", "-t", "6s", "--processes", "2", locustfile=own)
    assert run.exit_code == 1, run.output
    reasons = {issue["kind"]: issue for issue in run.summary["validity"]["issues"]}
    assert reasons["users_not_created"]["message"].startswith(NOT_CREATED)
    assert reasons["listener_errors"]["message"].startswith(FAILED_LISTENER)
    assert reasons["listener_errors"]["values"]["errors"] == len(run.requests) > 1
    assert "Traceback" not in run.output
    last = run.output.rstrip().splitlines()[-1]
    assert f"Exit code 1: {NOT_CREATED}; {FAILED_LISTENER}, {len(run.requests):,} times" in last
