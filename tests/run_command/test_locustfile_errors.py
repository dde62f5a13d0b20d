"""Locustfiles that cannot be loaded, as `tokenswarm run` hands them to Locust."""

from __future__ import annotations

import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.runs.harness import free_port
from tokenswarm.run_command.run_command import command_of_run, locust_command

USER = "from locust import between, task\n\nclass Reader(User):\n    wait_time = between(0.5)\n"
SHAPE = "from locust import LoadTestShape\n\nclass Steps(LoadTestShape):\n    def tik(self):\n        return 1, 1\n"
WEB = "from locust import HttpUser, task\n\nclass Web(HttpUser):\n    @task\n    def look(self):\n        pass\n"


def plain_locust(words: list[str]) -> list[str]:
    """Locust's own command."""
    return [sys.executable, "-m", "locust", *words]


def refusal(folder: Path, text: str, *words: str, lines: int = 1) -> str:
    """The one sentence, or so many lines."""
    own = folder / "own.py"
    own.write_text(text)
    ended = subprocess.run(
        command_of_run(["-f", str(own), "-H", "http://127.0.0.1:9", "-u", "1", "-t", "1s", *words]),
        cwd=folder, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    found = [line for line in ended.stderr.splitlines() if "/INFO/locust." not in line]
    assert (ended.returncode, ended.stdout, len(found)) == (2, "", lines), ended.stderr
    return "\n".join(found)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("text", "line", "why"),
    [
        ("import locust\n\nclass Reader(locust.User)\n    pass\n", 3, "SyntaxError: expected ':'."),
        (USER.replace("User", "object"), 4, "TypeError: between() missing 1 required positional argument: 'max_wait'."),
        (SHAPE, 3, "TypeError: Can't instantiate abstract class Steps "),
        ("import json\njson.loads('{')\n", 2, "JSONDecodeError: Expecting property name"),
    ],
    ids=["syntax", "call", "shape", "in a library"],
)
def test_a_locustfile_that_cannot_be_loaded_is_one_sentence_with_its_line(
    tmp_path: Path, text: str, line: int, why: str
) -> None:
    place = f"the locustfile cannot be loaded: {tmp_path / 'own.py'}, line {line}: {why}"
    assert refusal(tmp_path, text).startswith(f"tokenswarm: {place}")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("text", "line", "what"),
    [
        ("import sys\n\nsys.exit(7)\n", 3, "SystemExit: 7. Leave"),
        ("import sys\nsys.exit('no token\\nat all')\n", 2, "SystemExit: no token. Leave"),
        ("import tokenswarm\nraise SystemExit\n", 2, "SystemExit. Leave"),
        ("from tokenswarm import StreamingUser\nexit(0)\n", 2, "SystemExit: 0. Leave"),
    ],
    ids=["number", "text", "raised", "in Python's own code"],
)
def test_a_locustfile_that_ends_the_program_is_named_with_its_line(
    tmp_path: Path, text: str, line: int, what: str
) -> None:
    start = (
        f"tokenswarm: the locustfile ends the program while it is loaded: {tmp_path / 'own.py'}, line {line}: {what}"
    )
    assert refusal(tmp_path, text).startswith(start)


@pytest.mark.slow
def test_what_tokenswarm_refuses_while_a_locustfile_is_loaded_keeps_its_sentence(tmp_path: Path) -> None:
    sentence = refusal(tmp_path, "from tokenswarm.command_line import refuse\nrefuse(ValueError('no engine.'))\n")
    assert sentence == "tokenswarm: no engine."


@pytest.mark.slow
def test_an_empty_locustfile_is_refused_with_what_it_needs(tmp_path: Path) -> None:
    sentence = refusal(tmp_path, "")
    assert "no user class" in sentence and "tokenswarm.StreamingUser" in sentence and "leave -f out" in sentence


@pytest.mark.slow
def test_options_of_tokenswarm_beside_a_file_without_it_are_refused_with_the_cause(tmp_path: Path) -> None:
    sentence = refusal(tmp_path, "", "--levels", "3")
    assert "--levels" in sentence and "imports no user class of Tokenswarm" in sentence
    assert "Did you mean" not in sentence


@pytest.mark.parametrize(
    "imports",
    [
        "from tokenswarm import Timeline, events",
        "import tokenswarm",
        "from tokenswarm.users.streaming_user import StreamingUser",
    ],
)
def test_a_file_that_imports_tokenswarm_and_has_none_of_its_users_is_refused_without_a_warning(
    tmp_path: Path, imports: str
) -> None:
    text = f"{imports}\nfrom locust import HttpUser\n\nclass Web(HttpUser):\n    def run(self):\n        pass\n"
    sentence = refusal(tmp_path, text)
    assert "nothing that its users would send is recorded" in sentence and "import nothing from tokenswarm" in sentence


