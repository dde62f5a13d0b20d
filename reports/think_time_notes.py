"""Requested against actual think times in sentences, for the terminal."""

from __future__ import annotations

from collections.abc import Sequence

from tokenswarm.reports import units
from tokenswarm.reports.level_names import level_name
from tokenswarm.run_folder.schema import LevelSummary


def think_time_notes(levels: Sequence[LevelSummary]) -> list[str]:
    """One sentence with the mean pause of each level that has a think time."""
    found = [(level, level.think_time) for level in levels if level.think_time is not None]
    if not found:
        return []
    first = found[0][1]
    parts = [
        f"{level_name(level)} {units.duration(pauses.actual_mean_s)} (drawn: {units.duration(pauses.drawn_mean_s)}; "
        f"{units.counted(pauses.pauses, 'pause')})"
        for level, pauses in found
    ]
    expected = f", on average {units.duration(first.requested_mean_s)}"
    return [f"Think time: requested {first.requested}{expected}; actual mean {', '.join(parts)}."]
