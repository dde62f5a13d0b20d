"""One run while it lasts: its statistics and files, on the process that keeps them."""

from __future__ import annotations

import time
from collections.abc import Mapping
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any

from metrics.build import tokenswarm_version
from metrics.health import SelfCheck
from metrics.journal import Journal
from metrics.ledger import Ledger
from metrics.live import LiveSeries
from metrics.options import RecordingOptions
from metrics.progress import ProgressMeter
from metrics.proof import hints
from metrics.records import Report
from metrics.roster import Member, WorkerEvent
from metrics.run import RunFacts, Status, folder_name, run_document
from metrics.server import ServerBooks
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


class ActiveRun:
    """One run's books and files, on the process that keeps them."""

    def __init__(
        self,
        facts: RunFacts,
        options: RecordingOptions,
        workers: int,
        self_checks: Mapping[int, SelfCheck],
        drain_s: float,
    ) -> None:
        """Raises ResultsFolderError."""
        self.facts = facts
        self.workers = workers
        self.self_checks = self_checks
        self.hinted: set[int] = set()
        self.began = datetime.now(UTC)
        self.began_ns = time.perf_counter_ns()
        self.id = time.time_ns()
        self.lost: list[Member] = []
        self.events: list[WorkerEvent] = []
        self.ledger = Ledger(options.objectives, drain_s)
        for worker, check in self_checks.items():
            self.ledger.enter_self_check(worker, check)
        self.server = ServerBooks()
        self.series = LiveSeries()
        self.meter = ProgressMeter(len(facts.plan))
        self.journal = Journal(options.results, folder_name(self.began.astimezone(), facts.engine))
        self.plan_done = all(stage.level_time_s is None for stage in facts.plan)  # no end but the user's own
        self.journal.write_run(self.document(Status.RUNNING))

    @property
    def now_s(self) -> float:
        return (time.perf_counter_ns() - self.began_ns) / 1e9

    def document(
        self, status: Status, ended: datetime | None = None, verdict: Validity | None = None
    ) -> dict[str, Any]:
        document = run_document(
            self.facts, tokenswarm_version(), self.began, ended, status, self.workers, self.self_checks, verdict
        )
        return document | {"server_metrics": self.server.facts()}

    def enter(self, report: Report) -> bool:
        """Whether it was new."""
        if not self.ledger.apply(report):
            return False
        self.series.heard(report.worker, report.output_events, self.now_s)
        stages = {number: level.stage for number, level in self.ledger.levels.items()}
        self.journal.write_requests(report.rows, stages)
        return True

    def close(self, status: Status, defect: str | None) -> None:
        """Write what is left to write; the folder is then complete."""
        ledger, journal = self.ledger, self.journal
        ledger.end_stage(self.now_s)
        journal.write_windows(ledger, self.now_s)
        summary = self.summary(status, defect)
        journal.write_summary(summary, ledger)
        journal.write_run(self.document(status, datetime.now(UTC), summary.validity))
        journal.close()

    def abandon(self) -> None:
        """The folder cannot be completed: say so in run.json, if that much can be written still."""
        with suppress(Exception):
            self.journal.write_run(self.document(Status.FAILED, datetime.now(UTC)))

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
        return None

    def _loss(self, member: Member) -> str:
        known = self.ledger.workers.get(member.index)
        under_way = known.in_flight if known else 0
        heard_s = member.heard_s - self.began_ns / 1e9
        return (
            f"worker {member.index} ({member.name}) was lost: it was last heard of {heard_s:.1f} s into the run, "
            f"with {under_way} requests under way by its last report; what it sent after that is not known"
        )

    def summary(self, status: Status, defect: str | None) -> Summary:
        ledger = self.ledger
        levels = [level_summary(level, self.now_s, ledger.objectives, self.server) for level in ledger.levels.values()]
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
