"""sweep.json: what a sweep runs, and how far it is. It is whole at any time, so that a sweep can be resumed."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from enum import StrEnum
from pathlib import Path

import msgspec
from msgspec.structs import replace

from tokenswarm.reports.past_runs import SWEEP_MANIFEST as MANIFEST
from tokenswarm.run_folder.files import write_whole
from tokenswarm.sanitize import UnusableFile, json_error_text, read_file
from tokenswarm.sweep.sweep_plan import SweepError

#: Where folders of runs that did not come to their end are kept, apart from those that count.
APART = "incomplete"
FORMAT = 1
_MOST_BYTES = 64 * 2**20


class RunState(StrEnum):
    """FINISHED: the run came to its end, whatever its exit code; FAILED: it left no figures, or unreliable ones."""

    PLANNED = "planned"
    RUNNING = "running"
    FINISHED = "finished"
    FAILED = "failed"
    INTERRUPTED = "interrupted"


class SweepRun(msgspec.Struct, frozen=True, kw_only=True):
    """One run of a cell. number: its place in the order, cell and repeat: both from 1; values: of the options that
    vary, as they are shown; words: the options of its run; planned_s: how long it takes by its plan, None where that
    is open. folder: within the sweep's; kept_apart: folders of earlier attempts, within the sweep's."""

    number: int
    cell: int
    repeat: int
    name: str
    values: dict[str, str]
    words: list[str]
    planned_s: float | None = None
    state: RunState = RunState.PLANNED
    exit_code: int | None = None
    folder: str | None = None
    started_at: datetime | None = None
    ended_at: datetime | None = None
    kept_apart: list[str] = []


class Manifest(msgspec.Struct, frozen=True, kw_only=True):
    """current_folder: in which the sweep was started, and to which paths of its options are relative. command: what was
    started, as words; varied: the options that vary."""

    format: int = FORMAT
    tokenswarm_version: str = ""
    name: str = ""
    started_at: datetime
    current_folder: str
    command: list[str]
    varied: list[str]
    repeat: int
    runs: list[SweepRun]

    @property
    def cells(self) -> list[list[SweepRun]]:
        """The runs of each cell, in the order of the cells."""
        found: dict[int, list[SweepRun]] = {}
        for run in self.runs:
            found.setdefault(run.cell, []).append(run)
        return [found[number] for number in sorted(found)]

    def with_run(self, run: SweepRun) -> Manifest:
        """With this run in its place."""
        return replace(self, runs=[run if each.number == run.number else each for each in self.runs])

    def count(self, *states: RunState) -> int:
        """Runs in one of these states."""
        return sum(run.state in states for run in self.runs)


def write_manifest(folder: Path, manifest: Manifest) -> None:
    """Raises SweepError."""
    text = msgspec.json.format(msgspec.json.encode(manifest), indent=2).decode() + "\n"
    try:
        write_whole(folder / MANIFEST, text)
    except OSError as error:
        raise SweepError(f"{folder / MANIFEST} cannot be written: {error.strerror or error}.") from error


def read_manifest(folder: Path) -> Manifest:
    """Raises SweepError."""
    file = folder / MANIFEST
    if not file.is_file():
        raise SweepError(f"{folder} is not the folder of a sweep: there is no {MANIFEST} in it.")
    try:
        manifest = msgspec.json.decode(read_file(file, _MOST_BYTES), type=Manifest)
    except UnusableFile as error:
        raise SweepError(f"{file} {error}.") from None
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise SweepError(f"{file} is not as a sweep writes it ({json_error_text(error)}).") from None
    if manifest.format != FORMAT:
        raise SweepError(f"{file} has format {manifest.format}, but format {FORMAT} is read here.")
    return manifest


def new_folder(parent: Path, name: str) -> Path:
    """Make `parent/name`, or `parent/name-2`, … if it is taken. Raises SweepError."""
    try:
        parent.mkdir(parents=True, exist_ok=True)
        for number in range(1, 1000):
            folder = parent / (name if number == 1 else f"{name}-{number}")
            if not folder.exists():
                folder.mkdir()
                return folder
    except OSError as error:
        raise SweepError(f"no folder can be made in {parent} ({error.strerror or error}).") from error
    raise SweepError(f"{parent / name} and 998 more names are taken.")


@contextmanager
def locked(folder: Path) -> Iterator[int]:
    """Within, no other process runs this sweep. Yields the lock's descriptor: a process that inherits it holds the lock
    too, until it ends. Raises SweepError where one does."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise SweepError(f"{folder} is being run by another process: wait for its end.") from None
        yield handle
    finally:
        os.close(handle)


def set_apart(folder: Path, manifest: Manifest, found: Sequence[str]) -> Manifest:
    """Plan the runs again that have not finished, and move what they left into a folder of its own. found: the folders
    of runs in the sweep's; those that no finished run names are of interrupted ones. Raises SweepError."""
    finished = {run.folder for run in manifest.runs if run.state is RunState.FINISHED}
    moved: Mapping[str, str] = {name: _move_apart(folder, name) for name in found if name not in finished}
    for run in manifest.runs:
        if run.state in (RunState.FINISHED, RunState.PLANNED):
            continue
        # One that was killed with the sweep has no folder in the manifest: it is the newest that nobody names.
        names = [run.folder] if run.folder else sorted(moved)[-1:] if run.state is RunState.RUNNING else []
        kept = [*run.kept_apart, *(moved[name] for name in names if name in moved)]
        manifest = manifest.with_run(
            replace(run, state=RunState.PLANNED, exit_code=None, folder=None, ended_at=None, kept_apart=kept)
        )
    return manifest


def _move_apart(folder: Path, name: str) -> str:
    apart = folder / APART
    try:
        apart.mkdir(exist_ok=True)
        target = new_folder(apart, name)
        target.rmdir()
        (folder / name).rename(target)
    except OSError as error:
        raise SweepError(f"{folder / name} cannot be moved to {apart} ({error.strerror or error}).") from error
    return f"{APART}/{target.name}"
