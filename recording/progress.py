"""Where a run stands, in numbers: what a terminal or a page shows while it goes on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from msgspec.structs import replace

from tokenswarm.metrics.level import Level, planned_length_s
from tokenswarm.recording.aggregator import Aggregator, LevelStats
from tokenswarm.recording.live_series import RequestRates
from tokenswarm.run_folder.schema import WINDOW_S


class TimeLeft(NamedTuple):
    """seconds: until the plan's end with the pauses after levels, without drains; share: of the plan's time, from 0 to
    1, that is over."""

    seconds: float
    share: float


@dataclass(frozen=True, slots=True)
class Progress:
    """A run at one moment.

    `level_number` counts from 1; a warm-up has the number of the level that it comes before. `levels` is how many the
    plan has, warm-ups not counted. `tokens_per_s` and `request_rates` are of the time
    since the last Progress, tokens from the events that came in it; `ttft_p50_s` of requests that were sent in the
    running window or the five before it and have ended. All None where nothing came. `failures` is since the run began.
    `left`: None where the plan's end is open. `own_shape`: whether the locustfile's shape sets the number of users, for
    which there is then no target; of an open loop, the target is 0 too. `searches`: whether the level is a probe of a
    capacity search.
    """

    elapsed_s: float
    level_number: int
    levels: int
    users: int
    users_target: int
    system_prompt: str
    phase: str
    tokens_per_s: float | None
    request_rates: RequestRates | None
    ttft_p50_s: float | None
    in_flight: int
    failures: int
    left: TimeLeft | None = None
    own_shape: bool = False
    searches: bool = False

    @property
    def counts_users(self) -> bool:
        """Whether the load is a number of users: in an open loop, one user sends all requests."""
        return bool(self.users_target) or self.own_shape


class ProgressMeter:
    """Makes a Progress from the statistics; keeps the counts of the last one."""

    def __init__(self, plan: Sequence[Level]) -> None:
        self.take_plan(plan)
        self._events = self._sent = self._completed = 0
        self._at_s = 0.0

    def take_plan(self, plan: Sequence[Level]) -> None:
        """The levels as they are known now: a capacity search comes to its own one by one."""
        self._plan = tuple(plan)
        self._measured = [level.index for level in plan if not level.warm_up]

    def read(self, aggregator: Aggregator, users: int, now_s: float) -> Progress | None:
        """None while no level runs."""
        level = aggregator.running_level
        if level is None:
            return None
        if not self._events and not self._sent:  # what comes before the first level is no part of its rates
            self._at_s = max(self._at_s, level.began_s)
        events = aggregator.arrived_events
        came, lasted_s = events - self._events, now_s - self._at_s
        request_rates = self._request_rates(aggregator, level, now_s)
        self._events, self._at_s = events, now_s
        # A running stream's tokens are not known before its end, its events are: what one held so far is the measure.
        tokens_per_event = aggregator.output_tokens / aggregator.output_events if aggregator.output_events else 1.0
        elapsed_s = now_s - level.began_s
        return Progress(
            own_shape=level.level.own_shape,
            searches=level.level.probe,
            elapsed_s=now_s,
            level_number=1 + sum(index < level.level.index for index in self._measured),
            levels=len(self._measured),
            users=users,
            users_target=level.level.users,
            system_prompt=level.level.system_prompt,
            phase=level.phase_at(elapsed_s).value,
            tokens_per_s=came * tokens_per_event / lasted_s if came and lasted_s > 0 else None,
            request_rates=request_rates,
            ttft_p50_s=_recent_ttft_p50_s(aggregator, level.level.index, int(elapsed_s / WINDOW_S)),
            in_flight=aggregator.in_flight,
            failures=aggregator.failures,
            left=time_left(self._plan, aggregator, now_s),
        )

    def _request_rates(self, aggregator: Aggregator, level: LevelStats, now_s: float) -> RequestRates | None:
        """None where no time has passed. Requests are due, and sent, from the level's beginning on."""
        sent = aggregator.ended + aggregator.in_flight
        completed = sum(worker.completed for worker in aggregator.workers.values())
        came, ended = sent - self._sent, completed - self._completed
        self._sent, self._completed = sent, completed
        lasted_s = now_s - self._at_s
        if lasted_s <= 0:
            return None
        offered = level.offered_between(self._at_s - level.began_s, now_s - level.began_s)
        if offered is not None:  # the level before may have ended since the last Progress
            before = list(aggregator.levels.values())[-2:-1]
            offered += sum(
                each.offered_between(self._at_s - each.began_s, now_s - each.began_s) or 0 for each in before
            )
        return RequestRates(None if offered is None else offered / lasted_s, came / lasted_s, ended / lasted_s)


def time_left(plan: Sequence[Level], aggregator: Aggregator, now_s: float) -> TimeLeft | None:
    """How long the plan lasts still. None while no level runs, where the running one's end is open, and in a run that
    was stopped, whose plan is not gone on with."""
    running = aggregator.running_level
    if running is None or running.interrupted or running.level.level_time_s is None or running.level.probe:
        return None  # a probe ends when it is decided, and others follow
    settle_s = aggregator.settle_s
    ahead_s = _length_s([level for level in plan if level.index not in aggregator.levels], settle_s)
    load_left_s = max(0.0, running.level.level_time_s - (now_s - running.began_s))
    left_s = load_left_s + _pause_left_s(running, aggregator, now_s) + ahead_s
    begun = {index: level.level for index, level in aggregator.levels.items()}  # some are shorter than planned
    whole_s = _length_s([begun.get(level.index, level) for level in plan], settle_s)
    return TimeLeft(left_s, max(0.0, 1 - left_s / whole_s) if whole_s else 1.0)


def _length_s(levels: Sequence[Level], settle_s: float) -> float:
    """Of levels with their leads and the pauses after them, as in planned_length_s; without the time of open ends."""
    known = [replace(level, level_time_s=level.level_time_s or 0.0) for level in levels]
    return planned_length_s(known, settle_s) or 0.0


def _pause_left_s(level: LevelStats, aggregator: Aggregator, now_s: float) -> float:
    """Of the pause after this level, which begins when its last stream has ended."""
    pause_s = 0.0 if level.level.warm_up else aggregator.settle_s
    drain_began_s = level.began_s + level.length_s
    if now_s < drain_began_s or aggregator.in_flight:
        return pause_s
    return max(0.0, pause_s - (now_s - max(drain_began_s, level.last_ended_s)))


def _recent_ttft_p50_s(aggregator: Aggregator, level_index: int, window: int) -> float | None:
    recent = sorted(
        ttft_ns
        for number in range(max(0, window - 5), window + 1)
        if (level_index, number) in aggregator.windows
        for ttft_ns in aggregator.windows[level_index, number].ttfts_ns
    )
    return recent[(len(recent) - 1) // 2] / 1e9 if recent else None
