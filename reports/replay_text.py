"""How a trace was replayed, in words."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from tokenswarm.metrics.trace_replay import TraceReplay, TraceSpread
from tokenswarm.reports import units


def replay_in_words(replay: TraceReplay) -> str:
    """The file's name, and the options that are not at their defaults: `trace.csv, 2 times as fast, poisson spread`."""
    return ", ".join((Path(replay.path).name, *_options(replay)))


def _options(replay: TraceReplay) -> Iterator[str]:
    if replay.rate is not None:
        yield f"mean rate {replay.rate:g}/s"
    elif replay.speed != 1:
        yield f"{replay.speed:g} times as fast"
    if replay.from_s or replay.until_s is not None:
        until = "" if replay.until_s is None else units.planned_time(replay.until_s)
        yield f"from {units.planned_time(replay.from_s)}{f' until {until}' if until else ' on'}"
    if replay.sample < 1:
        yield f"{units.set_share(replay.sample)} of the sessions"
    if replay.spread is not TraceSpread.OFF:
        yield f"{replay.spread} spread"
