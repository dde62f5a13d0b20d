"""What a run goes through: levels of users under a system-prompt mode, one after the other."""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import inf, isfinite
from typing import Literal

from msgspec import structs

from tokenswarm.command_line import not_one_of, timespan_text
from tokenswarm.metrics.level import (
    DEFAULT_AFTER_FAILURE,
    LEAD_S,
    OWN_SHAPE_LEVEL,
    RATE_UNIT,
    AfterFailure,
    Arrivals,
    ThinkTime,
    repeat_name,
)
from tokenswarm.shapes.capacity.search_range import SearchRange

#: No options: set at Locust's init, and sent to workers with the options. Names of the user classes of the
#: locustfile's own that a run has alone, and of its shape.
OWN_USERS, OWN_SHAPE, SHAPE_READS_USERS = "own_users", "own_shape", "own_shape_reads_users"
#: Requests without a system prompt, and with one.
Mode = Literal["off", "on"]
#: Order of the modes in a run of both: the plain one first, so that no run finds the other's prefix in a cache.
MODES: dict[str, tuple[Mode, ...]] = {"off": ("off",), "on": ("on",), "both": ("off", "on")}
CHOICES = ("auto", *MODES)
#: Locust lists every user of a level before the first is spawned: a mistyped number would fill the memory.
MOST_USERS = 1_000_000


class PlanError(ValueError):
    """The shape's options do not make a plan; the text says which, what was expected and what came."""


@dataclass(frozen=True, slots=True)
class LoadPlan:
    """A run's levels in their order, of a capacity search those up to its first probe. drain_s: how long streams may go
    on after their level; settle_s: the pause after each drain."""

    levels: tuple[PlannedLevel, ...]
    drain_s: float
    settle_s: float
    search: SearchPlan | None = None


@dataclass(frozen=True, slots=True)
class SearchPlan:
    """A capacity search and its probes. template: a probe, but for its index, name, users and rate."""

    range: SearchRange
    template: PlannedLevel

    def probe(self, index: int, load: float, time: int) -> PlannedLevel:
        """The probe of a load. index: its place among the run's levels; time: 1, 2, …: how often the load is probed
        with it."""
        arrivals = self.template.arrivals
        if arrivals is None:
            users = int(load)
            return replace(self.template, index=index, users=users, open_name=repeat_name(str(users), time))
        at_rate = structs.replace(arrivals, rates=((0.0, load),), mean_rate=load)
        name = repeat_name(f"{load:g}{RATE_UNIT}", time)
        return replace(self.template, index=index, arrivals=at_rate, open_name=name)

    @property
    def largest(self) -> PlannedLevel:
        """The probe of the largest load that may come."""
        return self.probe(0, self.range.high, 1)


@dataclass(frozen=True, slots=True)
class PlannedLevel:
    """So many users under one system-prompt mode. level_time_s holds the ramp; inf where the end is open. arrivals: of
    an open loop, whose one user sends all requests when they are due, and open_name its name; None in a closed loop.
    think_time: of a closed loop's users, None for none; requests: how many are sent, None for no number. warm_up:
    whether it is the load before the next level that no figure counts. random_start: whether users begin at random
    moments of its ramp. probe: whether it is one of a capacity search. own_users: whether its users are those of a
    locustfile alone; own_shape: whether their number follows the locustfile's shape, and is not planned."""

    index: int
    system_prompt: Mode
    users: int
    ramp_s: float
    level_time_s: float
    arrivals: Arrivals | None = None
    open_name: str = ""
    think_time: ThinkTime | None = None
    requests: int | None = None
    warm_up: bool = False
    after_failure: AfterFailure = DEFAULT_AFTER_FAILURE
    random_start: bool = False
    probe: bool = False
    own_users: bool = False
    own_shape: bool = False

    @property
    def name(self) -> str:
        """As results call the level."""
        return self.open_name or str(self.users)

    @property
    def lead_s(self) -> float:
        """The level's time begins so many seconds after it is announced."""
        return LEAD_S if self.arrivals else 0.0

    @property
    def spawn_rate(self) -> float:
        """Users a second that reach the level within its ramp."""
        return self.users / self.ramp_s if self.ramp_s else float(self.users)


