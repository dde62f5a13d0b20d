"""The recorder inside Locust: request events in, books and journal out.

The master (or the one process of a local run) keeps the books; each worker (or the same one process) has a Recorder
and tells of it in numbered reports. How stages come to the workers and reports to the master: metrics/protocol.py.
"""

from __future__ import annotations

import logging
import time
from argparse import Namespace
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import gevent
import locust.argument_parser
from gevent.event import Event
from gevent.pywsgi import WSGIServer
from locust.argument_parser import default_args_dict
from locust.env import Environment
from locust.event import Events
from locust.runners import STATE_RUNNING, STATE_SPAWNING, LocalRunner, MasterRunner, WorkerRunner

from metrics.active_run import ActiveRun
from metrics.build import build_of
from metrics.endings import Endings
from metrics.exit_codes import EXIT_INTERRUPTED
from metrics.exit_policy import Verdict, complete, exit_code_of
from metrics.health import LAG_SLEEP_S, NO_SELF_CHECKS, SelfCheck
from metrics.journal import check_writable
from metrics.ledger import WINDOW_S
from metrics.locust_stats import count_recovered, locust_count, show_latencies
from metrics.master_link import MasterLink
from metrics.options import RecordingOptions
from metrics.prometheus import LiveRun, serve
from metrics.recorder import Recorder
from metrics.records import Report, ReportError
from metrics.run import RunFacts, Status, safe_facts
from metrics.sinks import Sink, Sinks
from metrics.spool import Spool
from metrics.spool_place import worker_spool_folder
from metrics.stage import Stage
from metrics.timeline import Timeline
from metrics.worker_link import WorkerLink

logger = logging.getLogger(__name__)

#: A process that has users and keeps the books enters few requests at a time: a second's worth would hold up its loop.
_OWN_REPORT_S = 0.1
#: How many ports after the usual one are tried for the metrics where none was given.
_NEXT_METRICS_PORTS = 100
#: Told of each run's folder when it is complete. Returns an exit code, or None for Locust's own.
Judge = Callable[[Path], int | None]


