"""What a first user meets before there is a run: own code, wrong options, ports that are taken."""

from __future__ import annotations

import fcntl
import re
import shlex
import socket
import tempfile
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from locust.argument_parser import get_empty_argument_parser, setup_parser_arguments

import tokenswarm.client.request_options
import tokenswarm.recording.recording_options
import tokenswarm.reports.checks.check_options
import tokenswarm.shapes.shape_options
from tests.runs.harness import ROOT, Run, RunLocust, Start, StartSimulator, assert_whole, free_port
from tokenswarm.command_line import read_options
from tokenswarm.reports.html.run_config import command_of
from tokenswarm.run_folder.reader import load_results

pytestmark = pytest.mark.slow

ALONE = f"""
import sys
sys.path.insert(0, {str(ROOT)!r})
from tokenswarm.users.chat import ChatUser
"""
OWN = f"""
import sys
sys.path.insert(0, {str(ROOT)!r})
from locustfile import *
from locust import HttpUser, LoadTestShape, constant, task

class Slow(ChatUser):
    weight = 3
    wait_time = constant(1)

class Never(ChatUser):
    weight = 0
"""
IDLE = f"""
import sys
sys.path.insert(0, {str(ROOT)!r})
from locust import HttpUser, User, task
from tokenswarm import StreamingUser

class Idle(StreamingUser):
    pass

class Looks(HttpUser):
    pass

class Busy(StreamingUser):
    @task
    def ask(self):
        self.stream("hello")

class Loop(User):
    def run(self):
        pass
"""
SHAPES = f"""
import sys
sys.path.insert(0, {str(ROOT)!r})
from locustfile import *
from locust import LoadTestShape

class Steps(LoadTestShape):
    def tick(self):
        return 1, 1

class Waves(Steps):
    pass
"""

CHANGED = f"""
import sys
sys.path.insert(0, {str(ROOT)!r})
from locustfile import *
from locust import constant

ChatUser.wait_time = constant(1)
ChatUser.max_tokens = 5
"""
SEVERAL = f"""
import sys
sys.path.insert(0, {str(ROOT)!r})
from locust import task
from tokenswarm import ChatUser, StreamingUser

ChatUser.weight = 2

class Reader(StreamingUser):
    weight = -1
    wait_time = 5

    @task
    def ask(self):
        self.stream("hello")

class Idle(StreamingUser):
    pass
"""
LISTENER = f"""
import sys
sys.path.insert(0, {str(ROOT)!r})
from locustfile import *
from locust import LoadTestShape, constant, events

"""
AT_INIT = (
    LISTENER
    + """
@events.init.add_listener
def change(**_):
    ChatUser.wait_time = constant(1)
"""
)
AT_TEST_START = (
    LISTENER
    + """
@events.test_start.add_listener
def change(environment, **_):
    ChatUser.wait_time = constant(1)
"""
)
OPTIONS_AT_TEST_START = (
    LISTENER
    + """
@events.test_start.add_listener
def change(environment, **_):
    environment.parsed_options.max_tokens = 5
"""
)
SHAPE_AT_TEST_START = (
    LISTENER
    + """
def steps():
    class Steps(LoadTestShape):
        def tick(self):
            return 2, 2
    return Steps()

@events.test_start.add_listener
def change(environment, **_):
    environment.shape_class = steps()
"""
)
IN_THE_RUN = (
    LISTENER
    + """
@events.spawning_complete.add_listener
def change(**_):
    ChatUser.wait_time = constant(1)
"""
)
DEFECT = f"""
import sys
sys.path.insert(0, {str(ROOT)!r})
from locustfile import *
import tokenswarm.users.run_lifecycle

def broken(*_):
    raise RuntimeError("no such thing")

tokenswarm.users.run_lifecycle.find_server = broken
"""


def refused(run: Run) -> str:
    """What the run that was not started says; nothing of it was recorded."""
    assert run.exit_code == 2, run.output
    assert not run.results.exists() or not list(run.results.iterdir())
    (sentence,) = [line for line in run.output.splitlines() if line.startswith("tokenswarm: ")]
    assert "Run not started" not in run.output  # one form, whenever it is found
    return sentence


