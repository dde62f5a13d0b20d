"""The `tokenswarm` command's own part: arguments that no subcommand has."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

COMMAND = Path(__file__).resolve().parents[1] / "tokenswarm.py"


@pytest.mark.parametrize(
    ("arguments", "prog", "about"),
    [
        (["report", "FOLDER", "--bogus"], "tokenswarm report", "--bogus"),
        (["report", "FOLDER", "another"], "tokenswarm report", "'another'"),
        (["gate", "A", "B", "--fail-if", "rate < -5%", "--junit-xml=x"], "tokenswarm gate", "--junit"),
        (["simulate", "--prefill", "3"], "tokenswarm simulate", "--prefill-ms"),
        (["nothing"], "tokenswarm", "nothing"),
    ],
)
def test_an_unknown_argument_is_refused_with_the_nearest_and_the_help_of_its_own_command(
    arguments: list[str], prog: str, about: str
) -> None:
    done = subprocess.run([sys.executable, str(COMMAND), *arguments], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith(f"{prog}: ")
    assert done.stderr.endswith(f"; see {prog} --help\n")
    assert about in done.stderr
