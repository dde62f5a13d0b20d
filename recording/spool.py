"""A worker's spool: each request that ends is in a file before the worker counts it, so that SIGKILL loses none.

The file is a series of segments, `worker-K-NAME.000000000.spool`, …, of checked frames (metrics/frames.py). A request's
beginning is a frame, its end is one with all that is known of it, and so is each report that was taken. What the master
has acknowledged is deleted, a segment at a time. Reading it gives the reports again that the master has not got, under
their old numbers: entered into a run's statistics, each request is counted once, however often that is done.
"""

from __future__ import annotations

import secrets
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import msgspec

from metrics.ended import EndedRequest, LocustCount, ReportBuilder
from metrics.frames import FrameReader, FrameWriter
from metrics.health import CoreUse, WorkerHealth
from metrics.histogram import Histogram
from metrics.records import Report
from metrics.stage import Phase, Place

_FORMAT = 1
_HEAD, _BEGAN, _ENDED, _DROPPED, _TAKEN = range(1, 6)
#: A segment that has grown to this is followed by another, so that what was acknowledged can be deleted.
_SEGMENT_BYTES = 1_000_000


class _Head(msgspec.Struct, array_like=True):
    """The first frame of a segment: whose it is, and the worker's counts where it begins."""

    format: int
    run: int
    worker: int
    number: int
    fired: int
    in_flight: int
    output_events: int


class _Taken(msgspec.Struct, array_like=True):
    """A report was taken of all that ended before."""

    number: int
    fired: int
    in_flight: int
    output_events: int
    loop_lag: list[tuple[int, Phase, bytes, int]]
    core_use: list[tuple[int, Phase, float, float]]
    user_seconds: list[tuple[int, int, float]] = []


_head = msgspec.msgpack.Decoder(_Head).decode
_taken = msgspec.msgpack.Decoder(_Taken).decode
_ended = msgspec.msgpack.Decoder(EndedRequest).decode
_encode = msgspec.msgpack.Encoder().encode


class Spool:
    """Writes. A write that fails ends the spool: on_error is called once, with the reason, and the requests go on being
    counted."""

    def __init__(self, folder: Path, run: int, worker: int, on_error: Callable[[str], None]) -> None:
        """Raises OSError."""
        self.folder = folder
        self._run, self._worker, self._on_error = run, worker, on_error
        self._segments: dict[Path, int] = {}
        self._state = _Taken(0, 0, 0, 0, [], [])
        self._prefix = f"worker-{worker}-{secrets.token_hex(4)}"
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._writer: FrameWriter | None = self._next_segment()

    @property
    def writes(self) -> bool:
        """Whether what ends is in the spool: it is not where a write has failed."""
        return self._writer is not None

    def began(self) -> None:
        """A request is about to be sent."""
        self._append(_BEGAN, b"")

    def ended(self, request: EndedRequest) -> None:
        """A request that began has ended."""
        self._append(_ENDED, _encode(request))

    def dropped(self) -> None:
        """A request that began came to nothing: it was never sent."""
        self._append(_DROPPED, b"")

    def took(self, report: Report) -> None:
        """A report was taken of all that ended before."""
        lags = [(*place, *lag.encode()) for place, lag in report.health.loop_lag.items()]
        uses = [(*place, *use) for place, use in report.health.core_use.items()]
        seconds = [(*second, users) for second, users in report.user_seconds.items()]
        self._state = _Taken(report.number, report.fired, report.in_flight, report.output_events, lags, uses, seconds)
        self._append(_TAKEN, _encode(self._state))
        if self._writer is not None:
            self._segments[self._writer.path] = report.number
            if self._writer.size > _SEGMENT_BYTES:
                self._rotate(self._writer)

    def acknowledge(self, number: int) -> None:
        """The reports up to this one are safe with the master: forget them."""
        current = self._writer.path if self._writer else None
        for path in [path for path, last in self._segments.items() if last <= number and path != current]:
            del self._segments[path]
            with suppress(OSError):
                path.unlink()

    def close(self) -> None:
        """Write no more; what is written stays."""
        if self._writer is not None:
            self._writer.close()
            self._writer = None

    def remove(self) -> None:
        """Everything is acknowledged: delete the files, and the folder where nothing else is in it."""
        current = self._writer.path if self._writer else None
        self.close()
        with suppress(OSError):
            for path in {*self._segments, *([current] if current else [])}:
                path.unlink(missing_ok=True)
            self.folder.rmdir()

    def _append(self, kind: int, payload: bytes) -> None:
        if self._writer is None:
            return
        try:
            self._writer.append(kind, payload)
        except OSError as error:
            self._fail(error)

    def _rotate(self, writer: FrameWriter) -> None:
        try:
            self._writer = self._next_segment()
            writer.close()
        except OSError as error:
            self._fail(error)

    def _next_segment(self) -> FrameWriter:
        writer = FrameWriter(self.folder / f"{self._prefix}.{self._state.number:09d}.spool")
        state = self._state
        head = _Head(_FORMAT, self._run, self._worker, state.number, state.fired, state.in_flight, state.output_events)
        writer.append(_HEAD, _encode(head))
        return writer

    def _fail(self, error: OSError) -> None:
        self.close()
        self._on_error(f"the spool in {self.folder} cannot be written: {error.strerror or error}")


