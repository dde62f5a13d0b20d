"""One run while it lasts: its statistics and files, on the process that keeps them."""

from __future__ import annotations

import errno
import shutil
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

from metrics.build import tokenswarm_version
from metrics.ended import LocustCount
from metrics.failure_limit import FailureWatch
from metrics.health import SelfCheck
from metrics.journal import Journal, ResultsFolderError
from metrics.ledger import Ledger
from metrics.live import LiveSeries
from metrics.options import RecordingOptions
from metrics.progress import ProgressMeter
from metrics.proof import hints
from metrics.records import Report
from metrics.roster import Member, WorkerEvent
from metrics.run import RunFacts, Status, folder_name, run_document
from metrics.run_log import (
    EncodedReport,
    Entry,
    PlanDone,
    RunHead,
    RunLog,
    ServerSource,
    ServerValues,
    Stopped,
    Users,
)
from metrics.server import ServerBooks, ServerSample
from metrics.spool import SpooledWorker, read_spools
from metrics.stage import Part, Stage
from metrics.summary import (
    FORMAT,
    Books,
    Summary,
    Validity,
    capacities,
    level_summary,
    reasons_to_suspect,
    validity,
    worker_summaries,
)
from metrics.timeline import Outcome

#: Name of the spool's folder within the run's, where no other place was given.
_OWN_SPOOL = "spool"
_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


