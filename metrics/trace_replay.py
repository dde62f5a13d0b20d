"""How a trace of recorded requests is replayed."""

from __future__ import annotations

from enum import StrEnum

import msgspec


class TraceSpread(StrEnum):
    """What becomes of requests with the same timestamp: they are sent at once (OFF), at even distances until the next
    timestamp (UNIFORM), or at random moments until then (POISSON)."""

    OFF = "off"
    UNIFORM = "uniform"
    POISSON = "poisson"


class TraceReplay(msgspec.Struct, frozen=True):
    """path, format: of the file, as --trace and --trace-format have them. speed: how many times as fast as recorded;
    rate: the mean rate (requests/s) that the times are scaled to instead, None without. from_s, until_s: which part of
    the recorded time is replayed, None: to its end. sample: which share of the sessions, above 0 up to 1. seed: of the
    sample, of the moments of `spread`, and of the requests that a trace describes by distributions."""

    path: str
    format: str = "auto"
    speed: float = 1.0
    rate: float | None = None
    from_s: float = 0.0
    until_s: float | None = None
    sample: float = 1.0
    spread: TraceSpread = TraceSpread.OFF
    skips_bad: bool = False
    seed: int = 0
