"""Reads a server's page of metrics: the series of all engines, as the same few concepts.

A page is read by its names alone, whichever engine was detected: a gateway may show the engine behind it, and an
OpenAI-compatible server is often vLLM.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from math import isfinite
from typing import NamedTuple, TypeVar

import msgspec
from prometheus_client.parser import text_string_to_metric_families

from tokenswarm.engines.engine_metrics import Concept, Series, mean_of
from tokenswarm.engines.engine_table import ENGINES

Key = TypeVar("Key", bound=Hashable)


class MetricsUnreadable(ValueError):
    """A page is not what a metrics page looks like; the text is one sentence."""


def _merged(tables: Iterable[Mapping[Key, tuple[Series, ...]]]) -> dict[Key, list[Series]]:
    merged: dict[Key, list[Series]] = {}
    for table in tables:
        for key, choices in table.items():
            known = merged.setdefault(key, [])
            known += [series for series in choices if series not in known]
    return merged


_OF_GPUS = {
    Concept.GPU_UTILIZATION: (mean_of("DCGM_FI_DEV_GPU_UTIL", scale=0.01),),
    Concept.GPU_ENERGY_JOULES_TOTAL: (Series("DCGM_FI_DEV_TOTAL_ENERGY_CONSUMPTION", scale=0.001),),
}


class KnownSeries(NamedTuple):
    """series, histograms: of each concept, the names in use by all engines; where a page has several, the first
    counts. wanted: what their lines begin with."""

    series: Mapping[Concept, Sequence[Series]]
    histograms: Mapping[tuple[Concept, Concept], Sequence[Series]]
    wanted: tuple[str, ...]


@lru_cache(maxsize=1)
def known_series(_: tuple[str, ...]) -> KnownSeries:
    """Of all engines, whose names are given, as code may add some. Gateways last: behind one, the engine's own series
    count."""
    metrics = [spec.metrics for spec in sorted(ENGINES.values(), key=lambda spec: spec.detection.is_gateway)]
    series = _merged([*(each.series for each in metrics), _OF_GPUS])
    histograms = _merged(each.histograms for each in metrics)
    wanted = {each.name for choices in series.values() for each in choices}
    wanted |= {each.name + end for choices in histograms.values() for each in choices for end in ("_sum", "_count")}
    return KnownSeries(series, histograms, tuple(wanted))


#: A gateway before a hundred engines has fewer. Reading so many takes some 0.1 s.
_MOST_LINES = 10_000


def read_metrics(body: bytes) -> dict[Concept, float]:
    """What a page shows, each concept once; {} for a page of metrics that are none of these. Raises MetricsUnreadable.

    Two forms: Prometheus' text, and the JSON list of steps that trtllm-serve shows where its Prometheus page is off.
    """
    if body.lstrip().startswith(b"["):
        return _of_steps(body)
    try:
        # The wanted lines only: the parser takes tens of milliseconds for a page of vLLM's, which the load would feel,
        # and the rest of MLC-LLM's page is no strict text.
        lines = [line for line in body.decode().splitlines() if line.startswith(known_series(tuple(ENGINES)).wanted)]
        if len(lines) > _MOST_LINES:
            raise MetricsUnreadable(f"the page has more than {_MOST_LINES:,} lines of metrics that are known here")
        samples = _samples("\n".join([*lines, ""]))
    except ValueError as error:  # a UnicodeDecodeError is one
        raise MetricsUnreadable(f"this is not Prometheus' text format: {error}") from None
    return dict(_concepts(samples))


_Samples = dict[str, list[tuple[dict[str, str], float]]]


def _samples(text: str) -> _Samples:
    """Of each name, its series' labels and values."""
    samples: _Samples = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            if isfinite(sample.value):
                samples.setdefault(sample.name, []).append((sample.labels, sample.value))
    return samples


def _concepts(samples: _Samples) -> Iterator[tuple[Concept, float]]:
    known = known_series(tuple(ENGINES))
    for concept, choices in known.series.items():
        for series in choices:
            if values := _values_of(series, "", samples):
                yield concept, series.fold(values) * series.scale
                break
    for (sum_concept, count_concept), choices in known.histograms.items():
        for series in choices:
            sums, counts = _values_of(series, "_sum", samples), _values_of(series, "_count", samples)
            if sums and counts:
                yield sum_concept, sum(sums) * series.scale
                yield count_concept, sum(counts)
                break


def _values_of(series: Series, end: str, samples: _Samples) -> list[float]:
    named = samples.get(series.name + end, ())
    return [value for labels, value in named if series.labels.items() <= labels.items()]


class _KvCache(msgspec.Struct):
    used: int | None = msgspec.field(default=None, name="usedNumBlocks")
    most: int | None = msgspec.field(default=None, name="maxNumBlocks")
    hit_rate: float | None = msgspec.field(default=None, name="cacheHitRate")


class _Step(msgspec.Struct):
    active: int | None = msgspec.field(default=None, name="numActiveRequests")
    queued: int | None = msgspec.field(default=None, name="numQueuedRequests")
    kv_cache: _KvCache | None = msgspec.field(default=None, name="kvCacheStats")


def _of_steps(body: bytes) -> dict[Concept, float]:
    """The last step stands for now. An empty list: nothing ran since the last read."""
    try:
        steps = msgspec.json.decode(body, type=list[_Step])
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise MetricsUnreadable(f"this is no list of an engine's steps: {error}") from None
    if not steps:
        return {}
    step, cache = steps[-1], steps[-1].kv_cache or _KvCache()
    values = {
        Concept.REQUESTS_RUNNING: step.active,
        Concept.REQUESTS_WAITING: step.queued,
        Concept.KV_CACHE_UTILIZATION: cache.used / cache.most if cache.used is not None and cache.most else None,
        Concept.PREFIX_CACHE_HIT_RATIO: cache.hit_rate,
    }
    return {concept: float(value) for concept, value in values.items() if value is not None}
