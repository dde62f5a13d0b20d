"""The warm-up before a level as summary.json has it."""

from __future__ import annotations

import msgspec

from tokenswarm.metrics.level import SystemPrompt


class WarmUpSummary(msgspec.Struct, frozen=True, kw_only=True):
    """The load before a level that no figure is of. index: its place in the plan, as in requests.csv and windows.csv;
    level: the name of the level that it comes before; requests: that ended."""

    index: int
    system_prompt: SystemPrompt
    level: str
    seconds: float
    requests: int
    failures: int
