"""The master's side of the connection to its workers.

Admits workers, sends them the stages, takes their reports and acknowledges them. Before a run ends, it has every worker
stop its users and send its final report, while Locust's connection is still whole.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import Any

import gevent
import msgspec
from gevent.lock import RLock
from locust.exception import RPCError, RPCReceiveError
from locust.runners import MasterRunner

from metrics.dispatcher import Dispatcher
from metrics.protocol import (
    ACK,
    ADMITTED,
    END,
    FORKED,
    JOIN,
    LEAVING,
    PING,
    PONG,
    REFUSED,
    REPORT_KEY,
    STAGE,
    TURNED_AWAY,
    Join,
    Ping,
    Refused,
    Reports,
    StageBegun,
    WorkerRefused,
)
from metrics.records import Report, ReportError
from metrics.roster import Happening, Member, Roster
from metrics.stage import Stage

logger = logging.getLogger(__name__)

#: How long workers may take for their last words, once their users' --stop-timeout is over.
_LAST_WORDS_S = 30.0
#: How long workers may take to load what they need before a run begins.
_JOIN_S = 120.0
_POLL_S = 0.05


class MasterLink:
    """The master's side."""

    def __init__(
        self,
        runner: MasterRunner,
        build: str,
        cluster: str,
        enter: Callable[[Report, bytes], None],
        fail: Callable[[str], None],
    ) -> None:
        """enter: puts a report, with its bytes, into the statistics; raises ReportError for one that does not fit.
        fail: the run's figures are not to be trusted, for that reason."""
        self.roster = Roster()
        self._runner = runner
        self._build, self._cluster = build, cluster
        self._enter, self._fail = enter, fail
        self._stage: StageBegun | None = None
        self._refusal: str | None = None
        self._ending = RLock()
        self._listener: object | None = None
        for kind, listener in ((JOIN, self._on_join), (PING, self._on_ping), (LEAVING, self._on_leaving)):
            runner.register_message(kind, _sensible(listener))
        runner.register_message(REFUSED, _sensible(self._on_refused))
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

    def begin_stage(self, run: int, stage: Stage, run_began_ns: int, spool: str) -> None:
        """Tell every worker, and whoever joins later. spool: see StageBegun."""
        self._stage = StageBegun(run, stage, run_began_ns, time.perf_counter_ns(), spool)
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
                        self._send(END, {"stop_timeout_s": stop_timeout_s}, name)
                gevent.sleep(_POLL_S)
        except KeyboardInterrupt:
            logger.warning("Interrupted again: the last words of %s are not waited for", ", ".join(awaited))

    # Listeners. What comes from the network is checked, whoever sent it.

    def _on_join(self, environment: Any, msg: Any, **_: Any) -> None:
        received_ns = time.perf_counter_ns()
        join = msgspec.convert(msg.data, Join)
        if (reason := self._objection(join)) is not None:
            logger.error("Worker %s is turned away: %s", msg.node_id, reason)
            self._send(TURNED_AWAY, {"reason": reason}, msg.node_id)
            return
        self.roster.join(msg.node_id, self._runner.get_worker_index(msg.node_id), _now_s())
        self._send(ADMITTED, _answer(join.sent_ns, received_ns), msg.node_id)
        if self._stage is not None:
            logger.info("Worker %s joins in the running level", msg.node_id)
            self._send_stage(msg.node_id)

    def _objection(self, join: Join) -> str | None:
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
        self._send(PONG, _answer(msgspec.convert(msg.data, Ping).sent_ns, received_ns), msg.node_id)

    def _on_heartbeat(self, client_id: str, **_: Any) -> None:
        self.roster.heard(client_id, _now_s())

    def _on_leaving(self, environment: Any, msg: Any, **_: Any) -> None:
        self.roster.leave(msg.node_id, _now_s())

    def _on_refused(self, environment: Any, msg: Any, **_: Any) -> None:
        if msg.node_id not in self._runner.clients:
            return
        reason = f"worker {msg.node_id} cannot take part: {msgspec.convert(msg.data, Refused).reason[:500]}"
        if self._stage is None:
            self._refusal = reason
            return
        self._fail(reason)
        options = self._runner.environment.parsed_options
        gevent.spawn(self._runner.quit if options is not None and options.headless else self._runner.stop)

    def _on_report(self, client_id: str, data: dict[str, Any], **_: Any) -> None:
        received_ns = time.perf_counter_ns()
        member = self.roster.members.get(client_id)
        if member is None or REPORT_KEY not in data:
            return
        try:
            told = msgspec.convert(data[REPORT_KEY], Reports)
            if self._stage is not None and told.run == self._stage.run:
                self._take(member, told)
        except (ReportError, msgspec.MsgspecError) as error:
            self._fail(f"a report of worker {client_id} could not be entered: {error}")
            self.roster.leave(client_id, _now_s(), Happening.EXPELLED)
            self._send(TURNED_AWAY, {"reason": f"its report could not be entered: {error}"}, client_id)
            return
        # Reports of a run that is over are acknowledged too: nobody will ever want them.
        ack = {**_answer(told.sent_ns, received_ns), "run": told.run, "through": told.through}
        self._send(ACK, ack, client_id)
        known, now = (told.run, told.stage), self._stage
        if now is not None and known != (now.run, now.stage.stage) and not member.last_word:
            self._send_stage(client_id)  # it was sent before; the connection must have broken

    def _take(self, member: Member, told: Reports) -> None:
        for encoded in told.reports:
            report = Report.decode(encoded)
            if report.worker != member.index:
                raise ReportError(f"it is of worker {report.worker}, but came from worker {member.index}")
            self._enter(report, encoded)
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
        self._send(STAGE, msgspec.to_builtins(self._stage), name)

    def _send(self, kind: str, data: Any, name: str) -> None:
        try:
            self._runner.send_message(kind, data, name)
        except Exception as error:  # one that is gone must not end the others' run
            logger.warning("Worker %s cannot be told: %r", name, error)


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
