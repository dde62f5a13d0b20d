"""A run folder rebuilt from what its processes left in their spools, as `tokenswarm recover` does it."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

import msgspec

from tokenswarm.metrics.level import Level
from tokenswarm.metrics.plurals import counted
from tokenswarm.recording.active_run import ActiveRun
from tokenswarm.recording.frames import FramesBusy
from tokenswarm.recording.journal import Journal, ResultsFolderError
from tokenswarm.recording.run_completion import close_run
from tokenswarm.recording.run_log import (
    EncodedReport,
    Entry,
    LevelSplits,
    PlanDone,
    RunLogError,
    RunLogReader,
    ServerSource,
    ServerValues,
    Stopped,
    Users,
)
from tokenswarm.recording.spool import SpooledWorker, read_spools
from tokenswarm.recording.worker_report import Report, UnusableReport
from tokenswarm.run_folder.capacity_figures import CapacityFigures
from tokenswarm.run_folder.completeness import RUN_LOG, readable_journals
from tokenswarm.run_folder.reader import load_results, run_file
from tokenswarm.run_folder.schema import RESERVE, Status
from tokenswarm.run_folder.worker_events import WorkerEvent

_DRAFT = ".recovering"


class RecoveryError(ValueError):
    """The folder cannot be recovered; the text is one sentence for the user."""


@dataclass(slots=True)
class Recovery:
    """What was recovered. requests: all of the run; from_workers: those that only workers' spools had; unended: that
    had begun and not ended; torn_bytes: of frames that were cut short or damaged; lost: requests that had ended and
    were in these, as far as later frames show it; missing: workers with requests under way whose spool was not there;
    done: the run had ended by itself, and nothing was changed."""

    folder: Path
    requests: int = 0
    from_workers: int = 0
    unended: int = 0
    torn_bytes: int = 0
    lost: int = 0
    missing: list[int] = field(default_factory=list)
    done: bool = False


class _Clock:
    """The run's time as the log's entries show it."""

    now_ns = 0

    def __call__(self) -> int:
        return self.now_ns


def recover(folder: Path, spools: Sequence[Path] = ()) -> Recovery:
    """Rebuild the run's folder from its log and the workers' spools that are in its own spool folder and in `spools`.
    The same again gives the same again; the spools stay. Raises RecoveryError, and run_folder's ReportError for a
    folder that is none of a run's."""
    document = _document(folder)
    places = _places(folder, document, spools)
    log_folder = next((place for place in places if (place / RUN_LOG).is_file()), None)
    if log_folder is None:
        if document.get("status") not in (None, Status.RUNNING.value):
            _check_complete(folder)
            return Recovery(folder, done=True)
        run_file(folder)
        looked = ", ".join(map(str, places))
        if not document:
            damaged = folder / "run.json"
            raise RecoveryError(f"{damaged} is damaged, and there is no spool to rebuild it from (looked in {looked}).")
        raise RecoveryError(f"{folder} has no spool to recover from (looked in {looked}); was --spool-folder off?")
    try:
        return _rebuild(folder, log_folder, places)
    except FramesBusy as error:
        raise RecoveryError(f"{error.filename} is still being written: wait until the run's processes end.") from None
    except (RunLogError, UnusableReport, ResultsFolderError) as error:
        raise RecoveryError(str(error)) from None
    except OSError as error:
        raise RecoveryError(f"{error.filename or folder}: {error.strerror or error}.") from None


def _check_complete(folder: Path) -> None:
    """Raises RecoveryError where files of a run that ended are missing, as there is nothing to rebuild them from."""
    if not (folder / "summary.json").is_file():
        raise RecoveryError(
            f"{folder / 'summary.json'} is missing, and there is no spool to rebuild it from; "
            f"{readable_journals(folder)}."
        )
    if missing := load_results(folder).files_missing:
        raise RecoveryError(f"{folder}: {missing}, and there is no spool to rebuild it from.")


def _document(folder: Path) -> dict[str, Any]:
    """run.json, {} where it cannot be read."""
    if not folder.is_dir():
        run_file(folder)
    try:
        document = msgspec.json.decode((folder / "run.json").read_bytes())
    except (OSError, msgspec.DecodeError):
        return {}
    return document if isinstance(document, dict) else {}


def _places(folder: Path, document: dict[str, Any], spools: Iterable[Path]) -> list[Path]:
    """Where spools may be; the folders in a folder that was given count as well, for there is one for each run."""
    for spool in spools:
        if not spool.is_dir():
            raise RecoveryError(f"--spool {spool} is not a folder.")
    named = document.get("spool_folder")
    places = [folder / (named if isinstance(named, str) else "spool")]
    for spool in spools:
        places += [spool, *sorted(path for path in spool.iterdir() if path.is_dir())]
    return list({os.path.realpath(place): place for place in places}.values())


