"""What summary.json says of histograms."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from tokenswarm.metrics.histogram import Histogram
from tokenswarm.metrics.intervals import independent_at
from tokenswarm.metrics.quantiles import Quantile, quantile
from tokenswarm.metrics.timed_histogram import TimedHistogram
from tokenswarm.run_folder.distribution import Distribution, RateDistribution


def distribution(histogram: Histogram) -> Distribution:
    """Mean, range and percentiles of what was recorded, with intervals where it has times."""
    return Distribution(
        histogram.count,
        histogram.mean,
        histogram.minimum,
        histogram.maximum,
        *_quantiles(histogram, (0.5, 0.9, 0.95, 0.99)),
    )


def rate_distribution(histogram: Histogram) -> RateDistribution:
    """The same with the percentiles of the low end."""
    shown: dict[str, Any] = msgspec.structs.asdict(distribution(histogram))
    low = (1, 5, 10)
    shown |= {f"p{p}": found for p, found in zip(low, _quantiles(histogram, [p / 100 for p in low]), strict=True)}
    return RateDistribution(**shown)


def _quantiles(histogram: Histogram, shares: Sequence[float]) -> list[Quantile | None]:
    if not isinstance(histogram, TimedHistogram):
        return [quantile(histogram, p) for p in shares]
    series = histogram.series()
    return [quantile(histogram, p, independent_at(series, p) if len(series) else None) for p in shares]
