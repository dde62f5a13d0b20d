"""The part of a run that a request belongs to: a system-prompt mode, a level of users, and the phases of its time."""

from __future__ import annotations

from enum import StrEnum
from typing import NamedTuple

import msgspec

from metrics.timeline import Timeline


class Phase(StrEnum):
    """RAMP: users are being added. HOLD: all are there. DRAIN: nothing new is sent, running streams end."""

    RAMP = "ramp"
    HOLD = "hold"
    DRAIN = "drain"


class Part(StrEnum):
    """What figures are told of: a level's hold, or the whole level, ramp included."""

    HOLD = "hold"
    WHOLE = "whole"


class Stage(msgspec.Struct, frozen=True):
    """One level under one system-prompt mode. level_time_s, ramp included, is None where the end is open."""

    stage: int
    system_prompt: str
    level: str
    users: int
    ramp_s: float
    level_time_s: float | None = None

    def phase_at(self, elapsed_s: float) -> Phase:
        """The phase `elapsed_s` seconds after the stage began."""
        if elapsed_s < self.ramp_s:
            return Phase.RAMP
        if self.level_time_s is None or elapsed_s < self.level_time_s:
            return Phase.HOLD
        return Phase.DRAIN


class Begun(NamedTuple):
    """A stage that has begun, on this process's clock."""

    stage: Stage
    run_began_ns: int
    began_ns: int

    def phase_at(self, when_ns: int) -> Phase:
        return self.stage.phase_at((when_ns - self.began_ns) / 1e9)

    def parts_at(self, when_ns: int) -> tuple[Part, ...]:
        """The parts that a moment belongs to: none in the drain."""
        phase = self.phase_at(when_ns)
        if phase is Phase.DRAIN:
            return ()
        return (Part.HOLD, Part.WHOLE) if phase is Phase.HOLD else (Part.WHOLE,)


def tokens_by_part(timeline: Timeline, begun: Begun) -> dict[Part, float]:
    """How many of a request's tokens arrived in each part of its stage."""
    share = timeline.tokens_per_arrival
    tokens = dict.fromkeys(Part, 0.0)
    for arrived_ns in timeline.arrivals_ns:
        for part in begun.parts_at(arrived_ns):
            tokens[part] += share
    return tokens


def tokens_by_window(timeline: Timeline, began_ns: int, window_ns: int) -> dict[int, float]:
    """A request's tokens by the window, counted from `began_ns`, that they arrived in."""
    share = timeline.tokens_per_arrival
    tokens: dict[int, float] = {}
    for arrived_ns in timeline.arrivals_ns:
        window = (arrived_ns - began_ns) // window_ns
        tokens[window] = tokens.get(window, 0.0) + share
    return tokens
