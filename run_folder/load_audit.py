"""Requested and measured load of a level as summary.json has it."""

from __future__ import annotations

from typing import Literal

import msgspec


class GapAudit(msgspec.Struct, frozen=True, kw_only=True):
    """Whether requests were sent as an arrival process has them.

    process: as --arrivals names it. gaps: between requests that followed one another; distance: Kolmogorov-Smirnov
    distance of their distribution from the process's, 0 to 1, in operational time where the rate varies; chance: how
    probable such a distance or a larger one is for gaps of the process, 0 to 1; both None for constant arrivals, whose
    gaps have no distribution. tolerance_s: gaps that differ by less than this from those of the process are not counted
    against it in distance_tolerated and chance_tolerated. dispersion: index of dispersion of what was sent, variance
    of the counts in times of 10 requests / 10; dispersion_requested: of the schedule; None for short levels.
    """

    process: str
    gaps: int
    distance: float | None
    chance: float | None
    tolerance_s: float
    distance_tolerated: float
    chance_tolerated: float
    dispersion: float | None
    dispersion_requested: float | None
    as_requested: bool | None = None


class LoadAudit(msgspec.Struct, frozen=True, kw_only=True):
    """Requested and measured load of a level's hold.

    unit: what requested, measured and measured_min are in: users of a closed loop (mean and least over the hold), or
    requests/s of an open one, sessions/s where these arrive (expected of the rate, and sent). as_requested: whether
    they are close enough, in an open loop within three standard deviations of the process and 1 %. lag_p50_s,
    lag_p99_s, lag_max_s: sent − scheduled, of an open loop; gaps: likewise, None where its file of arrivals is gone or
    nothing was sent.
    """

    unit: Literal["users", "requests/s", "sessions/s"]
    requested: float
    measured: float
    measured_min: float | None = None
    as_requested: bool
    lag_p50_s: float | None = None
    lag_p99_s: float | None = None
    lag_max_s: float | None = None
    gaps: GapAudit | None = None
