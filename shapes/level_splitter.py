"""Which workers send a level's arrivals, as workers come, leave and die. Pure: the caller passes the times.

A worker announces all the time that it sends a level's arrivals, and the master answers with the splits that it knows.
With the answer the worker may send what is due within GRANT_S of its own announcement, and nothing later. A new split
holds from the first arrival on that is due HANDOVER_S later: whoever is granted that arrival has had an answer that
was given after the split was made, and holds it. So every arrival is sent by one worker, even where messages are late
or lost, or a worker hangs and continues, and no worker has to agree.
"""

from __future__ import annotations

from collections.abc import Collection
from math import inf

from tokenswarm.shapes.arrival_schedule import ArrivalCount, ArrivalSchedule
from tokenswarm.shapes.splits import Splits

#: How often a worker announces that it sends a level's arrivals.
ALIVE_INTERVAL_S = 0.4
#: A worker without an announcement for so long gets no more arrivals until its next one.
SILENT_S = 0.9
#: With an answer, a worker may send what is due so long after it sent its announcement.
GRANT_S = 1.4
#: A new split holds from what is due so long after it was made. Longer than GRANT_S by the largest error of the
#: workers' estimates of the master's clock.
HANDOVER_S = 1.5
#: The first split waits for workers that are still being set up, until so long before the level begins.
_FIRST_SPLIT_S = 0.3
#: A master that did not run for so long has not received what was sent to it meanwhile: nobody was silent.
_STOOD_STILL_S = 0.5


class LevelSplitter:
    """Of one level. Times are seconds since the level began, on the master's clock, and never fall. splits: as they
    are; None before the first."""

    def __init__(self, schedule: ArrivalSchedule, level_time_s: float, most: int | None = None) -> None:
        """most: more workers than this have no part of the limit of requests in flight, and get no arrivals."""
        self.splits: Splits | None = None
        self._count = ArrivalCount(schedule)
        self._level_time_s = level_time_s
        self._most = most
        self._announced_s: dict[int, float] = {}
        self._updated_s = inf

    def announced(self, worker: int, now_s: float) -> None:
        """A worker has announced that it sends this level's arrivals."""
        self._announced_s[worker] = now_s

    def update(self, available: Collection[int], now_s: float) -> Splits | None:
        """The new splits, where they change now. available: workers that take part and are not about to leave. To be
        called ten times a second."""
        stood_still = now_s - self._updated_s > _STOOD_STILL_S
        self._updated_s = now_s
        if stood_still or now_s >= self._level_time_s:
            return None
        takers = self._takers(available, now_s)
        if self.splits is None:
            if not takers or (now_s < -_FIRST_SPLIT_S and len(takers) < self._bounded(len(available))):
                return None
            self.splits = Splits.among(takers)
        elif tuple(sorted(takers)) == self.splits.workers:
            return None
        else:
            self.splits = self.splits.followed_by(self._count.before(now_s + HANDOVER_S), takers)
        return self.splits

    def _takers(self, available: Collection[int], now_s: float) -> list[int]:
        """Those that have a share already go first."""
        known = self.splits.workers if self.splits else ()
        present = sorted(
            (worker for worker in available if now_s - self._announced_s.get(worker, -inf) <= SILENT_S),
            key=lambda worker: (worker not in known, worker),
        )
        return present[: self._bounded(len(present))]

    def _bounded(self, workers: int) -> int:
        return workers if self._most is None else min(workers, self._most)
