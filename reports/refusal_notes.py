"""Requests that a limit of the server refused, in sentences."""

from __future__ import annotations

from collections.abc import Sequence

from tokenswarm.reports import units
from tokenswarm.reports.level_names import level_name
from tokenswarm.run_folder.schema import Figures, LevelSummary

REFUSED = "refused_by_limit"
#: Outcomes that are no failures.
NO_FAILURES = ("ok", "cut", "abandoned", REFUSED)


def refusal_notes(levels: Sequence[LevelSummary]) -> list[str]:
    """A sentence for each level in which a limit of the server refused requests, and users waited for it."""
    return [
        f"Refused by a limit of the server at {level_name(level)}: {_share(level.hold)} of the hold, "
        f"{_share(level.whole)} of the whole level (429 or 503 with Retry-After, which users waited for; neither ok "
        "nor failures)."
        for level in levels
        if level.whole.outcomes.get(REFUSED, 0)
    ]


def _share(figures: Figures) -> str:
    refused = figures.outcomes.get(REFUSED, 0)
    return f"{units.count(refused)} of {units.counted(figures.requests, 'request')}"
