"""The run of one cell as a process of its own, and what a signal to the sweep does to it."""

from __future__ import annotations

import signal
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

import msgspec

from tokenswarm.reports.past_runs import RunIndex
from tokenswarm.run_command.run_command import command_of_run
from tokenswarm.run_folder.schema import Status
from tokenswarm.sanitize import UnusableFile, read_file
from tokenswarm.sweep.sweep_plan import SweepError
from tokenswarm.sweep.sweep_runner import RunOutcome

_SIGNALS = (signal.SIGINT, signal.SIGTERM)
_MOST_BYTES = 256 * 2**20


class _RunHead(msgspec.Struct):
    status: str


class CellProcesses:
    """Starts one run after another in a sweep's folder. A signal to this process goes to the run, which then ends by
    itself and completes its folder."""

    def __init__(self, folder: Path, lock: int, current_folder: str | None = None) -> None:
        """lock: the descriptor of the sweep's, which each run holds as well: it may outlive a sweep that is killed.
        current_folder: in which runs are started; None: this process's."""
        self._folder = folder
        self._lock = lock
        self._current_folder = current_folder
        self._process: subprocess.Popen[bytes] | None = None
        self.interrupted = False

    @contextmanager
    def answering_signals(self) -> Iterator[None]:
        """Within, Ctrl-C and SIGTERM end the running run and keep another from being started."""
        # One that is ignored stays so: the sweep was started by `nohup`.
        answered = [number for number in _SIGNALS if signal.getsignal(number) is not signal.SIG_IGN]
        before: dict[signal.Signals, Any] = {number: signal.signal(number, self._on_signal) for number in answered}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def run(self, words: Sequence[str]) -> RunOutcome:
        """Run with these options until it has ended."""
        before = set(run_folders(self._folder))
        command = command_of_run([*words, f"--results={self._folder.absolute()}"])
        with subprocess.Popen(command, cwd=self._current_folder, pass_fds=(self._lock,)) as self._process:
            if self.interrupted:  # a signal came before there was a process to pass it on to
                self._process.send_signal(signal.SIGTERM)
            code = self._process.wait()
        self._process = None
        made = [name for name in run_folders(self._folder) if name not in before]
        folder = made[-1] if made else None
        return RunOutcome(code, folder, _status_of(self._folder / folder) if folder else None, self.interrupted)

    def _on_signal(self, number: int, _frame: FrameType | None) -> None:
        self.interrupted = True
        if self._process is not None and self._process.returncode is None:
            self._process.send_signal(number)


def run_folders(folder: Path) -> list[str]:
    """The names of the folders of runs right in this one, the oldest first."""
    return [run.folder for run in reversed(RunIndex().runs(folder, most=None))]


def check_none_runs(folder: Path) -> None:
    """Raises SweepError where a run of the sweep still goes on, as one does whose sweep was killed."""
    for run in RunIndex().runs(folder, most=None):
        if run.status == Status.RUNNING:
            raise SweepError(f"{folder / run.folder} is still running in another process: wait for its end.")


def _status_of(folder: Path) -> str | None:
    try:
        return msgspec.json.decode(read_file(folder / "run.json", _MOST_BYTES), type=_RunHead).status
    except (UnusableFile, msgspec.MsgspecError):
        return None
