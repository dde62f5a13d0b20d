"""Going through a plan: ramp, hold, drain, settle, next level. Pure: time and the number of users are given."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum

from shapes.plan import Level

#: Users are cut when the drain's time is over. Where some are counted still, a worker is lost: the run goes on.
_GRACE_S = 10.0


class _State(Enum):
    LOADING = "ramp and hold"
    DRAINING = "users end their last streams"
    SETTLING = "nobody is there"


@dataclass(frozen=True, slots=True)
class Target:
    """How many users of which mode there shall be, and how fast to get there. `begins`: the level that starts now."""

    users: int
    rate: float
    system_prompt: str
    begins: Level | None = None


class Walk:
    """A plan under way. Each level is timed from its own beginning: a drain takes as long as it takes."""

    def __init__(self, plan: Sequence[Level], drain_s: float, settle_s: float, now_s: float) -> None:
        """The first level begins now; `advance` tells of the ones after it. drain_s: how long streams may go on after
        their level; settle_s: pause after each drain."""
        self._levels = iter(plan)
        self._drain_s = drain_s
        self._settle_s = settle_s
        self._state = _State.LOADING
        self._since_s = now_s
        self.level = next(self._levels)

    def advance(self, now_s: float, users: int) -> Target | None:
        """What shall be, `users` being there now. None when the plan is done and all is quiet."""
        begins = None
        elapsed_s = now_s - self._since_s
        if self._state is _State.LOADING and elapsed_s >= self.level.level_time_s:
            self._enter(_State.DRAINING, now_s)
        elif self._state is _State.DRAINING and (users == 0 or elapsed_s >= self._drain_s + _GRACE_S):
            self._enter(_State.SETTLING, now_s)
        elif self._state is _State.SETTLING and elapsed_s >= self._settle_s:
            following = next(self._levels, None)
            if following is None:
                return None
            self.level = begins = following
            self._enter(_State.LOADING, now_s)
        return self._target(begins)

    def _enter(self, state: _State, now_s: float) -> None:
        self._state = state
        self._since_s = now_s

    def _target(self, begins: Level | None) -> Target:
        level = self.level
        if self._state is _State.LOADING:
            return Target(level.users, level.spawn_rate, level.system_prompt, begins)
        return Target(0, float(level.users), level.system_prompt)
