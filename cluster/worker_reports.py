"""A worker's reports: taken from its recorder, and kept and sent again until the master has acknowledged them."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import Any

from tokenswarm.cluster.master_clock import MasterClock
from tokenswarm.cluster.outbox import Outbox, OutboxFull
from tokenswarm.cluster.protocol import REPORT_KEY, Ack, LevelBegun
from tokenswarm.cluster.worker_channel import WorkerChannel
from tokenswarm.metrics.plurals import counted
from tokenswarm.recording.recorder import Recorder

logger = logging.getLogger(__name__)


class WorkerReports:
    """The reports of one run after the other. run: the id of the last run, 0 before the first; recorder: of a run that
    is not fully acknowledged."""

    def __init__(
        self,
        channel: WorkerChannel,
        clock: MasterClock,
        on_recorder: Callable[[Recorder | None, int, str], None],
        abort: Callable[[str], None],
    ) -> None:
        """on_recorder: see WorkerLink; abort: the worker ends now, for that reason."""
        self._channel, self._clock, self._on_recorder, self._abort = channel, clock, on_recorder, abort
        self.run = 0
        self.recorder: Recorder | None = None
        self._outbox = Outbox()
        self._sends_final_report = False
        self._last_through: int | None = None
        clock.on_shift = self._shift
        channel.runner.environment.events.report_to_master.add_listener(self._on_report_to_master)

    def begin_level(self, begun: LevelBegun) -> bool:
        """A level has begun on the master. Whether a new recorder was made for it, as for a run's first level."""
        new = self.recorder is None or self.run != begun.run
        if new:
            self.run, self._outbox, self._last_through = begun.run, Outbox(), None
            self.recorder = Recorder(self._channel.runner.worker_index)
            self.recorder.record_plan = begun.record
            self._on_recorder(self.recorder, begun.run, begun.spool)
        assert self.recorder is not None
        to_here_ns = self._clock.to_here_ns
        run_began_ns, began_ns = begun.run_began_ns + to_here_ns, begun.began_ns + to_here_ns
        self.recorder.begin_level(begun.level, run_began_ns, began_ns, begun.share)
        return new

    def stop_load(self) -> None:
        """The master ends the run; streams may go on."""
        if self.recorder is not None:
            self.recorder.stop(time.perf_counter_ns())

    def _shift(self, by_ns: int) -> None:
        """A better estimate of the master's clock has moved its times by so much."""
        if self.recorder is not None:
            self.recorder.shift(by_ns)

    def acknowledge(self, ack: Ack) -> None:
        """The master has received reports."""
        if ack.run != self.run:
            return
        if self.recorder is not None:
            self._acknowledge(self.recorder, ack)
        self._outbox.acknowledge(ack.through)
        if self._last_through is not None and ack.through >= self._last_through:
            self.recorder = self._last_through = None
            self._on_recorder(None, ack.run, "")

    def send_final_report(self) -> None:
        """Send a stats message now, as Locust's own reporter does: Locust's count and ours leave together."""
        data: dict[str, Any] = {}
        runner = self._channel.runner
        self._sends_final_report = True
        runner.environment.events.report_to_master.fire(client_id=runner.client_id, data=data)
        self._sends_final_report = False
        self._channel.send("stats", data)

    def count_unreported(self) -> int:
        """Requests that ended or are in flight, and that no acknowledged report holds."""
        recorder = self.recorder
        return 0 if recorder is None else recorder.ended - self._outbox.ended_acknowledged + recorder.in_flight

    def describe_unreported(self) -> str:
        """A clause on the unreported requests of a worker that ends; "" if there are none."""
        unreported = self.count_unreported()
        spool = self.recorder.spool if self.recorder is not None else None
        kept = f"kept in {spool.folder}; see tokenswarm recover" if spool is not None and spool.writes else "lost"
        return f"; {counted(unreported, 'request')} that it had not acknowledged: {kept}" if unreported else ""

    def cancel_with(self, reason: str) -> None:
        """Requests that are cancelled from now on have this error."""
        if self.recorder is not None:
            self.recorder.cut_reason = reason

    def abandon(self) -> None:
        """Report nothing more: the worker ends without a final report."""
        self.recorder = None

    def _acknowledge(self, recorder: Recorder, ack: Ack) -> None:
        missing = recorder.ended - self._outbox.ended_by(ack.entered) if ack.entered < ack.through else 0
        if not missing:
            recorder.acknowledge(ack.through)
        elif recorder.spool is not None:
            logger.error(
                "The run had ended without %d requests of this worker; they are kept in %s; see tokenswarm recover",
                missing,
                recorder.spool.folder,
            )
            recorder.leave_spool()

    def _on_report_to_master(self, client_id: str, data: dict[str, Any], **_: Any) -> None:
        recorder, outbox = self.recorder, self._outbox
        level, last = -1, self._sends_final_report
        if recorder is not None:
            level = next(reversed(recorder.levels), -1)
            try:
                for report in recorder.take_reports():
                    outbox.put(report)
            except OutboxFull as error:
                self._abort(f"This worker ends: {error}")
                return
            if last:
                self._last_through = outbox.last
        through, reports = outbox.message()
        last &= through == outbox.last
        data[REPORT_KEY] = (self.run, level, time.perf_counter_ns(), through, last, reports)
