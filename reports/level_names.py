"""How reports name a level."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby

from tokenswarm.metrics.level import RATE_UNIT, SESSION_RATE_UNIT, Level, level_text
from tokenswarm.reports import units
from tokenswarm.run_folder.schema import LevelSummary

#: Stands behind the highest load that meets the SLO, where no higher one was tested.
HIGHEST_TESTED = " (the highest load tested; the server may handle more)"


def level_name(level: LevelSummary | Level) -> str:
    """`50 users with system prompt`."""
    return level_text(level.name, level.system_prompt)


def levels_in_words(levels: Sequence[Level]) -> str:
    """Planned levels: `10, 50 users without system prompt; 10 users with system prompt`. Warm-ups are left out."""
    return "; ".join(
        level_text(", ".join(with_one_unit([level.name for level in of_mode])), mode)
        for mode, of_mode in groupby(
            (level for level in levels if not level.warm_up), key=lambda level: level.system_prompt
        )
    )


def with_one_unit(names: Sequence[str]) -> list[str]:
    """Names of levels, of which only the last one keeps a unit that all have: `5`, `10/s`."""
    for unit in (SESSION_RATE_UNIT, RATE_UNIT):
        if all(name.endswith(unit) for name in names):
            return [*(name.removesuffix(unit) for name in names[:-1]), *names[-1:]]
    return list(names)


def times_in_words(levels: Sequence[Level]) -> str:
    """How long planned levels take: `5 min, of which ramp 20 s`; with a number of requests `until 100 requests have
    ended, of which ramp 20 s`. An open loop has no ramp. Warm-ups are left out."""
    timed = sorted(
        (level for level in levels if not level.warm_up),
        key=lambda level: (level.ramp_s, level.level_time_s or 0.0, level.requests or 0),
    )
    return ", ".join(dict.fromkeys(time_in_words(level) + _ramp_in_words(level) for level in timed))


def _ramp_in_words(level: Level) -> str:
    return (
        f", of which ramp {units.planned_time(level.ramp_s)}" if level.arrivals is None and not level.own_shape else ""
    )


def time_in_words(level: Level) -> str:
    """How long a planned level takes, its ramp included: `5 min`, `until 100 requests have ended`, both, or `until
    stopped`, or until the locustfile's shape ends it."""
    ends = []
    if level.level_time_s is not None:
        ends.append(units.planned_time(level.level_time_s))
    if level.requests and level.ends_with_requests:
        verb = "has" if level.requests == 1 else "have"
        ends.append(f"until {units.counted(level.requests, 'request')} {verb} ended")
    most = (
        f", at most {units.counted(level.requests, 'request')}"
        if level.requests and not level.ends_with_requests
        else ""
    )
    return (" or ".join(ends) or ("until its shape ends it" if level.own_shape else "until stopped")) + most
