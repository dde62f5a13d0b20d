"""A master's side of its workers' reports: it enters each one once and acknowledges it."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import msgspec

from tokenswarm.cluster.level_broadcast import LevelBroadcast
from tokenswarm.cluster.master_channel import MasterChannel, times_of
from tokenswarm.cluster.membership import Membership, WorkerState
from tokenswarm.cluster.protocol import ACK, REPORT_KEY, Reports
from tokenswarm.recording.worker_report import Report, UnusableReport


class ReportIntake:
    """Enters the reports in Locust's stats messages into the run's statistics."""

    def __init__(
        self,
        channel: MasterChannel,
        membership: Membership,
        levels: LevelBroadcast,
        enter: Callable[[Report, bytes], None],
        expel: Callable[[str, str], None],
    ) -> None:
        """enter: takes a report and its bytes, and raises UnusableReport for one that does not fit; expel: excludes the
        worker of that name, for that reason."""
        self._channel, self._membership, self._levels = channel, membership, levels
        self._enter, self._expel = enter, expel
        channel.runner.environment.events.worker_report.add_listener(self.on_report)

    def on_report(self, client_id: str, data: dict[str, Any], **_: Any) -> None:
        """A worker's stats message was received, perhaps for the second time."""
        received_ns = time.perf_counter_ns()
        member = self._membership.members.get(client_id)
        if member is None or REPORT_KEY not in data:
            return
        current = self._levels.current
        try:
            reports = msgspec.convert(data[REPORT_KEY], Reports)
            if current is not None and reports.run == current.run:
                self._enter_all(member, reports)
        except (UnusableReport, msgspec.MsgspecError) as error:
            self._expel(client_id, str(error))
            return
        # Reports of a run that is over are acknowledged too: nothing is gained when they are sent again.
        run, number = member.entered
        ack = {"run": reports.run, "through": reports.through, "entered": number if run == reports.run else 0}
        self._channel.send(ACK, client_id, ack | times_of(reports.sent_ns, received_ns))
        current = self._levels.current
        known = reports.run, reports.level
        if current is not None and known != (current.run, current.level.index) and not member.final_report:
            self._levels.send(client_id)  # it was sent before; the connection must have broken

    def _enter_all(self, member: WorkerState, reports: Reports) -> None:
        for encoded in reports.reports:
            report = Report.decode(encoded)
            if report.worker != member.index:
                raise UnusableReport(f"it is of worker {report.worker}, but came from worker {member.index}")
            self._enter(report, encoded)
        run, number = member.entered
        member.entered = reports.run, max(reports.through, number if run == reports.run else 0)
        member.final_report |= reports.last
