"""What a master and its workers say to each other, inside Locust's own connection.

A worker joins (and is turned away if it runs something else), learns the stages, and reports. Reports are numbered, and
kept and sent again until the master has acknowledged them: one that is lost, repeated or late changes nothing. Before a
run ends, the master has every worker stop its users and say its last word, while Locust's connection is still whole.
Times travel on the master's perf_counter; each worker measures how far its own is from that.
"""

from __future__ import annotations

import logging
import os
import secrets
import socket
import time
from collections.abc import Callable, Generator
from contextlib import suppress
from functools import cache
from typing import Any

import gevent
import msgspec
from gevent.lock import RLock
from locust.dispatch import UsersDispatcher
from locust.exception import RPCError, RPCReceiveError
from locust.runners import STATE_RUNNING, STATE_SPAWNING, MasterRunner, WorkerRunner

from metrics.clock import ClockOffset, Exchange
from metrics.outbox import Outbox, OutboxFull
from metrics.recorder import Recorder
from metrics.records import Report, ReportError
from metrics.roster import Happening, Member, Roster
from metrics.stage import Stage

logger = logging.getLogger(__name__)

#: Who imported this: in a process that was forked since, its parent.
_PARENT = os.getpid()
#: A cluster that a master made up for the workers that it forks; those of other machines have none.
FORKED = "forked-"
FORKED_CLUSTER = FORKED + secrets.token_hex(8)

_JOIN, _ADMITTED, _TURNED_AWAY = "tokenswarm_join", "tokenswarm_admitted", "tokenswarm_turned_away"
_PING, _PONG = "tokenswarm_ping", "tokenswarm_pong"
_STAGE, _ACK = "tokenswarm_stage", "tokenswarm_ack"
_END, _LEAVING, _REFUSED = "tokenswarm_end", "tokenswarm_leaving", "tokenswarm_refused"
_REPORT_KEY = "tokenswarm"

#: How long workers may take for their last words, once their users' --stop-timeout is over.
_LAST_WORDS_S = 30.0
#: How long a worker that leaves in mid-run waits for its last word to be acknowledged.
_FAREWELL_S = 5.0
#: How long workers may take to load what they need before a run begins.
_JOIN_S = 120.0
#: Locust's own worker gives a silent master a minute; its server would be loaded for as long.
_MASTER_SILENT_S = 15
#: A clock is measured so often when a worker joins; then with each report.
_PINGS = 8
_POLL_S = 0.05


class WorkerRefused(ValueError):
    """A worker cannot take part in the run; the text is its reason."""


class MasterPortError(ValueError):
    """The port for workers cannot be had; the text says why and what to do."""


@cache
def check_master_port(host: str, port: int) -> None:
    """Before workers are forked: they would join whoever has the port. Once: later it is this master's own. Raises
    MasterPortError."""
    if not 0 < port < 65536:
        raise MasterPortError(f"--master-bind-port takes a port from 1 to 65535, got {port}.")
    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind(("" if host == "*" else host, port))
            listener.listen()
        except OSError as error:
            raise MasterPortError(
                f"the port for workers {host}:{port} cannot be had ({error.strerror or error}); perhaps another master "
                "is running. Choose another with --master-bind-port (and --master-port for the workers)."
            ) from None


class _Join(msgspec.Struct):
    """A worker asks to be let in."""

    build: str
    cluster: str
    sent_ns: int


class _Ping(msgspec.Struct):
    sent_ns: int


class _Refused(msgspec.Struct):
    """A worker cannot take part, for that reason."""

    reason: str


class _Answer(msgspec.Struct):
    """A master's times of something that a worker sent."""

    sent_ns: int
    received_ns: int
    answered_ns: int


class _Ack(_Answer, kw_only=True):
    """Reports up to `through` need not be sent again."""

    run: int
    through: int


class _StageBegun(msgspec.Struct):
    """The stage that requests belong to from now on. Times on the master's perf_counter_ns."""

    run: int
    stage: Stage
    run_began_ns: int
    began_ns: int


class _Reports(msgspec.Struct, array_like=True):
    """What travels in Locust's report: numbered reports up to `through`. `last`: nothing will follow them. run 0 and
    stage -1 are of a worker that knows of none."""

    run: int
    stage: int
    sent_ns: int
    through: int
    last: bool
    reports: list[bytes]


