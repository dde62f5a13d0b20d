"""Errors in a locustfile's own code are named once, by their own cause."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.runs.harness import ROOT, RunLocust, Start, free_port, run_folders

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
    for false in ("Traceback", "No user of the class", "stream()", "other programs"):
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


STARTS = f"""
import sys
sys.path.insert(0, {str(ROOT)!r})
from locust import events, task
from locust.runners import WorkerRunner
from tokenswarm import StreamingUser

class Late(StreamingUser):
    def on_start(self):
        raise ValueError("no login")

    def on_stop(self):
        raise OSError("gone")

    @task
    def ask(self):
        self.stream("hello", max_tokens=8)
"""
OTHER = """
class Whole(Late):
    def on_start(self):
        self.stream("first", max_tokens=4)
"""
PLAIN = """
from locust import HttpUser, constant

class Plain(HttpUser):
    wait_time = constant(1)

    @task
    def look(self):
        self.client.get("/health")
"""
LISTENERS = """
def on_worker(environment):
    return isinstance(environment.runner, WorkerRunner) or not environment.parsed_options.processes

@events.test_start.add_listener
def prepare(environment, **_):
    if {} on_worker(environment):
        {{}}["tenant"]

@events.request.add_listener
def count(**_):
    {{}}["missing"]
"""
NOT_STARTED = "on_start of Late raised ValueError: no login (own.py, line 10, in on_start)"


@pytest.mark.parametrize("processes", [(), ("--processes", "2")], ids=["one process", "forked workers"])
def test_a_run_whose_users_cannot_start_ends_with_the_reason(
    run_locust: RunLocust, tmp_path: Path, processes: tuple[str, ...]
) -> None:
    (own := tmp_path / "own.py").write_text(STARTS)
    run = run_locust("-u", "2", "-t", "600s", *processes, locustfile=own)
    assert run.exit_code == 3, run.output
    assert run.document["stop_reason"] == f"no user is there: {NOT_STARTED}"
    assert "Traceback" not in run.output and "tasks of the locustfile" not in run.output
    assert f": {NOT_STARTED}" in run.output.rstrip().splitlines()[-1]


def test_a_run_whose_streaming_users_cannot_start_and_others_run_is_not_said_to_be_stopped(
    run_locust: RunLocust, tmp_path: Path
) -> None:
    (own := tmp_path / "own.py").write_text(STARTS + PLAIN)
    run = run_locust("-u", "2", "-r", "2", "-t", "4s", locustfile=own)
    assert run.exit_code == 3, run.output
    assert run.document["stop_reason"] is None
    assert "no user is there" not in run.output and "is stopped" not in run.output


@pytest.mark.parametrize(
    "options",
    [
        pytest.param((), id="one process"),
        pytest.param(("--processes", "2"), id="forked workers"),
        # Conditions count in a run that is valid only, which a busy machine's may not be.
        pytest.param(
            ("--fail-if", "failures > 1%", "--loglevel", "WARNING"), id="no failures of ours", marks=pytest.mark.alone
        ),
    ],
)
def test_failed_requests_of_other_users_are_named_in_the_last_line(
    run_locust: RunLocust, tmp_path: Path, options: tuple[str, ...]
) -> None:
    """A condition on failures does not count them, and so allows none."""
    whole = STARTS.replace("raise", "return  #")
    (own := tmp_path / "own.py").write_text(whole + PLAIN.replace("/health", "/missing"))
    run = run_locust("-u", "4", "-r", "4", "-t", "4s", *options, locustfile=own)
    assert run.exit_code == 1, run.output
    assert {row["outcome"] for row in run.requests} == {"ok"}
    found = re.search(
        r"Exit code 1: (\d+) requests? of other users failed, .*: (\d+) x GET /missing$", run.output.rstrip()
    )
    assert found and found[1] == found[2], run.output


@pytest.mark.parametrize("processes", [(), ("--processes", "2")], ids=["one process", "forked workers"])
def test_errors_of_on_start_on_stop_and_listeners_of_locusts_events_are_in_the_verdict(
    run_locust: RunLocust, tmp_path: Path, processes: tuple[str, ...]
) -> None:
    (own := tmp_path / "own.py").write_text(STARTS + OTHER + LISTENERS.format(""))
    run = run_locust("-u", "4", "-r", "4", "-t", "6s", *processes, locustfile=own)
    assert run.exit_code == 1, run.output
    reasons = {issue["kind"]: issue for issue in run.summary["validity"]["issues"]}
    assert "task_errors" not in reasons
    assert reasons["users_not_started"]["message"].startswith(NOT_STARTED)
    assert reasons["users_not_started"]["values"]["errors"] == 2
    assert reasons["on_stop_errors"]["message"].startswith(
        "on_stop of Whole raised OSError: gone (own.py, line 13, in "
    )
    assert reasons["on_stop_errors"]["values"]["errors"] == 2
    listeners = reasons["listener_errors"]
    assert listeners["message"].startswith("the listener count of request raised KeyError: 'missing' (own.py, line ")
    assert listeners["values"]["errors"] == len(run.requests) + (2 if processes else 1)
    assert "Traceback" not in run.output and "failed with" not in run.output
    assert "Exit code 1: " in run.output.rstrip().splitlines()[-1]


def test_a_listener_that_fails_on_the_master_alone_is_in_the_verdict(run_locust: RunLocust, tmp_path: Path) -> None:
    listeners = LISTENERS.format("not").partition("@events.request.")[0]
    (own := tmp_path / "own.py").write_text(STARTS.replace("raise", "return  #") + listeners)
    run = run_locust("-u", "2", "-t", "3s", "--processes", "2", locustfile=own)
    assert run.exit_code == 1, run.output
    (reason,) = [each for each in run.summary["validity"]["issues"] if each["kind"] == "listener_errors"]
    assert reason["message"].startswith("the listener prepare of test_start raised KeyError: 'tenant' (own.py, line ")
    assert reason["values"]["errors"] == 1


@pytest.mark.parametrize("processes", [(), ("--processes", "2")], ids=["one process", "forked workers"])
@pytest.mark.parametrize("event", ["init", "init_command_line_parser"])
@pytest.mark.parametrize(
    ("code", "error"),
    [("raise KeyError('tenant')", "KeyError: 'tenant'"), ("sys.exit('tenant')", "SystemExit: tenant")],
    ids=["error", "exit"],
)
def test_a_listener_that_fails_before_a_run_is_one_sentence(
    run_locust: RunLocust, tmp_path: Path, event: str, processes: tuple[str, ...], code: str, error: str
) -> None:
    text = f"{STARTS}\n@events.{event}.add_listener\ndef prepare(*_, **__):\n    {code}\n"
    (own := tmp_path / "own.py").write_text(text)
    run = run_locust("-u", "2", "-t", "3s", *processes, locustfile=own)
    assert run.exit_code == 2, run.output
    said = [line for line in run.output.splitlines() if "tenant" in line]
    assert len(said) == 1, run.output
    assert f": the listener prepare of {event} raised {error} (own.py, line " in said[0]
    assert "Traceback" not in run.output


def test_no_page_is_said_to_start_where_a_listener_of_init_fails(start_locust: Start, tmp_path: Path) -> None:
    (own := tmp_path / "own.py").write_text(f"{STARTS}\n@events.init.add_listener\ndef prepare(**_):\n    1 / 0\n")
    run = start_locust("--web-port", str(free_port()), locustfile=own).end()
    assert run.exit_code == 2, run.output
    assert "ZeroDivisionError" in run.output
    assert "Starting web interface" not in run.output


@pytest.mark.parametrize("processes", [(), ("--processes", "2")], ids=["one process", "forked workers"])
def test_a_task_that_calls_exit_leaves_a_complete_run_that_names_it(
    run_locust: RunLocust, tmp_path: Path, processes: tuple[str, ...]
) -> None:
    text = STARTS.replace("raise ", "return  # ").replace("max_tokens=8)", 'max_tokens=8)\n        sys.exit("no more")')
    (own := tmp_path / "own.py").write_text(text)
    run = run_locust("-u", "2", "-r", "2", "-t", "3s", *processes, locustfile=own)
    assert run.exit_code == 1, run.output
    assert run.document["status"] == "finished" and len(run.requests) == 2
    (reason,) = [each for each in run.summary["validity"]["issues"] if each["kind"] == "task_errors"]
    assert reason["values"] == {"errors": 2}
    assert "a task called sys.exit(no more) (own.py, line 18, in ask)" in reason["message"]
    assert "Traceback" not in run.output


@pytest.mark.slow
@pytest.mark.parametrize("processes", [(), ("--processes", "1"), ("--processes", "2")], ids=["0", "1", "2"])
@pytest.mark.parametrize(
    ("error", "text"), [('KeyError("oops")', "KeyError: 'oops' ("), ("ValueError()", "ValueError (")]
)
def test_an_error_of_a_task_is_named_with_its_type(
    run_locust: RunLocust, tmp_path: Path, processes: tuple[str, ...], error: str, text: str
) -> None:
    stream = "max_tokens=8)"
    code = STARTS.replace("raise ", "return  # ").replace(stream, f"{stream}\n        raise {error}")
    (own := tmp_path / "own.py").write_text(code)
    run = run_locust("-u", "2", "-r", "2", "-t", "3s", *processes, locustfile=own)
    assert run.exit_code == 1, run.output
    (reason,) = [each for each in run.summary["validity"]["issues"] if each["kind"] == "task_errors"]
    assert f": {text}own.py, line 18, in ask)" in reason["message"]
    last = run.output.rstrip().splitlines()[-1]
    assert "Exit code 1: " in last and f": {text}own.py, line 18, in ask)" in last


def test_a_locustfile_that_is_refused_by_master_and_workers_is_said_once(run_locust: RunLocust, tmp_path: Path) -> None:
    (own := tmp_path / "own.py").write_text(STARTS.replace("    @task\n", ""))
    run = run_locust("-u", "2", "-t", "3s", "--processes", "2", locustfile=own)
    assert run.exit_code == 2, run.output
    assert run.output.count("has no task") == 1


TAGGED = (
    HEAD.partition("class Broken")[0].replace("import task", "import HttpUser, events as of_locust, tag, task")
    + """