def test_forked_workers_do_not_repeat_the_refusal(tmp_path: Path) -> None:
    text = "import tokenswarm\nfrom locust import HttpUser\n\nclass Web(HttpUser):\n    pass\n"
    port = str(free_port())  # of the master: on another's, its workers would try for five minutes
    sentence = refusal(tmp_path, text, "--processes", "2", "--master-bind-port", port, "--master-port", port)
    assert "nothing that its users would send is recorded" in sentence


@pytest.mark.slow
@pytest.mark.parametrize("start", [command_of_run, plain_locust], ids=["tokenswarm run", "locust"])
@pytest.mark.parametrize(
    "words", [("--processes", "2"), ("--master", "--expect-workers", "1")], ids=["forked workers", "master"]
)
def test_a_part_of_tokenswarm_and_a_taken_port_for_workers_is_one_sentence_and_leaves_no_worker(
    tmp_path: Path, words: tuple[str, ...], start: Callable[[list[str]], list[str]]
) -> None:
    (own := tmp_path / "own.py").write_text(f"from tokenswarm import Timeline\n{WEB}")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        ports = ("--master-bind-port", port, "--master-port", port)
        command = start(["-f", str(own), "-H", "http://127.0.0.1:9", "--headless", "-t", "1s", *words, *ports])
        ended = subprocess.run(  # until its workers have ended too, which have its standard error
            command, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip
    found = [line for line in ended.stderr.splitlines() if "/INFO/locust." not in line]
    assert (ended.returncode, len(found)) == (2, 1), ended.stderr
    assert f"cannot listen for workers on *:{port}" in found[0]


def test_a_port_for_workers_is_checked_where_the_run_is_locust_s_alone(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        sentence = refusal(tmp_path, WEB, "--processes", "2", "--master-bind-port", str(taken.getsockname()[1]))
    assert "cannot listen for workers" in sentence


def test_our_users_without_what_prepares_their_runs_are_refused_without_a_warning(tmp_path: Path) -> None:
    assert "users of ChatUser would send no request" in refusal(tmp_path, "from tokenswarm.users.chat import ChatUser")


def test_options_without_effect_on_own_users_are_refused_before_their_values_are_read(tmp_path: Path) -> None:
    text = """
from locust import LoadTestShape, task
from tokenswarm import StreamingUser

class Reader(StreamingUser):
    @task
    def read(self):
        self.stream("Hello")

class Steps(LoadTestShape):
    def tick(self):
        return 1, 1
"""
    lines = refusal(tmp_path, text, "--prompts", "/no/such.jsonl", "--think-time", "1s", "--max-tokens", "0", lines=3)
    assert "--prompts and --think-time have no effect on Reader of the locustfile" in lines
    assert "--users has no effect beside the shape Steps" in lines
    assert "--max-tokens takes" in lines and "/no/such.jsonl" not in lines


@pytest.mark.slow
@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--worker", "--master-port", "abc"], "--master-port takes a whole number, got 'abc'."),
        (["-f"], "--locustfile takes a value, got nothing."),
        (["--config", "no.conf"], "--config no.conf cannot be read (No such file or directory): name another file."),
        (["--worker", "--master-port", "-4"], "--master-port takes a port from 1 to 65535, got -4."),
        (["--worker", "--master-host", "http://10.0.0.5"], "--master-host takes the name or the address of the "),
    ],
    ids=lambda each: " ".join(each) if isinstance(each, list) else "",
)
def test_what_locust_reads_before_the_locustfile_is_refused_in_plain_words(
    tmp_path: Path, words: list[str], sentence: str
) -> None:
    ended = subprocess.run(
        command_of_run(words), cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False
    )  # fmt: skip
    found = [line for line in ended.stderr.splitlines() if "/INFO/locust." not in line]
    assert (ended.returncode, ended.stdout, len(found)) == (2, "", 1), ended.stderr
    assert found[0].startswith(f"tokenswarm: {sentence}")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("from tokenswarm import StreamingUser\n\nclass Mine(StreamingUser):\n    pass\n", "has no task"),
        ("from tokenswarm import ChatUser\n\nclass Mine(ChatUser):\n    pass\n", "cannot be derived from"),
    ],
    ids=["no task", "derived"],
)
def test_a_page_that_would_have_no_users_is_refused_before_its_address_is_logged(
    tmp_path: Path, text: str, why: str
) -> None:
    (own := tmp_path / "own.py").write_text(text)
    ended = subprocess.run(
        locust_command(["-f", str(own), "--metrics-port", "0"]),
        cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert (ended.returncode, ended.stdout, ended.stderr.count("\n")) == (2, "", 1), ended.stderr
    assert why in ended.stderr
