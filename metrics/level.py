"""The part of a run that a request belongs to: a system-prompt mode, a level of users, and the phases of its time."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from enum import StrEnum
from math import inf
from typing import Literal, NamedTuple

import msgspec

from tokenswarm.metrics.timeline import Timeline
from tokenswarm.metrics.trace_replay import TraceReplay

#: Whether requests are sent with a system prompt.
SystemPrompt = Literal["off", "on"]
#: A system-prompt mode as sentences name it.
PROMPT = {"off": "without system prompt", "on": "with system prompt"}
#: What follows the rate in the name of an open-loop level: `20/s`.
RATE_UNIT = "/s"
#: The same where sessions arrive: `2 sessions/s`.
SESSION_RATE_UNIT = " sessions/s"
#: Names of open-loop levels without one rate.
AT_ONCE = f"inf{RATE_UNIT}"
OPEN_NAMES = {
    "schedule": "rate schedule",
    "file": "arrivals of a file",
    "trace": "replay of a trace",
    AT_ONCE: "all requests at once",
}
#: What precedes the name of its class, in the name of the level of a locustfile's own shape: `shape Steps`.
OWN_SHAPE_LEVEL = "shape "
_RECORDED = {"file": "the file of arrivals", "trace": "the trace"}
#: An open-loop level begins so long after it is announced: its users are there when the first request is due.
LEAD_S = 1.5


#: What precedes the number of times that a load was probed, in the name of a later level of the same load: `50 #2`.
_TIME = " #"


def repeat_name(name: str, time: int) -> str:
    """The name of the level that has this load for the time-th time, from 1."""
    return name if time == 1 else f"{name}{_TIME}{time}"


def load_name(name: str) -> str:
    """The inverse of `repeat_name`: the name without the time."""
    return name.partition(_TIME)[0]


def users_of(level: str) -> str:
    """A level's name with its noun: `50 users`, `1 user`; of an open loop `20 requests/s`, `2 sessions/s`, or `arrivals
    of a file`; of a load that was probed again `50 users #2`."""
    name = load_name(level)
    return _with_noun(name) + level.removeprefix(name)


def _with_noun(level: str) -> str:
    if level in OPEN_NAMES:
        return OPEN_NAMES[level]
    if level.startswith(OWN_SHAPE_LEVEL):
        return level
    plural = "" if level.partition(" ")[0] in ("1", f"1{RATE_UNIT}") else "s"
    if level.endswith(SESSION_RATE_UNIT):
        return f"{level.removesuffix(SESSION_RATE_UNIT)} session{plural}/s"
    if level.endswith(RATE_UNIT):
        return f"{level.removesuffix(RATE_UNIT)} request{plural}/s"
    return f"{level} user{plural}"


def level_text(level: str, system_prompt: str) -> str:
    """A level as sentences name it: `50 users with system prompt`."""
    return f"{users_of(level)} {PROMPT[system_prompt]}"


def arrivals_in_words(level: str, process: str) -> str:
    """What says when the requests of the open-loop level of this name are due: `poisson arrivals`, `the trace`.
    process: as Arrivals has it."""
    return _RECORDED.get(load_name(level), f"{process} arrivals")


def has_random_arrivals(level: str, process: str) -> bool:
    """Whether chance says when the requests of the open-loop level of this name are due. process: as Arrivals has
    it."""
    return load_name(level) not in _RECORDED and process != "constant"


class Phase(StrEnum):
    """WARM_UP: load that is in no figure. RAMP: users are being added. HOLD: all are there. DRAIN: nothing new is sent,
    and running streams end."""

    WARM_UP = "warm-up"
    RAMP = "ramp"
    HOLD = "hold"
    DRAIN = "drain"


#: What gaps, client delays and a worker's health are counted for: a level's index, and the phase that it was in (for
#: gaps and delays: that their request was sent in).
LevelPhase = tuple[int, Phase]


class Scope(StrEnum):
    """What figures are of: a level's hold, or the whole level, ramp included."""

    HOLD = "hold"
    WHOLE = "whole"


class Arrivals(msgspec.Struct, frozen=True):
    """When an open-loop level's requests are due. process: as --arrivals names it, a file's path where file_sha256 is
    not empty; rates: (second of the level, requests/s) of the rate schedule, one point for a constant rate, none where
    all requests are due at once; mean_rate: requests/s over the level, of requests that are due at once their number;
    seed: of this level; max_in_flight: further requests wait, None for no limit. sessions: whether sessions arrive:
    rates and limit are of these, and each sends its later turns when the turn before is answered and thought about.
    trace: how the file is replayed, None for a file of times."""

    process: str
    rates: tuple[tuple[float, float], ...]
    mean_rate: float
    seed: str = ""
    max_in_flight: int | None = None
    file_sha256: str = ""
    sessions: bool = False
    trace: TraceReplay | None = None

    @property
    def at_once(self) -> bool:
        """Whether all requests are due when the level begins."""
        return not self.rates and not self.file_sha256


class ThinkTime(msgspec.Struct, frozen=True):
    """How long each user of a closed loop waits after a request before its next one. notation: as --think-time has it;
    mean_s: the expected time; seed: of the times that are drawn."""

    notation: str
    mean_s: float
    seed: str = ""


class AfterFailure(msgspec.Struct, frozen=True):
    """What a user of a closed loop does after a request that failed. wait_s: it waits so long; honours_retry_after:
    after a 429 or 503 it waits as long as the server's Retry-After says, and the request is no failure."""

    wait_s: float = 1.0
    honours_retry_after: bool = False


DEFAULT_AFTER_FAILURE = AfterFailure()


