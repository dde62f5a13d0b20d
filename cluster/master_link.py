"""The master's side of the connection to its workers, put together from its parts.

It admits workers, sends them the levels and their users, enters and acknowledges their reports. Before a run ends, it
has every worker stop its users and send its final report, while Locust's connection is still whole.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import msgspec
from locust.runners import MasterRunner

from tokenswarm.cluster.admissions import Admissions
from tokenswarm.cluster.arrival_sharing import ArrivalSharing
from tokenswarm.cluster.dropped_messages import DroppedMessages
from tokenswarm.cluster.level_broadcast import LevelBroadcast
from tokenswarm.cluster.master_channel import MasterChannel, times_of
from tokenswarm.cluster.master_gate import MasterGate
from tokenswarm.cluster.membership import Membership, WorkerState
from tokenswarm.cluster.protocol import LEAVING, PING, PONG, REJECTED, Leaving, LevelBegun, Ping
from tokenswarm.cluster.report_intake import ReportIntake
from tokenswarm.cluster.run_ending import RunEnding
from tokenswarm.cluster.user_distribution import UserDistribution
from tokenswarm.recording.worker_report import Report
from tokenswarm.run_folder.worker_events import WorkerEventKind
from tokenswarm.shapes.splits import Splits


class MasterLink:
    """A master's connection to its workers. `membership`: who they are."""

    def __init__(
        self,
        runner: MasterRunner,
        build: str,
        cluster: str,
        enter: Callable[[Report, bytes], None],
        fail: Callable[[str], None],
        abort: Callable[[str], None],
        on_splits: Callable[[int, Splits], None] = lambda *_: None,
    ) -> None:
        """enter: puts a report, with its bytes, into the statistics; raises UnusableReport for one that does not fit.
        fail: the run's figures are unreliable, for that reason. abort: the same, and the run ends now. on_splits: takes
        which workers send which arrivals of an open-loop level, whenever that changes."""
        self._fail = fail
        self.membership = members = Membership()
        self._channel = channel = MasterChannel(runner)
        self._levels = levels = LevelBroadcast(channel, members)
        self._admissions = Admissions(channel, members, levels, build, cluster, self._count, abort)
        self._reports = ReportIntake(channel, members, levels, enter, self._expel)
        self._gate = MasterGate(channel, members, self._admissions.on_join, self._reports.on_report)
        self._ending = RunEnding(channel, members, levels, self._gate)
        self._users = UserDistribution(channel, members, levels, self._ending)
        self._sharing = ArrivalSharing(channel, members, levels, on_splits)
        channel.listen(PING, self._on_ping)
        channel.listen(LEAVING, self._on_leaving)

    @property
    def dropped(self) -> DroppedMessages:
        """Received messages that were not acted on."""
        return self._channel.dropped

    @property
    def users(self) -> int:
        """How many users the workers have. Users of a silent worker do not count."""
        return self.membership.users(_now_s())

    def await_workers(self) -> None:
        """Before a run: wait until every admitted worker is ready. Raises WorkerRefused."""
        self._admissions.await_workers()

    def close_admissions(self) -> bool:
        """The process ends before a run. Returns whether a worker's reason was logged already."""
        return self._admissions.close()

    def begin_run(self) -> None:
        """A run begins with the workers that are there now."""
        self._levels.end_run()
        self._ending.begin_run()
        self.membership.begin_run(_now_s())

    def begin_level(self, begun: LevelBegun) -> None:
        """Send the level to every worker, and to each that joins later."""
        self._levels.begin(begun)
        self._sharing.begin(begun)

    def shorten_level(self, begun: LevelBegun) -> None:
        """The running level ends at another time than announced: send it to every worker again."""
        self._levels.announce(begun)

    def request_shares(self) -> dict[int, int]:
        """See LevelBroadcast.shares_by_worker."""
        return self._levels.shares_by_worker()

    def end(self) -> None:
        """Stop the users of all workers, and return when their final reports are there."""
        self._ending.end()

    def cancel_streams(self) -> None:
        """While a run ends: cancel the streams that still run."""
        self._ending.cancel_streams()

    def stop_waiting(self) -> None:
        """While a run ends: do not wait for the final reports that have not been received yet."""
        self._ending.stop_waiting()

    def end_run(self) -> list[WorkerState]:
        """The run is over. Returns the workers whose final report was never received."""
        self._levels.end_run()
        self._sharing.end()
        return self.membership.end_run()

    def _count(self, name: str, locust_version: str) -> None:
        self._gate.count(name, locust_version)

    def _expel(self, name: str, reason: str) -> None:
        """A worker's report cannot be entered: the run's figures are unreliable, and the worker is excluded."""
        self._fail(f"a report of worker {name} could not be entered: {reason}")
        self.membership.leave(name, _now_s(), WorkerEventKind.EXPELLED)
        self._channel.send(REJECTED, name, {"reason": f"its report could not be entered: {reason}"})
        self._gate.remove(name)

    def _on_ping(self, environment: Any, msg: Any, **_: Any) -> None:
        received_ns = time.perf_counter_ns()
        self._channel.send(PONG, msg.node_id, times_of(msgspec.convert(msg.data, Ping).sent_ns, received_ns))

    def _on_leaving(self, environment: Any, msg: Any, **_: Any) -> None:
        leaving = msgspec.convert(msg.data, Leaving | None) or Leaving()
        self.membership.leave(msg.node_id, _now_s(), unreported=leaving.unreported > 0)


def _now_s() -> float:
    return time.perf_counter_ns() / 1e9
