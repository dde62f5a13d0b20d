"""One run while it lasts: its statistics and files, on the process that keeps them."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple, Protocol

import msgspec

from tokenswarm.metrics.client_health import SelfCheck
from tokenswarm.metrics.level import Level
from tokenswarm.recording.aggregator import Aggregator
from tokenswarm.recording.build import tokenswarm_version
from tokenswarm.recording.capacity_run import CapacityRun
from tokenswarm.recording.ended_requests import LocustCount
from tokenswarm.recording.failure_limit import FailureWatch
from tokenswarm.recording.journal import Journal, ResultsFolderError
from tokenswarm.recording.live_series import LiveSeries
from tokenswarm.recording.progress import ProgressMeter
from tokenswarm.recording.recording_options import RecordingOptions
from tokenswarm.recording.reported_counts import ReportedTotals
from tokenswarm.recording.run_log import (
    EncodedReport,
    Entry,
    LevelSplits,
    PlanDone,
    RunHead,
    RunLog,
    ServerSource,
    ServerValues,
    Stopped,
    Users,
)
from tokenswarm.recording.server_samples import SHORTEST_INTERVAL_S, ServerSample, ServerSamples
from tokenswarm.recording.spool import SpooledWorker, read_spools
from tokenswarm.recording.worker_report import Report
from tokenswarm.run_folder.capacity_figures import CapacityFigures
from tokenswarm.run_folder.run_document import folder_name, run_document
from tokenswarm.run_folder.schema import RequestAccounting, RunDocument, RunFacts, Status, Validity
from tokenswarm.run_folder.worker_events import WorkerEvent
from tokenswarm.shapes.splits import Splits

#: Name of the spool's folder within the run's, where no other place was given.
_OWN_SPOOL = "spool"


class Recovered(NamedTuple):
    """What a lost worker's spool gave: requests that had ended and were not reported yet, and that had not ended."""

    requests: int
    unended: int


class LostWorker(Protocol):
    """A worker whose final report was not received. last_heartbeat_s: when its last heartbeat was received, on the
    master's clock."""

    @property
    def index(self) -> int: ...
    @property
    def name(self) -> str: ...
    @property
    def last_heartbeat_s(self) -> float: ...


def with_level(plan: Sequence[Level], level: Level) -> tuple[Level, ...]:
    """The plan with this level in its place, or behind its last one."""
    return (*(each for each in plan if each.index < level.index), level)