class SpooledReport(NamedTuple):
    """A report read back, and what Locust's own statistics count for its requests."""

    report: Report
    in_locust: list[LocustCount]


@dataclass(slots=True)
class SpooledWorker:
    """What one worker process left in its spool. unended: requests that had begun and not ended; torn_bytes: of a frame
    that was not whole."""

    worker: int
    reports: list[SpooledReport] = field(default_factory=list)
    unended: int = 0
    torn_bytes: int = 0

    def after(self, number: int) -> list[SpooledReport]:
        """The reports that follow the one of that number."""
        return [spooled for spooled in self.reports if spooled.report.number > number]


def read_spools(folder: Path, run: int, worker: int | None = None) -> list[SpooledWorker]:
    """The spools of that run's workers (or of one of them) in the folder, those of other runs left out. Raises OSError,
    and FramesBusy where a worker still writes."""
    segments: dict[str, list[Path]] = defaultdict(list)
    for path in sorted(folder.glob(f"worker-{'*' if worker is None else worker}-*.spool")):
        segments[path.name.split(".")[0]].append(path)
    readers = (_Reader(run) for _ in segments)
    found = [reader.read(paths) for paths, reader in zip(segments.values(), readers)]
    return [each for each in found if each is not None]


class _Reader:
    """Reads one worker's segments."""

    def __init__(self, run: int) -> None:
        self._run = run
        self._worker: SpooledWorker | None = None
        self._builder = ReportBuilder()
        self._in_locust: list[LocustCount] = []
        self._state = _Taken(0, 0, 0, 0, [], [])
        self._fired = self._in_flight = self._output_events = 0

    def read(self, paths: Iterable[Path]) -> SpooledWorker | None:
        """None for a worker of another run."""
        for path in paths:
            frames = FrameReader(path)
            try:
                for kind, payload in frames:
                    if not self._take(kind, payload):
                        return None
            except msgspec.MsgspecError:  # a frame that is whole and makes no sense was not written by us
                frames.torn_bytes += 1
            if frames.torn_bytes:
                if self._worker is not None:
                    self._worker.torn_bytes += frames.torn_bytes
                break
        if self._worker is not None:
            self._worker.unended = self._in_flight
            if self._builder.rows or self._in_flight != self._state.in_flight:
                self._report(WorkerHealth())
        return self._worker

    def _take(self, kind: int, payload: bytes) -> bool:
        if kind == _HEAD:
            head = _head(payload)
            if head.format != _FORMAT or head.run != self._run:
                return False
            if self._worker is None:
                self._worker = SpooledWorker(head.worker)
                self._state = _Taken(head.number, head.fired, head.in_flight, head.output_events, [], [])
                self._fired, self._in_flight, self._output_events = head.fired, head.in_flight, head.output_events
        elif kind == _BEGAN:
            self._in_flight += 1
        elif kind == _ENDED:
            ended = _ended(payload)
            self._in_flight -= 1
            self._fired = ended.row.number
            self._output_events += ended.row.output_events
            self._builder.add(ended)
            if ended.in_locust is not None:
                self._in_locust.append(ended.in_locust)
        elif kind == _DROPPED:
            self._in_flight -= 1
        elif kind == _TAKEN:
            self._state = taken = _taken(payload)
            self._fired, self._output_events = taken.fired, taken.output_events
            self._report(_health(taken), number=taken.number, in_flight=taken.in_flight)
            spooled = self._worker.reports[-1].report if self._worker else None
            if spooled is not None:
                spooled.user_seconds = {(stage, second): users for stage, second, users in taken.user_seconds}
        return True

    def _report(self, health: WorkerHealth, number: int | None = None, in_flight: int | None = None) -> None:
        assert self._worker is not None
        report = self._builder.take(
            self._worker.worker,
            self._state.number + 1 if number is None else number,
            self._fired,
            max(0, self._in_flight) if in_flight is None else in_flight,
            self._output_events,
            health,
        )
        self._worker.reports.append(SpooledReport(report, self._in_locust))
        self._in_locust = []


def _health(taken: _Taken) -> WorkerHealth:
    lags: Iterator[tuple[Place, Histogram]] = (
        ((stage, phase), Histogram.decode((payload, total))) for stage, phase, payload, total in taken.loop_lag
    )
    uses = {(stage, phase): CoreUse(cpu_s, wall_s) for stage, phase, cpu_s, wall_s in taken.core_use}
    return WorkerHealth(dict(lags), uses)
