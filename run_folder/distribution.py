"""How summary.json has the distribution of a figure."""

from __future__ import annotations

import msgspec

from tokenswarm.metrics.quantiles import Quantile


class Distribution(msgspec.Struct, frozen=True):
    """Summary of `count` values, in the unit of the figure's name; None where there was no value."""

    count: int
    mean: float | None = None
    min: float | None = None
    max: float | None = None
    p50: Quantile | None = None
    p90: Quantile | None = None
    p95: Quantile | None = None
    p99: Quantile | None = None


class RateDistribution(Distribution, frozen=True):
    """A distribution of rates, whose slow end is its low one."""

    p1: Quantile | None = None
    p5: Quantile | None = None
    p10: Quantile | None = None
