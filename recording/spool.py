"""A worker's spool: each request that ends is in a file before the worker counts it, so that SIGKILL loses none.

The file is a series of segments, `worker-K-NAME.000000000.spool`, …, of checked frames (see frames.py). A request's
beginning is a frame, its end is one with all that is known of it, and so is each report that was taken. What the master
has acknowledged is deleted, a segment at a time. Reading it gives the reports again that the master has not got, under
their old numbers: entered into a run's statistics, each request is counted once, however often that is done.
"""

from __future__ import annotations

import secrets
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import msgspec

from tokenswarm.metrics.client_health import CoreUse, WorkerHealth
from tokenswarm.metrics.histogram import Histogram
from tokenswarm.metrics.level import LevelPhase, Phase
from tokenswarm.recording.ended_requests import EndedRequest, LocustCount, ReportBuilder
from tokenswarm.recording.frames import FrameReader, FrameWriter
from tokenswarm.recording.worker_report import Report

_FORMAT = 2
_HEAD, _BEGAN, _ENDED, _DROPPED, _TAKEN = range(1, 6)
#: A segment that has grown to this is followed by another, so that what was acknowledged can be deleted.
_SEGMENT_BYTES = 1_000_000


class _Head(msgspec.Struct, array_like=True):
    """Whose segment it is, and the worker's counts up to here: its first frame, and one after each report.
    arrivals_begun: see Report."""

    format: int
    run: int
    worker: int
    number: int
    ended: int
    in_flight: int
    output_events: int
    arrivals_begun: dict[int, int] = {}


class _Taken(msgspec.Struct, array_like=True):
    """A report was taken of all that ended before."""

    number: int
    ended: int
    in_flight: int
    output_events: int
    loop_lag: list[tuple[int, Phase, bytes, int]]
    core_use: list[tuple[int, Phase, float, float]]
    user_seconds: list[tuple[int, int, float]] = []
    arrivals_begun: dict[int, int] = {}


_head = msgspec.msgpack.Decoder(_Head).decode
_taken = msgspec.msgpack.Decoder(_Taken).decode
_ended = msgspec.msgpack.Decoder(EndedRequest).decode
_arrival = msgspec.msgpack.Decoder(tuple[int, int]).decode
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

    def began(self, arrival: tuple[int, int] | None = None) -> None:
        """A request is about to be sent. arrival: (level, number) of an open loop's."""
        self._append(_BEGAN, b"" if arrival is None else _encode(arrival))

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
        self._state = _Taken(
            report.number,
            report.ended,
            report.in_flight,
            report.output_events,
            lags,
            uses,
            seconds,
            report.arrivals_begun,
        )
        self._append(_TAKEN, _encode(self._state))
        self._append(_HEAD, self._head())  # again: damage to one copy must not be the end
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
        writer.append(_HEAD, self._head())
        return writer

    def _head(self) -> bytes:
        state = self._state
        counts = (state.number, state.ended, state.in_flight, state.output_events)
        return _encode(_Head(_FORMAT, self._run, self._worker, *counts, state.arrivals_begun))

    def _fail(self, error: OSError) -> None:
        self.close()
        self._on_error(f"the spool in {self.folder} cannot be written: {error.strerror or error}")


class SpooledReport(NamedTuple):
    """A report read back, and what Locust's own statistics count for its requests."""

    report: Report
    in_locust: list[LocustCount]


@dataclass(slots=True)
class SpooledWorker:
    """What one worker process left in its spool. unended: requests that had begun and not ended; torn_bytes: of
    frames that were cut short or damaged, which are left out."""

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
    found = []
    for paths in segments.values():
        head = next(filter(None, map(_head_of, paths)), None)
        if head is not None and head.run == run and head.format == _FORMAT:
            found.append(_Reader(head, _number_of(paths[0])).read(paths))
    return found


def _head_of(path: Path) -> _Head | None:
    """The first that is whole."""
    for kind, payload in FrameReader(path):
        if kind == _HEAD:
            with suppress(msgspec.MsgspecError):
                return _head(payload)
    return None


def _number_of(path: Path) -> int:
    """Of the last report before the segment."""
    digits = path.name.split(".")[1]
    return int(digits) if digits.isdecimal() else 0