@pytest.mark.parametrize(
    ("locustfile", "named", "not_named"),
    [
        (ALONE, ["ChatUser"], []),
        (OWN, ["Slow", "StreamingUser"], ["Never"]),
        (IDLE, ["Idle", "Looks"], ["Busy", "Loop"]),
        (SHAPES, ["Steps", "Waves"], ["RunShape"]),
        (CHANGED, ["ChatUser.wait_time", "ChatUser.max_tokens", "--max-tokens"], ["SystemPromptChatUser"]),
        (AT_INIT, ["ChatUser.wait_time"], ["SystemPromptChatUser"]),
        (AT_TEST_START, ["ChatUser.wait_time"], ["SystemPromptChatUser"]),
        (OPTIONS_AT_TEST_START, ["--max-tokens"], ["--levels"]),
        (SHAPE_AT_TEST_START, ["Steps"], []),
    ],
    ids=[
        *("users.chat alone", "derived from ours", "without a task", "two shapes", "our classes changed"),
        *("changed at init", "changed at test_start", "options at test_start", "shape at test_start"),
    ],
)
def test_own_code_that_would_never_run_is_refused_by_name(
    run_locust: RunLocust, tmp_path: Path, locustfile: str, named: list[str], not_named: list[str]
) -> None:
    own = tmp_path / "own.py"
    own.write_text(locustfile)
    bare = ("--results", "--metrics-port", "--settle", "--preflight") if locustfile is ALONE else ()
    run = run_locust("-u", "1", "-t", "2s", locustfile=own, without=bare)
    assert run.exit_code == 2, run.output
    sentence = refused(run)
    assert all(re.search(rf"(?<!\w){name}\b", sentence) for name in named)
    assert not any(re.search(rf"(?<!\w){name}\b", sentence) for name in not_named)


@pytest.mark.parametrize("part", ["users.chat import ChatUser", "shapes.run_shape import RunShape"])
def test_our_options_beside_a_part_of_us_are_refused_with_what_to_start(
    run_locust: RunLocust, tmp_path: Path, part: str
) -> None:
    own = tmp_path / "own.py"
    own.write_text(ALONE.replace("users.chat import ChatUser", part))
    run = run_locust("--levels", "2", locustfile=own)
    sentence = refused(run)
    assert "--levels" in sentence
    assert "StreamingUser" in sentence
    assert "--loglevel" not in run.output


@pytest.mark.parametrize("imported", ["locustfile", "tokenswarm"])
def test_a_locustfile_without_our_users_is_refused_with_what_it_needs(
    run_locust: RunLocust, tmp_path: Path, imported: str
) -> None:
    (own := tmp_path / "own.py").write_text(f"import sys\nsys.path.insert(0, {str(ROOT)!r})\nimport {imported}\n")
    run = run_locust(locustfile=own, without=("--results", "--metrics-port", "--settle", "--preflight"))
    assert run.exit_code == 2
    (line,) = [line for line in run.output.splitlines() if "No User class" in line]
    assert "StreamingUser" in line and "ChatUser" in line
    assert str(ROOT) not in line


def test_all_that_is_wrong_in_a_locustfile_is_said_at_once(start_locust: Start, tmp_path: Path) -> None:
    """Before a page is said to start, too."""
    (own := tmp_path / "own.py").write_text(SEVERAL)
    run = start_locust("--web-port", str(free_port()), locustfile=own).end()
    assert run.exit_code == 2, run.output
    assert "Starting web interface" not in run.output
    for named in ("ChatUser.weight", "weight of Idle and Reader", "weight of the class Reader", "Reader.wait_time"):
        assert named in run.output
    assert "the class Idle" in run.output
    assert "--levels" not in run.output


def test_a_change_of_our_users_in_the_run_ends_it_as_failed(run_locust: RunLocust, tmp_path: Path) -> None:
    own = tmp_path / "own.py"
    own.write_text(IN_THE_RUN)
    run = run_locust("-u", "1", "-t", "600s", locustfile=own)
    assert run.exit_code == 3, run.output
    assert run.document["status"] == "failed"
    assert "ChatUser.wait_time" in " ".join(run.summary["validity"]["reasons"])


