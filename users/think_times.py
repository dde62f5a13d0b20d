"""The think times of one user, drawn as a pure function of seed, level and user."""

from __future__ import annotations

from collections.abc import Callable

from tokenswarm.metrics.level import Level, RunningLevel
from tokenswarm.prompts.synthetic.counter_random import uniform
from tokenswarm.shapes.think_time import parse_think_time


class ThinkTimes:
    """Draws the think times of one user in one level."""

    def __init__(self, level: Level, user: str) -> None:
        """user: unique among the run's users, and the same again in a run that is repeated."""
        self.level_index = level.index
        self._think_time = level.think_time
        self._stream = f"think time\0{level.index}\0{user}"
        self._drawn = 0

    def next_s(self) -> float:
        """The next think time in seconds, 0 where the level has none."""
        if self._think_time is None:
            return 0.0
        u = uniform(self._think_time.seed, self._stream, self._drawn)
        self._drawn += 1
        return parse_think_time(self._think_time.notation).seconds_at(u)


def think_times_of_agents(level: Level, session: str) -> Callable[[str], Callable[[], float]] | None:
    """Of the agents of this session, by their names; None where the level has no think times."""
    if level.think_time is None:
        return None
    return lambda agent: ThinkTimes(level, f"{session}/{agent}").next_s


def start_pause_s(level: RunningLevel, seed: int, user: str, now_ns: int) -> float:
    """How long a user that starts now, on perf_counter_ns, waits before its first request of the level, in seconds: it
    is sent at a random moment of what is left of the ramp."""
    left_s = (level.began_ns - now_ns) / 1e9 + level.level.ramp_s
    return max(0.0, left_s) * uniform(str(seed), f"start\0{level.level.index}\0{user}", 0)
