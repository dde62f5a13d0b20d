"""A simulator whose output nobody reads serves and ends as ever."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.unread_pipe import full_pipe

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("unread", ["stdout", "stderr"])
def test_a_full_pipe_holds_up_neither_start_nor_end(unread: str) -> None:
    reader, writer, _ = full_pipe()
    other = "stderr" if unread == "stdout" else "stdout"
    command = [sys.executable, str(ROOT / "tokenswarm.py"), "simulate", "--port", "0"]
    streams = {unread: writer, other: subprocess.PIPE}
    with subprocess.Popen(command, text=True, **streams) as simulator:  # type: ignore[call-overload]
        line = (simulator.stderr if unread == "stdout" else simulator.stdout).readline()
        assert "listening on http://" in line
        simulator.terminate()
        assert simulator.wait(60) == 0
    os.close(reader)
    os.close(writer)