@pytest.mark.parametrize(
    ("event", "change"),
    [
        ("init", "ChatUser.max_tokens"),
        ("init", "environment.parsed_options.max_tokens"),
        ("test_start", "ChatUser.max_tokens"),
    ],
)
def test_a_change_is_refused_before_the_preflight(
    run_locust: RunLocust, start_simulator: StartSimulator, tmp_path: Path, event: str, change: str
) -> None:
    own = tmp_path / "own.py"
    own.write_text(LISTENER + f"@events.{event}.add_listener\ndef change(environment, **_):\n    {change} = -1\n")
    simulator = start_simulator("--profile", "fast")
    run = run_locust("-H", simulator.host, "-u", "1", "-t", "2s", locustfile=own, without=("--preflight",))
    sentence = refused(run)
    assert "max" in sentence
    assert "--config-users" not in sentence  # none was given
    assert "Traceback" not in run.output
    assert simulator.truth() == []


def test_a_class_that_is_refused_by_its_message_s_advice_runs_no_more_and_the_run_does(
    run_locust: RunLocust, tmp_path: Path
) -> None:
    """A subclass of ours is to be removed: a locustfile without Tokenswarm's would refuse it too."""
    own = tmp_path / "own.py"
    own.write_text(LISTENER + "class Slow(ChatUser):\n    pass\n")
    sentence = refused(run_locust("-u", "1", "-t", "2s", locustfile=own))
    assert "Slow" in sentence
    assert "does not import" not in sentence
    own.write_text(LISTENER)
    assert run_locust("-u", "1", "-t", "2s", locustfile=own).exit_code == 0


def test_own_code_is_refused_where_a_page_would_be_served_too(start_locust: Start, tmp_path: Path) -> None:
    own = tmp_path / "own.py"
    own.write_text(OWN)
    run = start_locust("--web-port", str(free_port()), locustfile=own).end()
    assert run.exit_code == 2, run.output
    assert "Slow" in run.output


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


# The server.

RIGHT, WRONG = {"LLM_API_KEY": "sk-right"}, {"LLM_API_KEY": "sk-wrong"}


def test_a_wrong_or_missing_key_and_a_wrong_model_are_no_run_and_the_server_s_words_are_told(
    run_locust: RunLocust, start_simulator: StartSimulator
) -> None:
    guarded = start_simulator("--profile", "fast", "--api-key-env", "LLM_API_KEY", env=RIGHT)
    one_model = start_simulator("--profile", "fast", "--model", "simulated-llama-3-8b")
    run = ("--levels", "1", "--ramp", "1s", "--level-time", "600s", "--preflight", "on")
    for options, key in (((), {}), (("--model", "any"), WRONG), (("--model", "any", "--processes", "2"), {})):
        told = refused(run_locust("-H", guarded.host, *run, *options, env=key))
        assert "401" in told
        assert "Unauthorized" in told
        assert "LLM_API_KEY" in told
        assert "--model is empty" not in told
        assert "sk-wrong" not in told
    assert guarded.truth() == []
    unsaid = run[:-2]  # a preflight is the default
    told = refused(run_locust("-H", one_model.host, *unsaid, "--model", "gpt-9", without=("--preflight",)))
    assert "The model `gpt-9` does not exist" in told
    assert "simulated-llama-3-8b" in told


@pytest.mark.slow
@pytest.mark.parametrize(
    ("server", "words", "key", "advice"),
    [
        (("--api-key-env", "LLM_API_KEY"), ("--header", "X-Api-Key: sk-right"), {}, "does not read that header"),
        (("--api-key-env", "LLM_API_KEY"), ("--header", "Authorization: sk-right"), {}, "has no such scheme"),
        (("--require-header", "X-Tenant"), (), RIGHT, "or the header that the server reads"),
        (("--api-key-env", "LLM_API_KEY"), (), {}, "takes the key in a header of its own"),
    ],
    ids=["another header", "no scheme", "a further header", "no key"],
)
def test_a_run_without_a_preflight_says_of_its_key_what_a_preflight_says(
    run_locust: RunLocust,
    start_simulator: StartSimulator,
    server: tuple[str, ...],
    words: tuple[str, ...],
    key: dict[str, str],
    advice: str,
) -> None:
    guarded = start_simulator("--profile", "fast", *server, env=RIGHT)
    to_server = ("-H", guarded.host, "--engine", "vllm", "--model", "any", "-u", "1", *words)
    assert advice in refused(run_locust(*to_server, "-t", "2s", "--preflight", "on", env=key))
    run = run_locust(*to_server, "-t", "3s", env=key)
    assert run.exit_code == 3, run.output
    assert advice in " ".join(run.output.partition("FAILED: ")[2].split())
    assert "sk-right" not in run.output and "sk-right" not in (run.folder / "run.json").read_text()