def ladder(levels: str, system_prompt: str, ramp_s: float, level_time_s: float) -> tuple[PlannedLevel, ...]:
    """Every level under every mode: all levels without the system prompt, then all with it. Raises PlanError."""
    check_ramp(ramp_s, level_time_s)
    counts = parse_levels(levels)
    pairs = [(mode, users) for mode in modes_of(system_prompt, auto="both") for users in counts]
    return tuple(PlannedLevel(index, mode, users, ramp_s, level_time_s) for index, (mode, users) in enumerate(pairs))


def check_ramp(ramp_s: float, level_time_s: float) -> None:
    """Whether a level has a hold. Raises PlanError."""
    if level_time_s <= ramp_s:
        raise PlanError(
            f"--level-time ({timespan_text(level_time_s)}) must be longer than --ramp ({timespan_text(ramp_s)}): "
            "a level holds after its ramp."
        )


def free(users: int, spawn_rate: float, run_time_s: float | None, system_prompt: str) -> tuple[PlannedLevel, ...]:
    """Locust's own free shape (-u, -r, -t) as one level a mode. Raises PlanError."""
    if not 1 <= users <= MOST_USERS:
        raise PlanError(f"--users takes 1 to {MOST_USERS:,} users, got {users:,}.")
    if not (isfinite(spawn_rate) and spawn_rate > 0):
        raise PlanError(f"--spawn-rate must be more than 0 users a second, got {spawn_rate:g}.")
    _check_run_time(run_time_s)
    modes = modes_of(system_prompt, auto="off")
    if len(modes) > 1 and run_time_s is None:
        raise PlanError("--system-prompt both needs an end for its first half: give --run-time, the time of each half.")
    ramp_s = users / spawn_rate
    if run_time_s and run_time_s <= ramp_s:
        raise PlanError(
            f"--run-time ({timespan_text(run_time_s)}) must be longer than the ramp: "
            f"{users} users at {spawn_rate:g} a second take {timespan_text(round(ramp_s, 1))}."
        )
    return tuple(PlannedLevel(index, mode, users, ramp_s, run_time_s or inf) for index, mode in enumerate(modes))


def _check_run_time(run_time_s: float | None) -> None:
    """Locust takes 0 for no limit. Raises PlanError."""
    if run_time_s == 0:
        raise PlanError(
            "--run-time must be longer than 0 s: give the time that the run is to take, or leave -t out for a run that "
            "goes on until it is stopped."
        )


def own_shape_level(shape: str, run_time_s: float | None, system_prompt: str) -> tuple[PlannedLevel, ...]:
    """The one level of a run whose number of users a locustfile's own shape sets. shape: the name of its class. Raises
    PlanError."""
    _check_run_time(run_time_s)
    modes = modes_of(system_prompt, auto="off")
    if len(modes) > 1:
        raise PlanError(f"--system-prompt both has no effect beside the shape {shape} of the locustfile: choose one.")
    name = f"{OWN_SHAPE_LEVEL}{shape}"
    return (PlannedLevel(0, modes[0], 0, 0.0, run_time_s or inf, open_name=name, own_shape=True),)


def parse_levels(text: str) -> tuple[int, ...]:
    """Read `10,50,100`. Raises PlanError."""
    words = [word.strip() for word in text.split(",")]
    if not all(word.isdecimal() and word.isascii() for word in words):
        raise PlanError(f"--levels takes numbers of users like 10,50,100, got {text!r}.")
    if not all(word.strip("0") for word in words):
        raise PlanError(f"--levels takes numbers of users of at least 1, like 10,50,100, got {text!r}.")
    if any(len(word) > len(str(MOST_USERS)) or int(word) > MOST_USERS for word in words):
        raise PlanError(f"--levels takes numbers of users up to {MOST_USERS:,}, got {text[:100]!r}.")
    levels = tuple(map(int, words))
    if len(set(levels)) < len(levels):
        raise PlanError(f"--levels names a number of users twice ({text!r}): their results could not be distinguished.")
    return levels


def modes_of(system_prompt: str, auto: str) -> tuple[Mode, ...]:
    """The modes that --system-prompt stands for; auto: what its default does. Raises PlanError."""
    try:
        return MODES[auto if system_prompt == "auto" else system_prompt]
    except KeyError:
        raise PlanError(not_one_of("--system-prompt", CHOICES, system_prompt)) from None
