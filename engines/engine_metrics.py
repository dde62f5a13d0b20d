"""Server-side metrics: the concepts that are read, and how an engine's spec says where it shows which.

Names of series are read from the engines' sources and documents.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from statistics import fmean


class Concept(StrEnum):
    """What a server can report, whatever its engine calls it. Names ending in `_total`, `_sum` and `_count` only grow;
    utilizations and ratios are from 0 to 1.

    PREFIX_CACHE_*_TOTAL count tokens. PREFIX_CACHE_HIT_RATIO is an engine's own ratio, where it counts neither.
    TTFT_SECONDS_LAST is that of the request that finished last, where there is no histogram.
    """

    REQUESTS_RUNNING = "requests_running"
    REQUESTS_WAITING = "requests_waiting"
    KV_CACHE_UTILIZATION = "kv_cache_utilization"
    PREFIX_CACHE_QUERIES_TOTAL = "prefix_cache_queries_total"
    PREFIX_CACHE_HITS_TOTAL = "prefix_cache_hits_total"
    PREFIX_CACHE_HIT_RATIO = "prefix_cache_hit_ratio"
    PROMPT_TOKENS_TOTAL = "prompt_tokens_total"
    OUTPUT_TOKENS_TOTAL = "output_tokens_total"
    TTFT_SECONDS_SUM = "ttft_seconds_sum"
    TTFT_SECONDS_COUNT = "ttft_seconds_count"
    TTFT_SECONDS_LAST = "ttft_seconds_last"
    INTER_TOKEN_SECONDS_SUM = "inter_token_seconds_sum"  # noqa: S105 - no secret
    INTER_TOKEN_SECONDS_COUNT = "inter_token_seconds_count"  # noqa: S105
    GPU_UTILIZATION = "gpu_utilization"
    GPU_ENERGY_JOULES_TOTAL = "gpu_energy_joules_total"


#: The concepts that the sum and the count of a histogram are.
TTFT_HISTOGRAM = (Concept.TTFT_SECONDS_SUM, Concept.TTFT_SECONDS_COUNT)
INTER_TOKEN_HISTOGRAM = (Concept.INTER_TOKEN_SECONDS_SUM, Concept.INTER_TOKEN_SECONDS_COUNT)


@dataclass(frozen=True, slots=True)
class MetricsAddress:
    """Where an engine shows its metrics. port None: the port of the requests."""

    path: str = "/metrics"
    port: int | None = None


@dataclass(frozen=True, slots=True)
class Series:
    """A name under which a concept is shown. scale brings its unit to ours; fold makes one value of several series (the
    GPUs of a machine, the replicas of an engine); labels choose among them."""

    name: str
    scale: float = 1.0
    fold: Callable[[list[float]], float] = sum
    labels: Mapping[str, str] = field(default_factory=dict)


def mean_of(name: str, scale: float = 1.0, **labels: str) -> Series:
    """A share or ratio: of several series the mean counts."""
    return Series(name, scale, fmean, labels)


@dataclass(frozen=True, slots=True)
class EngineMetrics:
    """endpoints: tried in their order; an engine without one shows nothing. series: of each concept, the names in use;
    where a page has several, the first counts (versions overlap for a while). histograms: the same for (sum, count)."""

    endpoints: tuple[MetricsAddress, ...] = (MetricsAddress(),)
    series: Mapping[Concept, tuple[Series, ...]] = field(default_factory=dict)
    histograms: Mapping[tuple[Concept, Concept], tuple[Series, ...]] = field(default_factory=dict)


#: Of an engine that shows no metrics.
NO_METRICS = EngineMetrics(endpoints=())
