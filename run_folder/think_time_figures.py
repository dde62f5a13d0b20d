"""How summary.json has requested against actual think times."""

from __future__ import annotations

import msgspec

#: What stands for --think-time where only the prompts' source has delays.
RECORDED_DELAYS = "recorded delays"


class ThinkTimeFigures(msgspec.Struct, frozen=True):
    """Think times of a level, in seconds.

    requested: as --think-time has it, and its expected mean; where only the prompts' source has delays, RECORDED_DELAYS
    and their mean. pauses: waits that another request of the user followed;
    drawn_mean_s: what was requested of these, on average, and actual_mean_s: how long they were, from the end of the
    request before to the moment the next one was sent, connecting left out. Both means are None without pauses. Long
    pauses that the level's end cut are in neither.
    """

    requested: str
    requested_mean_s: float
    pauses: int
    drawn_mean_s: float | None = None
    actual_mean_s: float | None = None
