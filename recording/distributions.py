"""What summary.json says of histograms."""

from __future__ import annotations

from typing import Any

import msgspec

from tokenswarm.metrics.histogram import Histogram
from tokenswarm.metrics.quantiles import quantile
from tokenswarm.run_folder.distribution import Distribution, RateDistribution


def distribution(histogram: Histogram) -> Distribution:
    """Mean, range and percentiles of what was recorded."""
    return Distribution(
        histogram.count,
        histogram.mean,
        histogram.minimum,
        histogram.maximum,
        *(quantile(histogram, p) for p in (0.5, 0.9, 0.95, 0.99)),
    )


def rate_distribution(histogram: Histogram) -> RateDistribution:
    """The same with the percentiles of the low end."""
    shown: dict[str, Any] = msgspec.structs.asdict(distribution(histogram))
    shown |= {f"p{p}": quantile(histogram, p / 100) for p in (1, 5, 10)}
    return RateDistribution(**shown)