def test_a_worker_elsewhere_asks_the_server_for_its_master(
    start_locust: Start, start_simulator: StartSimulator
) -> None:
    """Only the workers have the key, here a wrong and a right one; the master needs none."""
    simulator = start_simulator("--profile", "fast", "--api-key-env", "LLM_API_KEY", env=RIGHT)
    for key, answered in ((WRONG, 0), (RIGHT, 2)):
        port = str(free_port())
        master = start_locust(
            *("--headless", "--master", "--expect-workers", "1", "--master-bind-port", port, "-H", simulator.host),
            *("--engine", "vllm", "--model", "any", "-u", "1", "-t", "2s", "--system-prompt", "both"),
            *("--max-tokens", "8", "--preflight", "on"),
        )
        worker = start_locust("--worker", "--master-port", port, env=key)
        run = master.end()
        worker.end()
        if key is WRONG:
            assert "Unauthorized" in refused(run)
            assert simulator.truth() == []
        else:
            assert run.exit_code == 0, run.output
            assert_whole(run)
            assert len(simulator.truth()) == len(run.requests) + answered


def test_the_preflight_is_counted_nowhere_and_leaves_the_prefix_cache_as_it_was(
    run_locust: RunLocust, start_simulator: StartSimulator
) -> None:
    """Each of its requests is on the server's log alone, and shares no prefix with any other."""
    options = ("-u", "1", "-t", "2s", "--max-tokens", "8", "--system-prompt", "on", "--preflight", "on")
    simulator = start_simulator("--profile", "fast")
    run = run_locust("-H", simulator.host, *options)
    assert run.exit_code == 0, run.output
    assert_whole(run)
    first, *others = simulator.truth()
    assert len(others) == len(run.requests)
    assert {row["tokens"] for row in others} == {"8"}
    assert int(first["tokens"]) <= 16
    # What report.html prints as "The same again" is a command line that is accepted.
    parser = get_empty_argument_parser(default_config_files=[])
    setup_parser_arguments(parser)
    for package in (
        tokenswarm.client.request_options,
        tokenswarm.shapes.shape_options,
        tokenswarm.recording.recording_options,
        tokenswarm.reports.checks.check_options,
    ):
        package.add_options(parser)
    again = read_options(parser, shlex.split(command_of(load_results(run.folder)))[1:])
    assert again.errors == []
    tokenswarm.shapes.shape_options.check_conflicts(again.options, again.sources)
    # The first request of the run finds nothing of the system prompt, later ones do.
    assert int(others[0]["cached_tokens"]) < 16
    assert int(others[-1]["cached_tokens"]) > 16


def test_an_abbreviated_option_or_one_that_another_silences_is_no_run(run_locust: RunLocust) -> None:
    """Each of these was a run of another length than was asked for."""
    for arguments, about in (
        (("--levels", "3", "--max-token", "5"), "did you mean --max-tokens"),
        (("--levels", "10", "-u", "5"), "--levels has no effect beside --users"),
        (("--slo-share", "99%"), "--slo-share has no effect without --slo"),
        (("--web-password-file", "password.txt"), "--web-password-file has no effect beside --headless"),
        (("--tags", "foo"), "--tags"),
        (("--gpu-metrics-url", "localhost:9400"), "--gpu-metrics-url takes an address like http://"),
    ):
        run = run_locust(*arguments)
        assert run.exit_code == 2, run.output
        assert about in run.output
        assert not run.results.exists() or not list(run.results.iterdir())
    run = run_locust("-u", "5", env={"TOKENSWARM_LEVELS": "10"})
    assert run.exit_code == 2, run.output
    assert "TOKENSWARM_LEVELS has no effect" in run.output