class _Reader:
    """Reads one worker's segments. Where the frame of a taken report is damaged, the damage separates its requests from
    those of the next report: a request under a wrong number could count twice."""

    def __init__(self, head: _Head, first_number: int) -> None:
        """head: any of the worker's; first_number: of the last report before the first segment."""
        self._worker = SpooledWorker(head.worker)
        self._ended: list[EndedRequest] = []  # since the last report
        self._before_damage = 0  # how many of these came before the last damage
        self._damaged = False
        self._state = _Taken(first_number, 0, 0, 0, [], [])
        self._ended_count = self._in_flight = self._output_events = 0
        self._arrivals_begun: dict[int, int] = {}

    def read(self, paths: Iterable[Path]) -> SpooledWorker:
        """Raises OSError, FramesBusy."""
        for path in paths:
            frames, torn_bytes = FrameReader(path), 0
            for kind, payload in frames:
                if frames.torn_bytes > torn_bytes:
                    torn_bytes = frames.torn_bytes
                    self._note_damage()
                try:
                    self._take(kind, payload)
                except msgspec.MsgspecError:  # a frame that is whole and makes no sense was not written by us
                    frames.torn_bytes += len(payload)
            if frames.torn_bytes > torn_bytes:
                self._note_damage()
            self._worker.torn_bytes += frames.torn_bytes
        self._end()
        return self._worker

    def _note_damage(self) -> None:
        self._damaged, self._before_damage = True, len(self._ended)

    def _take(self, kind: int, payload: bytes) -> None:
        if kind == _HEAD:
            self._pass_head(_head(payload))
        elif kind == _BEGAN:
            self._in_flight += 1
            if payload:
                level_index, arrival = _arrival(payload)
                self._note_begun({level_index: arrival + 1})
        elif kind == _ENDED:
            ended = _ended(payload)
            self._in_flight -= 1
            self._ended_count = ended.row.number
            self._output_events += ended.row.output_events
            self._ended.append(ended)
        elif kind == _DROPPED:
            self._in_flight -= 1
        elif kind == _TAKEN:
            self._pass_taken(_taken(payload))

    def _note_begun(self, arrivals_begun: Mapping[int, int]) -> None:
        for level_index, number in arrivals_begun.items():
            self._arrivals_begun[level_index] = max(number, self._arrivals_begun.get(level_index, 0))

    def _pass_head(self, head: _Head) -> None:
        self._note_begun(head.arrivals_begun)
        if head.number > self._state.number:  # the frame before it is lost
            if self._ended:
                self._report(self._state.number + 1, self._ended)
            self._ended, self._before_damage = [], 0
        elif self._ended_count or self._ended:
            return
        self._state = _Taken(head.number, head.ended, head.in_flight, head.output_events, [], [])
        self._ended_count, self._in_flight, self._output_events = head.ended, head.in_flight, head.output_events

    def _pass_taken(self, taken: _Taken) -> None:
        if taken.number > self._state.number + 1 and self._before_damage:
            self._report(self._state.number + 1, self._ended[: self._before_damage])
            self._ended = self._ended[self._before_damage :]
        self._state = taken
        self._ended_count, self._output_events = taken.ended, taken.output_events
        self._note_begun(taken.arrivals_begun)
        if self._damaged:  # of what began and ended, some is lost
            self._in_flight = taken.in_flight
        self._report(taken.number, self._ended, _health(taken), taken.in_flight)
        users = {(level_index, second): users for level_index, second, users in taken.user_seconds}
        self._worker.reports[-1].report.user_seconds = users
        self._ended, self._before_damage = [], 0

    def _end(self) -> None:
        self._worker.unended = max(0, self._in_flight)
        before, after = self._ended[: self._before_damage], self._ended[self._before_damage :]
        for number, ended in enumerate(filter(None, (before, after)), start=self._state.number + 1):
            self._report(number, ended)
        if not self._ended and self._in_flight != self._state.in_flight:
            self._report(self._state.number + 1, [])

    def _report(
        self,
        number: int,
        ended: Sequence[EndedRequest],
        health: WorkerHealth | None = None,
        in_flight: int | None = None,
    ) -> None:
        """Requests that ended, as the report of that number."""
        builder = ReportBuilder()
        for request in ended:
            builder.add(request)
        report = builder.take(
            self._worker.worker,
            number,
            self._ended_count,
            max(0, self._in_flight) if in_flight is None else in_flight,
            self._output_events,
            health or WorkerHealth(),
        )
        report.arrivals_begun = dict(self._arrivals_begun)
        in_locust = [request.in_locust for request in ended if request.in_locust is not None]
        self._worker.reports.append(SpooledReport(report, in_locust))


def _health(taken: _Taken) -> WorkerHealth:
    lags: Iterator[tuple[LevelPhase, Histogram]] = (
        ((level_index, phase), Histogram.decode((payload, total)))
        for level_index, phase, payload, total in taken.loop_lag
    )
    uses = {(level_index, phase): CoreUse(cpu_s, wall_s) for level_index, phase, cpu_s, wall_s in taken.core_use}
    return WorkerHealth(dict(lags), uses)