class Level(msgspec.Struct, frozen=True):
    """One level under one system-prompt mode. level_time_s, ramp included, is None where the end is open. arrivals:
    of an open loop, in which `users` is 0; None in a closed loop. think_time: None where users send their next request
    at once. requests: so many are sent, and the level ends then, or with its time; None: no number is set. warm_up:
    whether it comes before another level to warm the server up, and is in no figure. random_start: whether users begin
    at random moments of its ramp. cache_flushed: whether the server
    emptied its prefix cache before it, or before its warm-up, as the run requires; None where it does not. probe: of a
    capacity search: it ends when it is decided, and its time is then what it took. own_users: whether its users are
    those of a locustfile alone, with wait times of their own; own_shape: whether the locustfile's shape sets their
    number, which `users` then does not say."""

    index: int
    system_prompt: SystemPrompt
    name: str = msgspec.field(name="level")
    users: int = 0
    ramp_s: float = 0.0
    level_time_s: float | None = None
    arrivals: Arrivals | None = None
    think_time: ThinkTime | None = None
    requests: int | None = None
    warm_up: bool = False
    after_failure: AfterFailure = DEFAULT_AFTER_FAILURE
    random_start: bool = False
    cache_flushed: bool | None = None
    probe: bool = False
    own_users: bool = False
    own_shape: bool = False

    @property
    def ends_with_requests(self) -> bool:
        """Whether the level ends when the last of its requests has. One whose requests are due at times of a schedule
        ends with the schedule."""
        return self.requests is not None and (self.arrivals is None or self.arrivals.at_once)

    @property
    def has_open_end(self) -> bool:
        """Whether the level lasts until the run is stopped."""
        return self.level_time_s is None and not self.ends_with_requests

    @property
    def lead_s(self) -> float:
        """The level begins so many seconds after it is announced."""
        return LEAD_S if self.arrivals else 0.0

    def phase_at(self, elapsed_s: float) -> Phase:
        """The phase `elapsed_s` seconds after the level began."""
        if self.ramp_s and elapsed_s < self.ramp_s and not self.warm_up:
            return Phase.RAMP
        if self.level_time_s is None or elapsed_s < self.level_time_s:
            return Phase.WARM_UP if self.warm_up else Phase.HOLD
        return Phase.DRAIN


def planned_length_s(levels: Sequence[Level], settle_s: float) -> float | None:
    """How long a run of these levels takes without its drains: their times, in an open loop their leads, and the pause
    after each that is no warm-up (settle_s). None where a level's end is open."""
    times_s = [level.level_time_s for level in levels]
    if any(time_s is None for time_s in times_s):
        return None
    pauses_s = sum(settle_s for level in levels if not level.warm_up)
    return sum(time_s or 0.0 for time_s in times_s) + sum(level.lead_s for level in levels) + pauses_s


class RunningLevel(NamedTuple):
    """A level that has begun, on this process's clock. stopped_ns: when the run was stopped while it ran, inf where it
    was not: what follows is its drain."""

    level: Level
    run_began_ns: int
    began_ns: int
    stopped_ns: float = inf

    def phase_at(self, when_ns: int) -> Phase:
        return self.level.phase_at((when_ns - self.began_ns) / 1e9) if when_ns < self.stopped_ns else Phase.DRAIN

    def phase_of(self, scheduled_ns: int) -> Phase:
        """The phase that a request belongs to. All of a warm-up are its own, and all of an open loop are due in the
        hold; where another process's clock decides, the estimate of it may have moved since."""
        if self.level.warm_up:
            return Phase.WARM_UP
        return Phase.HOLD if self.level.arrivals else self.phase_at(scheduled_ns)

    @property
    def phase_edges_ns(self) -> tuple[float, float]:
        """When the hold begins and when it ends."""
        level = self.level
        length_s = inf if level.level_time_s is None else level.level_time_s
        ends_ns = min(self.began_ns + length_s * 1e9, self.stopped_ns)
        return min(self.began_ns + level.ramp_s * 1e9, ends_ns), ends_ns


#: The parts that a request belongs to by the phase it was sent in. One that slipped out as the drain began is counted.
SCOPES_OF_REQUEST: dict[Phase, tuple[Scope, ...]] = {
    Phase.WARM_UP: (),
    Phase.RAMP: (Scope.WHOLE,),
    Phase.HOLD: (Scope.HOLD, Scope.WHOLE),
    Phase.DRAIN: (Scope.WHOLE,),
}


def tokens_by_scope(timeline: Timeline, begun: RunningLevel) -> dict[Scope, float]:
    """How many of a request's tokens arrived in each scope of its level; those of the drain belong to none."""
    if begun.level.warm_up:
        return {}
    before_hold, before_drain = (bisect_left(timeline.outputs_ns, edge_ns) for edge_ns in begun.phase_edges_ns)
    share = timeline.tokens_per_event
    return {Scope.HOLD: (before_drain - before_hold) * share, Scope.WHOLE: before_drain * share}


def tokens_by_window(timeline: Timeline, began_ns: int, window_ns: int) -> dict[int, float]:
    """A request's tokens by the window, counted from `began_ns`, that they arrived in."""
    outputs_ns, share = timeline.outputs_ns, timeline.tokens_per_event
    tokens: dict[int, float] = {}
    place = 0
    while place < len(outputs_ns):
        window = max(0, (outputs_ns[place] - began_ns) // window_ns)
        behind = bisect_left(outputs_ns, began_ns + (window + 1) * window_ns, place)
        tokens[window] = (behind - place) * share
        place = behind
    return tokens