@pytest.fixture
def usual_ports_taken() -> Iterator[None]:
    """Nobody can listen on the ports that Tokenswarm uses unless told otherwise: another Tokenswarm runs here.

    One test at a time: the end of one that runs beside this one would free the ports."""
    with (Path(tempfile.gettempdir()) / "tokenswarm-usual-ports.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield from _listening_on_usual_ports()


def _listening_on_usual_ports() -> Iterator[None]:
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
    started = start_locust("-H", simulator.host, "--processes", "2", without=["--metrics-port"])
    assert started.process.stdout is not None
    metrics = page = ""
    lines: list[str] = []
    before_page: list[str] = []
    while not (metrics and page and before_page):
        line = started.process.stdout.readline()
        assert line, "it ended"
        if "Starting web interface at" in line:
            before_page = lines
        lines = [*lines, line]
        if found := re.search(r"metrics are at (http://\S+)", line):
            metrics = found[1]
            assert "/INFO/" in line
        if found := re.search(r"the web page has port (\d+)", line):
            page = f"http://127.0.0.1:{found[1]}/"
            assert "/INFO/" in line
    started.wait_until_it_answers(page)
    for url, text in ((metrics, "tokenswarm_users"), (page, "<html")):
        with urllib.request.urlopen(url, timeout=30) as answer:
            assert text in answer.read().decode()
    started.interrupt()
    ended = started.end()
    assert [line for line in before_page if "the web page has port" in line]
    assert ("".join(lines) + ended.output).count("the web page has port") == 1  # workers have no page


@pytest.mark.usefixtures("usual_ports_taken")
def test_a_port_that_was_given_is_not_exchanged_for_another(run_locust: RunLocust, start_locust: Start) -> None:
    run = run_locust("-u", "1", "-t", "2s", "--metrics-port", "9646")
    assert run.exit_code == 2, run.output
    assert "9646" in run.output
    run = start_locust("--web-port", "8089").end()
    assert run.exit_code == 2, run.output
    assert "8089" in run.output


# A run in which nothing succeeds.


@pytest.mark.parametrize("processes", [(), ("--processes", "2")], ids=["one process", "two workers"])
def test_a_run_in_which_all_fails_is_stopped_with_the_server_s_words_and_its_folder_is_complete(
    run_locust: RunLocust, start_simulator: StartSimulator, processes: tuple[str, ...]
) -> None:
    simulator = start_simulator("--profile", "fast", "--error-every", "1")
    levels = ("--levels", "10,20", "--ramp", "1s", "--level-time", "300s", "--max-tokens", "8")
    run = run_locust("-H", simulator.host, *levels, "--stop-after-failures", "100%:15", *processes)
    assert run.exit_code == 3, run.output
    assert_whole(run)
    assert 15 <= len(run.requests) < 200
    assert {row["outcome"] for row in run.requests} <= {"http_error", "cut"}
    words = next(row["error"] for row in run.requests if row["outcome"] == "http_error")
    assert run.document["status"] == "failed"
    assert words.rstrip(".") in run.document["stop_reason"]
    assert any(run.document["stop_reason"] in reason for reason in run.summary["validity"]["reasons"])
    assert words in run.output


def test_the_default_is_fifty_and_a_run_may_go_on_through_failures(
    run_locust: RunLocust, start_simulator: StartSimulator, tmp_path: Path
) -> None:
    simulator = start_simulator("--profile", "fast", "--error-every", "1")
    load = ("-H", simulator.host, "-u", "30", "-r", "30", "-t", "4s", "--max-tokens", "8")
    stopped = run_locust(*load)
    assert stopped.exit_code == 3, stopped.output
    assert 50 <= len(stopped.requests) < 120
    assert not stopped.summary["levels"][0]["complete"]
    (tmp_path / "results").rename(tmp_path / "stopped")
    went_on = run_locust(*load, "--stop-after-failures", "off")
    assert went_on.document["stop_reason"] is None
    assert went_on.summary["levels"][0]["complete"]
    assert len(went_on.requests) >= len(stopped.requests)


@pytest.mark.parametrize("workers", [(), ("--processes", "2")])
def test_a_defect_before_the_load_ends_the_start(
    run_locust: RunLocust, start_simulator: StartSimulator, tmp_path: Path, workers: tuple[str, ...]
) -> None:
    own = tmp_path / "own.py"
    own.write_text(DEFECT)
    run = run_locust("-H", start_simulator().host, "-u", "1", "-t", "600s", *workers, locustfile=own)
    assert (run.exit_code, list(run.results.glob("*"))) == (2, [])
    assert "RuntimeError: no such thing" in run.output