class Fast(StreamingUser):
    @tag("fast")
    @task
    def ask(self):
        self.stream("hello", max_tokens=8)

class Web(HttpUser):
    @tag("web")
    @task
    def ask(self):
        self.client.get("/v1/models")

@of_locust.init.add_listener
def choose(environment, **_):
    environment.exclude_tags = {}
"""
)


@pytest.mark.parametrize(
    ("of_code", "words", "named"),
    [
        ("None", ("--tags", "nope"), ("Fast and Web", "leave out --tags nope")),
        ("None", ("--tags", "fast", "--processes", "2"), ("class Web", "leave out --tags fast, or name only Fast")),
        ("None", ("--exclude-tags", "fast"), ("class Fast", "leave out --exclude-tags fast")),
        ('["web"]', ("--processes", "2"), ("class Web", "environment.exclude_tags")),
    ],
    ids=["no class", "a class beside, forked workers", "excluded", "by code, forked workers"],
)
def test_tags_that_leave_a_class_without_a_task_are_refused_before_the_load(
    run_locust: RunLocust, tmp_path: Path, of_code: str, words: tuple[str, ...], named: tuple[str, ...]
) -> None:
    (own := tmp_path / "own.py").write_text(TAGGED.format(of_code))
    run = run_locust("-u", "2", "-t", "2s", *words, locustfile=own)
    assert run.exit_code == 2, run.output
    (said,) = [line for line in run.output.splitlines() if "would send no request" in line]
    assert all(each in said for each in named), said
    assert "Traceback" not in run.output and not run_folders(run.results)


FIXED = (
    HEAD.partition("class Broken")[0].replace("import task", "import HttpUser, task")
    + """
