"""What a run's statistics were made of, in the order that it came: frames from which a killed run is rebuilt.

It stands beside the spools of the workers of the same machine and is deleted with them when the run's folder is
complete. It holds what the statistics are given by their one owner (recording/active_run.py), and nothing that follows
from it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec

from tokenswarm.metrics.client_health import SelfCheck
from tokenswarm.metrics.level import Level
from tokenswarm.metrics.objectives import Objectives
from tokenswarm.recording.frames import FrameReader, FrameWriter
from tokenswarm.run_folder.capacity_figures import CapacityFigures
from tokenswarm.run_folder.completeness import RUN_LOG
from tokenswarm.run_folder.schema import RunFacts
from tokenswarm.run_folder.worker_events import WorkerEvent
from tokenswarm.shapes.splits import Splits

_FORMAT = 3
_HEAD, _LEVEL, _REPORT, _USERS, _SERVER, _SERVER_SOURCE, _EVENT, _PLAN_DONE, _STOPPED, _SPLITS, _CAPACITY = range(1, 12)


class RunHead(msgspec.Struct, frozen=True):
    """Which run it is, and what was known when it began. began: ISO 8601."""

    run: int
    began: str
    facts: RunFacts
    objectives: Objectives
    workers: int
    self_checks: dict[int, SelfCheck]
    drain_s: float
    format: int = _FORMAT


class Users(msgspec.Struct, frozen=True, array_like=True):
    """How many users there were."""

    users: int


class ServerValues(msgspec.Struct, frozen=True, array_like=True):
    """A sample of the server's own metrics, by concept; failures: pages that could not be read."""

    values: dict[str, float]
    failures: int


class ServerSource(msgspec.Struct, frozen=True, array_like=True):
    """Where the server's own metrics come from."""

    source: str | None
    gpu_source: str | None
    note: str | None


class EncodedReport(msgspec.Struct, frozen=True, array_like=True):
    """A worker's report, as Report.encode gives it."""

    encoded: bytes


class LevelSplits(msgspec.Struct, frozen=True, array_like=True):
    """Which workers send which arrivals of an open-loop level."""

    level_index: int
    splits: Splits


class PlanDone(msgspec.Struct, frozen=True, array_like=True):
    """The shape has come to the plan's end."""


class Stopped(msgspec.Struct, frozen=True, array_like=True):
    """The run is being stopped. interrupted: before its plan's end."""

    interrupted: bool


#: Whatever the statistics were given, and the nanoseconds of the run at which they were.
Entry = (
    Level
    | EncodedReport
    | LevelSplits
    | Users
    | ServerValues
    | ServerSource
    | WorkerEvent
    | PlanDone
    | Stopped
    | CapacityFigures
)
_KINDS: dict[type[Any], int] = {
    Level: _LEVEL,
    EncodedReport: _REPORT,
    LevelSplits: _SPLITS,
    Users: _USERS,
    ServerValues: _SERVER,
    ServerSource: _SERVER_SOURCE,
    WorkerEvent: _EVENT,
    PlanDone: _PLAN_DONE,
    Stopped: _STOPPED,
    CapacityFigures: _CAPACITY,
}
_TYPES = {kind: type_ for type_, kind in _KINDS.items()}


class RunLogError(ValueError):
    """The log cannot be read; the text says why."""


class RunLog:
    """Writes the log of one run."""

    def __init__(self, folder: Path, head: RunHead) -> None:
        """Makes the folder. Raises OSError."""
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.folder = folder
        #: Called once, when an entry cannot be written.
        self.on_error: Callable[[OSError], None] = lambda _: None
        self._head = msgspec.msgpack.encode(head)
        self._writer: FrameWriter | None = FrameWriter(folder / RUN_LOG)
        self._writer.append(_HEAD, self._head)

    def append(self, now_ns: int, entry: Entry) -> None:
        """Append an entry, of that nanosecond of the run."""
        if self._writer is None:
            return
        payload = now_ns.to_bytes(8, "little", signed=True) + msgspec.msgpack.encode(entry)
        try:
            if isinstance(entry, Level):  # without it nothing is readable: damage to one copy must not be the end
                self._writer.append(_HEAD, self._head)
            self._writer.append(_KINDS[type(entry)], payload)
        except OSError as error:
            self.close()
            self.on_error(error)

    def close(self) -> None:
        """Write no more; what is written stays."""
        if self._writer is not None:
            self._writer.close()
            self._writer = None


class RunLogReader:
    """Reads a log back: `head`, then each (nanosecond of the run, entry). torn_bytes, once iterated: of frames that
    were cut short or damaged, which are left out."""

    def __init__(self, folder: Path) -> None:
        """Raises RunLogError for a file that is no such log, OSError, and FramesBusy while the run goes on."""
        path = folder / RUN_LOG
        self._frames = FrameReader(path)
        payload = next((payload for kind, payload in FrameReader(path) if kind == _HEAD), None)
        try:
            if payload is None or (head := msgspec.msgpack.decode(payload, type=RunHead)).format != _FORMAT:
                raise RunLogError(f"{path} is not the log of a run, or one of another version of Tokenswarm.")
        except msgspec.MsgspecError as error:
            raise RunLogError(f"{path} is not as a run writes it: {error}.") from None
        self.head: RunHead = head

    @property
    def torn_bytes(self) -> int:
        return self._frames.torn_bytes

    def __iter__(self) -> Iterator[tuple[int, Entry]]:
        """Raises RunLogError."""
        for kind, payload in self._frames:
            if kind != _HEAD:
                yield int.from_bytes(payload[:8], "little", signed=True), _decode(kind, payload[8:])


def _decode(kind: int, payload: bytes) -> Entry:
    try:
        entry: Entry = msgspec.msgpack.decode(payload, type=_TYPES[kind])
    except (msgspec.MsgspecError, KeyError) as error:
        raise RunLogError(f"the run's log holds what this version cannot read: {error}.") from None
    return entry
