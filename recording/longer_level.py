"""What to do where a level was too short, in words. Pure."""

from __future__ import annotations

from tokenswarm.metrics.level import Level


def longer_level(level: Level, enough_s: float | None = None) -> str:
    """The option, or the code, that makes this level longer. enough_s: the time that suffices, None where that is not
    known."""
    enough = "" if enough_s is None else f" of {enough_s:,.0f} s or more"
    if level.own_shape:
        return f"let the locustfile's shape have users for {enough.removeprefix(' of ') or 'longer'}"
    time = "longer time" if enough_s is None else f"time{enough}"
    if level.arrivals is not None:
        return f"give a {time} with --level-time"
    return f"give a {time} with --level-time, or with --run-time beside --users"
