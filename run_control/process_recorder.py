"""The recorder of a process that has users: a worker, or the one process of a local run."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from pathlib import Path

import gevent
from locust.runners import Runner

from tokenswarm.cluster.protocol import LevelBegun
from tokenswarm.cluster.worker_link import WorkerLink
from tokenswarm.cluster.worker_share import WorkerShare
from tokenswarm.metrics.client_health import LAG_SLEEP_S
from tokenswarm.recording.kept_requests import KeptRequests, RecordMode
from tokenswarm.recording.recorder import Recorder
from tokenswarm.recording.recording_options import RecordingOptions
from tokenswarm.recording.spool import Spool
from tokenswarm.recording.spool_place import worker_spool_folder

logger = logging.getLogger(__name__)

#: Requests in a report of a process to itself. To enter so many takes some milliseconds, in which no stream is read.
_OWN_REPORT_ROWS = 64
#: The same while requests are sent when they are due. Each report costs time by itself, which a closed loop saves.
_OWN_REPORT_ROWS_WHEN_DUE = 8


class ProcessRecorder:
    """`recorder` is there once a level has begun; its process is watched until `stop_watching`."""

    def __init__(self, on_local_spool_error: Callable[[str], None]) -> None:
        """on_local_spool_error: called with the reason where this process's spool cannot be written and there is no
        master to report it to."""
        self.recorder: Recorder | None = None
        self._on_local_spool_error = on_local_spool_error
        self._watched: Recorder | None = None
        self._runner: Runner
        self._options: RecordingOptions  # this node's own; the master's come with each run
        self._worker_link: WorkerLink | None = None
        self._forked = False

    def attach(
        self, runner: Runner, options: RecordingOptions, worker_link: WorkerLink | None, forks_workers: bool
    ) -> None:
        """At Locust's init. forks_workers: whether this process is, or was forked by, a master with workers of its
        own."""
        self._runner, self._options, self._worker_link = runner, options, worker_link
        self._forked = worker_link is not None and forks_workers

    @property
    def share(self) -> WorkerShare | None:
        """This worker's share of an open-loop level's arrivals; None where there are no workers."""
        return self._worker_link.share if self._worker_link is not None else None

    def take(self, recorder: Recorder | None, run_id: int, spool: str) -> None:
        """Record with this recorder from now on, None at a run's end. spool: the folder of this machine's spools of the
        run, as its master names it."""
        if self.recorder is not None and self.recorder.spool is not None:
            if recorder is None:
                self.recorder.spool.remove()  # the master has acknowledged everything
            else:
                self.recorder.leave_spool()  # of another run
        if self.recorder is not None and self.recorder.kept is not None:
            self.recorder.kept.close()
        if recorder is not None:
            recorder.spool = self._open_spool(run_id, recorder.worker, spool)
            recorder.kept = self._open_kept(recorder)
        self.recorder = self._watched = recorder
        if recorder is not None:
            gevent.spawn(self._watch_loop, recorder)

    def begin_level(self, begun: LevelBegun) -> None:
        """A level of a run whose statistics are kept in this process."""
        if self.recorder is None:
            recorder = Recorder(worker=0)
            recorder.record_plan = begun.record
            self.take(recorder, begun.run, begun.spool)
        assert self.recorder is not None
        is_open = begun.level.arrivals is not None
        self.recorder.most_rows = _OWN_REPORT_ROWS_WHEN_DUE if is_open else _OWN_REPORT_ROWS
        self.recorder.begin_level(begun.level, begun.run_began_ns, begun.began_ns)

    def stop(self) -> None:
        """The run is being stopped; streams may go on."""
        if self.recorder is not None:
            self.recorder.stop(time.perf_counter_ns())

    def stop_watching(self) -> None:
        """The load is over; reports are still taken."""
        self._watched = None

    def _watch_loop(self, recorder: Recorder) -> None:
        """Measure how late a sleeping greenlet wakes: that is how late this process notices everything else."""
        now_ns = time.perf_counter_ns()
        recorder.start(now_ns, time.process_time_ns())
        while self._watched is recorder:
            due_ns = now_ns + round(LAG_SLEEP_S * 1e9)  # from the last look: no moment between two looks is left out
            gevent.sleep(LAG_SLEEP_S)
            now_ns = time.perf_counter_ns()
            recorder.woke(due_ns, now_ns, time.process_time_ns(), self._runner.user_count)

    def _open_spool(self, run_id: int, worker: int, named: str) -> Spool | None:
        try:
            folder = worker_spool_folder(self._options, run_id) if self._by_itself else Path(named) if named else None
            return Spool(folder, run_id, worker, self._on_spool_error) if folder else None
        except OSError as error:
            self._on_spool_error(f"the spool folder cannot be written to: {error}; see --spool-folder")
            return None

    def _open_kept(self, recorder: Recorder) -> KeptRequests | None:
        plan = recorder.record_plan
        if plan.mode is RecordMode.OFF:
            return None
        folder = Path(plan.folder)
        if self._by_itself:  # the run's folder may be on another machine
            folder = self._options.results.absolute() / f"{folder.parent.name}-{folder.name}"
            logger.info("Requests of this worker are kept in %s", folder)
        try:
            return KeptRequests(plan.mode, folder, recorder.worker, lambda reason: logger.error("%s", reason))
        except OSError as error:
            logger.error("Requests are not kept, as %s cannot be written: %s", folder, error.strerror or error)
            return None

    @property
    def _by_itself(self) -> bool:
        """Whether this is a worker that was started by itself."""
        return self._worker_link is not None and not self._forked

    def _on_spool_error(self, reason: str) -> None:
        if self._worker_link is None:
            self._on_local_spool_error(reason)
            return
        if not self._forked:  # the master of a forked worker logs it on the same terminal
            logger.error("%s", reason)
        gevent.spawn(self._worker_link.refuse, reason)
