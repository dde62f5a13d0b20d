"""A worker's side of the connection to its master, put together from its parts.

A worker joins, measures how far its clock is from the master's, receives the levels, and reports. Reports are numbered,
and kept and sent again until the master has acknowledged them: one that is lost, repeated or late changes nothing.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import gevent
import msgspec
from gevent.event import Event
from locust.exception import StopTest
from locust.runners import STATE_RUNNING, STATE_SPAWNING, WorkerRunner

from tokenswarm.cluster.clock import ClockOffset
from tokenswarm.cluster.master_clock import MasterClock
from tokenswarm.cluster.master_watch import MasterWatch
from tokenswarm.cluster.protocol import ACK, DRAINING, END, LEAVING, LEVEL, USERS, Ack, LevelBegun
from tokenswarm.cluster.transport import WorkerSocket
from tokenswarm.cluster.worker_admission import WorkerAdmission
from tokenswarm.cluster.worker_channel import WorkerChannel
from tokenswarm.cluster.worker_reports import WorkerReports
from tokenswarm.cluster.worker_share import WorkerShare
from tokenswarm.cluster.worker_users import WorkerUsers
from tokenswarm.command_line.exit_codes import EXIT_UNRELIABLE, EXIT_UNUSABLE
from tokenswarm.recording.recorder import Recorder
from tokenswarm.upstream.locust_internals import intercept_messages

logger = logging.getLogger(__name__)

#: How long a worker that leaves during a run waits until its final report is acknowledged, and how often it sends it.
_FLUSH_S = 5.0
_REPEAT_S = 1.0
_POLL_S = 0.05


class WorkerLink:
    """A worker's connection to its master. ends: whether the master has announced the end of the run, or this worker
    has refused it: it takes no more users."""

    def __init__(
        self,
        runner: WorkerRunner,
        build: str,
        cluster: str,
        on_recorder: Callable[[Recorder | None, int, str], None],
        on_late_level: Callable[[], None],
    ) -> None:
        """on_recorder: called with a run's recorder, the run's id and its spool folder (see LevelBegun) when the worker
        receives the first level of the run, and with None when everything is acknowledged; on_late_level: called when
        users were started before that level was received."""
        self._runner = runner
        self._on_late_level = on_late_level
        self._channel = channel = WorkerChannel(runner)
        self._clock = clock = MasterClock(channel)
        self._admission = WorkerAdmission(channel, clock, build, cluster, self._on_rejected)
        self._reports = WorkerReports(channel, clock, on_recorder, self._on_outbox_full)
        #: Whether this worker leaves, or has left: it takes no users and no levels any more.
        self._leaving = self._left = False
        #: Unreported requests of a worker that has aborted: see Leaving.
        self._unreported = 0
        self.ends = False
        channel.listen(LEVEL, self._on_level)
        channel.listen(ACK, self._on_ack)
        self._users = WorkerUsers(runner, self._send_users)
        #: Of the arrivals of an open-loop level.
        self.share = WorkerShare(channel, lambda: self._reports.run)
        if isinstance(client := getattr(runner, "client", None), WorkerSocket):
            client.attach(lambda: runner.user_classes_count)
        self._handle = intercept_messages(runner, self._handle_checked)
        channel.listen(END, self._on_end, concurrent=True)
        events = runner.environment.events
        MasterWatch(events, self._on_master_lost, lambda: self._reports.recorder is None)
        # Added after Locust's own listener, and so called before it: `quitting` calls them in reverse. Locust's informs
        # the master that this worker is gone.
        events.quitting.add_listener(self._on_quitting)
        self._quitting: object | None = None

    @property
    def clock(self) -> ClockOffset:
        """The estimated offset of the master's clock."""
        return self._clock.estimate

    def request_admission(self) -> None:
        """Before anything is loaded. Raises WorkerRefused if the master does not admit this worker."""
        self._admission.request()

    def ready(self) -> None:
        """Everything is loaded: this worker can be given users."""
        self._admission.ready()

    def refuse(self, reason: str) -> None:
        """This worker cannot take part: the master ends the run."""
        self._admission.refuse(reason)

    def cancel_streams(self) -> None:
        """Cancel the streams of users that are being stopped."""
        self._users.stop(0.0)

    def _handle_checked(self, msg: Any) -> None:
        """An error in one message must not end Locust's greenlet that reads all of them."""
        if msg.type == "spawn" and (self._leaving or self._left or self.ends):
            return  # it was sent before the master knew that this worker leaves, or that the run ends
        try:
            self._handle(msg)
        except StopTest:  # the run was refused at test_start: none of its users is spawned
            self.ends = True
        except (LookupError, TypeError, AttributeError, ValueError) as error:
            logger.error("Dropped an invalid %.50s message of the master: %r", msg.type, error)

    def _on_level(self, environment: Any, msg: Any, **_: Any) -> None:
        if self._left:
            return  # what a new recorder counted would never be reported
        begun = msgspec.convert(msg.data, LevelBegun)
        self.ends &= self._reports.run == begun.run
        if self._reports.begin_level(begun) and self._runner.worker_state in (STATE_SPAWNING, STATE_RUNNING):
            self._on_late_level()

    def _on_ack(self, environment: Any, msg: Any, **_: Any) -> None:
        ack = msgspec.convert(msg.data, Ack)
        self._clock.add(ack)
        self._reports.acknowledge(ack)

    def _on_end(self, environment: Any, msg: Any, **_: Any) -> None:
        self.ends = True
        repeated = self._users.stopping
        self._reports.stop_load()
        self._users.stop(msg.data["stop_timeout_s"])
        if not repeated:
            self._reports.send_final_report()

    def _on_quitting(self, **_: Any) -> None:
        """The process ends, because of a signal or of the master. During a run, streams may end first, and a final
        report is sent. A second signal cancels the streams."""
        if self._quitting is not None and self._quitting is not gevent.getcurrent():
            # A signal's own greenlet. The one before it ends the process: were this one to do so too, its exception
            # could come when the interpreter is shutting down, and be printed.
            if self._leaving:
                self._users.stop(0.0)
            Event().wait()
        self._quitting = gevent.getcurrent()
        if self._reports.recorder is not None:
            self._leaving = True
            try:
                self._leave()
            finally:
                self._leaving, self._left = False, True
        aborted = self._reports.recorder is None
        self._channel.send(LEAVING, {"unreported": self._unreported if aborted else self._reports.count_unreported()})

    def _leave(self) -> None:
        """The master gives this worker's users to others; the streams here may end."""
        # Locust's environment has the drain timeout, which came with the master's message to spawn users.
        drain_s = self._admission.stop_timeout_s or float(self._runner.environment.stop_timeout or 0.0)
        if self._runner.greenlet:  # it still listens: the master has not ended the run
            self._channel.send(DRAINING)
            if (recorder := self._reports.recorder) is not None and recorder.in_flight:
                logger.warning(
                    "Stopping this worker. Its %d running requests have up to %g s to end. Stop it again to cut "
                    "them now",
                    *(recorder.in_flight, drain_s),
                )
        self._reports.cancel_with("its worker was stopped")
        if self._runner.greenlet and not self.ends:
            self.share.hand_over()
        self._users.stop(drain_s)
        self._flush_before_exit()

    def _flush_before_exit(self) -> None:
        for tick in range(round(_FLUSH_S / _POLL_S)):
            if self._reports.recorder is None:
                return
            if tick % round(_REPEAT_S / _POLL_S) == 0:
                self._reports.send_final_report()
            if not self._runner.greenlet:
                return  # nothing is received any more
            gevent.sleep(_POLL_S)
        logger.error("The master did not acknowledge this worker's final report")

    def _send_users(self) -> None:
        self._channel.send(USERS, {"user_classes_count": self._runner.user_classes_count})

    def _on_rejected(self, reason: str) -> None:
        self._abort(reason, EXIT_UNUSABLE)

    def _on_outbox_full(self, reason: str) -> None:
        self._abort(reason, EXIT_UNRELIABLE)

    def _on_master_lost(self, reason: str) -> None:
        self._abort(f"{reason}: this worker ends{self._reports.describe_unreported()}", EXIT_UNRELIABLE)

    def _abort(self, reason: str, exit_code: int) -> None:
        logger.error("%s", reason)
        environment = self._runner.environment
        environment.process_exit_code = exit_code
        assert environment.parsed_options is not None
        environment.parsed_options.stop_timeout = 0.0
        self._reports.cancel_with("its worker had to end")
        self._unreported = self._reports.count_unreported()
        self._left = True
        self._reports.abandon()
        self._admission.fail(reason)
        gevent.spawn(self._runner.quit)
