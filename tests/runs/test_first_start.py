"""What a first user meets before there is a run: own code, wrong options, ports that are taken."""

from __future__ import annotations

import re
import socket
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.runs.harness import ROOT, RunLocust, Start, StartSimulator

pytestmark = pytest.mark.slow

ALONE = f"""
import sys
sys.path.insert(0, {str(ROOT)!r})
from users.chat import ChatUser
"""
OWN = f"""
import sys
sys.path.insert(0, {str(ROOT)!r})
from locustfile import *
from locust import HttpUser, LoadTestShape, constant, task

class Slow(ChatUser):
    weight = 3
    wait_time = constant(1)

class Web(HttpUser):
    @task
    def get(self):
        self.client.get("/")

class Never(ChatUser):
    weight = 0

class Steps(LoadTestShape):
    def tick(self):
        return 1, 1
"""
ONLY_USERS = f"""
import sys
sys.path.insert(0, {str(ROOT)!r})
from locustfile import ChatUser, SystemPromptChatUser
"""


@pytest.mark.parametrize(
    ("locustfile", "named", "not_named"),
    [(ALONE, ["ChatUser"], []), (OWN, ["Slow", "Web", "Steps"], ["Never"]), (ONLY_USERS, ["RunShape"], [])],
    ids=["users.chat alone", "own classes beside ours", "without the shape"],
)
def test_own_code_that_would_never_run_is_refused_by_name(
    run_locust: RunLocust, tmp_path: Path, locustfile: str, named: list[str], not_named: list[str]
) -> None:
    own = tmp_path / "own.py"
    own.write_text(locustfile)
    bare = ("--results", "--metrics-port", "--settle") if locustfile is ALONE else ()
    run = run_locust("-u", "1", "-t", "2s", locustfile=own, without=bare)
    assert run.exit_code == 2, run.output
    (sentence,) = [line for line in run.output.splitlines() if line.startswith("tokenswarm: ")]
    assert all(re.search(rf"\b{name}\b", sentence) for name in named)
    assert not any(re.search(rf"\b{name}\b", sentence) for name in not_named)
    assert not run.results.exists() or not list(run.results.iterdir())


def test_all_errors_of_options_files_and_environment_are_told_at_once(run_locust: RunLocust, tmp_path: Path) -> None:
    (tmp_path / "locust.conf").write_text("idle-timeout = soon\n")
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        run = run_locust(
            *("--levels", "ten", "--level-time", "x", "--max-token", "5", "--engine", "none", "--seed", "-1"),
            *("-H", "ftp://gpu", "--slo", "ttft=fast", "--junit", "missing/junit.xml", "--metrics-port", port),
            *("--processes", "2", "--prompts", "missing.jsonl"),
            env={"TOKENSWARM_MAX_TOKENS": "0", "TOKENSWARM_DRAIN_TIMEOUT": "-"},
        )
    assert run.exit_code == 2, run.output
    lines = [line for line in run.output.splitlines() if line.startswith("tokenswarm: ")]
    for about in (
        *("--levels", "--level-time", "--max-token;", "--engine", "--seed", "--host", "--slo", "--junit", port),
        *("--idle-timeout", "--max-tokens takes", "--drain-timeout", "missing.jsonl"),
    ):
        assert len([line for line in lines if about in line]) == 1, (about, run.output)
    assert "Traceback" not in run.output


def test_an_abbreviated_option_or_one_that_another_silences_is_no_run(run_locust: RunLocust) -> None:
    """Each of these was a run of another length than was asked for."""
    for arguments, about in (
        (("--levels", "3", "--max-token", "5"), "did you mean --max-tokens?"),
        (("--levels", "10", "-u", "5"), "--levels has no effect beside --users"),
    ):
        run = run_locust(*arguments)
        assert run.exit_code == 2, run.output
        assert about in run.output
    run = run_locust("-u", "5", env={"TOKENSWARM_LEVELS": "10"})
    assert run.exit_code == 2, run.output
    assert "TOKENSWARM_LEVELS has no effect" in run.output


@pytest.fixture
def usual_ports_taken() -> Iterator[None]:
    """Nobody can listen on the ports that Tokenswarm uses unless told otherwise: another Tokenswarm runs here."""
    held = []
    for port in (9646, 8089):
        listener = socket.socket()
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        held.append(listener)
        try:
            listener.bind(("127.0.0.1", port))
            listener.listen()
        except OSError:
            pass  # one does run here
    yield
    for listener in held:
        listener.close()


@pytest.mark.usefixtures("usual_ports_taken")
def test_a_second_one_on_the_machine_takes_free_ports_and_names_them(
    start_locust: Start, start_simulator: StartSimulator
) -> None:
    simulator = start_simulator("--profile", "fast")
    started = start_locust("-H", simulator.host, without=["--metrics-port"])
    assert started.process.stdout is not None
    metrics = page = ""
    while not (metrics and page):
        line = started.process.stdout.readline()
        assert line, "it ended"
        if found := re.search(r"metrics are at (http://\S+)", line):
            metrics = found[1]
        if found := re.search(r"the web page has port (\d+)", line):
            page = f"http://127.0.0.1:{found[1]}/"
    started.wait_until_it_answers(page)
    for url, text in ((metrics, "tokenswarm_users"), (page, "<html")):
        with urllib.request.urlopen(url, timeout=30) as answer:
            assert text in answer.read().decode()
    started.interrupt()
    started.end()


@pytest.mark.usefixtures("usual_ports_taken")
def test_a_port_that_was_given_is_not_exchanged_for_another(run_locust: RunLocust, start_locust: Start) -> None:
    run = run_locust("-u", "1", "-t", "2s", "--metrics-port", "9646")
    assert run.exit_code == 2, run.output
    assert "9646" in run.output
    run = start_locust("--web-port", "8089").end()
    assert run.exit_code == 2, run.output
    assert "8089" in run.output
