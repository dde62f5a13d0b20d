"""Requested against actual lengths in sentences, for the terminal."""

from __future__ import annotations

from collections.abc import Sequence

from tokenswarm.reports import units
from tokenswarm.reports.level_names import level_name
from tokenswarm.run_folder.length_figures import LengthFigures
from tokenswarm.run_folder.schema import LevelSummary


def length_notes(levels: Sequence[LevelSummary]) -> list[str]:
    """A line for each of the two lengths that the run requested."""
    return [
        *_of("Input", [(level, level.hold.input_lengths) for level in levels]),
        *_of("Output", [(level, level.hold.output_lengths) for level in levels]),
    ]


def _of(name: str, found: Sequence[tuple[LevelSummary, LengthFigures | None]]) -> list[str]:
    known = [(level, lengths) for level, lengths in found if lengths is not None]
    if not known:
        return []
    requests = sum(lengths.requests for _, lengths in known)
    if all(lengths.equal_share == 1 for _, lengths in known):
        return [f"{name} lengths: all {units.count(requests)} as requested."]
    parts = [
        f"{level_name(level)} {units.percentage(lengths.equal_share)} (difference p99 "
        f"{units.count(lengths.difference_p99)}, largest {units.count(lengths.difference_max)} tokens)"
        for level, lengths in known
    ]
    return [f"{name} lengths as requested: {', '.join(parts)}."]
