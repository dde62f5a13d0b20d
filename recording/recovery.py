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

from metrics.active_run import ActiveRun
from metrics.frames import FramesBusy
from metrics.journal import RESERVE, Journal, ResultsFolderError
from metrics.records import Report, ReportError
from metrics.roster import WorkerEvent
from metrics.run import Status
from metrics.run_log import (
    RUN_LOG,
    EncodedReport,
    Entry,
    PlanDone,
    RunLogError,
    RunLogReader,
    ServerSource,
    ServerValues,
    Stopped,
    Users,
)
from metrics.spool import read_spools
from metrics.stage import Stage

_DRAFT = ".recovering"


class RecoveryError(ValueError):
    """The folder cannot be recovered; the text is one sentence for the person who asked."""


@dataclass(slots=True)
class Recovery:
    """What was recovered. requests: all of the run; from_workers: those that only workers' spools had; unended: that
    had begun and not ended; torn_bytes: of frames that were not whole; missing: workers with requests under way whose
    spool was not there; done: the run had ended by itself, and nothing was changed."""

    folder: Path
    requests: int = 0
    from_workers: int = 0
    unended: int = 0
    torn_bytes: int = 0
    missing: list[int] = field(default_factory=list)
    done: bool = False


class _Clock:
    """The run's time as the log's entries show it."""

    now_ns = 0

    def __call__(self) -> int:
        return self.now_ns


def recover(folder: Path, spools: Sequence[Path] = ()) -> Recovery:
    """Rebuild the run's folder from its log and the workers' spools that are in its own spool folder and in `spools`.
    The same again gives the same again; the spools stay. Raises RecoveryError."""
    document = _document(folder)
    places = _places(folder, document, spools)
    log_folder = next((place for place in places if (place / RUN_LOG).is_file()), None)
    if log_folder is None:
        if document.get("status") not in (None, Status.RUNNING.value):
            return Recovery(folder, done=True)
        looked = ", ".join(map(str, places))
        raise RecoveryError(f"{folder} has no spool to recover from (looked in {looked}); was --spool-folder off?")
    try:
        return _rebuild(folder, log_folder, places)
    except FramesBusy as error:
        raise RecoveryError(f"{error.filename} is still being written: wait until the run's processes end.") from None
    except (RunLogError, ReportError, ResultsFolderError) as error:
        raise RecoveryError(str(error)) from None
    except OSError as error:
        raise RecoveryError(f"{error.filename or folder}: {error.strerror or error}.") from None


def _document(folder: Path) -> dict[str, Any]:
    """run.json, {} where it cannot be read."""
    if not folder.is_dir():
        raise RecoveryError(f"There is no folder {folder}; give the folder that a run left under results/.")
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
    run = ActiveRun(reader.head, Journal(folder, _DRAFT), clock)
    run.spool_folder = log_folder
    recovery = Recovery(folder)
    try:
        for clock.now_ns, entry in reader:
            _replay(run, entry)
        recovery.torn_bytes = reader.torn_bytes
        _enter_spools(run, places, clock, recovery)
        recovery.requests = run.ledger.recorded
        ended = run.began + timedelta(seconds=run.now_s)
        run.close(Status.RECOVERED, _reason(run, recovery), ended)
        _put_in_place(draft, folder)
    finally:
        shutil.rmtree(draft, ignore_errors=True)
    return recovery


def _replay(run: ActiveRun, entry: Entry) -> None:
    match entry:
        case Stage():
            run.begin_stage(entry)
        case EncodedReport(encoded):
            run.enter(Report.decode(encoded), encoded)
        case Users(users):
            run.observe(users)
        case ServerValues(values, failures):
            run.take_server_values(values, failures)
        case ServerSource(source, gpu_source, note):
            run.server_found(source, gpu_source, note)
        case WorkerEvent():
            run.note_events([*run.events, entry])
        case PlanDone():
            run.end_plan()
        case Stopped():
            run.stop()


def _enter_spools(run: ActiveRun, places: Sequence[Path], clock: _Clock, recovery: Recovery) -> None:
    before = run.ledger.recorded
    for place in places:
        for spooled in read_spools(place, run.id):
            recovery.torn_bytes += spooled.torn_bytes
            for report, _ in spooled.reports:
                clock.now_ns = max([clock.now_ns, *(row.ended_ns for row in report.rows)])
            run.enter_spooled(spooled)
    recovery.from_workers = run.ledger.recorded - before
    recovery.unended = sum(recovered.unended for recovered in run.recovered.values())
    recovery.missing = sorted(
        worker for worker, known in run.ledger.workers.items() if known.in_flight and worker not in run.recovered
    )


def _reason(run: ActiveRun, recovery: Recovery) -> str:
    text = (
        f"the run was recovered: it was recorded until {run.now_s:.1f} s after it began; {recovery.requests:,} "
        f"requests had ended ({recovery.from_workers:,} of them known from workers' spools alone), and "
        f"{recovery.unended:,} were under way"
    )
    if recovery.missing:
        workers = ", ".join(map(str, recovery.missing))
        text += f"; the spools of workers {workers} are missing: what they sent after their last reports is not known"
    return text


def _put_in_place(draft: Path, folder: Path) -> None:
    """run.json last: until it is there, the folder is that of a run that was killed."""
    for path in sorted(draft.iterdir(), key=lambda path: path.name == "run.json"):
        path.replace(folder / path.name)
    (folder / RESERVE).unlink(missing_ok=True)
