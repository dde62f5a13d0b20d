"""The options of all cells checked before the first one runs, in a process of its own: the parser of a run is Locust's,
which changes the process that imports it."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence

import msgspec

from tokenswarm.sweep.sweep_plan import SweepError

_LIMIT_S = 600.0


class CellCheck(msgspec.Struct, frozen=True):
    """What the options of one cell say. errors: a sentence each; planned_s: how long its run takes without drains, None
    where that is open, and where there are errors."""

    errors: list[str] = []
    planned_s: float | None = None


class CheckRequest(msgspec.Struct, frozen=True):
    """Of each cell its words; own: options of the sweep itself, which a misspelled word may stand for."""

    cells: list[list[str]]
    own: list[str]


def check_cells(cells: Sequence[Sequence[str]], own: Sequence[str], folder: str | None = None) -> list[CellCheck]:
    """Each cell's check, in order. folder: in which the runs are to be started; None: this one. Raises SweepError where
    the check itself fails."""
    request = msgspec.json.encode(CheckRequest([list(words) for words in cells], list(own)))
    command = [sys.executable, "-P", "-m", "tokenswarm.sweep.option_check"]
    ended = subprocess.run(command, cwd=folder, input=request, capture_output=True, timeout=_LIMIT_S, check=False)
    try:
        return msgspec.json.decode(ended.stdout, type=list[CellCheck])
    except msgspec.DecodeError:
        last = ended.stderr.decode(errors="replace").strip().rpartition("\n")[2] or f"exit code {ended.returncode}"
        raise SweepError(f"the options of the cells could not be checked: {last}.") from None