def _rebuild(folder: Path, log_folder: Path, places: Sequence[Path]) -> Recovery:
    reader, clock = RunLogReader(log_folder), _Clock()
    draft = folder / _DRAFT
    shutil.rmtree(draft, ignore_errors=True)
    spools = [spooled for place in places for spooled in read_spools(place, reader.head.run)]
    run = ActiveRun(reader.head, Journal(folder, _DRAFT), clock)
    run.spool_folder = log_folder
    recovery = Recovery(folder)
    try:
        for clock.now_ns, entry in reader:
            _replay(run, entry, spools)
        recovery.torn_bytes = reader.torn_bytes
        _enter_spools(run, spools, clock, recovery)
        recovery.requests = run.aggregator.recorded
        recovery.lost = max(0, run.aggregator.ended - run.aggregator.recorded)
        ended = run.began + timedelta(seconds=run.now_s)
        close_run(run, Status.RECOVERED, _reason(run, recovery), ended)
        _put_in_place(draft, folder)
    finally:
        shutil.rmtree(draft, ignore_errors=True)
    return recovery


def _replay(run: ActiveRun, entry: Entry, spools: Sequence[SpooledWorker]) -> None:
    match entry:
        case Level():
            _begin_levels(run, entry.index - 1)
            run.begin_level(entry)
        case EncodedReport(encoded):
            report = Report.decode(encoded)
            _begin_levels(run, max(report.level_indexes, default=-1))
            _fill_gap(run, report, spools)
            run.enter(report, encoded)
        case LevelSplits(level_index, splits):
            _begin_levels(run, level_index)
            run.take_splits(level_index, splits)
        case Users(users):
            run.observe(users)
        case ServerValues(values, failures):
            run.take_server_values(values, failures)
        case ServerSource(source, gpu_source, note):
            run.server_found(source, gpu_source, note)
        case _:
            _replay_event(run, entry)


def _replay_event(run: ActiveRun, entry: Entry) -> None:
    match entry:
        case WorkerEvent():
            run.note_events([*run.events, entry])
        case CapacityFigures():
            run.capacity_noted = entry
        case PlanDone():
            run.end_plan()
        case Stopped():
            run.stop()


def _begin_levels(run: ActiveRun, last: int) -> None:
    """Begin those up to `last` whose beginning is not in the log any more, as damage hit it."""
    for level in run.facts.plan:
        if level.index <= last and level.index not in run.aggregator.levels:
            run.begin_level(level)


def _fill_gap(run: ActiveRun, report: Report, spools: Sequence[SpooledWorker]) -> None:
    """Reports before this one that damage hit in the log: those that the worker's spool still has are entered."""
    for spooled in spools:
        if spooled.worker == report.worker:
            for earlier, _ in spooled.reports:
                if earlier.number < report.number:
                    run.aggregator.skip_to(earlier.worker, earlier.number)
                    run.enter(earlier)
    run.aggregator.skip_to(report.worker, report.number)


def _enter_spools(run: ActiveRun, spools: Sequence[SpooledWorker], clock: _Clock, recovery: Recovery) -> None:
    before = run.aggregator.recorded
    for spooled in spools:
        recovery.torn_bytes += spooled.torn_bytes
        for report, _ in spooled.reports:
            clock.now_ns = max([clock.now_ns, *(row.ended_ns for row in report.rows)])
            _begin_levels(run, max(report.level_indexes, default=-1))
        run.enter_spooled(spooled)
    recovery.from_workers = run.aggregator.recorded - before
    recovery.unended = sum(recovered.unended for recovered in run.recovered.values())
    recovery.missing = sorted(
        worker for worker, known in run.aggregator.workers.items() if known.in_flight and worker not in run.recovered
    )


def _reason(run: ActiveRun, recovery: Recovery) -> str:
    known = f" ({recovery.from_workers:,} of them known from workers' spools alone)" if recovery.from_workers else ""
    text = (
        f"the run was recovered: it was recorded until {run.now_s:.1f} s after it began; "
        f"{counted(recovery.requests, 'request')} had ended{known}, and {recovery.unended:,} were under way"
    )
    if recovery.torn_bytes:
        text += f"; {recovery.torn_bytes:,} bytes of the spools were cut short or damaged"
    if recovery.lost:
        verb = "is" if recovery.lost == 1 else "are"
        text += f", and {counted(recovery.lost, 'ended request')} {verb} lost with them"
    if recovery.missing:
        workers = ", ".join(map(str, recovery.missing))
        text += f"; the spools of workers {workers} are missing: what they sent after their last reports is not known"
    return text


def _put_in_place(draft: Path, folder: Path) -> None:
    """run.json last: until it is there, the folder is that of a run that was killed."""
    for path in sorted(draft.iterdir(), key=lambda path: path.name == "run.json"):
        path.replace(folder / path.name)
    (folder / RESERVE).unlink(missing_ok=True)
