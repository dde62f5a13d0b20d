"""When the levels of a run were, by the clock of the machine that wrote its folder."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from tokenswarm.reports.services.otlp_attributes import ns_of
from tokenswarm.run_folder.csv_reader import Windows
from tokenswarm.run_folder.reader import Results
from tokenswarm.run_folder.schema import LevelSummary


class HoldTime(NamedTuple):
    """When a level's hold began and ended, in nanoseconds since 1970."""

    began_ns: int
    ended_ns: int


def hold_time(results: Results, windows: Windows, level: LevelSummary) -> HoldTime:
    """windows: of the run. Where they lack the level, it is taken to begin with the run."""
    planned = next((planned for planned in results.run.plan if planned.index == level.index), None)
    starts_s = windows.start_s[windows.level_index == level.index]
    began_s = float(np.nanmin(starts_s)) if len(starts_s) else 0.0
    began_s += planned.ramp_s if planned is not None else 0.0
    began_ns = ns_of(results.run.started_at) + round(began_s * 1e9)
    return HoldTime(began_ns, began_ns + round(level.hold.seconds * 1e9))
