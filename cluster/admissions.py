"""How workers join a master: they are admitted, load what a run needs, and are ready; or they cannot take part."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import Any

import gevent
import msgspec

from tokenswarm.cluster.level_broadcast import LevelBroadcast
from tokenswarm.cluster.master_channel import MasterChannel, times_of
from tokenswarm.cluster.membership import Membership
from tokenswarm.cluster.protocol import (
    ADMITTED,
    FORKED,
    READY,
    REFUSED,
    REJECTED,
    Join,
    Ready,
    Refused,
    WorkerRefused,
)
from tokenswarm.command_line.exit_codes import EXIT_UNUSABLE
from tokenswarm.recording.build import build_difference

logger = logging.getLogger(__name__)

#: How long workers may take to load what they need before a run begins.
_READY_S = 120.0
_LOG_INTERVAL_S = 5.0
_POLL_S = 0.05


class Admissions:
    """Admits workers, and waits for them before a run."""

    def __init__(
        self,
        channel: MasterChannel,
        membership: Membership,
        levels: LevelBroadcast,
        build: str,
        cluster: str,
        count: Callable[[str, str], None],
        abort: Callable[[str], None],
    ) -> None:
        """build, cluster: what workers must have; count: has Locust count the worker of that name and Locust version;
        abort: the run ends now, for that reason."""
        self._channel, self._membership, self._levels = channel, membership, levels
        self._build, self._cluster = build, cluster
        self._count, self._abort = count, abort
        self._refusal: str | None = None
        self._is_closed = self._has_ended = False
        self._main = gevent.getcurrent()
        channel.listen(READY, self._on_ready)
        channel.listen(REFUSED, self._on_refused)

    def await_workers(self) -> None:
        """Before a run: wait until every admitted worker is ready. Raises WorkerRefused."""
        began_s = _now_s()
        logged_s = began_s
        while True:
            if (refusal := self._refusal) is not None:
                self._refusal = None
                raise WorkerRefused(refusal)
            self._membership.forget_silent_candidates(_now_s())
            loading = list(self._membership.candidates)
            if not loading:
                return
            if _now_s() - began_s > _READY_S:
                raise WorkerRefused(f"worker {loading[0]} was not ready within {_READY_S:g} s: it is still loading")
            if _now_s() - logged_s > _LOG_INTERVAL_S:
                logged_s = _now_s()
                logger.info("Waiting for workers that are still loading: %s", ", ".join(loading))
            gevent.sleep(_POLL_S)

    def close(self) -> bool:
        """The process ends before a run, for a reason of its own: that of workers would be a second one. Returns
        whether that was logged already."""
        self._is_closed = True
        return self._has_ended

    def on_join(self, environment: Any, msg: Any, **_: Any) -> None:
        """A worker requests to be admitted."""
        received_ns = time.perf_counter_ns()
        join = msgspec.convert(msg.data, Join)
        name = msg.node_id
        if (reason := self._objection(join)) is not None:
            logger.error("Worker %s is rejected: %s", name, reason)
            self._channel.send(REJECTED, name, {"reason": reason})
            return
        index = self._channel.runner.get_worker_index(name)
        if name not in self._membership.members:
            self._membership.admit(name, index, _now_s())
        admitted = {"index": index, "stop_timeout_s": self._channel.stop_timeout_s}
        self._channel.send(ADMITTED, name, {**times_of(join.sent_ns, received_ns), **admitted})

    def _objection(self, join: Join) -> str | None:
        if join.build != self._build:
            return build_difference(join.build, self._build)
        if join.cluster != self._cluster and (join.cluster or not self._cluster.startswith(FORKED)):
            return _cluster_difference(join.cluster, self._cluster)
        return None

    def _on_ready(self, environment: Any, msg: Any, **_: Any) -> None:
        ready, name = msgspec.convert(msg.data, Ready), msg.node_id
        if (candidate := self._membership.candidates.get(name)) is None:
            return  # it was sent twice
        self._membership.join(name, candidate.index, _now_s())
        if self._levels.current is not None:
            logger.info("Worker %s joins during the run", name)
        self._count(name, ready.locust)

    def _on_refused(self, environment: Any, msg: Any, **_: Any) -> None:
        where = "" if self._cluster.startswith(FORKED) else "on that worker's machine, "
        reason = f"worker {msg.node_id} cannot take part: {where}{msgspec.convert(msg.data, Refused).reason[:500]}"
        if self._levels.current is not None:
            self._abort(reason)
            return
        is_first, self._refusal = self._refusal is None, reason
        if is_first and self._is_awaited_by_locust:
            gevent.spawn(self._end_before_start, reason)

    @property
    def _is_awaited_by_locust(self) -> bool:
        """Whether Locust waits for its --expect-workers, before any run."""
        runner = self._channel.runner
        options = runner.environment.parsed_options
        return bool(options and options.headless) and runner.shape_greenlet is None

    def _end_before_start(self, reason: str) -> None:
        """Locust would wait forever for a worker that never becomes ready."""
        if self._is_closed:
            return
        self._has_ended = True
        logger.error("Run not started: %s", reason)
        self._channel.runner.quit()
        gevent.kill(self._main, SystemExit(EXIT_UNUSABLE))


def _now_s() -> float:
    return time.perf_counter_ns() / 1e9


def _cluster_difference(worker: str, master: str) -> str:
    """Why the worker is none of this master's, and what to do; the other's name is not repeated."""
    if worker.startswith(FORKED) or master.startswith(FORKED):
        return "it belongs to another master: one of the two forks its own workers (--processes)"
    if not worker:
        return "this master has a --cluster, and the worker none: give it the same"
    none = "" if master else ", which has none"
    return f"the worker has another --cluster than this master{none}: give both the same"
