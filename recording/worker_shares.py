"""What workers did of a level's requests, and what is not to come any more as some of them were lost."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping

from tokenswarm.metrics.level import Level
from tokenswarm.shapes.splits import Splits


class WorkerShares:
    """Of a level. recorded: requests that have ended; lost: workers that have a share of a number of requests and are
    not there any more."""

    def __init__(self) -> None:
        self.recorded = 0
        self.lost: list[int] = []
        self._recorded_of: Counter[int] = Counter()
        self._shares: Mapping[int, int] = {}

    def add(self, worker: int) -> None:
        """A request of that worker has ended."""
        self.recorded += 1
        self._recorded_of[worker] += 1

    def note_present(
        self, workers: Collection[int], shares: Mapping[int, int], level: Level, splits: Splits | None
    ) -> None:
        """Which workers are there now. shares: of the level's number of requests in a closed loop; splits: those of an
        open loop. Where no worker is there, the run ends for that."""
        if not workers or level.requests is None:
            return
        if splits is not None:
            shares = {worker: splits.owed(worker, 0, level.requests) for worker in splits.workers_ever()}
        self._shares = shares
        self.lost = sorted(worker for worker in shares if worker not in workers)

    def complete(self, requests: int | None) -> bool:
        """Whether so many have ended, but for what is not to come. None: there is no such number."""
        return requests is not None and self.recorded >= requests - self.lost_requests

    @property
    def lost_requests(self) -> int:
        """Of a number of requests, those that lost workers should have sent and did not report."""
        return sum(max(0, self._shares[worker] - self._recorded_of[worker]) for worker in self.lost)