class Streams(StreamingUser):
    @task
    def ask(self):
        self.stream("hello", max_tokens=8)

class Web(HttpUser):
    fixed_count = 2
    @task
    def ask(self):
        self.client.get("/v1/models")
"""
)


@pytest.mark.parametrize("words", [(), ("--processes", "2")], ids=["one process", "forked workers"])
def test_a_class_without_users_is_named_with_the_fixed_count_that_took_them(
    run_locust: RunLocust, tmp_path: Path, words: tuple[str, ...]
) -> None:
    (own := tmp_path / "own.py").write_text(FIXED)
    run = run_locust("-u", "2", "-r", "2", "-t", "2s", *words, locustfile=own)
    assert run.exit_code == 3, run.output
    (issue,) = [each for each in run.summary["validity"]["issues"] if each["kind"] == "run_failed"]
    assert "no user of the class Streams ran" in issue["message"] and "2 of Web" in issue["message"]
    assert "Run 3 or more" in issue["message"]


TWO = (
    HEAD.partition("class Broken")[0]
    + """
class Fast(StreamingUser):
    {}
    @task
    def ask(self):
        self.stream("hello", max_tokens=8)

class Slow(Fast):
    {}
"""
)


@pytest.mark.parametrize(
    ("fast", "slow", "words"),
    [
        ('weight = "3"', "weight = 1", ("--processes", "2")),
        ("weight = -1", "weight = 1", ()),
        ("weight = 0", "weight = 0", ()),
        ("fixed_count = '2'", "fixed_count = 1", ("--worker",)),
    ],
    ids=["text", "negative", "all 0", "a worker's fixed count"],
)
def test_weights_without_users_are_refused_with_class_and_file(
    run_locust: RunLocust, tmp_path: Path, fast: str, slow: str, words: tuple[str, ...]
) -> None:
    (own := tmp_path / "own.py").write_text(TWO.format(fast, slow))
    run = run_locust("-u", "2", "-t", "2s", *words, locustfile=own)
    assert run.exit_code == 2, run.output
    (said,) = run.output.splitlines()
    assert "Fast (own.py, line 8)" in said


@pytest.mark.parametrize("words", [(), ("--worker",)], ids=["a run", "a worker"])
def test_a_word_that_names_no_class_is_refused_with_those_that_there_are(
    run_locust: RunLocust, tmp_path: Path, words: tuple[str, ...]
) -> None:
    (own := tmp_path / "own.py").write_text(TWO.format("weight = 1", "weight = 1"))
    run = run_locust("-u", "2", "-t", "2s", *words, "Fasst", "Slow", locustfile=own)
    assert run.exit_code == 2, run.output
    (said,) = run.output.splitlines()
    assert "'Fasst'" in said and "Fast and Slow" in said
