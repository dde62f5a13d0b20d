"""What a run goes through: levels of users under a system-prompt mode, one after the other."""

from __future__ import annotations

import re
from dataclasses import dataclass
from math import inf, isfinite

_NUMBER = r"\d+(?:\.\d+)?"
# A number without a unit stands alone: whether 1h30 is half an hour more or half a minute is anyone's guess.
_TIMESPAN = re.compile(
    rf"(?P<bare>{_NUMBER})|(?:(?P<h>{_NUMBER})h)?(?:(?P<m>{_NUMBER})m)?(?:(?P<s>{_NUMBER})s)?(?:(?P<ms>{_NUMBER})ms)?",
    re.ASCII,
)

#: Order of the modes in a run of both: the plain one first, so that no run finds the other's prefix in a cache.
MODES: dict[str, tuple[str, ...]] = {"off": ("off",), "on": ("on",), "both": ("off", "on")}
CHOICES = ("auto", *MODES)


#: Locust lists every user of a level before the first is spawned: a mistyped number would fill the memory.
MOST_USERS = 1_000_000


class PlanError(ValueError):
    """The shape's options do not make a plan; the text says which, what was expected and what came."""


@dataclass(frozen=True, slots=True)
class Level:
    """So many users under one system-prompt mode. level_time_s holds the ramp; inf where the end is open."""

    stage: int
    system_prompt: str
    users: int
    ramp_s: float
    level_time_s: float

    @property
    def spawn_rate(self) -> float:
        """Users a second that reach the level within its ramp."""
        return self.users / self.ramp_s if self.ramp_s else float(self.users)


def ladder(levels: str, system_prompt: str, ramp_s: float, level_time_s: float) -> tuple[Level, ...]:
    """Every level under every mode: all levels without the system prompt, then all with it. Raises PlanError."""
    if level_time_s <= ramp_s:
        raise PlanError(
            f"--level-time ({level_time_s:g} s) must be longer than --ramp ({ramp_s:g} s): a level holds after it."
        )
    counts = parse_levels(levels)
    pairs = [(mode, users) for mode in _modes(system_prompt, auto="both") for users in counts]
    return tuple(Level(stage, mode, users, ramp_s, level_time_s) for stage, (mode, users) in enumerate(pairs))


def free(users: int, spawn_rate: float, run_time_s: float | None, system_prompt: str) -> tuple[Level, ...]:
    """Locust's own free shape (-u, -r, -t) as one level a mode. Raises PlanError."""
    if not 1 <= users <= MOST_USERS:
        raise PlanError(f"--users takes 1 to {MOST_USERS:,} users, got {users:,}.")
    if not (isfinite(spawn_rate) and spawn_rate > 0):
        raise PlanError(f"--spawn-rate must be more than 0 users a second, got {spawn_rate:g}.")
    modes = _modes(system_prompt, auto="off")
    if len(modes) > 1 and not run_time_s:
        raise PlanError("--system-prompt both needs an end for its first half: give --run-time, the time of each half.")
    ramp_s = users / spawn_rate
    if run_time_s and run_time_s <= ramp_s:
        raise PlanError(
            f"--run-time ({run_time_s:g} s) must be longer than the ramp: "
            f"{users} users at {spawn_rate:g} a second take {ramp_s:g} s."
        )
    return tuple(Level(stage, mode, users, ramp_s, run_time_s or inf) for stage, mode in enumerate(modes))


def parse_levels(text: str) -> tuple[int, ...]:
    """Read `10,50,100`. Raises PlanError."""
    words = [word.strip() for word in text.split(",")]
    if not all(word.isdecimal() and word.isascii() and word.strip("0") for word in words):
        raise PlanError(f"--levels takes numbers of users like 10,50,100, got {text!r}.")
    if any(len(word) > len(str(MOST_USERS)) or int(word) > MOST_USERS for word in words):
        raise PlanError(f"--levels takes numbers of users up to {MOST_USERS:,}, got {text[:100]!r}.")
    levels = tuple(map(int, words))
    if len(set(levels)) < len(levels):
        raise PlanError(f"--levels names a number of users twice ({text!r}): their results could not be told apart.")
    return levels


def parse_timespan(option: str, text: str) -> float:
    """Seconds in `300`, `20s`, `5m`, `1h30m` or `500ms`. `option` is named in the PlanError for anything else."""
    match = _TIMESPAN.fullmatch(str(text).strip())
    if not match or not any(match.groups()):
        raise PlanError(f"{option} takes a time like 20s, 5m or 1h30m, got {text!r}.")
    bare_s, hours, minutes, seconds, milliseconds = (float(part or 0) for part in match.groups())
    return bare_s + hours * 3600 + minutes * 60 + seconds + milliseconds / 1000


def _modes(system_prompt: str, auto: str) -> tuple[str, ...]:
    try:
        return MODES[auto if system_prompt == "auto" else system_prompt]
    except KeyError:
        raise PlanError(f"--system-prompt takes one of {', '.join(CHOICES)}, got {system_prompt!r}.") from None
