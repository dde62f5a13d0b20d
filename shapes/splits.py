"""Which worker sends which arrival of a level. Pure."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from sys import maxsize


class SplitError(ValueError):
    """A split that cannot follow; the text says why."""


@dataclass(frozen=True, slots=True)
class Split:
    """From arrival `first` on, arrival i is sent by workers[i mod their number]. Without workers nobody sends it, which
    is written as worker None."""

    first: int
    workers: tuple[int, ...]

    def owner(self, number: int) -> int | None:
        """Who sends that arrival; None where there is no worker."""
        return self.workers[number % len(self.workers)] if self.workers else None

    def owned(self, worker: int | None, first: int, end: int) -> range:
        """Which of the arrivals first … end - 1 that worker sends."""
        if worker is None and not self.workers:
            return range(first, end)
        if worker not in self.workers:
            return range(0)
        number = len(self.workers)
        return range(first + (self.workers.index(worker) - first) % number, end, number)


@dataclass(frozen=True, slots=True)
class Splits:
    """All splits of a level, in order of their first arrival; that of the first split is 0."""

    splits: tuple[Split, ...]

    @classmethod
    def among(cls, workers: Iterable[int]) -> Splits:
        """The split with which a level begins."""
        return cls((Split(0, tuple(sorted(workers))),))

    def followed_by(self, first: int, workers: Iterable[int]) -> Splits:
        """The same, but for a new split from arrival `first` on. Raises SplitError for one before the last split:
        arrivals may be sent already."""
        if first < self.last_first:
            raise SplitError(f"a split from arrival {first} on cannot follow one from arrival {self.last_first} on.")
        kept = self.splits[:-1] if first == self.last_first else self.splits
        return Splits((*kept, Split(first, tuple(sorted(workers)))))

    @property
    def workers(self) -> tuple[int, ...]:
        """Those of the last split."""
        return self.splits[-1].workers

    @property
    def last_first(self) -> int:
        """The first arrival of the last split."""
        return self.splits[-1].first

    def workers_ever(self) -> list[int]:
        """All that have a share in any of the splits, in order."""
        return sorted({worker for split in self.splits for worker in split.workers})

    def limit_of(self, worker: int, most: int) -> int:
        """A worker's part of `most` requests in flight of all together, by the last split that it is in: an equal one,
        and what remains goes to the first workers. 0 for a worker of no split."""
        for split in reversed(self.splits):
            if worker in split.workers:
                workers, place = len(split.workers), split.workers.index(worker)
                return most // workers + (place < most % workers)
        return 0

    def owner(self, number: int) -> int | None:
        """Who sends that arrival; None where there was no worker."""
        splits = self.splits
        if number >= splits[-1].first:
            return splits[-1].owner(number)
        return splits[bisect_right(splits, number, key=lambda split: split.first) - 1].owner(number)

    def next_owned(self, worker: int, first: int) -> int | None:
        """The first arrival from `first` on that the worker sends; None where it sends none."""
        last = self.splits[-1]
        if first >= last.first:
            owned = last.owned(worker, first, maxsize)
            return owned[0] if owned else None
        return next((owned[0] for owned in self._owned(worker, first, maxsize) if owned), None)

    def owed(self, worker: int | None, first: int, end: int) -> int:
        """How many of the arrivals first … end - 1 that worker sends; None: how many nobody sends."""
        return sum(len(owned) for owned in self._owned(worker, first, end))

    def range_owed(self, worker: int | None, first: int, end: int) -> tuple[int, int] | None:
        """The first and the last of the arrivals first … end - 1 that worker sends; None where there is none."""
        found = [owned for owned in self._owned(worker, first, end) if owned]
        return (found[0][0], found[-1][-1]) if found else None

    def _owned(self, worker: int | None, first: int, end: int) -> Iterator[range]:
        ends = [*(split.first for split in self.splits[1:]), end]
        for split, until in zip(self.splits, ends, strict=True):
            yield split.owned(worker, max(first, split.first), min(end, until))
