"""Ctrl-C while Python imports a command: one sentence and the documented exit code, whatever is being imported."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

import tokenswarm
from tokenswarm.command_line.exit_codes import EXIT_INTERRUPTED, EXIT_SIGINT, INTERRUPTED_EARLY

COMMAND = Path(__file__).resolve().parents[1] / "tokenswarm.py"
#: Stands for a library: interrupts the process that imports it, and makes the exception one of its own, as numpy does.
LIBRARY = """
import os, signal, time
try:
    os.kill(os.getpid(), signal.SIGINT)
    time.sleep(10)
except KeyboardInterrupt as error:
    raise ImportError("a bad install") from error
"""
ENDED = "tokenswarm: ended with Ctrl-C.\n"
BEFORE_A_RUN = (EXIT_INTERRUPTED, f"{INTERRUPTED_EARLY}\n")
ENDINGS = {"run": BEFORE_A_RUN, "web": BEFORE_A_RUN, "sweep": BEFORE_A_RUN, "simulate": (0, ENDED)}


def interrupted(library: str, arguments: list[str], folder: Path) -> tuple[int, str]:
    """Exit code and standard error of a command that Ctrl-C meets while it imports this library."""
    (folder / f"{library}.py").write_text(LIBRARY)
    ended = subprocess.run(
        [sys.executable, str(COMMAND), *arguments],
        env=os.environ | {"PYTHONPATH": str(folder)},
        # A runner in a shell's background ignores Ctrl-C, and what it starts inherits that.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert ended.stdout == ""
    return ended.returncode, ended.stderr


@pytest.mark.parametrize("command", tokenswarm._COMMANDS)
def test_ctrl_c_while_a_command_is_imported_ends_it_with_one_sentence(command: str, tmp_path: Path) -> None:
    expected = ENDINGS.get(command, (EXIT_SIGINT, ENDED))
    library = "asyncio" if command == "simulate" else "numpy"  # one that it imports
    assert interrupted(library, [command], tmp_path) == expected


@pytest.mark.parametrize("library", ["typing", "argparse", "logging", "pathlib"])
def test_nothing_that_takes_time_is_imported_before_ctrl_c_is_handled(library: str, tmp_path: Path) -> None:
    assert interrupted(library, ["run"], tmp_path) == BEFORE_A_RUN