class ActiveRun:
    """One run's statistics and files, on the process that keeps them. What goes into the statistics goes through here,
    and into the run's log where there is one."""

    def __init__(self, head: RunHead, journal: Journal, now_ns: Callable[[], int], log: RunLog | None = None) -> None:
        """now_ns: since the run began."""
        self.head = head
        self.facts = head.facts
        self.workers = head.workers
        self.began = datetime.fromisoformat(head.began)
        self.id = head.run
        self.journal = journal
        self.log = log
        #: Where the log is and forked workers have their spools; None without.
        self.spool_folder: Path | None = log.folder if log else None
        self._now_ns = now_ns
        self.hinted: set[int] = set()
        self.lost: Sequence[LostWorker] = ()
        self.recovered: dict[int, Recovered] = {}
        self.events: list[WorkerEvent] = []
        self.aggregator = Aggregator(head.objectives, head.drain_s, self.facts.mix, self.facts.abandonment)
        for worker, check in head.self_checks.items():
            self.aggregator.enter_self_check(worker, check)
        # What the server goes on to do for abandoned requests is seen in its samples.
        self.server = ServerSamples(interval_s=SHORTEST_INTERVAL_S if self.facts.abandonment else None)
        self.series = LiveSeries()
        self.meter = ProgressMeter(self.facts.plan)
        self.failures = FailureWatch(None)
        #: Of a run that searches for its server's capacity.
        self.capacity: CapacityRun | None = None
        #: Of a run that is rebuilt: what its search had found when the last probe began.
        self.capacity_noted: CapacityFigures | None = None
        #: Why the run was stopped before its end, None where it was not.
        self.stop_reason: str | None = None

    @classmethod
    def begin(
        cls,
        facts: RunFacts,
        options: RecordingOptions,
        workers: int,
        self_checks: Mapping[int, SelfCheck],
        drain_s: float,
        on_write_error: Callable[[str], None],
    ) -> ActiveRun:
        """Make the run's folder, and its log where spools are kept. on_write_error: called once, with the reason, when
        what comes cannot be written. Raises ResultsFolderError."""
        began, began_ns = datetime.now(UTC), time.perf_counter_ns()
        head = RunHead(
            time.time_ns(), began.isoformat(), facts, options.objectives, workers, dict(self_checks), drain_s
        )
        journal = Journal(options.results, folder_name(began.astimezone(), facts.engine))
        log = None
        if options.spools:
            place, name = options.spool_folder, journal.folder.name
            # Not the run's own name: --spool-folder may be --results, and a spool is deleted as a whole.
            folder = place / f"{name}-spool" if place else journal.folder / _OWN_SPOOL
            try:
                log = RunLog(folder, head)
            except OSError as error:
                raise ResultsFolderError(
                    f"the spool folder {folder} cannot be written to ({error.strerror}); name another with "
                    "--spool-folder."
                ) from None
        run = cls(head, journal, lambda: time.perf_counter_ns() - began_ns, log)
        run.began_ns = began_ns
        run.failures = FailureWatch(options.failure_limit)
        if log is not None:
            log.on_error = run.fail_write
        run.on_write_error = on_write_error
        journal.write_run(run.document(Status.RUNNING))
        return run

    #: See `begin`.
    on_write_error: Callable[[str], None] | None = None
    #: On this process's perf_counter; 0 for a run that is rebuilt.
    began_ns = 0

    @property
    def now_s(self) -> float:
        return self._now_ns() / 1e9

    def document(self, status: Status, ended: datetime | None = None, verdict: Validity | None = None) -> RunDocument:
        document = run_document(
            self.facts, tokenswarm_version(), self.began, ended, status, self.workers, self.head.self_checks, verdict
        )
        spool = None
        if (folder := self.spool_folder) is not None:
            # A run that is recovered has its journal in a folder of the run's; its own spool is then beside that.
            within = folder.name == _OWN_SPOOL and folder.parent in (self.journal.folder, self.journal.folder.parent)
            spool = _OWN_SPOOL if within else str(folder.absolute())
        return msgspec.structs.replace(
            document,
            server_metrics=self.server.facts(),
            run_id=self.id,
            spool_folder=spool,
            stop_reason=self.stop_reason,
        )

    def begin_level(self, level: Level) -> int:
        """The next level is announced, and the one before is over; or the running one is shorter than it was announced.
        Returns when it begins, on this process's perf_counter_ns."""
        if self.capacity is not None:
            self._note(self.capacity.figures(self.aggregator))
        self._note(level)
        if (begun := self.aggregator.levels.get(level.index)) is None:
            self.aggregator.begin_level(level, self.now_s)
        else:
            begun.level = level
        if level.index >= len(self.facts.plan) or level.probe:  # a capacity search comes to its levels one by one
            self.facts = msgspec.structs.replace(self.facts, plan=with_level(self.facts.plan, level))
            self.meter.take_plan(self.facts.plan)
        return self.began_ns + round(self.aggregator.levels[level.index].began_s * 1e9)

    def take_splits(self, level_index: int, splits: Splits) -> None:
        """Which workers send which arrivals of an open-loop level, as it is announced to them."""
        self._note(LevelSplits(level_index, splits))
        self.aggregator.levels[level_index].splits = splits

    def observe(self, users: int) -> None:
        """Note how many users there are now."""
        self._note(Users(users))
        self.aggregator.observe(users, self.now_s)
        self.series.observe(self.aggregator, self.now_s)
        self._write(self.journal.check)

    def note_events(self, events: Sequence[WorkerEvent]) -> None:
        """What became of workers so far."""
        for event in events[len(self.events) :]:
            self._note(event)
        self.events = list(events)

    def end_plan(self) -> None:
        """The shape has come to the plan's end: the run is finished, not interrupted."""
        if self.capacity is not None:
            self._note(self.capacity.figures(self.aggregator))
        self._note(PlanDone())
        self.aggregator.plan_ended = True

    def stop(self) -> None:
        """The run is being stopped, by its plan's end or by a person."""
        now_s, level = self.now_s, self.aggregator.running_level
        interrupted = not (self.aggregator.plan_ended or (level is not None and level.is_in_open_hold(now_s)))
        self._note(Stopped(interrupted))
        self.aggregator.stop(now_s, interrupted=interrupted)

    def server_found(self, source: str | None, gpu_source: str | None, note: str | None) -> None:
        """Where the server's own metrics come from, and why they do not where they do not."""
        self._note(ServerSource(source, gpu_source, note))
        self.server.source, self.server.gpu_source, self.server.note = source, gpu_source, note

    def take_server_values(self, values: Mapping[str, float], failures: int) -> None:
        """A sample of the server's own metrics by concept, and how many of its pages could not be read."""
        if (level := self.aggregator.running_level) is None:
            return
        self._note(ServerValues(dict(values), failures))
        sample = ServerSample(self.now_s, level.level.index, values)
        self.server.add(sample, failures)
        self._write(lambda: self.journal.write_server(sample))

    def enter(self, report: Report, encoded: bytes | None = None) -> bool:
        """Whether it was new. encoded: the report as it came, where it came encoded. Raises UnusableReport."""
        if not self.aggregator.apply(report):
            return False
        if self.log is not None:
            self._note(EncodedReport(report.encode() if encoded is None else encoded))
        completed = self.aggregator.workers[report.worker].completed
        counts = ReportedTotals(report.output_events, report.ended + report.in_flight, completed)
        self.series.enter_report(report.worker, counts, self.now_s)
        levels = {number: level.level for number, level in self.aggregator.levels.items()}
        self._write(lambda: self.journal.write_requests(report.rows, levels, self.facts.mix))
        return True

    def recover_lost(self) -> list[LocustCount]:
        """Enter what lost workers of this machine have in their spools and had not reported. Returns what Locust's own
        statistics lack of it."""
        found: list[LocustCount] = []
        for member in self.lost:
            if self.spool_folder is None:
                continue
            try:
                spools = read_spools(self.spool_folder, self.id, member.index)
            except OSError:  # the worker hangs and still has its spool open, or the folder is gone
                continue
            for spooled in spools:
                found += self.enter_spooled(spooled)
        return found

    def enter_spooled(self, spooled: SpooledWorker) -> list[LocustCount]:
        """Enter what a worker's spool holds and its reports had not. Returns what Locust counts for it. Raises
        UnusableReport."""
        found: list[LocustCount] = []
        known = self.aggregator.workers.get(spooled.worker)
        requests = 0
        for report, in_locust in spooled.after(known.reports if known else 0):
            self.aggregator.skip_to(report.worker, report.number)  # damage may have hit those between
            self.enter(report)
            requests += len(report.rows)
            found += in_locust
        self.recovered[spooled.worker] = Recovered(requests, spooled.unended)
        return found

    def write_windows(self) -> None:
        """Bring windows.csv up to now."""
        self._write(lambda: self.journal.write_windows(self.aggregator, self.now_s))

    def fail_write(self, error: OSError) -> None:
        """What comes cannot be written."""
        on_error, self.on_write_error = self.on_write_error, None
        if on_error is None:
            return
        folder = self.journal.folder
        if isinstance(error, FileNotFoundError):
            on_error(f"the results folder {folder} was removed during the run")
        else:
            on_error(f"the results in {folder} cannot be written: {error.strerror or error}")

    def _write(self, write: Callable[[], None]) -> None:
        """What fails is kept, and written at the end if it can be."""
        try:
            write()
        except OSError as error:
            self.fail_write(error)

    def _note(self, entry: Entry) -> None:
        if self.log is not None:
            self.log.append(self._now_ns(), entry)

    @property
    def accounting(self) -> RequestAccounting:
        ended, recorded, rows = self.aggregator.ended, self.aggregator.recorded, self.journal.rows
        complete = self.aggregator.complete and recorded == rows and not self.lost
        return RequestAccounting(ended, recorded, rows, complete, self.aggregator.in_flight)
