"""The runs of the process that keeps their statistics: a master, or the one process of a local run."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import gevent
from locust.env import Environment
from locust.runners import LocalRunner, MasterRunner

from tokenswarm.cluster.master_link import MasterLink
from tokenswarm.cluster.protocol import LevelBegun
from tokenswarm.metrics.client_health import SelfCheck
from tokenswarm.metrics.level import Level
from tokenswarm.recording.active_run import ActiveRun
from tokenswarm.recording.aggregator import plan_done
from tokenswarm.recording.kept_requests import RecordPlan
from tokenswarm.recording.locust_stats import count_recovered, others_failed, show_latencies
from tokenswarm.recording.prometheus import LiveRun
from tokenswarm.recording.recording_options import RecordingOptions
from tokenswarm.recording.run_defect import defect_of
from tokenswarm.recording.sinks import Sink, Sinks
from tokenswarm.recording.worker_report import Report, UnusableReport
from tokenswarm.reports.progress_line import plan_lines
from tokenswarm.run_control.endings import Endings
from tokenswarm.run_control.exit_policy import FirstDefect, complete, exit_code_of
from tokenswarm.run_control.process_recorder import ProcessRecorder
from tokenswarm.run_control.task_error_watch import note_task_errors, reason_to_stop
from tokenswarm.run_folder.latest import point_latest_at
from tokenswarm.run_folder.run_document import safe_facts
from tokenswarm.run_folder.schema import WINDOW_S, RunFacts
from tokenswarm.users.arrival_sender import let_sends_go_first

logger = logging.getLogger(__name__)

#: How often a process that has users enters its own requests: a second's worth at once would block its event loop.
_OWN_REPORT_S = 0.1
#: Between two of its reports. gevent's loop need not read what has come during a sleep of no time.
_PAUSE_S = 0.001
#: Called with each run's folder when it is complete. Returns an exit code, or None for Locust's own.
RunCheck = Callable[[Path], int | None]


class RunController:
    """One run after another; `run` is None between them. `live` is what a page and Prometheus read."""

    def __init__(self, sinks: Sequence[Sink], check: RunCheck | None, endings: Endings) -> None:
        """check: its exit code counts for a run that went to its end."""
        self.sinks = Sinks(sinks)
        self.live = LiveRun()
        self.run: ActiveRun | None = None
        self._record = RecordPlan()
        self.process = ProcessRecorder(self.abort)
        self._check = check
        self._endings = endings
        self._defect = FirstDefect()
        self._aborted = False
        self._environment: Environment
        self._master_link: MasterLink | None = None
        self.live.user_count = lambda: users_of(self._environment, self._master_link)
        self.live.defect = lambda: self.defect

    def attach(self, environment: Environment, master_link: MasterLink | None) -> None:
        """At Locust's init."""
        self._environment, self._master_link = environment, master_link
        if master_link is not None:
            self.live.workers = lambda: (master_link.membership.connected, master_link.membership.missing)

    def start_keeping(self) -> None:
        """Bring statistics and files up to date once a second from now on."""
        gevent.spawn(self._keep)
        gevent.spawn(self._enter_own_requests)

    def begin(
        self,
        facts: RunFacts,
        options: RecordingOptions,
        self_checks: Mapping[int, SelfCheck],
        drain_s: float,
        settle_s: float = 0.0,
        first_level: Level | None = None,
    ) -> None:
        """At test_start. self_checks: by worker; drain_s: the drain timeout; settle_s: the pause after each level;
        first_level: the plan's, where more is known of it. Raises ObjectiveError, ResultsFolderError."""
        runner = self._environment.runner
        facts = safe_facts(facts)
        self.finish()  # a run whose final reports are still awaited ends with what has arrived
        workers = runner.worker_count if isinstance(runner, MasterRunner | LocalRunner) else 1
        self.run = run = ActiveRun.begin(facts, options, workers, self_checks, drain_s, self.abort)
        run.aggregator.settle_s = settle_s
        self._record = options.record_plan(run.journal.folder)
        self._defect = FirstDefect()
        self._endings.run_began = True
        self._aborted = self._endings.stopping = False
        if self._master_link is not None:
            self._master_link.begin_run()
        self.live.show(run)
        for line in plan_lines(facts.plan, settle_s, facts.prompts):
            logger.info("%s", line)
        self.sinks.began(facts.plan)
        logger.info("Results go to %s", run.journal.folder)
        if note := point_latest_at(run.journal.folder):
            logger.info("%s", note)
        for worker, check in self_checks.items():
            self.sinks.self_checked(worker, check)
        self.begin_level(first_level or facts.plan[0])

    def begin_level(self, level: Level, *, shortened: bool = False) -> None:
        """A level begins: in the statistics, and on every worker. shortened: it is the running level, which ends at
        another time than was announced."""
        run = self.run
        assert run is not None
        began_ns = run.begin_level(level)
        self.live.facts = run.facts
        spool = str(run.spool_folder.absolute()) if run.spool_folder else ""
        begun = LevelBegun(run.id, level, run.began_ns, began_ns, spool, self._record)
        if self._master_link is not None:
            (self._master_link.shorten_level if shortened else self._master_link.begin_level)(begun)
        else:
            self.process.begin_level(begun)

    def stopping(self) -> None:
        """The run is being stopped, by whomever."""
        if self.run is not None:
            self.run.stop()
            self.process.stop()
        self.end_on_workers()

    def end_on_workers(self) -> None:
        """End the run on the workers, or wait until that is done."""
        if self._master_link is not None:
            self._master_link.end()

    def enter(self, report: Report, encoded: bytes) -> None:
        """Enter a worker's report. Raises UnusableReport. Any other failure is not the worker's, and the same report
        would fail again: it fails the run."""
        assert self.run is not None
        try:
            self._enter_new(self.run, report, encoded)
        except UnusableReport:
            raise
        except Exception as error:
            self.fail(f"a report of worker {report.worker} could not be entered: {error!r}")

    def fail(self, reason: str) -> None:
        """The run's results are unreliable."""
        self._defect.set(reason)

    @property
    def defect(self) -> str | None:
        """Why the results of the latest run are unreliable whatever its figures; None where there is no such reason."""
        return self._defect.reason

    def abort(self, reason: str) -> None:
        """The same, and the run ends now: its data cannot be kept, or a worker cannot take part."""
        self.fail(reason)
        if not self._aborted:
            self._aborted = True
            gevent.spawn(self._endings.abort)

    def finish(self) -> None:
        """Complete the run's folder, if there is a run."""
        run = self.run
        if run is None:
            return
        recorder = self.process.recorder
        own_spool = recorder.spool if recorder is not None else None
        self._take_final_reports(run)
        note_task_errors(run, self._environment)
        interrupted = (
            bool(self._endings.interrupts.count) and not plan_done(run.aggregator) and not run.aggregator.recorded
        )
        if (defect := defect_of(run)) is not None and not interrupted:
            self.fail(defect)
        status = complete(run, self._defect)
        if own_spool is not None:
            own_spool.close()
        # The last run of a process decides: after a good one in the web page, a stopped one before it is forgotten.
        runner = self._environment.runner
        self.live.status, self._environment.process_exit_code = exit_code_of(
            run,
            status,
            self._check,
            self._defect,
            others_failed=runner is not None and others_failed(runner.stats),
        )
        self.sinks.finish(run.journal.folder)

    def _keep(self) -> None:
        ticks = 0
        while True:
            gevent.sleep(1.0)
            if (run := self.run) is None:
                continue
            ticks += 1
            try:
                let_sends_go_first()
                if self.run is run:  # it may have ended meanwhile
                    self._keep_once(run, shows=ticks % int(WINDOW_S) == 0)
            except Exception as error:
                self.fail(f"the statistics could not be updated: {error!r}")

    def _keep_once(self, run: ActiveRun, shows: bool) -> None:
        if self._master_link is not None:
            self._master_link.membership.watch(time.perf_counter_ns() / 1e9)
            run.note_events(self._master_link.membership.events)
            if (level := run.aggregator.running_level) is not None:
                present, shares = self._master_link.membership.present, self._master_link.request_shares()
                level.shares.note_present(present, shares, level.level, level.splits)
        self._take_own_report(run)
        users = users_of(self._environment, self._master_link)
        note_task_errors(run, self._environment)
        if run.stop_reason is None and (reason := reason_to_stop(run, self._environment, users)) is not None:
            self._stop(run, reason)
        run.observe(users)
        if shows:
            run.write_windows()
            self.sinks.show_progress(run, users)

    def _enter_own_requests(self) -> None:
        while True:
            gevent.sleep(_OWN_REPORT_S)
            let_sends_go_first()
            try:
                # A report at a time: hundreds of requests may have ended together, while other streams go on. What ends
                # meanwhile is for the next time: a report costs time by itself.
                recorder = self.process.recorder
                for _ in range(recorder.pending_reports if recorder is not None else 0):
                    if (run := self.run) is None or not self._take_own_report(run, whole=False):
                        break
                    gevent.sleep(_PAUSE_S)
                    let_sends_go_first()
            except Exception as error:
                self.fail(f"the statistics could not be updated: {error!r}")

    def _take_own_report(self, run: ActiveRun, *, whole: bool = True) -> bool:
        """Enter what has ended in this process; without `whole`, a report of it at most. Returns whether it did."""
        recorder = self.process.recorder
        if not isinstance(self._environment.runner, LocalRunner) or recorder is None:
            return False
        if not whole and not recorder.pending_reports:
            return False
        for report in recorder.take_reports() if whole else (recorder.take_report(),):
            self._enter_new(run, report)
            recorder.acknowledge(report.number)
        return True

    def _enter_new(self, run: ActiveRun, report: Report, encoded: bytes | None = None) -> None:
        if run.enter(report, encoded):
            show_latencies(self._environment.stats, report, run.aggregator)
            if run.stop_reason is None and (reason := run.failures.reason_to_stop(report.rows)) is not None:
                self._stop(run, reason)

    def _stop(self, run: ActiveRun, reason: str) -> None:
        run.stop_reason = reason
        self.abort(f"the run is stopped: {reason}")

    def _take_final_reports(self, run: ActiveRun) -> None:
        try:
            self._take_own_report(run)
        except Exception as error:
            self.fail(f"the final report could not be entered: {error!r}")
        ended_s = run.now_s
        self.live.now_s = lambda: ended_s
        self.run = self.process.recorder = None
        if self._master_link is not None:
            run.lost = self._master_link.end_run()
            run.note_events(self._master_link.membership.events)
            try:
                count_recovered(self._environment.stats, run.recover_lost())
            except Exception as error:
                self.fail(f"the spool of a lost worker could not be read: {error!r}")


def users_of(environment: Environment, master_link: MasterLink | None) -> int:
    """How many users there are. Locust's master keeps counting those of a worker that has gone silent."""
    if master_link is not None:
        return master_link.users
    return runner.user_count if (runner := environment.runner) else 0
