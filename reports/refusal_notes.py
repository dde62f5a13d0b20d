"""Requests that the server refused because of a limit, or of their length, in sentences."""

from __future__ import annotations

from collections.abc import Sequence

from tokenswarm.reports import units
from tokenswarm.reports.level_names import level_name
from tokenswarm.run_folder.schema import Figures, LevelSummary

REFUSED = "refused_by_limit"
OVERFLOW = "context_overflow"
#: Outcomes that are no failures.
NO_FAILURES = ("ok", "cut", "abandoned", REFUSED)


def refusal_notes(levels: Sequence[LevelSummary]) -> list[str]:
    """A sentence for each level in which a limit of the server refused requests, and users waited for it, and for each
    in which requests were longer than the model's context."""
    limited = [
        f"Refused by a limit of the server at {level_name(level)}: {_share(level.hold)} of the hold, "
        f"{_share(level.whole)} of the whole level (429 or 503 with Retry-After, which users waited for; neither ok "
        "nor failures)."
        for level in levels
        if level.whole.outcomes.get(REFUSED, 0)
    ]
    return limited + [
        f"Longer than the model's context at {level_name(level)}: {_share(level.hold, OVERFLOW)} of the hold, "
        f"{_share(level.whole, OVERFLOW)} of the whole level{_of_sessions(level)}. The server refused them "
        "(context_overflow): they count as failures, though not of the server. Send shorter prompts, "
        "request fewer output tokens, or serve the model with a longer context."
        for level in levels
        if level.whole.outcomes.get(OVERFLOW, 0)
    ]


def _share(figures: Figures, outcome: str = REFUSED) -> str:
    refused = figures.outcomes.get(outcome, 0)
    return f"{units.count(refused)} of {units.counted(figures.requests, 'request')}"


def _of_sessions(level: LevelSummary) -> str:
    found = level.sessions.overflowed if level.sessions is not None else 0
    return f"; they ended {units.counted(found, 'session')}" if found else ""
