"""The levels of a capacity search as tables and charts show them: by their load, with the verdicts of their probes."""

from __future__ import annotations

from typing import Literal

from msgspec.structs import replace

from tokenswarm.run_folder.reader import Results
from tokenswarm.run_folder.schema import LevelSummary, Summary

SloVerdict = Literal["met", "missed", "inconclusive"]
_VERDICTS: dict[str, SloVerdict] = {"pass": "met", "fail": "missed"}


def in_load_order(results: Results) -> Results:
    """The levels of a search ordered by their load, which is not the order of the probes; other runs as they are."""
    if results.summary.capacity_search is None:
        return results
    modes = list(dict.fromkeys(level.system_prompt for level in results.summary.levels))
    levels = sorted(
        results.summary.levels, key=lambda level: (modes.index(level.system_prompt), level.load, level.index)
    )
    return replace(results, summary=replace(results.summary, levels=levels))


def slo_verdict(summary: Summary, level: LevelSummary) -> SloVerdict | None:
    """Whether the level meets the SLO. In a search its probe decides, which is inconclusive where its interval allows
    both. None without objectives."""
    search = summary.capacity_search
    probe = next((probe for probe in search.probes if probe.index == level.index), None) if search else None
    if probe is not None:
        return _VERDICTS.get(probe.verdict, "inconclusive")
    if level.meets_objectives is None:
        return None
    return "met" if level.meets_objectives else "missed"
