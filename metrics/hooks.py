"""The recorder inside Locust: request events in, books and journal out. The only module here that imports Locust.

The master (or the one process of a local run) keeps the books; each worker (or the same one process) has a Recorder
and tells of it in numbered reports, which travel inside Locust's own. Stages begin on the master and reach the workers
by a message of their own, ahead of the spawn messages of the same connection.
"""

from __future__ import annotations

import logging
import os
import signal
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Protocol

import gevent
import msgspec
from gevent.event import Event
from gevent.pywsgi import WSGIServer
from locust.env import Environment
from locust.event import Events
from locust.runners import STATE_RUNNING, STATE_SPAWNING, LocalRunner, MasterRunner, WorkerRunner

from metrics.health import LAG_SLEEP_S, NO_SELF_CHECKS, SelfCheck
from metrics.journal import Journal, check_writable
from metrics.ledger import WINDOW_S, Ledger
from metrics.options import RecordingOptions
from metrics.progress import Progress, ProgressMeter
from metrics.prometheus import LiveRun, serve
from metrics.proof import hints
from metrics.recorder import Recorder
from metrics.records import Report
from metrics.run import RunFacts, Status, folder_name, run_document
from metrics.stage import Stage
from metrics.summary import (
    FORMAT,
    Books,
    Summary,
    Validity,
    level_summary,
    reasons_to_suspect,
    validity,
    worker_summaries,
)
from metrics.timeline import Timeline

logger = logging.getLogger(__name__)

_STAGE_MESSAGE = "tokenswarm_stage"
_REFUSED_MESSAGE = "tokenswarm_refused"
_REPORT_KEY = "tokenswarm"
#: Locust's workers report every 3 s; their last word after a stop can take as long.
_LAST_REPORTS_S = 4.0

#: Exit codes of our own; the others are Locust's (1: requests failed, 2: an exception outside of a request).
EXIT_NOT_TO_BE_BELIEVED = 3
EXIT_INTERRUPTED = 4
_EXIT_CODES = {Status.FAILED: EXIT_NOT_TO_BE_BELIEVED, Status.INTERRUPTED: EXIT_INTERRUPTED}


class WorkerRefused(ValueError):
    """A worker cannot take part in the run; the text is its reason."""


class Sink(Protocol):
    """Something that shows a run."""

    def self_checked(self, worker: int, check: SelfCheck) -> None:
        """Called as a run begins, for each worker that was made to check itself."""
        ...

    def progress(self, progress: Progress) -> None:
        """Called every few seconds while the run goes on."""
        ...

    def finished(self, folder: Path) -> None:
        """Called once, when the run's folder is complete."""
        ...


class _Run:
    """One run's books and files, on the process that keeps them."""

    def __init__(
        self, facts: RunFacts, options: RecordingOptions, workers: int, self_checks: Mapping[int, SelfCheck]
    ) -> None:
        """Raises ResultsFolderError."""
        self.facts = facts
        self.workers = workers
        self.self_checks = self_checks
        self.hinted: set[int] = set()
        self.began = datetime.now(UTC)
        self.began_ns = time.perf_counter_ns()
        self.began_unix_ns = time.time_ns()
        self.ledger = Ledger(options.objectives)
        for worker, check in self_checks.items():
            self.ledger.enter_self_check(worker, check)
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
        return run_document(self.facts, _version(), self.began, ended, status, self.workers, self.self_checks, verdict)

    def enter(self, report: Report) -> None:
        if self.ledger.apply(report):
            stages = {number: level.stage for number, level in self.ledger.levels.items()}
            self.journal.write_requests(report.rows, stages)

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
        return Books(fired, recorded, rows, self.ledger.balanced and recorded == rows)

    @property
    def defect(self) -> str | None:
        """What forbids to believe the figures; None if nothing does."""
        books = self.books
        if not books.recorded:
            return "no request was recorded"
        if not books.balanced:
            return (
                f"the books do not balance: {books.fired} requests ended on the workers and {self.ledger.in_flight} "
                f"were under way when last heard of; {books.recorded} are in the histograms, {books.rows} are rows"
            )
        return None

    def summary(self, status: Status, defect: str | None) -> Summary:
        ledger = self.ledger
        return Summary(
            format=FORMAT,
            status=status,
            engine=self.facts.engine,
            model=self.facts.model,
            host=self.facts.host,
            validity=validity(([defect] if defect else []) + reasons_to_suspect(ledger)),
            books=self.books,
            objectives=ledger.objectives.bounds,
            levels=[level_summary(level, self.now_s, ledger.objectives) for level in ledger.levels.values()],
            workers=worker_summaries(ledger),
            hints=list(hints(ledger).values()),
        )


