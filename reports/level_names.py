"""How reports name a level."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby

from tokenswarm.metrics.level import Level, level_text
from tokenswarm.reports import units
from tokenswarm.run_folder.schema import LevelSummary


def level_name(level: LevelSummary | Level) -> str:
    """`50 users with system prompt`."""
    return level_text(level.name, level.system_prompt)


def levels_in_words(levels: Sequence[Level]) -> str:
    """Planned levels: `10, 50 users without system prompt; 10 users with system prompt`. Warm-ups are left out."""
    return "; ".join(
        level_text(", ".join(level.name for level in of_mode), mode)
        for mode, of_mode in groupby(
            (level for level in levels if not level.warm_up), key=lambda level: level.system_prompt
        )
    )


def times_in_words(levels: Sequence[Level]) -> str:
    """How long planned levels take: `5 min, ramp 20 s`; with a number of requests `100 requests, 5 min, ramp 20 s`.
    Warm-ups are left out."""
    times = {(level.ramp_s, level.level_time_s, level.requests) for level in levels if not level.warm_up}
    return ", ".join(
        f"{units.counted(requests, 'request') + ', ' if requests else ''}"
        f"{'no set time' if level_time_s is None else units.planned_time(level_time_s)}, ramp "
        f"{units.planned_time(ramp_s)}"
        for ramp_s, level_time_s, requests in sorted(times, key=lambda each: (each[0], each[1] or 0.0, each[2] or 0))
    )
