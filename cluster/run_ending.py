"""How a master ends a run: every worker stops its users and sends its final report, while Locust's connection is
whole."""

from __future__ import annotations

import logging
import time

import gevent
from gevent.lock import RLock

from tokenswarm.cluster.level_broadcast import LevelBroadcast
from tokenswarm.cluster.master_channel import MasterChannel
from tokenswarm.cluster.master_gate import MasterGate
from tokenswarm.cluster.membership import Membership
from tokenswarm.cluster.protocol import END

logger = logging.getLogger(__name__)

#: How long workers may take for their final reports, once their users' --stop-timeout is over.
_FINAL_REPORT_S = 30.0
_REPEAT_S = 1.0
_POLL_S = 0.05


class RunEnding:
    """Waits for the final reports of all workers. `has_begun`: whether the run is ending or has ended."""

    def __init__(
        self, channel: MasterChannel, membership: Membership, levels: LevelBroadcast, gate: MasterGate
    ) -> None:
        self._channel, self._membership, self._levels, self._gate = channel, membership, levels, gate
        self._lock = RLock()
        self.has_begun = self._cancels = self._waits_no_more = False

    def begin_run(self) -> None:
        """Another run begins."""
        self.has_begun = self._cancels = self._waits_no_more = False

    def end(self) -> None:
        """Stop the users of all workers, and return when their final reports are there. May be called several times at
        once; each call then waits."""
        self.has_begun = True
        if gevent.getcurrent() is self._gate.listener:
            return  # the last worker has left, by a message; no other can be received while this one is handled
        with self._lock:
            if self._levels.current is not None:
                self._end()
                self._levels.end_run()

    def cancel_streams(self) -> None:
        """Have the workers cancel the streams that still run, before --stop-timeout is over."""
        self._cancels = True

    def stop_waiting(self) -> None:
        """Do not wait for the final reports that have not been received yet."""
        self._waits_no_more = True

    def _end(self) -> None:
        shape = self._channel.runner.shape_greenlet
        if shape is not None and shape is not gevent.getcurrent():
            shape.kill()  # Locust does so a moment later; until then it would begin levels and spawn users
        stop_timeout_s = self._channel.stop_timeout_s
        deadline_s = _now_s() + stop_timeout_s + _FINAL_REPORT_S
        sent_s = -_REPEAT_S
        while (awaited := self._membership.awaited(_now_s())) and _now_s() < deadline_s:
            if self._waits_no_more:
                logger.warning("Interrupted again: not waiting for the final reports of %s", ", ".join(awaited))
                return
            if self._cancels and stop_timeout_s:
                stop_timeout_s, sent_s, deadline_s = 0.0, -_REPEAT_S, _now_s() + _FINAL_REPORT_S
            if _now_s() - sent_s >= _REPEAT_S:
                sent_s = _now_s()
                for name in awaited:
                    self._channel.send(END, name, {"stop_timeout_s": stop_timeout_s})
            gevent.sleep(_POLL_S)


def _now_s() -> float:
    return time.perf_counter_ns() / 1e9