class Recording:
    """Listens to Locust on whatever node this is. `recorder` is there once a stage has begun (not on a master)."""

    def __init__(self, events: Events, sinks: Sequence[Sink]) -> None:
        self._sinks = sinks
        self._live = LiveRun()
        self._run: _Run | None = None
        self._run_id: int | None = None
        self._defect: str | None = None
        self._loaded: Recorder | None = None
        self._finished: list[Path] = []
        self._refusal: str | None = None
        self._signals: list[Any] = []
        self._clock_offset_ns = 0
        self._server: WSGIServer | None = None
        self._environment: Environment
        self.recorder: Recorder | None = None
        events.request.add_listener(self._on_request)
        events.report_to_master.add_listener(self._on_report_to_master)
        events.worker_report.add_listener(self._on_worker_report)
        events.quitting.add_listener(self._on_quitting)
        events.quit.add_listener(self._on_quit)
        events.test_stop.add_listener(self._on_test_stop)

    # Called by the composition, in this order.

    def attach(self, environment: Environment) -> None:
        """At Locust's init. Raises ObjectiveError, MetricsPortError, ResultsFolderError."""
        self._environment = environment
        runner = environment.runner
        assert runner is not None and environment.parsed_options is not None
        self._live.user_count = lambda: runner.user_count
        self._live.has_defect = lambda: self._defect is not None
        if not isinstance(runner, MasterRunner):
            runner.register_message(_STAGE_MESSAGE, self._on_stage_message)
        if isinstance(runner, MasterRunner):
            runner.register_message(_REFUSED_MESSAGE, self._on_refused_message)
        if isinstance(runner, WorkerRunner) and getattr(environment.parsed_options, "processes", None):
            # Ctrl-C goes to the whole group: the master must hear of the end from its workers, not lose them to it.
            signal.signal(signal.SIGINT, signal.SIG_IGN)
            gevent.spawn(_end_with_parent, runner)
        if not isinstance(runner, WorkerRunner):
            options = RecordingOptions.of(environment.parsed_options)
            check_writable(options.results)
            if options.metrics_port:
                self._server = serve(self._live, options.metrics_host, options.metrics_port)
            if self._headless:
                # Locust heeds SIGTERM only when a headless run is over; a pipeline that is cancelled sends just that.
                # And Python raises Ctrl-C in whichever greenlet happens to run: it is meant for the main one.
                main = gevent.getcurrent()
                self._signals = [
                    gevent.signal_handler(number, gevent.kill, main, KeyboardInterrupt)
                    for number in (signal.SIGINT, signal.SIGTERM)
                ]
            gevent.spawn(self._keep_books)

    def begin_run(self, facts: RunFacts, self_checks: Mapping[int, SelfCheck] = NO_SELF_CHECKS) -> None:
        """At test_start, where the books are kept; self_checks: by worker. Raises ObjectiveError, ResultsFolderError,
        WorkerRefused."""
        runner = self._environment.runner
        assert self._environment.parsed_options is not None
        if (refusal := self._refusal) is not None:
            self._refusal = None
            raise WorkerRefused(refusal)
        self._finish()  # a run whose last reports are still awaited: what is here is what there is
        workers = runner.worker_count if isinstance(runner, MasterRunner | LocalRunner) else 1
        self._run = run = _Run(facts, RecordingOptions.of(self._environment.parsed_options), workers, self_checks)
        self._defect = None
        self._live.facts, self._live.ledger = facts, run.ledger
        logger.info("Results go to %s", run.journal.folder)
        for worker, check in self_checks.items():
            for sink in self._sinks:
                sink.self_checked(worker, check)
        self.begin_stage(facts.plan[0])

    def refuse_run(self, reason: str) -> None:
        """On a worker that cannot take part in a run: the master must not go on at half load."""
        assert self._environment.runner is not None
        self._environment.runner.send_message(_REFUSED_MESSAGE, {"reason": reason})
        gevent.sleep(0.5)  # a worker that ends now takes what it has not sent with it

    def begin_stage(self, stage: Stage) -> None:
        """A level begins: in the books, and on every worker."""
        run = self._run
        assert run is not None and self._environment.runner is not None
        run.ledger.begin_stage(stage, run.now_s)
        message = {
            "run_began_unix_ns": run.began_unix_ns,
            "stage_began_unix_ns": run.began_unix_ns + (time.perf_counter_ns() - run.began_ns),
            "stage": msgspec.to_builtins(stage),
        }
        self._environment.runner.send_message(_STAGE_MESSAGE, message)

    def end_plan(self) -> None:
        """The shape has come to the plan's end: the run is finished, not interrupted."""
        if self._run is not None:
            self._run.plan_done = True

    # Listeners. Locust logs a listener's exception and goes on as if nothing were; what fails here must fail the run.

    def _on_request(self, context: dict[str, Any] | None = None, **_: Any) -> None:
        timeline = (context or {}).get("timeline")  # others fire request events too, some without a context
        if not isinstance(timeline, Timeline):
            return
        if self.recorder is None:
            self._fail("a request ended when nothing recorded it")
            return
        try:
            self.recorder.record(timeline)
        except Exception as error:
            self._fail(f"a request could not be recorded: {error!r}")
            raise

    def _on_stage_message(self, environment: Environment, msg: Any, **_: Any) -> None:
        data = msg.data
        if self._run_id != data["run_began_unix_ns"]:
            self._run_id = data["run_began_unix_ns"]
            worker = getattr(environment.runner, "worker_index", 0)
            self.recorder = self._loaded = Recorder(worker)
            gevent.spawn(self._watch_loop, self.recorder)
            # Machines agree on the wall clock, never on perf_counter. The offset between the two is taken once a run:
            # a wall clock that is set in its course moves no level against another.
            self._clock_offset_ns = time.perf_counter_ns() - time.time_ns()
        assert self.recorder is not None
        offset_ns = self._clock_offset_ns
        self.recorder.begin_stage(
            msgspec.convert(data["stage"], Stage),
            data["run_began_unix_ns"] + offset_ns,
            data["stage_began_unix_ns"] + offset_ns,
        )

    def _on_refused_message(self, environment: Environment, msg: Any, **_: Any) -> None:
        reason = f"worker {msg.node_id} cannot take part: {msg.data['reason']}"
        if self._run is None:
            self._refusal = reason
            return
        self._fail(reason)
        if (runner := environment.runner) is not None:
            gevent.spawn(runner.quit if self._headless else runner.stop)

    def _on_report_to_master(self, client_id: str, data: dict[str, Any], **_: Any) -> None:
        if self.recorder is not None:
            data[_REPORT_KEY] = (self._run_id, self.recorder.take_report().encode())

    def _on_worker_report(self, client_id: str, data: dict[str, Any], **_: Any) -> None:
        if (run := self._run) is None or _REPORT_KEY not in data:
            return
        try:
            run_id, encoded = data[_REPORT_KEY]
            if run_id == run.began_unix_ns:
                run.enter(Report.decode(encoded))
        except Exception as error:
            self._fail(f"a report of worker {client_id} could not be entered: {error!r}")
            raise

    def _on_test_stop(self, environment: Environment, **_: Any) -> None:
        self._loaded = None
        if isinstance(environment.runner, MasterRunner):
            # Locust fires this before the workers' last reports are in.
            gevent.spawn_later(_LAST_REPORTS_S, self._finish_if_still, self._run)
        elif isinstance(environment.runner, LocalRunner):
            self._finish()

    def _on_quitting(self, environment: Environment, **_: Any) -> None:
        runner = environment.runner
        if self._run is not None and runner is not None and runner.state in (STATE_SPAWNING, STATE_RUNNING):
            # Where a page's process is ended in a run, Locust stops the users after this: too late for the books.
            runner.quit()
        self._finish()

    def _on_quit(self, exit_code: int, **_: Any) -> None:
        # Without a page, Locust prints its own tables before this: ours come last, where a person looks.
        self._show_finished()
        if self._server is not None:
            if self._headless and self._live.ledger is not None:
                self._linger()
            self._server.stop(timeout=1)

    def _linger(self) -> None:
        """Prometheus comes when it comes: without this wait, what ended after its last scrape is not in it."""
        assert self._environment.parsed_options is not None
        linger_s = RecordingOptions.of(self._environment.parsed_options).metrics_linger_s
        if not linger_s:
            return
        over = Event()
        handlers = [gevent.signal_handler(number, over.set) for number in (signal.SIGINT, signal.SIGTERM)]
        logger.info("The metrics can be scraped for %g s more; Ctrl-C ends the wait", linger_s)
        over.wait(linger_s)
        for handler in handlers:
            handler.cancel()

    def _watch_loop(self, recorder: Recorder) -> None:
        """On each process that has users, while they have a run: how late a sleeper wakes is how late all else is."""
        recorder.health.start(time.perf_counter_ns(), time.process_time_ns())
        while self._loaded is recorder:
            due_ns = time.perf_counter_ns() + round(LAG_SLEEP_S * 1e9)
            gevent.sleep(LAG_SLEEP_S)
            recorder.woke(due_ns, time.perf_counter_ns(), time.process_time_ns())

    # The books.

    def _keep_books(self) -> None:
        ticks = 0
        while True:
            gevent.sleep(1.0)
            if (run := self._run) is None:
                continue
            ticks += 1
            try:
                self._take_own_report(run)
                users = self._environment.runner.user_count if self._environment.runner else 0
                run.ledger.observe(users, run.now_s)
                if ticks % int(WINDOW_S) == 0:
                    run.journal.write_windows(run.ledger, run.now_s)
                    self._show_progress(run, users)
                    self._show_hints(run)
            except Exception as error:
                self._fail(f"the books could not be kept: {error!r}")

    def _take_own_report(self, run: _Run) -> None:
        if isinstance(self._environment.runner, LocalRunner) and self.recorder is not None:
            run.enter(self.recorder.take_report())

    def _show_progress(self, run: _Run, users: int) -> None:
        progress = run.meter.read(run.ledger, users, run.now_s)
        if progress is not None:
            for sink in self._sinks:
                sink.progress(progress)

    def _show_hints(self, run: _Run) -> None:
        for worker, hint in hints(run.ledger).items():
            if worker not in run.hinted:
                run.hinted.add(worker)
                logger.warning("One core is not enough: %s", hint)

    def _fail(self, reason: str) -> None:
        if self._defect is None:
            logger.error("This run's figures are not to be believed: %s", reason)
            self._defect = reason

    def _finish_if_still(self, run: _Run | None) -> None:
        if run is not None and run is self._run:
            self._finish()

    def _finish(self) -> None:
        run = self._run
        if run is None:
            return
        if self._headless:
            # The run is over, and what it left is being written: a second Ctrl-C could only tear that.
            for handler in self._signals:
                handler.cancel()
            signal.signal(signal.SIGINT, signal.SIG_IGN)
        try:
            self._take_own_report(run)
        except Exception as error:
            self._fail(f"the last report could not be entered: {error!r}")
        self._run = self.recorder = None
        if (defect := run.defect) is not None:
            self._fail(defect)
        status = Status.FAILED if self._defect else Status.FINISHED if run.plan_done else Status.INTERRUPTED
        try:
            run.close(status, self._defect)
        except Exception as error:  # a full disk, say: Locust would log it and end as if nothing were
            self._fail(f"the results could not be written: {error!r}")
            status = Status.FAILED
            run.abandon()
        # The last run of a process decides: after a good one in the web page, a stopped one before it is forgotten.
        self._environment.process_exit_code = _EXIT_CODES.get(status)
        self._finished.append(run.journal.folder)
        if not self._headless:
            self._show_finished()

    def _show_finished(self) -> None:
        folders, self._finished = self._finished, []
        for folder in folders:
            for sink in self._sinks:
                sink.finished(folder)

    @property
    def _headless(self) -> bool:
        options = self._environment.parsed_options
        return bool(options and options.headless)


def _end_with_parent(runner: WorkerRunner) -> None:
    """A forked worker whose master is gone would load its server for another minute."""
    parent = os.getppid()
    while os.getppid() == parent:
        gevent.sleep(1.0)
    logger.error("The master of this worker is gone; the worker ends")
    runner.quit()


def _version() -> str:
    try:
        return version("tokenswarm")
    except PackageNotFoundError:
        return "unknown"
