"""Locustfiles that cannot be loaded, as `tokenswarm run` hands them to Locust."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tokenswarm.run_command.run_command import command_of_run

USER = "from locust import between, task\n\nclass Reader(User):\n    wait_time = between(0.5)\n"
SHAPE = "from locust import LoadTestShape\n\nclass Steps(LoadTestShape):\n    def tik(self):\n        return 1, 1\n"


def refusal(folder: Path, text: str, *words: str) -> str:
    """The one sentence."""
    own = folder / "own.py"
    own.write_text(text)
    ended = subprocess.run(
        command_of_run(["-f", str(own), "-H", "http://127.0.0.1:9", "-u", "1", "-t", "1s", *words]),
        cwd=folder, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    lines = [line for line in ended.stderr.splitlines() if "/INFO/locust.main: Starting Locust" not in line]
    assert (ended.returncode, ended.stdout, len(lines)) == (2, "", 1), ended.stderr
    return lines[0]


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
def test_an_empty_locustfile_is_refused_with_what_it_needs(tmp_path: Path) -> None:
    sentence = refusal(tmp_path, "")
    assert "no user class" in sentence and "tokenswarm.StreamingUser" in sentence and "leave -f out" in sentence


@pytest.mark.slow
def test_options_of_tokenswarm_beside_a_file_without_it_are_refused_with_the_cause(tmp_path: Path) -> None:
    sentence = refusal(tmp_path, "", "--levels", "3")
    assert "--levels" in sentence and "imports no user class of Tokenswarm" in sentence
    assert "Did you mean" not in sentence
