"""The part of a run that a request belongs to: a system-prompt mode, a level of users, and the phases of its time."""

from __future__ import annotations

from enum import StrEnum
from math import inf
from typing import NamedTuple

import msgspec
import numpy as np

from metrics.timeline import Timeline


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
    arrivals_ns = np.frombuffer(timeline.arrivals_ns, dtype=np.int64)
    before_hold, before_drain = np.searchsorted(arrivals_ns, begun.phase_edges_ns)
    tokens = timeline.tokens_by_arrival
    return {Part.HOLD: float(tokens[before_hold:before_drain].sum()), Part.WHOLE: float(tokens[:before_drain].sum())}


def tokens_by_window(timeline: Timeline, began_ns: int, window_ns: int) -> dict[int, float]:
    """A request's tokens by the window, counted from `began_ns`, that they arrived in."""
    windows = (np.frombuffer(timeline.arrivals_ns, dtype=np.int64) - began_ns) // window_ns
    numbers, places = np.unique(np.maximum(windows, 0), return_inverse=True)
    sums = np.bincount(places, weights=timeline.tokens_by_arrival, minlength=len(numbers))
    return {int(number): float(tokens) for number, tokens in zip(numbers, sums)}