class Dispatcher(UsersDispatcher):
    """Locust's, but one that does not take itself to be at work for ever once it has moved users between workers: no
    worker that joined or left after that would be noticed."""

    def _dispatcher(self) -> Generator[dict[str, dict[str, int]]]:
        try:
            yield from super()._dispatcher()
        finally:
            self._dispatch_in_progress = False


class MasterLink:
    """The master's side."""

    def __init__(
        self,
        runner: MasterRunner,
        build: str,
        cluster: str,
        enter: Callable[[Report], None],
        fail: Callable[[str], None],
    ) -> None:
        """enter: puts a report into the books; raises ReportError for one that does not fit. fail: the run's figures
        are not to be believed, for that reason."""
        self.roster = Roster()
        self._runner = runner
        self._build, self._cluster = build, cluster
        self._enter, self._fail = enter, fail
        self._stage: _StageBegun | None = None
        self._refusal: str | None = None
        self._ending = RLock()
        self._listener: object | None = None
        for kind, listener in ((_JOIN, self._on_join), (_PING, self._on_ping), (_LEAVING, self._on_leaving)):
            runner.register_message(kind, _sensible(listener))
        runner.register_message(_REFUSED, _sensible(self._on_refused))
        runner.environment.dispatcher_class = Dispatcher
        events = runner.environment.events
        events.worker_report.add_listener(self._on_report)
        events.worker_connect.add_listener(self._on_connect)
        events.heartbeat_sent.add_listener(self._on_heartbeat)
        self._guard_listener()

    def await_workers(self) -> None:
        """Before a run: until every worker that Locust has counts on is ready. Raises WorkerRefused."""
        began_s = _now_s()
        told_s = began_s
        while True:
            if (refusal := self._refusal) is not None:
                self._refusal = None
                raise WorkerRefused(refusal)
            ready = [client.id for client in self._runner.clients.ready]
            strangers = [name for name in ready if name not in self.roster.members]
            if not strangers:
                return
            if _now_s() - began_s > _JOIN_S:
                raise WorkerRefused(
                    f"worker {strangers[0]} has not said within {_JOIN_S:g} s that it is ready; does it run "
                    "Tokenswarm's locustfile?"
                )
            if _now_s() - told_s > 5:
                told_s = _now_s()
                logger.info("Waiting for worker %s to have loaded what it needs", ", ".join(strangers))
            gevent.sleep(_POLL_S)

    def begin_run(self) -> None:
        """Who is there now takes part."""
        self._stage = None
        self.roster.begin_run(_now_s())

    def begin_stage(self, run: int, stage: Stage, run_began_ns: int) -> None:
        """Tell every worker, and whoever joins later."""
        self._stage = _StageBegun(run, stage, run_began_ns, time.perf_counter_ns())
        for name in self.roster.members:
            self._send_stage(name)

    def end(self) -> None:
        """Have the users stopped everywhere and wait for the workers' last words; several may ask for it at once."""
        if gevent.getcurrent() is self._listener:
            return  # the last worker has left, by a message; no other can come while this one is being handled
        with self._ending:
            if self._stage is not None:
                self._end()
                self._stage = None

    def end_run(self) -> list[Member]:
        """The run is over: the workers whose last word never came."""
        self._stage = None
        return self.roster.end_run()

    def _end(self) -> None:
        shape = self._runner.shape_greenlet
        if shape is not None and shape is not gevent.getcurrent():
            shape.kill()  # Locust does so a moment later; until then it would begin levels and send users out
        options = self._runner.environment.parsed_options
        assert options is not None
        stop_timeout_s = float(options.stop_timeout or 0.0)  # what the environment has is how long a drain may take
        deadline_s = _now_s() + stop_timeout_s + _LAST_WORDS_S
        told_s = -1.0
        try:
            while (awaited := self.roster.awaited(_now_s())) and _now_s() < deadline_s:
                if _now_s() - told_s >= 1:
                    told_s = _now_s()
                    for name in awaited:
                        self._send(_END, {"stop_timeout_s": stop_timeout_s}, name)
                gevent.sleep(_POLL_S)
        except KeyboardInterrupt:
            logger.warning("Interrupted again: the last words of %s are not waited for", ", ".join(awaited))

    # Listeners. What comes from the network is checked, whoever sent it.

    def _on_join(self, environment: Any, msg: Any, **_: Any) -> None:
        received_ns = time.perf_counter_ns()
        join = msgspec.convert(msg.data, _Join)
        if (reason := self._objection(join)) is not None:
            logger.error("Worker %s is turned away: %s", msg.node_id, reason)
            self._send(_TURNED_AWAY, {"reason": reason}, msg.node_id)
            return
        self.roster.join(msg.node_id, self._runner.get_worker_index(msg.node_id), _now_s())
        self._send(_ADMITTED, _answer(join.sent_ns, received_ns), msg.node_id)
        if self._stage is not None:
            logger.info("Worker %s joins in the running level", msg.node_id)
            self._send_stage(msg.node_id)

    def _objection(self, join: _Join) -> str | None:
        if join.build != self._build:
            return f"it runs Tokenswarm {join.build}, its master runs {self._build}; use the same files on both"
        if join.cluster != self._cluster and (join.cluster or not self._cluster.startswith(FORKED)):
            return "it belongs to another master (see --cluster)"
        return None

    def _on_connect(self, client_id: str, **_: Any) -> None:
        # One that was there before and is ready again: after a run that was stopped, or a connection that broke.
        if client_id in self.roster.members and self._stage is not None:
            self._send_stage(client_id)

    def _on_ping(self, environment: Any, msg: Any, **_: Any) -> None:
        received_ns = time.perf_counter_ns()
        self._send(_PONG, _answer(msgspec.convert(msg.data, _Ping).sent_ns, received_ns), msg.node_id)

    def _on_heartbeat(self, client_id: str, **_: Any) -> None:
        self.roster.heard(client_id, _now_s())

    def _on_leaving(self, environment: Any, msg: Any, **_: Any) -> None:
        self.roster.leave(msg.node_id, _now_s())

    def _on_refused(self, environment: Any, msg: Any, **_: Any) -> None:
        if msg.node_id not in self._runner.clients:
            return
        reason = f"worker {msg.node_id} cannot take part: {msgspec.convert(msg.data, _Refused).reason[:500]}"
        if self._stage is None:
            self._refusal = reason
            return
        self._fail(reason)
        options = self._runner.environment.parsed_options
        gevent.spawn(self._runner.quit if options is not None and options.headless else self._runner.stop)

    def _on_report(self, client_id: str, data: dict[str, Any], **_: Any) -> None:
        received_ns = time.perf_counter_ns()
        member = self.roster.members.get(client_id)
        if member is None or _REPORT_KEY not in data:
            return
        try:
            told = msgspec.convert(data[_REPORT_KEY], _Reports)
            if self._stage is not None and told.run == self._stage.run:
                self._take(member, told)
        except (ReportError, msgspec.MsgspecError) as error:
            self._fail(f"a report of worker {client_id} could not be entered: {error}")
            self.roster.leave(client_id, _now_s(), Happening.EXPELLED)
            self._send(_TURNED_AWAY, {"reason": f"its report could not be entered: {error}"}, client_id)
            return
        # Reports of a run that is over are acknowledged too: nobody will ever want them.
        ack = {**_answer(told.sent_ns, received_ns), "run": told.run, "through": told.through}
        self._send(_ACK, ack, client_id)
        known, now = (told.run, told.stage), self._stage
        if now is not None and known != (now.run, now.stage.stage) and not member.last_word:
            self._send_stage(client_id)  # it was sent before; the connection must have broken

    def _take(self, member: Member, told: _Reports) -> None:
        for encoded in told.reports:
            report = Report.decode(encoded)
            if report.worker != member.index:
                raise ReportError(f"it is of worker {report.worker}, but came from worker {member.index}")
            self._enter(report)
        member.last_word |= told.last

    def _guard_listener(self) -> None:
        """Locust's greenlet that listens to workers dies of the first message that is not what it expects, and with it
        the run. Anybody who reaches the port can send one."""
        receive, handle = self._runner.server.recv_from_client, self._runner.handle_message

        def receive_or_refuse() -> tuple[str, Any]:
            try:
                name, message = receive()
                if not isinstance(message.type, str) or message.node_id != name:
                    raise RPCReceiveError(f"a message that is not what its sender may send, from {name!r}")
            except (RPCError, KeyboardInterrupt):
                raise
            except Exception as error:
                raise RPCReceiveError(f"a message that cannot be read: {error!r}") from error
            return name, message

        def handle_or_refuse(name: str, message: Any) -> None:
            known = name in self._runner.clients or name in self.roster.members
            if message.type == "stats" and not known:
                return  # Locust adds up whoever's it is
            self._listener = gevent.getcurrent()
            try:
                handle(name, message)
            except (LookupError, TypeError, AttributeError, ValueError) as error:
                logger.error("A %s message of %s makes no sense and is left out: %r", message.type, name, error)
            finally:
                self._listener = None

        self._runner.server.recv_from_client = receive_or_refuse  # type: ignore[method-assign]
        self._runner.handle_message = handle_or_refuse  # type: ignore[assignment,method-assign]

    def _send_stage(self, name: str) -> None:
        self._send(_STAGE, msgspec.to_builtins(self._stage), name)

    def _send(self, kind: str, data: Any, name: str) -> None:
        try:
            self._runner.send_message(kind, data, name)
        except Exception as error:  # one that is gone must not end the others' run
            logger.warning("Worker %s cannot be told: %r", name, error)


