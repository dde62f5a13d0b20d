"""The part of a run that a request belongs to: a system-prompt mode, a level of users, and the phases of its time."""

from __future__ import annotations

from bisect import bisect_left
from enum import StrEnum
from math import inf
from typing import NamedTuple

import msgspec

from metrics.timeline import Timeline

#: A system-prompt mode as sentences name it.
PROMPT = {"off": "without system prompt", "on": "with system prompt"}


class Phase(StrEnum):
    """RAMP: users are being added. HOLD: all are there. DRAIN: nothing new is sent, running streams end."""

    RAMP = "ramp"
    HOLD = "hold"
    DRAIN = "drain"


#: What gaps, client delays and a worker's health are counted for: a stage's number, and the phase that it was in (for
#: gaps and delays: that their request was sent in).
Place = tuple[int, Phase]


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

    @property
    def phase_edges_ns(self) -> tuple[float, float]:
        """When the hold begins and when it ends."""
        stage = self.stage
        length_s = inf if stage.level_time_s is None else stage.level_time_s
        return self.began_ns + stage.ramp_s * 1e9, self.began_ns + length_s * 1e9


#: The parts that a request belongs to by the phase it was sent in. One that slipped out as the drain began is counted.
PARTS_OF_REQUEST = {
    Phase.RAMP: (Part.WHOLE,),
    Phase.HOLD: (Part.HOLD, Part.WHOLE),
    Phase.DRAIN: (Part.WHOLE,),
}


def tokens_by_part(timeline: Timeline, begun: Begun) -> dict[Part, float]:
    """How many of a request's tokens arrived in each part of its stage; those of the drain belong to none."""
    before_hold, before_drain = (bisect_left(timeline.outputs_ns, edge_ns) for edge_ns in begun.phase_edges_ns)
    share = timeline.tokens_per_event
    return {Part.HOLD: (before_drain - before_hold) * share, Part.WHOLE: before_drain * share}


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