class Recovered(NamedTuple):
    """What a lost worker's spool gave: requests that had ended and were not reported yet, and that had not ended."""

    requests: int
    unended: int


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
        self.lost: list[Member] = []
        self.recovered: dict[int, Recovered] = {}
        self.events: list[WorkerEvent] = []
        self.ledger = Ledger(head.objectives, head.drain_s)
        for worker, check in head.self_checks.items():
            self.ledger.enter_self_check(worker, check)
        self.server = ServerBooks()
        self.series = LiveSeries()
        self.meter = ProgressMeter(len(self.facts.plan))
        self.failures = FailureWatch(None)
        #: Why the run was stopped before its end, None where it was not.
        self.stop_reason: str | None = None
        self.plan_done = all(stage.level_time_s is None for stage in self.facts.plan)  # no end but the user's own

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

    def document(
        self, status: Status, ended: datetime | None = None, verdict: Validity | None = None
    ) -> dict[str, Any]:
        document = run_document(
            self.facts, tokenswarm_version(), self.began, ended, status, self.workers, self.head.self_checks, verdict
        )
        spool = None
        if (folder := self.spool_folder) is not None:
            # A run that is recovered has its journal in a folder of the run's; its own spool is then beside that.
            within = folder.name == _OWN_SPOOL and folder.parent in (self.journal.folder, self.journal.folder.parent)
            spool = _OWN_SPOOL if within else str(folder.absolute())
        return (
            document
            | {"server_metrics": self.server.facts(), "run_id": self.id, "spool_folder": spool}
            | {"stop_reason": self.stop_reason}
        )

    def begin_stage(self, stage: Stage) -> None:
        """The next level begins; the one before is over."""
        self._note(stage)
        self.ledger.begin_stage(stage, self.now_s)

    def observe(self, users: int) -> None:
        """Note how many users there are now."""
        self._note(Users(users))
        self.ledger.observe(users, self.now_s)
        self.series.observe(self.ledger, self.now_s)
        self._write(self.journal.check)

    def note_events(self, events: Sequence[WorkerEvent]) -> None:
        """What became of workers so far."""
        for event in events[len(self.events) :]:
            self._note(event)
        self.events = list(events)

    def end_plan(self) -> None:
        """The shape has come to the plan's end: the run is finished, not interrupted."""
        self._note(PlanDone())
        self.plan_done = True

    def stop(self) -> None:
        """The run is being stopped, by its plan's end or by a person."""
        self._note(Stopped(interrupted=not self.plan_done))
        self.ledger.stop(self.now_s, interrupted=not self.plan_done)

    def server_found(self, source: str | None, gpu_source: str | None, note: str | None) -> None:
        """Where the server's own metrics come from, and why they do not where they do not."""
        self._note(ServerSource(source, gpu_source, note))
        self.server.source, self.server.gpu_source, self.server.note = source, gpu_source, note

    def take_server_values(self, values: Mapping[str, float], failures: int) -> None:
        """A sample of the server's own metrics by concept, and how many of its pages could not be read."""
        if (level := self.ledger.running_level) is None:
            return
        self._note(ServerValues(dict(values), failures))
        sample = ServerSample(self.now_s, level.stage.stage, values)
        self.server.add(sample, failures)
        self._write(lambda: self.journal.write_server(sample))

    def enter(self, report: Report, encoded: bytes | None = None) -> bool:
        """Whether it was new. encoded: the report as it came, where it came encoded. Raises ReportError."""
        if not self.ledger.apply(report):
            return False
        if self.log is not None:
            self._note(EncodedReport(report.encode() if encoded is None else encoded))
        self.series.heard(report.worker, report.output_events, self.now_s)
        stages = {number: level.stage for number, level in self.ledger.levels.items()}
        self._write(lambda: self.journal.write_requests(report.rows, stages))
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
        ReportError."""
        found: list[LocustCount] = []
        known = self.ledger.workers.get(spooled.worker)
        requests = 0
        for report, in_locust in spooled.after(known.reports if known else 0):
            self.enter(report)
            requests += len(report.rows)
            found += in_locust
        self.recovered[spooled.worker] = Recovered(requests, spooled.unended)
        return found

    def remove_spool(self) -> bool:
        """The folder is complete: nothing of the spool is needed any more, unless a lost worker's part is missing.
        Whether none is kept."""
        if self.log is None:
            return True
        self.log.close()
        if not all(member.index in self.recovered for member in self.lost):
            return False
        shutil.rmtree(self.log.folder, ignore_errors=True)
        return True

    def write_windows(self) -> None:
        """Bring windows.csv up to now."""
        self._write(lambda: self.journal.write_windows(self.ledger, self.now_s))

    def fail_write(self, error: OSError) -> None:
        """What comes cannot be written."""
        on_error, self.on_write_error = self.on_write_error, None
        if on_error is not None:
            on_error(f"the results in {self.journal.folder} cannot be written: {error.strerror or error}")

    def _write(self, write: Callable[[], None]) -> None:
        """What fails is kept, and written at the end if it can be."""
        try:
            write()
        except OSError as error:
            self.fail_write(error)

    def _note(self, entry: Entry) -> None:
        if self.log is not None:
            self.log.append(self._now_ns(), entry)

    def close(self, status: Status, defect: str | None, ended: datetime | None = None) -> None:
        """Write what is left to write; the folder is then complete. ended: when the run did, by default now."""
        ledger, journal = self.ledger, self.journal
        ledger.close(self.now_s)
        journal.flush()
        journal.write_windows(ledger, self.now_s)
        summary = self.summary(status, defect)
        journal.write_summary(summary, ledger)
        journal.write_run(self.document(status, ended or datetime.now(UTC), summary.validity))
        journal.close()

    def close_with_room(self, defect: str) -> None:
        """The same for a failed run, on a disk that has no room or in a folder that was removed: with the room that was
        kept, then with that of the spool, whose requests are known here. Raises OSError where that is not enough; the
        folder then holds what was written before, and run.json says that the run failed if that much can be written."""
        self.journal.release_reserve()
        try:
            self.journal.put_back()
            return self.close(Status.FAILED, defect)
        except OSError as error:
            latest = error
        if latest.errno in _NO_ROOM and self.log is not None:
            self.log.close()
            shutil.rmtree(self.log.folder, ignore_errors=True)
            try:
                return self.close(Status.FAILED, defect)
            except OSError as error:
                latest = error
        self.journal.mark_failed(self.document(Status.FAILED, datetime.now(UTC)))
        raise latest

    @property
    def books(self) -> Books:
        fired, recorded, rows = self.ledger.fired, self.ledger.recorded, self.journal.rows
        balanced = self.ledger.balanced and recorded == rows and not self.lost
        return Books(fired, recorded, rows, balanced, self.ledger.in_flight)

    @property
    def defect(self) -> str | None:
        """What forbids to believe the figures; None if nothing does."""
        books = self.books
        if not books.recorded:
            return "no request was recorded"
        if self.lost:
            return "; ".join(map(self._loss, self.lost))
        if not books.balanced:
            return (
                f"the books do not balance: {books.fired} requests ended on the workers and {self.ledger.in_flight} "
                f"were under way when last heard of; {books.recorded} are in the histograms, {books.rows} are rows"
            )
        return self._unanswered()

    def _unanswered(self) -> str | None:
        """Whether no request of the run was answered. A run that is interrupted before its first answer is not judged
        by that alone."""
        outcomes = sum((level.parts[Part.WHOLE].outcomes for level in self.ledger.levels.values()), Counter[str]())
        if outcomes[Outcome.OK] or not (self.plan_done or self.ledger.failures):
            return None
        ended = ", ".join(f"{number:,} {outcome}" for outcome, number in outcomes.most_common())
        return f"no request was answered ({ended})"

    def _loss(self, member: Member) -> str:
        recovered = self.recovered.get(member.index)
        known = self.ledger.workers.get(member.index)
        under_way = known.in_flight if known else 0
        heard_s = member.heard_s - self.began_ns / 1e9
        text = f"worker {member.index} ({member.name}) was lost: it was last heard of {heard_s:.1f} s into the run, "
        if recovered is not None:
            return text + (
                f"with {recovered.unended} requests under way; {recovered.requests} that had ended and were not "
                "reported yet were recovered from its spool"
            )
        return text + f"with {under_way} requests under way by its last report; what it sent after that is not known"

    def summary(self, status: Status, defect: str | None) -> Summary:
        ledger = self.ledger
        levels = [
            level_summary(level, self.now_s, ledger.objectives, self.server, ledger.concurrency(level))
            for level in ledger.levels.values()
        ]
        return Summary(
            format=FORMAT,
            status=status,
            engine=self.facts.engine,
            model=self.facts.model,
            host=self.facts.host,
            validity=validity(([defect] if defect else []) + reasons_to_suspect(ledger)),
            books=self.books,
            objectives=ledger.objectives.bounds,
            objective_share=ledger.objectives.share,
            capacity=capacities(levels),
            levels=levels,
            workers=worker_summaries(ledger),
            hints=list(hints(ledger).values()),
            events=self.events,
            prompts=ledger.prompts.stats.figures(),
        )