class WorkerLink:
    """A worker's side. `on_recorder` is called with a run's recorder when the worker first hears of the run, and with
    None when all is told; `on_late_stage` where users were there before the stage was."""

    def __init__(
        self,
        runner: WorkerRunner,
        build: str,
        cluster: str,
        on_recorder: Callable[[Recorder | None], None],
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
        self._stopping = False
        self._last_word = False
        self._pings = 0
        self._silent_s = 0
        for kind, listener in (
            (_ADMITTED, self._on_admitted),
            (_TURNED_AWAY, self._on_turned_away),
            (_PONG, self._on_pong),
            (_STAGE, self._on_stage),
            (_ACK, self._on_ack),
        ):
            runner.register_message(kind, listener)
        runner.register_message(_END, self._on_end, concurrent=True)
        events = runner.environment.events
        events.report_to_master.add_listener(self._on_report_to_master)
        events.heartbeat_received.add_listener(self._on_heartbeat)
        # After Locust's own listener, that is before it: `quitting` goes through them in reverse. Locust's tells the
        # master that this worker is gone.
        events.quitting.add_listener(self._on_quitting)
        gevent.spawn(self._watch_master)

    def join(self) -> None:
        """All is loaded: ask to be let in."""
        self._send(_JOIN, {"build": self._build, "cluster": self._cluster, "sent_ns": time.perf_counter_ns()})

    def refuse(self, reason: str) -> None:
        """This worker cannot take part: the master must not go on at half load."""
        self._send(_REFUSED, {"reason": reason})
        gevent.sleep(0.5)  # a worker that ends now takes what it has not sent with it

    # Listeners.

    def _on_admitted(self, environment: Any, msg: Any, **_: Any) -> None:
        self._measure(msgspec.convert(msg.data, _Answer))
        self._ping()

    def _on_pong(self, environment: Any, msg: Any, **_: Any) -> None:
        self._measure(msgspec.convert(msg.data, _Answer))
        self._pings += 1
        if self._pings < _PINGS:
            self._ping()

    def _on_turned_away(self, environment: Any, msg: Any, **_: Any) -> None:
        self._give_up(f"The master turns this worker away: {msg.data['reason']}", exit_code=2)

    def _on_stage(self, environment: Any, msg: Any, **_: Any) -> None:
        begun = msgspec.convert(msg.data, _StageBegun)
        new = self._recorder is None or self._run != begun.run
        if new:
            self._run, self._outbox, self._last_through = begun.run, Outbox(), None
            self._recorder = Recorder(self._runner.worker_index)
            self._on_recorder(self._recorder)
        assert self._recorder is not None
        offset_ns = self._offset_ns
        self._recorder.begin_stage(begun.stage, begun.run_began_ns - offset_ns, begun.began_ns - offset_ns)
        if new and self._runner.worker_state in (STATE_SPAWNING, STATE_RUNNING):
            self._on_late_stage()

    def _on_ack(self, environment: Any, msg: Any, **_: Any) -> None:
        ack = msgspec.convert(msg.data, _Ack)
        self._measure(ack)
        if ack.run != self._run:
            return
        self._outbox.acknowledge(ack.through)
        if self._last_through is not None and ack.through >= self._last_through:
            self._recorder = self._last_through = None
            self._on_recorder(None)

    def _on_end(self, environment: Any, msg: Any, **_: Any) -> None:
        if not self._stopping:
            environment.parsed_options.stop_timeout = msg.data["stop_timeout_s"]
            self._stop_users()
            self._say_last_word()

    def _on_report_to_master(self, client_id: str, data: dict[str, Any], **_: Any) -> None:
        recorder, outbox = self._recorder, self._outbox
        stage, last = -1, self._last_word
        if recorder is not None:
            stage = next(reversed(recorder.stages), -1)
            try:
                outbox.put(recorder.take_report())
            except OutboxFull as error:
                self._give_up(f"This worker ends: {error}", exit_code=3)
                return
            if last:
                self._last_through = outbox.last
        through, reports = outbox.message()
        last &= through == outbox.last
        data[_REPORT_KEY] = (self._run, stage, time.perf_counter_ns(), through, last, reports)

    def _on_heartbeat(self, **_: Any) -> None:
        self._silent_s = 0

    def _on_quitting(self, **_: Any) -> None:
        """Asked to end, by a person or by the master. If in a run, then not without a last word."""
        if self._recorder is not None:
            self._stop_users()
            with suppress(KeyboardInterrupt):
                self._say_farewell()
        self._send(_LEAVING, None)

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

    def _stop_users(self) -> None:
        self._stopping = True
        try:
            if self._runner.worker_state in (STATE_SPAWNING, STATE_RUNNING):
                self._runner.stop()
        finally:
            self._stopping = False

    def _say_last_word(self) -> None:
        """As Locust's own reporter does it, at once: Locust's count and ours leave together."""
        data: dict[str, Any] = {}
        self._last_word = True
        self._runner.environment.events.report_to_master.fire(client_id=self._runner.client_id, data=data)
        self._last_word = False
        self._send("stats", data)

    def _measure(self, answer: _Answer) -> None:
        now_ns = time.perf_counter_ns()
        self.clock.add(Exchange(answer.sent_ns, answer.received_ns, answer.answered_ns, now_ns))
        offset_ns = self.clock.offset_ns or 0
        if self._recorder is not None:
            self._recorder.shift(self._offset_ns - offset_ns)
        self._offset_ns = offset_ns

    def _ping(self) -> None:
        self._send(_PING, {"sent_ns": time.perf_counter_ns()})

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
        lost = self._recorder.fired - self._outbox.fired_acknowledged if self._recorder is not None else 0
        told = f"; {lost:,} requests that it had not acknowledged are lost" if lost else ""
        self._give_up(f"{reason}: this worker ends{told}", exit_code=3)

    def _give_up(self, reason: str, exit_code: int) -> None:
        logger.error("%s", reason)
        environment = self._runner.environment
        environment.process_exit_code = exit_code
        assert environment.parsed_options is not None
        environment.parsed_options.stop_timeout = 0.0
        self._recorder = None  # without a farewell
        gevent.spawn(self._runner.quit)

    def _send(self, kind: str, data: Any) -> None:
        try:
            self._runner.send_message(kind, data)
        except Exception as error:  # Locust has tried for 9 s
            logger.warning("The master cannot be told: %r", error)


def _sensible(listener: Callable[..., None]) -> Callable[..., None]:
    """The listener, deaf to messages that are not what they should be."""

    def listen(environment: Any, msg: Any, **_: Any) -> None:
        try:
            listener(environment=environment, msg=msg)
        except msgspec.MsgspecError as error:
            logger.error("A %s message of %s makes no sense and is left out: %s", msg.type, msg.node_id, error)

    return listen


def _answer(sent_ns: int, received_ns: int) -> dict[str, int]:
    return {"sent_ns": sent_ns, "received_ns": received_ns, "answered_ns": time.perf_counter_ns()}


def _now_s() -> float:
    return time.perf_counter_ns() / 1e9
