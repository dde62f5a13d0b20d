"""Requested against actual concurrency: how many users were there, second by second, by their own processes' word.

A user is there while it exists on a worker that takes part and whose event loop runs: it has a request in flight, or is
between two. The users of a process that is stopped, stuck or gone are not there, whatever Locust counts. Pure: clocks
are read by the caller.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import ceil, floor

import msgspec

from tokenswarm.metrics.level import RunningLevel

#: A process whose loop did not run for longer than this was not there meanwhile.
ABSENT_AFTER_S = 1.0
#: Below this share of the requested users, a second of a hold counts as short of users.
ENOUGH_SHARE = 0.95
#: A level is suspect where more than this share of its hold was short of users, and more than so many seconds; or more
#: than half of a hold so short that these seconds are most of it, and enough users were not there on average either.
SHORT_SHARE = 0.05
SHORT_S = 2
MOST_SHARE = 0.5
#: A float's error in a sum over workers is no missing user.
_ROUNDING = 1e-6

#: A second of the run: (level index, whole seconds since the level began).
Second = tuple[int, int]


class Concurrency(msgspec.Struct, frozen=True):
    """Users in the whole seconds of a level's hold. mean: over all of them; min: in the second with the fewest;
    short_s: seconds in which less than 95 % of the requested users were there."""

    requested: int
    seconds: int
    mean: float
    min: float
    short_s: int

    @property
    def short_share(self) -> float:
        """Share of the hold, 0 to 1, with less than 95 % of the requested users."""
        return self.short_s / self.seconds

    @property
    def as_requested(self) -> bool:
        """Whether the users were there for nearly all of the hold."""
        if self.short_share > MOST_SHARE and self.mean < ENOUGH_SHARE * self.requested:
            return False
        return self.short_s <= max(SHORT_S, SHORT_SHARE * self.seconds)


def concurrency_of(
    user_seconds: Mapping[int, float], requested: int, from_s: float, until_s: float
) -> Concurrency | None:
    """Of the whole seconds between two moments of a level. user_seconds: by second of the level. None where there is no
    whole second."""
    seconds = range(ceil(from_s - _ROUNDING), floor(until_s + _ROUNDING))
    if not seconds:
        return None
    users = [user_seconds.get(second, 0.0) for second in seconds]
    enough = ENOUGH_SHARE * requested * (1 - _ROUNDING)
    return Concurrency(requested, len(users), sum(users) / len(users), min(users), sum(each < enough for each in users))


class ConcurrencyMeter:
    """On a process that has users: adds up the seconds that they were there, by second of the run."""

    def __init__(self) -> None:
        self._noted_ns = 0
        self._pending: dict[Second, float] = {}

    def start(self, now_ns: int) -> None:
        """Users are counted from now on, on this process's perf_counter_ns."""
        self._noted_ns = now_ns

    def woke(self, begun: RunningLevel, users: int, due_ns: int, now_ns: int) -> None:
        """The loop runs, with so many users: a sleep that was due to end at due_ns ended now. Up to due_ns the process
        was there; what came after, it missed if that was too long."""
        absent = now_ns - due_ns > ABSENT_AFTER_S * 1e9
        began_ns = begun.began_ns
        place_ns, until_ns = max(self._noted_ns, began_ns), due_ns if absent else now_ns
        self._noted_ns = now_ns
        while place_ns < until_ns:
            second = (place_ns - began_ns) // 1_000_000_000
            edge_ns = min(until_ns, began_ns + (second + 1) * 1_000_000_000)
            key = (begun.level.index, second)
            self._pending[key] = self._pending.get(key, 0.0) + users * (edge_ns - place_ns) / 1e9
            place_ns = edge_ns

    def take(self) -> dict[Second, float]:
        """User-seconds by second since the last call."""
        taken, self._pending = self._pending, {}
        return taken
