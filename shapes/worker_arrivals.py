"""The arrivals that one process sends. Pure."""

from __future__ import annotations

from math import inf

from tokenswarm.shapes.arrival_schedule import ArrivalSchedule, DueArrival, DueTimes
from tokenswarm.shapes.splits import Splits


class WorkerArrivals:
    """The arrivals of one worker, in order. What the master announces is set from outside: `splits`, which may be
    replaced at any time by what follows from them, and granted_until_ns: only what is due before that may be sent.

    A split holds from an arrival on that is due later than anything that was granted without it (see LevelSplitter).
    So an arrival that was taken is never another worker's, and one that was passed over may become this worker's.
    """

    def __init__(
        self,
        schedule: ArrivalSchedule,
        worker: int,
        most_in_flight: int | None = None,
        first: int = 0,
        *,
        at_once: bool = False,
    ) -> None:
        """most_in_flight: of all workers together, None for no limit; first: the first arrival that this process has
        not begun to send; at_once: whether all are due when the level begins, so that none changes hands later."""
        self.granted_until_ns: float = 0.0
        self._is_final = at_once
        self._worker = worker
        self._most_in_flight = most_in_flight
        self._first = first
        self._splits: Splits | None = None
        self._times = DueTimes(schedule)
        self._next: DueArrival | None = None

    @classmethod
    def alone(cls, schedule: ArrivalSchedule, most_in_flight: int | None = None, first: int = 0) -> WorkerArrivals:
        """All arrivals: those of the one process of a local run."""
        found = cls(schedule, 0, most_in_flight, first)
        found.splits, found.granted_until_ns, found._is_final = Splits.among([0]), inf, True
        return found

    @property
    def splits(self) -> Splits | None:
        """Who sends which arrival; None before that is known."""
        return self._splits

    @splits.setter
    def splits(self, splits: Splits) -> None:
        self._splits, self._next = splits, None

    @property
    def max_in_flight(self) -> int | None:
        """This worker's part of the limit of requests in flight; None for no limit."""
        if self._most_in_flight is None or self._splits is None:
            return self._most_in_flight
        return self._splits.limit_of(self._worker, self._most_in_flight)

    def peek(self) -> DueArrival | None:
        """The next arrival of this worker that was not taken; None where there is none by what is known now."""
        if self._next is None and self._splits is not None:
            number = self._splits.next_owned(self._worker, self._first)
            if number is None:
                return None
            self._times.forget(min(number, max(self._first, self._splits.last_first)))  # before, nothing changes hands
            if (due_s := self._times.due_s(number)) is not None:
                self._next = DueArrival(number, due_s)
        return self._next

    def after(self, number: int) -> DueArrival | None:
        """This worker's next arrival behind that number, which is not below that of `peek`; None where there is none by
        what is known now."""
        if self._splits is None or (following := self._splits.next_owned(self._worker, number + 1)) is None:
            return None
        due_s = self._times.due_s(following)
        return None if due_s is None else DueArrival(following, due_s)

    def take(self) -> None:
        """The arrival of `peek` is sent."""
        assert self._next is not None
        self._first = self._next.number + 1
        self._next = None

    @property
    def has_ended(self) -> bool:
        """Whether no arrival follows, whatever is announced."""
        return self._is_final and self.granted_until_ns > 0 and self._splits is not None and self.peek() is None

    @property
    def is_released(self) -> bool:
        """Whether the master has given this worker's later arrivals to others, and none of its earlier ones is left."""
        splits = self._splits
        return splits is not None and self._worker not in splits.workers and self.peek() is None
