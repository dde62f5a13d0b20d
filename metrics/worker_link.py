"""A worker's side of the connection to its master.

A worker joins, measures how far its clock is from the master's, learns the stages, and reports. Reports are numbered,
and kept and sent again until the master has acknowledged them: one that is lost, repeated or late changes nothing.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable
from typing import Any

import gevent
import locust
import msgspec
from gevent.event import Event
from locust.runners import STATE_RUNNING, STATE_SPAWNING, WorkerRunner

from metrics.clock import ClockOffset, Exchange
from metrics.outbox import Outbox, OutboxFull
from metrics.protocol import (
    ACK,
    ADMITTED,
    DRAINING,
    END,
    JOIN,
    LEAVING,
    PING,
    PONG,
    READY,
    REFUSED,
    REPORT_KEY,
    STAGE,
    TURNED_AWAY,
    USERS,
    Ack,
    Admitted,
    Answer,
    StageBegun,
    WorkerRefused,
)
from metrics.recorder import Recorder
from metrics.transport import WorkerSocket
from metrics.worker_users import WorkerUsers
from sanitize import server_text

logger = logging.getLogger(__name__)

#: Who imported this: in a process that was forked since, its parent.
_PARENT = os.getpid()
#: How long a worker waits to be admitted, and how often it repeats its request.
_ADMISSION_S = 60.0
_REPEAT_S = 5.0
#: How long a worker that leaves in mid-run waits for its last word to be acknowledged.
_FAREWELL_S = 5.0
#: Locust's own worker gives a silent master a minute; its server would be loaded for as long.
_MASTER_SILENT_S = 15
#: A clock is measured so often when a worker joins; then with each report.
_PINGS = 8
_POLL_S = 0.05
_REASON_CHARACTERS = 500


class WorkerLink:
    """A worker's side. `on_recorder` is called with a run's recorder, the run's id and its spool folder (see
    StageBegun) when the worker first hears of the run, and with None when everything is acknowledged; `on_late_stage`
    where users were there before the stage was."""

    def __init__(
        self,
        runner: WorkerRunner,
        build: str,
        cluster: str,
        on_recorder: Callable[[Recorder | None, int, str], None],
        on_late_stage: Callable[[], None],
    ) -> None:
        self.clock = ClockOffset()
        self._runner = runner
        self._build, self._cluster = build, cluster
        self._on_recorder, self._on_late_stage = on_recorder, on_late_stage
        self._recorder: Recorder | None = None
        self._outbox = Outbox()
        self._run = 0
        self._offset_ns = 0
        self._last_through: int | None = None
        #: Whether it leaves, or has left: it takes no users and no stages any more.
        self._leaving = self._left = False
        #: Of a worker that gave up: see Leaving.
        self._unreported = 0
        #: Whether the master has said that the run ends.
        self.ends = False
        self._stop_timeout_s = float(getattr(runner.environment.parsed_options, "stop_timeout", 0.0) or 0.0)
        self._last_word = False
        self._admission: bool | str | None = None
        self._pings = 0
        self._silent_s = 0
        for kind, listener in (
            (ADMITTED, self._on_admitted),
            (TURNED_AWAY, self._on_turned_away),
            (PONG, self._on_pong),
            (STAGE, self._on_stage),
            (ACK, self._on_ack),
        ):
            runner.register_message(kind, listener)
        self._users = WorkerUsers(runner, self._send_users)
        if isinstance(client := getattr(runner, "client", None), WorkerSocket):
            client.attach(lambda: runner.user_classes_count)
        self._handle = runner.handle_message
        runner.handle_message = self._handle_checked  # type: ignore[method-assign]
        runner.register_message(END, self._on_end, concurrent=True)
        events = runner.environment.events
        events.report_to_master.add_listener(self._on_report_to_master)
        events.heartbeat_received.add_listener(self._on_heartbeat)
        # After Locust's own listener, that is before it: `quitting` goes through them in reverse. Locust's tells the
        # master that this worker is gone.
        events.quitting.add_listener(self._on_quitting)
        gevent.spawn(self._watch_master)
        self._quitting: object | None = None

    def request_admission(self) -> None:
        """Before anything is loaded. Raises WorkerRefused where the master does not admit this worker."""
        for tick in range(round(_ADMISSION_S / _POLL_S)):
            if tick % round(_REPEAT_S / _POLL_S) == 0:
                self._send(JOIN, {"build": self._build, "cluster": self._cluster, "sent_ns": time.perf_counter_ns()})
            if self._admission is True:
                return
            if self._admission is not None:
                raise WorkerRefused(self._admission)
            gevent.sleep(_POLL_S)
        raise WorkerRefused(
            f"the master did not admit this worker within {_ADMISSION_S:g} s; does it run Tokenswarm's locustfile?"
        )

    def ready(self) -> None:
        """All is loaded: this worker can be given users."""
        self._send(READY, {"locust": locust.__version__})

    def refuse(self, reason: str) -> None:
        """This worker cannot take part: the master must not go on at half load."""
        self._send(REFUSED, {"reason": server_text(reason, _REASON_CHARACTERS)})
        gevent.sleep(0.5)  # a worker that ends now takes what it has not sent with it

    def cut(self) -> None:
        """Streams that still run, of users that are being stopped, are cut now."""
        self._users.stop(0.0)

    # Listeners.

    def _handle_checked(self, msg: Any) -> None:
        """Locust's greenlet that listens to the master dies of the first message that is not what it expects."""
        if msg.type == "spawn" and (self._leaving or self._left or self.ends):
            return  # it was under way when this worker was told to stop, or the run to end
        try:
            self._handle(msg)
        except (LookupError, TypeError, AttributeError, ValueError) as error:
            logger.error("Dropped an invalid %.50s message of the master: %r", msg.type, error)

    def _on_admitted(self, environment: Any, msg: Any, **_: Any) -> None:
        admitted = msgspec.convert(msg.data, Admitted)
        self._runner.worker_index = admitted.index
        self._stop_timeout_s = self._stop_timeout_s or admitted.stop_timeout_s
        self._admission = True
        self._measure(admitted)
        self._ping()

    def _on_pong(self, environment: Any, msg: Any, **_: Any) -> None:
        self._measure(msgspec.convert(msg.data, Answer))
        self._pings += 1
        if self._pings < _PINGS:
            self._ping()

    def _on_turned_away(self, environment: Any, msg: Any, **_: Any) -> None:
        reason = f"the master rejects this worker: {str(msg.data['reason'])[:1000]}"
        if self._admission is True:
            self._give_up(reason, exit_code=2)
        else:
            self._admission = reason

    def _on_stage(self, environment: Any, msg: Any, **_: Any) -> None:
        if self._left:
            return  # what a new recorder counted would never be reported
        begun = msgspec.convert(msg.data, StageBegun)
        new = self._recorder is None or self._run != begun.run
        if new:
            self.ends &= self._run == begun.run
            self._run, self._outbox, self._last_through = begun.run, Outbox(), None
            self._recorder = Recorder(self._runner.worker_index)
            self._on_recorder(self._recorder, begun.run, begun.spool)
        assert self._recorder is not None
        offset_ns = self._offset_ns
        self._recorder.begin_stage(begun.stage, begun.run_began_ns - offset_ns, begun.began_ns - offset_ns)
        if new and self._runner.worker_state in (STATE_SPAWNING, STATE_RUNNING):
            self._on_late_stage()

    def _on_ack(self, environment: Any, msg: Any, **_: Any) -> None:
        ack = msgspec.convert(msg.data, Ack)
        self._measure(ack)
        if ack.run != self._run:
            return
        if self._recorder is not None:
            self._acknowledge(self._recorder, ack)
        self._outbox.acknowledge(ack.through)
        if self._last_through is not None and ack.through >= self._last_through:
            self._recorder = self._last_through = None
            self._on_recorder(None, ack.run, "")

    def _acknowledge(self, recorder: Recorder, ack: Ack) -> None:
        missing = recorder.fired - self._outbox.fired_by(ack.entered) if ack.entered < ack.through else 0
        if not missing:
            recorder.acknowledge(ack.through)
        elif recorder.spool is not None:
            logger.error(
                "The run had ended without %d requests of this worker; they are kept in %s; see tokenswarm recover",
                missing,
                recorder.spool.folder,
            )
            recorder.leave_spool()

    def _on_end(self, environment: Any, msg: Any, **_: Any) -> None:
        self.ends = True
        repeated = self._users.stopping
        self._users.stop(msg.data["stop_timeout_s"])
        if not repeated:
            self._say_last_word()

    def _on_report_to_master(self, client_id: str, data: dict[str, Any], **_: Any) -> None:
        recorder, outbox = self._recorder, self._outbox
        stage, last = -1, self._last_word
        if recorder is not None:
            stage = next(reversed(recorder.stages), -1)
            try:
                for report in recorder.take_reports():
                    outbox.put(report)
            except OutboxFull as error:
                self._give_up(f"This worker ends: {error}", exit_code=3)
                return
            if last:
                self._last_through = outbox.last
        through, reports = outbox.message()
        last &= through == outbox.last
        data[REPORT_KEY] = (self._run, stage, time.perf_counter_ns(), through, last, reports)

    def _on_heartbeat(self, **_: Any) -> None:
        self._silent_s = 0

    def _on_quitting(self, **_: Any) -> None:
        """Told to end, by a person or by the master. In a run, streams may end first, and a final report is sent. Told
        so again, it ends the streams at once."""
        if self._quitting is not None and self._quitting is not gevent.getcurrent():
            # A signal's own greenlet. The one before it ends the process: were this one to do so too, its exception
            # could come when the interpreter is shutting down, and be printed.
            if self._leaving:
                self._users.stop(0.0)
            Event().wait()
        self._quitting = gevent.getcurrent()
        if self._recorder is not None:
            self._leaving = True
            try:
                self._leave()
            finally:
                self._leaving, self._left = False, True
        self._send(LEAVING, {"unreported": self._unreported if self._recorder is None else self._count_unreported()})

    # What they do.

    def _say_farewell(self) -> None:
        for tick in range(round(_FAREWELL_S / _POLL_S)):
            if self._recorder is None:
                return
            if tick % round(1 / _POLL_S) == 0:
                self._say_last_word()
            if not self._runner.greenlet:
                return  # nobody listens any more
            gevent.sleep(_POLL_S)
        logger.error("The master did not acknowledge this worker's last word")

    def _leave(self) -> None:
        """The master gives this worker's users to others; what streams here may end."""
        options = self._runner.environment.parsed_options
        assert options is not None
        # Locust's environment has the drain timeout, which came with the master's message to spawn users.
        drain_s = self._stop_timeout_s or float(self._runner.environment.stop_timeout or 0.0)
        if self._runner.greenlet:  # it still listens: the master has not ended the run
            self._send(DRAINING, None)
            if self._recorder is not None and self._recorder.in_flight:
                logger.warning(
                    "This worker was told to stop. Its %d streams may end first, within %g s; told so again, it ends "
                    "them at once",
                    self._recorder.in_flight,
                    drain_s,
                )
        if self._recorder is not None:
            self._recorder.cut_reason = "its worker was told to stop"
        self._users.stop(drain_s)
        self._say_farewell()

    def _send_users(self) -> None:
        self._send(USERS, {"user_classes_count": self._runner.user_classes_count})

    def _say_last_word(self) -> None:
        """As Locust's own reporter does it, at once: Locust's count and ours leave together."""
        data: dict[str, Any] = {}
        self._last_word = True
        self._runner.environment.events.report_to_master.fire(client_id=self._runner.client_id, data=data)
        self._last_word = False
        self._send("stats", data)

    def _measure(self, answer: Answer) -> None:
        now_ns = time.perf_counter_ns()
        self.clock.add(Exchange(answer.sent_ns, answer.received_ns, answer.answered_ns, now_ns))
        offset_ns = self.clock.offset_ns or 0
        if self._recorder is not None:
            self._recorder.shift(self._offset_ns - offset_ns)
        self._offset_ns = offset_ns

    def _ping(self) -> None:
        self._send(PING, {"sent_ns": time.perf_counter_ns()})

    def _watch_master(self) -> None:
        forked = os.getpid() != _PARENT
        while True:
            gevent.sleep(1.0)
            # Ticks, not a clock: a worker that was itself put aside has not waited.
            self._silent_s += 1
            if forked and os.getppid() != _PARENT:
                return self._lose_master("The process that forked this worker is gone")
            if self._silent_s >= _MASTER_SILENT_S:
                return self._lose_master(f"The master has not been heard of for {_MASTER_SILENT_S} s")

    def _lose_master(self, reason: str) -> None:
        unreported = self._count_unreported()
        spool = self._recorder.spool if self._recorder is not None else None
        kept = f"kept in {spool.folder}; see tokenswarm recover" if spool is not None and spool.writes else "lost"
        told = f"; {unreported:,} requests that it had not acknowledged are {kept}" if unreported else ""
        self._give_up(f"{reason}: this worker ends{told}", exit_code=3)

    def _count_unreported(self) -> int:
        recorder = self._recorder
        return 0 if recorder is None else recorder.fired - self._outbox.fired_acknowledged + recorder.in_flight

    def _give_up(self, reason: str, exit_code: int) -> None:
        logger.error("%s", reason)
        environment = self._runner.environment
        environment.process_exit_code = exit_code
        assert environment.parsed_options is not None
        environment.parsed_options.stop_timeout = 0.0
        if self._recorder is not None:
            self._recorder.cut_reason = "its worker had to end"
        self._unreported = self._count_unreported()
        self._left = True
        self._recorder = None  # without a farewell
        if self._admission is not True:
            self._admission = reason
        gevent.spawn(self._runner.quit)

    def _send(self, kind: str, data: Any) -> None:
        try:
            self._runner.send_message(kind, data)
        except Exception as error:  # Locust has tried for 9 s
            logger.warning("No %s message could be sent to the master: %r", kind, error)
