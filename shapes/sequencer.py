"""Going through a plan: ramp, hold, drain, settle, next level. Pure: time and the number of users are given."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum

from tokenswarm.shapes.plan import LoadPlan, PlannedLevel

#: Users are cut when the drain's time is over. Where some are counted still, a worker is lost: the run goes on.
_GRACE_S = 10.0


class _State(Enum):
    LOADING = "ramp and hold"
    DRAINING = "users end their last streams"
    SETTLING = "nobody is there"


@dataclass(frozen=True, slots=True)
class LoadTarget:
    """How many users of which mode there shall be, and how fast to get there. `begins`: the level that starts now;
    `of_each_process`: whether each process that sends has so many."""

    users: int
    rate: float
    system_prompt: str
    begins: PlannedLevel | None = None
    of_each_process: bool = False


def first_target(level: PlannedLevel, begins: PlannedLevel | None = None) -> LoadTarget:
    """What shall be from a level's beginning on."""
    is_open = level.arrivals is not None
    return LoadTarget(level.users, level.spawn_rate, level.system_prompt, begins, is_open)


class LevelSequencer:
    """A plan under way. Each level is timed from its own beginning: a drain takes as long as it takes."""

    def __init__(
        self, plan: LoadPlan, now_s: float, following: Callable[[], PlannedLevel | None] = lambda: None
    ) -> None:
        """The first level begins now; `advance` returns the ones after it. following: the level after the plan's last
        one, and after each of its own, from what came of the levels so far; None where there is no further one."""
        self._plan = plan
        self._following = following
        self._levels = deque(plan.levels)
        self._state = _State.LOADING
        self._since_s = now_s
        self._stop_rate = 1.0
        self.level = self._levels.popleft()

    def begin_level(self, now_s: float) -> None:
        """The level is announced now, some time after it was due: it is timed from here on."""
        self._since_s = now_s

    @property
    def load_ends_s(self) -> float:
        """When the running level's time is up; infinite in its drain and settle time."""
        if self._state is not _State.LOADING:
            return math.inf
        return self._since_s + self.level.lead_s + self.level.level_time_s

    @property
    def is_loading(self) -> bool:
        """Whether the running level is in its ramp or hold."""
        return self._state is _State.LOADING

    @property
    def is_plan_done(self) -> bool:
        """Whether all streams of the last level have ended, so that nothing but its settle time is left."""
        return self._state is _State.SETTLING and not self._levels and self._plan.search is None

    def advance(self, now_s: float, users: int, *, level_done: bool = False) -> LoadTarget | None:
        """What shall be, `users` being there now. level_done: all requests of the level have ended. None when the plan
        is done and all is quiet."""
        begins = None
        elapsed_s = now_s - self._since_s
        if self._state is _State.LOADING and (level_done or now_s >= self.load_ends_s):
            self._stop_rate = float(
                max(1, self.level.users, users)
            )  # all at once; an own shape's level names no number
            self._enter(_State.DRAINING, now_s)
        elif self._state is _State.DRAINING and (users == 0 or elapsed_s >= self._plan.drain_s + _GRACE_S):
            self._enter(_State.SETTLING, now_s)
        settle_s = 0.0 if self.level.warm_up else self._plan.settle_s
        if self._state is _State.SETTLING and now_s - self._since_s >= settle_s:
            following = self._levels.popleft() if self._levels else self._following()
            if following is None:
                return None
            self.level = begins = following
            self._enter(_State.LOADING, now_s)
        return self._target(begins)

    def _enter(self, state: _State, now_s: float) -> None:
        self._state = state
        self._since_s = now_s

    def _target(self, begins: PlannedLevel | None) -> LoadTarget:
        level = self.level
        if self._state is _State.LOADING:
            return first_target(level, begins)
        return LoadTarget(0, self._stop_rate, level.system_prompt)
