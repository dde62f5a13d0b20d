"""Recording inside Locust: its events in, and each node's part of a run begun and ended.

The master (or the one process of a local run) keeps the statistics: run_controller.py. Each worker (or the same one
process) has a Recorder, process_recorder.py, and reports to the master. How levels come to the workers and reports to
the master: cluster/protocol.py. What ends a process: endings.py.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

from locust.env import Environment
from locust.event import Events
from locust.runners import STATE_RUNNING, STATE_SPAWNING, MasterRunner, WorkerRunner

from tokenswarm.cluster.master_link import MasterLink
from tokenswarm.cluster.worker_link import WorkerLink
from tokenswarm.command_line.exit_codes import EXIT_INTERRUPTED, EXIT_UNRELIABLE, IN_SHORT
from tokenswarm.metrics.client_health import NO_SELF_CHECKS, SelfCheck
from tokenswarm.metrics.level import Level
from tokenswarm.metrics.timeline import Timeline
from tokenswarm.recording.build import build_of
from tokenswarm.recording.journal import check_folders
from tokenswarm.recording.locust_stats import locust_count
from tokenswarm.recording.prometheus import LiveRun
from tokenswarm.recording.recorder import Recorder
from tokenswarm.recording.recording_options import RecordingOptions
from tokenswarm.recording.sinks import Sink
from tokenswarm.run_control.endings import Endings
from tokenswarm.run_control.exit_policy import exit_code_text
from tokenswarm.run_control.metrics_endpoint import MetricsEndpoint
from tokenswarm.run_control.results_upload import ResultsUpload
from tokenswarm.run_control.run_controller import RunCheck, RunController
from tokenswarm.run_control.server_log import RunServerLog
from tokenswarm.run_folder.schema import RunFacts
from tokenswarm.shapes.splits import Splits
from tokenswarm.upstream.locust_internals import cache_default_arguments

logger = logging.getLogger(__name__)


class Recording:
    """Listens to Locust on whatever node this is."""

    #: Whether this process is, or was forked by, a master with workers of its own. Set before Locust forks: workers of
    #: `--worker --processes N` have none on their machine.
    forks_workers = False
    #: Whether --metrics-port was given: another port is then no choice.
    metrics_port_given = True
    #: Ports on which this process listens for something else.
    other_ports: Collection[int] = ()
    #: Whether the process ends before a run.
    is_refused = False

    def __init__(
        self,
        events: Events,
        sinks: Sequence[Sink],
        check: RunCheck | None = None,
        unreliable_because: Callable[[], str] = str,
        upload: ResultsUpload | None = None,
    ) -> None:
        """check: its exit code counts for a run that went to its end. unreliable_because: why its last one was 3.
        upload: the last sink, where --results may be a URL."""
        self._endings = Endings()
        self._unreliable_because = unreliable_because
        self._upload = upload
        self.controller = RunController([*sinks, upload] if upload else sinks, check, self._endings)
        self.server_log = RunServerLog(self.controller)
        self._metrics: MetricsEndpoint | None = None
        self._environment: Environment
        #: Known from Locust's init on: a process may be stopped before.
        self._headless = False
        self._master_link: MasterLink | None = None
        self._worker_link: WorkerLink | None = None
        #: Called on a worker that learned of the run when its users were already there.
        self.on_late_level: Callable[[], None] = lambda: None
        events.request.add_listener(self._on_request)
        events.quitting.add_listener(self._on_quitting)
        events.quit.add_listener(self._on_quit)
        events.test_stopping.add_listener(self._on_test_stopping)
        events.test_stop.add_listener(self._on_test_stop)

    @property
    def live(self) -> LiveRun:
        """What a page shows: this process's run, or the latest one."""
        return self.controller.live

    @property
    def recorder(self) -> Recorder | None:
        """This process's, once a level has begun; None on a master."""
        return self.controller.process.recorder

    # Called by the composition, in this order.

    def attach(self, environment: Environment) -> None:
        """At Locust's init. Raises ObjectiveError, MetricsPortError, ResultsFolderError."""
        self._environment = environment
        runner, parsed = environment.runner, environment.parsed_options
        assert runner is not None and parsed is not None
        self._headless = bool(parsed.headless)
        options, controller = RecordingOptions.of(parsed), self.controller
        build = build_of(environment.parsed_locustfiles or [])

        def take_splits(level_index: int, splits: Splits) -> None:
            if (run := controller.run) is not None:
                run.take_splits(level_index, splits)

        cache_default_arguments()
        if isinstance(runner, MasterRunner):
            self._master_link = MasterLink(
                runner,
                build,
                options.cluster,
                controller.enter,
                controller.fail,
                controller.abort,
                take_splits,
            )
        elif isinstance(runner, WorkerRunner):
            self._worker_link = WorkerLink(runner, build, options.cluster, controller.process.take, self.on_late_level)
        controller.attach(environment, self._master_link)
        controller.process.attach(runner, options, self._worker_link, self.forks_workers)
        if self._worker_link is None:
            check_folders(options.results, options.spool_folder)
            if self._upload is not None:
                self._upload.url = options.upload_to
            if options.metrics_port:
                self._metrics = MetricsEndpoint(self.live, options, self.metrics_port_given, self.other_ports)
                parsed.metrics_port = self._metrics.port
            if self._headless:
                environment.process_exit_code = EXIT_INTERRUPTED  # until a run has ended
            controller.start_keeping()
        self._endings.attach(runner, self._headless, self._worker_link, self._master_link, self.forks_workers)

    def request_admission(self) -> None:
        """On a worker, before it loads anything. Raises WorkerRefused."""
        if self._worker_link is not None:
            self._worker_link.request_admission()

    def join(self, check: Callable[[], None] = lambda: None) -> None:
        """At the end of Locust's init, when all that a run needs is loaded; a worker then joins. check: called when the
        listeners of init that follow have been called; raises ValueError, which ends the process."""
        self._endings.ready(check)
        if self._worker_link is not None:
            self._worker_link.ready()

    def await_workers(self) -> None:
        """Before a run, on a master: until its workers have joined. Raises WorkerRefused."""
        if self._master_link is not None:
            self._master_link.await_workers()

    def begin_run(
        self,
        facts: RunFacts,
        options: RecordingOptions,
        self_checks: Mapping[int, SelfCheck] = NO_SELF_CHECKS,
        drain_s: float = 0.0,
        settle_s: float = 0.0,
        first_level: Level | None = None,
    ) -> None:
        """At test_start, where the statistics are kept: see RunController.begin."""
        self.controller.begin(facts, options, self_checks, drain_s, settle_s, first_level)

    def refuse_run(self, reason: str) -> None:
        """A run cannot begin: end it, whatever its shape. On a worker: the master must not go on at half load."""
        if self._worker_link is not None:
            self._worker_link.refuse(reason)
        else:
            self._endings.stop()

    def refuse_process(self, reason: str) -> bool:
        """The process ends before a run: a master then says no more of its workers, and a worker lets its master know.
        Returns whether the reason is to be said here: by a worker that was not forked, and by a master that has not
        logged a worker's."""
        self.is_refused = True
        if self._master_link is not None:
            return not self._master_link.close_admissions()
        if self._worker_link is not None:
            self._worker_link.refuse(reason)
        return self._worker_link is None or not self.forks_workers

    def abort_run(self, reason: str) -> None:
        """End the run as failed."""
        if self._worker_link is not None:
            self._worker_link.refuse(reason)
        else:
            self.controller.abort(reason)

    def begin_level(self, level: Level) -> None:
        """A level begins: in the statistics, and on every worker; not where the run has ended meanwhile."""
        if self.controller.run is not None:
            self.controller.begin_level(level)

    def is_level_done(self) -> bool:
        """Whether all requests of the running level have ended, where their number is set, or a user had no further
        session."""
        run = self.controller.run
        level = run.aggregator.running_level if run is not None else None
        if run is None or level is None:
            return False
        if level.sessions.is_dry:
            level.sessions.end_dry(run.now_s - level.began_s)
        return level.finished_s is not None or level.sessions.is_dry

    def end_plan(self) -> None:
        """The shape has come to the plan's end: the run is finished, not interrupted."""
        if self.controller.run is not None:
            self.controller.run.end_plan()

    # Listeners. Locust logs a listener's exception and goes on: what fails here must fail the run.

    def _on_request(self, context: dict[str, Any] | None = None, **counted: Any) -> None:
        timeline = (context or {}).get("timeline")  # others fire request events too, some without a context
        if not isinstance(timeline, Timeline):
            return
        if self.recorder is None:
            self.controller.fail("a request ended when nothing recorded it")
            return
        try:
            self.recorder.record(timeline, locust_count(counted))
        except Exception as error:
            self.controller.fail(f"a request could not be recorded: {error!r}")
            raise

    def _on_test_stopping(self, environment: Environment, **_: Any) -> None:
        self._endings.stopping = True
        self.controller.stopping()

    def _on_test_stop(self, environment: Environment, **_: Any) -> None:
        self.controller.process.stop_watching()
        if not isinstance(environment.runner, WorkerRunner):
            self._finish()

    def _on_quitting(self, environment: Environment, **_: Any) -> None:
        self._endings.quitting()
        runner = environment.runner
        if self.controller.run is not None:
            self.controller.end_on_workers()
            if runner is not None and runner.state in (STATE_SPAWNING, STATE_RUNNING):
                # Where a page's process is ended in a run, Locust stops the users after this: too late to count them.
                runner.quit()
        self._finish()

    def _on_quit(self, exit_code: int, **_: Any) -> None:
        # Headless, Locust prints its own tables before this: ours come last, where a person looks.
        self.controller.sinks.show_finished()
        before = exit_code
        if self._upload is not None:
            exit_code = self._upload.exit_code(exit_code, self._endings.interrupts)
        if exit_code and self._endings.run_began and self._worker_link is None:
            words = exit_code_text(exit_code, self._environment)
            if words == IN_SHORT[EXIT_UNRELIABLE]:
                reason = self.controller.defect
                words = f"{words}: {reason}" if reason else self._unreliable_because() or words
            logger.warning("Exit code %d: %s", exit_code, words)
        if self._metrics is not None:
            if self._headless and self.live.aggregator is not None:
                self._metrics.linger(self._endings.interrupts)
            self._metrics.stop()
        if exit_code != before:  # Locust has its own already, and passes this on
            raise SystemExit(exit_code)

    def _finish(self) -> None:
        self.controller.finish()
        if not self._headless:
            self.controller.sinks.show_finished()