class Recording:
    """Listens to Locust on whatever node this is. `recorder` is there once a stage has begun (not on a master).
    `on_late_stage` is called on a worker that learned of the run when its users were already there. `forks_workers`:
    whether this process is, or was forked by, a master with workers of its own."""

    forks_workers = False
    #: Whether --metrics-port was given: another port is then no choice.
    metrics_port_given = True

    def __init__(self, events: Events, sinks: Sequence[Sink], judge: Judge | None = None) -> None:
        """What the judge says counts for a run that went to its end."""
        self._sinks = Sinks(sinks)
        self._judge = judge
        self._live = LiveRun()
        self._run: ActiveRun | None = None
        self._verdict = Verdict()
        self._aborted = False
        self._loaded: Recorder | None = None
        self._endings = Endings()
        self._server: WSGIServer | None = None
        self._environment: Environment
        self._options: RecordingOptions  # this node's own; the master's come with each run
        self._crowd: MasterLink | None = None
        self._master: WorkerLink | None = None
        self.on_late_stage: Callable[[], None] = lambda: None
        self.recorder: Recorder | None = None
        events.request.add_listener(self._on_request)
        events.quitting.add_listener(self._on_quitting)
        events.quit.add_listener(self._on_quit)
        events.test_stopping.add_listener(self._on_test_stopping)
        events.test_stop.add_listener(self._on_test_stop)

    @property
    def live(self) -> LiveRun:
        """What a page shows: this process's run, or the one that was."""
        return self._live

    # Called by the composition, in this order.

    def attach(self, environment: Environment) -> None:
        """At Locust's init. Raises ObjectiveError, MetricsPortError, ResultsFolderError."""
        self._environment = environment
        runner = environment.runner
        assert runner is not None and environment.parsed_options is not None
        self._live.user_count = lambda: self._users
        self._live.defect = lambda: self._verdict.defect
        self._options = options = RecordingOptions.of(environment.parsed_options)
        build = build_of(environment.parsed_locustfiles or [])
        if isinstance(runner, WorkerRunner):
            # Locust makes its parser anew for each option of each spawn message, which keeps the loop for 70 ms.
            locust.argument_parser.default_args_dict = cache(default_args_dict)
        if isinstance(runner, MasterRunner):
            self._crowd = crowd = MasterLink(runner, build, options.cluster, self._enter, self._fail, self._abort)
            self._live.workers = lambda: (crowd.roster.connected, crowd.roster.missing)
        elif isinstance(runner, WorkerRunner):
            self._master = WorkerLink(runner, build, options.cluster, self._take_recorder, self.on_late_stage)
        if not isinstance(runner, WorkerRunner):
            _check_folders(options)
            if options.metrics_port:
                self._server = self._serve_metrics(options)
                environment.parsed_options.metrics_port = self._server.server_port
            if self._headless:
                environment.process_exit_code = EXIT_INTERRUPTED  # until a run has ended
            gevent.spawn(self._keep_books)
            gevent.spawn(self._enter_own_requests)
        self._endings.attach(runner, self._headless, self._master, self._crowd, self.forks_workers)

    def _serve_metrics(self, options: RecordingOptions) -> WSGIServer:
        """Raises MetricsPortError."""
        others = 0 if self.metrics_port_given else _NEXT_METRICS_PORTS
        server = serve(self._live, options.metrics_host, options.metrics_port, others)
        if server.server_port != options.metrics_port:
            where = f"http://{options.metrics_host}:{server.server_port}/metrics"
            logger.warning("Port %d is taken: metrics are at %s", options.metrics_port, where)
        return server

    def check(self, given: Namespace) -> None:
        """Before a run that a page asks for. Raises ObjectiveError, RecordingOptionError, ResultsFolderError."""
        _check_folders(RecordingOptions.of(given))

    def request_admission(self) -> None:
        """On a worker, before it loads anything. Raises WorkerRefused."""
        if self._master is not None:
            self._master.request_admission()

    def join(self) -> None:
        """On a worker, when all that a run needs is loaded."""
        if self._master is not None:
            self._master.ready()

    def await_workers(self) -> None:
        """Before a run, on a master: until its workers have joined. Raises WorkerRefused."""
        if self._crowd is not None:
            self._crowd.await_workers()

    def begin_run(
        self, facts: RunFacts, self_checks: Mapping[int, SelfCheck] = NO_SELF_CHECKS, drain_s: float = 0.0
    ) -> None:
        """At test_start, where the books are kept; self_checks: by worker; drain_s: the drain timeout. Raises
        ObjectiveError, ResultsFolderError."""
        runner = self._environment.runner
        assert self._environment.parsed_options is not None
        facts = safe_facts(facts)
        self._finish()  # a run whose last reports are still awaited: what is here is what there is
        workers = runner.worker_count if isinstance(runner, MasterRunner | LocalRunner) else 1
        options = RecordingOptions.of(self._environment.parsed_options)
        self._run = run = ActiveRun.begin(facts, options, workers, self_checks, drain_s, self._abort)
        self._verdict = Verdict()
        self._endings.run_began = True
        self._aborted = self._endings.stopping = False
        if self._crowd is not None:
            self._crowd.begin_run()
        self._live.facts, self._live.ledger, self._live.server = facts, run.ledger, run.server
        self._live.series, self._live.status, self._live.folder = run.series, Status.RUNNING, run.journal.folder
        self._live.now_s = lambda: run.now_s
        logger.info("Results go to %s", run.journal.folder)
        for worker, check in self_checks.items():
            self._sinks.self_checked(worker, check)
        self.begin_stage(facts.plan[0])

    def refuse_run(self, reason: str) -> None:
        """On a worker that cannot take part in a run: the master must not go on at half load."""
        if self._master is not None:
            self._master.refuse(reason)

    def begin_stage(self, stage: Stage) -> None:
        """A level begins: in the books, and on every worker."""
        run = self._run
        assert run is not None
        run.begin_stage(stage)
        spool = str(run.spool_folder.absolute()) if run.spool_folder else ""
        if self._crowd is not None:
            self._crowd.begin_stage(run.id, stage, run.began_ns, spool)
            return
        if self.recorder is None:
            self._take_recorder(Recorder(worker=0), run.id, spool)
        assert self.recorder is not None
        self.recorder.begin_stage(stage, run.began_ns, time.perf_counter_ns())

    def server_is_due(self) -> bool:
        """Whether whoever looks at the server shall look now; so asked, the recorder takes it that it does."""
        run = self._run
        level = run.ledger.running_level if run is not None else None
        if run is None or level is None or not run.server.is_due(level, run.now_s):
            return False
        run.server.tried(run.now_s)
        return True

    def server_found(self, source: str | None, gpu_source: str | None, note: str | None) -> None:
        """Where what the server tells of itself comes from, and why it does not where it does not."""
        if (run := self._run) is not None:
            run.server_found(source, gpu_source, note)

    def take_server_values(self, values: Mapping[str, float], failures: int) -> None:
        """What the server told just now, by concept, and how many of its pages could not be read."""
        if (run := self._run) is not None:
            run.take_server_values(values, failures)

    def end_plan(self) -> None:
        """The shape has come to the plan's end: the run is finished, not interrupted."""
        if self._run is not None:
            self._run.end_plan()

    # Listeners. Locust logs a listener's exception and goes on as if nothing were; what fails here must fail the run.

    def _on_request(self, context: dict[str, Any] | None = None, **counted: Any) -> None:
        timeline = (context or {}).get("timeline")  # others fire request events too, some without a context
        if not isinstance(timeline, Timeline):
            return
        if self.recorder is None:
            self._fail("a request ended when nothing recorded it")
            return
        try:
            self.recorder.record(timeline, locust_count(counted))
        except Exception as error:
            self._fail(f"a request could not be recorded: {error!r}")
            raise

    def _on_test_stopping(self, environment: Environment, **_: Any) -> None:
        self._endings.stopping = True
        if (run := self._run) is not None:
            run.stop()
        if self._crowd is not None:
            self._crowd.end()

    def _on_test_stop(self, environment: Environment, **_: Any) -> None:
        self._loaded = None
        if not isinstance(environment.runner, WorkerRunner):
            self._finish()

    def _on_quitting(self, environment: Environment, **_: Any) -> None:
        self._endings.quitting()
        runner = environment.runner
        if self._run is not None and self._crowd is not None:
            self._crowd.end()  # or wait for one who does
        if self._run is not None and runner is not None and runner.state in (STATE_SPAWNING, STATE_RUNNING):
            # Where a page's process is ended in a run, Locust stops the users after this: too late for the books.
            runner.quit()
        self._finish()

    def _on_quit(self, exit_code: int, **_: Any) -> None:
        # Without a page, Locust prints its own tables before this: ours come last, where a person looks.
        self._sinks.show_finished()
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
        self._endings.interrupts.on_next = over.set
        logger.info("The metrics can be scraped for %g s more; Ctrl-C ends the wait", linger_s)
        over.wait(linger_s)

    @property
    def _users(self) -> int:
        """How many users there are. Locust's master keeps counting those of a worker that has gone silent."""
        if self._crowd is not None:
            return self._crowd.users
        return runner.user_count if (runner := self._environment.runner) else 0

    def _watch_loop(self, recorder: Recorder) -> None:
        """On each process that has users, while they have a run: how late a sleeper wakes is how late all else is."""
        recorder.start(time.perf_counter_ns(), time.process_time_ns())
        while self._loaded is recorder:
            due_ns = time.perf_counter_ns() + round(LAG_SLEEP_S * 1e9)
            gevent.sleep(LAG_SLEEP_S)
            users = runner.user_count if (runner := self._environment.runner) else 0
            recorder.woke(due_ns, time.perf_counter_ns(), time.process_time_ns(), users)

    # The books.

    def _take_recorder(self, recorder: Recorder | None, run_id: int, spool: str) -> None:
        """spool: the folder of this machine's spools of the run, as its master says."""
        if self.recorder is not None and self.recorder.spool is not None:
            if recorder is None:
                self.recorder.spool.remove()  # the master has acknowledged everything
            else:
                self.recorder.leave_spool()  # of another run
        if recorder is not None:
            recorder.spool = self._open_spool(run_id, recorder.worker, spool)
        self.recorder = self._loaded = recorder
        if recorder is not None:
            gevent.spawn(self._watch_loop, recorder)

    def _open_spool(self, run_id: int, worker: int, told: str) -> Spool | None:
        by_itself = self._master is not None and not self.forks_workers
        try:
            folder = worker_spool_folder(self._options, run_id) if by_itself else Path(told) if told else None
            return Spool(folder, run_id, worker, self._on_spool_error) if folder else None
        except OSError as error:
            self._on_spool_error(f"the spool folder cannot be written to: {error}; see --spool-folder")
            return None

    def _on_spool_error(self, reason: str) -> None:
        if self._master is not None:
            if not self.forks_workers:  # a forked worker's master says it on the same terminal
                logger.error("%s", reason)
            gevent.spawn(self._master.refuse, reason)
        else:
            self._abort(reason)

    def _abort(self, reason: str) -> None:
        """What comes could not be kept, or a worker cannot take part: the run ends now."""
        self._fail(reason)
        if not self._aborted:
            self._aborted = True
            gevent.spawn(self._endings.abort)

    def _enter(self, report: Report, encoded: bytes) -> None:
        """Raises ReportError. What else goes wrong is no fault of the worker's, and the same report would not go better
        again."""
        assert self._run is not None
        try:
            self._enter_new(self._run, report, encoded)
        except ReportError:
            raise
        except Exception as error:
            self._fail(f"a report of worker {report.worker} could not be entered: {error!r}")

    def _keep_books(self) -> None:
        ticks = 0
        while True:
            gevent.sleep(1.0)
            if (run := self._run) is None:
                continue
            ticks += 1
            try:
                if self._crowd is not None:
                    self._crowd.roster.watch(time.perf_counter_ns() / 1e9)
                    run.note_events(self._crowd.roster.events)
                self._take_own_report(run)
                users = self._users
                run.observe(users)
                if ticks % int(WINDOW_S) == 0:
                    run.write_windows()
                    self._sinks.show_progress(run, users)
            except Exception as error:
                self._fail(f"the books could not be kept: {error!r}")

    def _enter_own_requests(self) -> None:
        while True:
            gevent.sleep(_OWN_REPORT_S)
            try:
                if (run := self._run) is not None and self.recorder is not None and self.recorder.has_pending:
                    self._take_own_report(run)
            except Exception as error:
                self._fail(f"the books could not be kept: {error!r}")

    def _take_own_report(self, run: ActiveRun) -> None:
        if isinstance(self._environment.runner, LocalRunner) and self.recorder is not None:
            recorder = self.recorder
            for report in recorder.take_reports():
                self._enter_new(run, report)
                recorder.acknowledge(report.number)

    def _enter_new(self, run: ActiveRun, report: Report, encoded: bytes | None = None) -> None:
        if run.enter(report, encoded):
            show_latencies(self._environment.stats, report, run.ledger)
            if run.stop_reason is None and (reason := run.failures.reason_to_stop(report.rows)) is not None:
                run.stop_reason = reason
                self._abort(f"the run is stopped: {reason}")

    def _fail(self, reason: str) -> None:
        self._verdict.fail(reason)

    def _finish(self) -> None:
        run = self._run
        if run is None:
            return
        own_spool = self.recorder.spool if self.recorder is not None else None
        self._take_last_reports(run)
        interrupted = bool(self._endings.interrupts.count) and not run.plan_done and not run.ledger.recorded
        if (defect := run.defect) is not None and not interrupted:
            self._fail(defect)
        status = complete(run, self._verdict)
        if own_spool is not None:
            own_spool.close()
        # The last run of a process decides: after a good one in the web page, a stopped one before it is forgotten.
        self._live.status, self._environment.process_exit_code = exit_code_of(run, status, self._judge, self._verdict)
        self._sinks.finish(run.journal.folder)
        if not self._headless:
            self._sinks.show_finished()

    def _take_last_reports(self, run: ActiveRun) -> None:
        try:
            self._take_own_report(run)
        except Exception as error:
            self._fail(f"the last report could not be entered: {error!r}")
        ended_s = run.now_s
        self._live.now_s = lambda: ended_s
        self._run = self.recorder = None
        if self._crowd is not None:
            run.lost = self._crowd.end_run()
            run.note_events(self._crowd.roster.events)
            self._recover_lost(run)

    def _recover_lost(self, run: ActiveRun) -> None:
        try:
            count_recovered(self._environment.stats, run.recover_lost())
        except Exception as error:
            self._fail(f"the spool of a lost worker could not be read: {error!r}")

    @property
    def _headless(self) -> bool:
        options = self._environment.parsed_options
        return bool(options and options.headless)


def _check_folders(options: RecordingOptions) -> None:
    check_writable(options.results)
    if options.spool_folder is not None:
        check_writable(options.spool_folder, "--spool-folder")
