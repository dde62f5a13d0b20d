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
from locust import User
from locust.runners import MasterRunner, WorkerNode

from metrics.dispatcher import Dispatcher, UsersOnWorkers, keep_missing_workers
from metrics.dropped import DroppedMessages
from metrics.exit_codes import EXIT_UNUSABLE
from metrics.locust_messages import BadMessage, check_user_counts
from metrics.master_gate import MasterGate
from metrics.protocol import (
    ACK,
    ADMITTED,
    DRAINING,
    END,
    FORKED,
    LEAVING,
    PING,
    PONG,
    READY,
    REFUSED,
    REPORT_KEY,
    STAGE,
    TURNED_AWAY,
    USERS,
    Join,
    Leaving,
    Ping,
    Ready,
    Refused,
    Reports,
    StageBegun,
    Users,
    WorkerRefused,
)
from metrics.records import Report, ReportError
from metrics.roster import Happening, Member, Roster
from metrics.stage import Stage

logger = logging.getLogger(__name__)

#: How long workers may take for their last words, once their users' --stop-timeout is over.
_LAST_WORDS_S = 30.0
#: How long workers may take to load what they need before a run begins.
_READY_S = 120.0
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
        abort: Callable[[str], None],
    ) -> None:
        """enter: puts a report, with its bytes, into the statistics; raises ReportError for one that does not fit.
        fail: the run's figures are not to be trusted, for that reason. abort: the same, and the run ends now."""
        self.roster = Roster()
        self._runner = runner
        self._build, self._cluster = build, cluster
        self._enter, self._fail, self._abort = enter, fail, abort
        self._stage: StageBegun | None = None
        self._refusal: str | None = None
        self._ends = False
        self._ending = RLock()
        self._cuts = self._waits_no_more = False
        self._main = gevent.getcurrent()
        self._gate = MasterGate(runner, self.roster, self._checked(self._on_join), self._on_report)
        for kind, listener in (
            (READY, self._on_ready),
            (PING, self._on_ping),
            (USERS, self._on_users),
            (DRAINING, self._on_draining),
            (LEAVING, self._on_leaving),
            (REFUSED, self._on_refused),
        ):
            runner.register_message(kind, self._checked(listener))
        runner.environment.dispatcher_class = self._dispatcher  # type: ignore[assignment]
        runner.rebalancing_enabled = lambda: False  # type: ignore[method-assign]  # it is always done, and better
        keep_missing_workers()
        events = runner.environment.events
        events.worker_report.add_listener(self._on_report)
        events.worker_connect.add_listener(self._on_connect)

    @property
    def dropped(self) -> DroppedMessages:
        """Messages that were not acted on."""
        return self._gate.dropped

    @property
    def users(self) -> int:
        """How many users the workers have; those of a worker that is silent do not count."""
        return self.roster.users(_now_s())

    def await_workers(self) -> None:
        """Before a run: until every worker that was admitted is ready. Raises WorkerRefused."""
        began_s = _now_s()
        logged_s = began_s
        while True:
            if (refusal := self._refusal) is not None:
                self._refusal = None
                raise WorkerRefused(refusal)
            self.roster.forget_silent_candidates(_now_s())
            loading = list(self.roster.candidates)
            if not loading:
                return
            if _now_s() - began_s > _READY_S:
                raise WorkerRefused(
                    f"worker {loading[0]} was not ready within {_READY_S:g} s: it still loads what it needs"
                )
            if _now_s() - logged_s > 5:
                logged_s = _now_s()
                logger.info("Waiting for workers that still load what they need: %s", ", ".join(loading))
            gevent.sleep(_POLL_S)

    def begin_run(self) -> None:
        """Who is there now takes part."""
        self._stage, self._ends = None, False
        self._cuts = self._waits_no_more = False
        self.roster.begin_run(_now_s())

    def begin_stage(self, run: int, stage: Stage, run_began_ns: int, spool: str) -> None:
        """Tell every worker, and whoever joins later. spool: see StageBegun."""
        self._stage = StageBegun(run, stage, run_began_ns, time.perf_counter_ns(), spool)
        for name in self.roster.members:
            self._send_stage(name)

    def end(self) -> None:
        """Have the users stopped everywhere and wait for the workers' last words; several may ask for it at once."""
        self._ends = True
        if gevent.getcurrent() is self._gate.listener:
            return  # the last worker has left, by a message; no other can come while this one is being handled
        with self._ending:
            if self._stage is not None:
                self._end()
                self._stage = None

    def cut(self) -> None:
        """The run ends: streams that may still end are cut now."""
        self._cuts = True

    def stop_waiting(self) -> None:
        """The run ends: the final reports that are not there yet are not waited for."""
        self._waits_no_more = True

    def end_run(self) -> list[Member]:
        """The run is over: the workers whose last word never came."""
        self._stage = None
        return self.roster.end_run()

    def _end(self) -> None:
        shape = self._runner.shape_greenlet
        if shape is not None and shape is not gevent.getcurrent():
            shape.kill()  # Locust does so a moment later; until then it would begin levels and send users out
        stop_timeout_s = self._stop_timeout_s
        deadline_s = _now_s() + stop_timeout_s + _LAST_WORDS_S
        sent_s = -1.0
        while (awaited := self.roster.awaited(_now_s())) and _now_s() < deadline_s:
            if self._waits_no_more:
                logger.warning("Interrupted again: the final reports of %s are not waited for", ", ".join(awaited))
                return
            if self._cuts and stop_timeout_s:
                stop_timeout_s, sent_s, deadline_s = 0.0, -1.0, _now_s() + _LAST_WORDS_S
            if _now_s() - sent_s >= 1:
                sent_s = _now_s()
                for name in awaited:
                    self._send(END, {"stop_timeout_s": stop_timeout_s}, name)
            gevent.sleep(_POLL_S)

    # Listeners. What comes from the network is checked, whoever sent it.

    def _on_join(self, environment: Any, msg: Any, **_: Any) -> None:
        received_ns = time.perf_counter_ns()
        join = msgspec.convert(msg.data, Join)
        name = msg.node_id
        if (reason := self._objection(join)) is not None:
            logger.error("Worker %s is rejected: %s", name, reason)
            self._send(TURNED_AWAY, {"reason": reason}, name)
            return
        index = self._runner.get_worker_index(name)
        if name not in self.roster.members:
            self.roster.admit(name, index, _now_s())
        admitted = {"index": index, "stop_timeout_s": self._stop_timeout_s}
        self._send(ADMITTED, {**_answer(join.sent_ns, received_ns), **admitted}, name)

    def _on_ready(self, environment: Any, msg: Any, **_: Any) -> None:
        ready, name = msgspec.convert(msg.data, Ready), msg.node_id
        if (candidate := self.roster.candidates.get(name)) is None:
            return  # it was sent twice
        self.roster.join(name, candidate.index, _now_s())
        if self._stage is not None:
            logger.info("Worker %s joins in the running level", name)
        self._gate.count(name, ready.locust)

    def _objection(self, join: Join) -> str | None:
        if join.build != self._build:
            return f"it runs Tokenswarm {join.build}, its master runs {self._build}; use the same files on both"
        if join.cluster != self._cluster and (join.cluster or not self._cluster.startswith(FORKED)):
            return "it belongs to another master (see --cluster)"
        return None

    def _on_connect(self, client_id: str, **_: Any) -> None:
        # Before its users, whether it is new, or ready again after a run that was stopped or a connection that broke.
        if client_id in self.roster.members and self._stage is not None:
            self._send_stage(client_id)

    def _on_ping(self, environment: Any, msg: Any, **_: Any) -> None:
        received_ns = time.perf_counter_ns()
        self._send(PONG, _answer(msgspec.convert(msg.data, Ping).sent_ns, received_ns), msg.node_id)

    def _on_users(self, environment: Any, msg: Any, **_: Any) -> None:
        counts = msgspec.convert(msg.data, Users).user_classes_count
        check_user_counts(counts, self._runner.user_classes_by_name)
        if (client := self._runner.clients.get(msg.node_id)) is not None:
            client.user_classes_count = counts

    def _on_draining(self, environment: Any, msg: Any, **_: Any) -> None:
        """A worker was told to stop: its users go to the others at once, while its own streams end."""
        self.roster.drain(msg.node_id, _now_s())
        client, dispatcher = self._runner.clients.get(msg.node_id), self._runner._users_dispatcher
        if client is not None and dispatcher is not None:
            dispatcher.remove_worker(client)

    def _on_leaving(self, environment: Any, msg: Any, **_: Any) -> None:
        leaving = msgspec.convert(msg.data, Leaving | None) or Leaving()
        self.roster.leave(msg.node_id, _now_s(), unreported=leaving.unreported > 0)

    def _on_refused(self, environment: Any, msg: Any, **_: Any) -> None:
        reason = f"worker {msg.node_id} cannot take part: {msgspec.convert(msg.data, Refused).reason[:500]}"
        if self._stage is None:
            self._refusal = reason
            if self._awaits_workers:
                gevent.spawn(self._end_before_start, reason)
            return
        self._abort(reason)

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
            self._gate.remove(client_id)
            return
        # Reports of a run that is over are acknowledged too: it is no use to send them again.
        run, number = member.entered
        ack = {"run": told.run, "through": told.through, "entered": number if run == told.run else 0}
        ack |= _answer(told.sent_ns, received_ns)
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
        run, number = member.entered
        member.entered = told.run, max(told.through, number if run == told.run else 0)
        member.last_word |= told.last

    @property
    def _stop_timeout_s(self) -> float:
        """--stop-timeout; what Locust's environment has meanwhile is the drain timeout."""
        options = self._runner.environment.parsed_options
        assert options is not None
        return float(options.stop_timeout or 0.0)

    @property
    def _awaits_workers(self) -> bool:
        """Whether Locust waits for its --expect-workers, before any run."""
        options = self._runner.environment.parsed_options
        return bool(options and options.headless) and self._runner.shape_greenlet is None

    def _end_before_start(self, reason: str) -> None:
        """Locust would wait for ever for a worker that never becomes ready."""
        logger.error("Run not started: %s", reason)
        self._runner.quit()
        gevent.kill(self._main, SystemExit(EXIT_UNUSABLE))

    def _dispatcher(self, worker_nodes: list[WorkerNode], user_classes: list[type[User]]) -> Dispatcher:
        """What Locust spreads a run's users with."""
        members = self.roster.members
        takers = [node for node in worker_nodes if node.id in members and not members[node.id].leaving]
        return Dispatcher(takers or worker_nodes, user_classes, self._send_users)

    def _send_users(self, users_on_workers: UsersOnWorkers) -> None:
        """As Locust's master does it in a ramp. Before a run's first level and when it ends, nobody gets users."""
        if self._stage is None or self._ends:
            return
        environment = self._runner.environment
        for name, counts in users_on_workers.items():
            spawn = {
                "timestamp": time.time(),
                "user_classes_count": counts,
                "host": environment.host,
                "stop_timeout": environment.stop_timeout,
                "parsed_options": vars(environment.parsed_options),
            }
            self._send("spawn", spawn, name)

    def _checked(self, listener: Callable[..., None]) -> Callable[..., None]:
        """The listener, for messages that are what they should be."""

        def listen(environment: Any, msg: Any, **_: Any) -> None:
            try:
                listener(environment=environment, msg=msg)
            except (msgspec.MsgspecError, BadMessage) as error:
                self._gate.dropped.drop(msg.node_id, f"an invalid {msg.type} message", str(error))

        return listen

    def _send_stage(self, name: str) -> None:
        self._send(STAGE, msgspec.to_builtins(self._stage), name)

    def _send(self, kind: str, data: Any, name: str) -> None:
        try:
            self._runner.send_message(kind, data, name)
        except Exception as error:  # one that is gone must not end the others' run
            logger.warning("No %s message could be sent to worker %s: %r", kind, name, error)


def _answer(sent_ns: int, received_ns: int) -> dict[str, int]:
    return {"sent_ns": sent_ns, "received_ns": received_ns, "answered_ns": time.perf_counter_ns()}


def _now_s() -> float:
    return time.perf_counter_ns() / 1e9
