"""What servers tell of themselves: where each engine's metrics are, and what its series mean.

Names are read from the engines' sources and documents. A page is read by its names alone, whichever engine was asked
for: a gateway may show the engine behind it, and an OpenAI-compatible server is often vLLM.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from math import isfinite
from statistics import fmean

import msgspec
from prometheus_client.parser import text_string_to_metric_families


class MetricsUnreadable(ValueError):
    """A page is not what a metrics page looks like; the text is one sentence."""


class Concept(StrEnum):
    """What a server can tell, whatever its engine calls it. Names ending in `_total`, `_sum` and `_count` only grow;
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


@dataclass(frozen=True, slots=True)
class Page:
    """Where an engine shows its metrics: on the port that answers requests, unless it has one of its own for them."""

    path: str = "/metrics"
    port: int | None = None


#: By --engine. Several pages are tried in their order; an engine without a page tells nothing.
PAGES: Mapping[str, tuple[Page, ...]] = {
    "openai": (Page(),),
    "vllm": (Page(),),
    "vllm-0.4.2": (Page(),),
    "lmdeploy": (Page(),),
    "lmdeploy-0.4.0": (),
    "lmdeploy-interactive": (Page(),),
    "mlc": (Page(),),
    "mlc-2024": (),
    # The second is a list of what happened since it was last read: nobody else may read it during a run.
    "trtllm": (Page("/prometheus/metrics"), Page("/metrics")),
    "triton": (Page(port=8002), Page()),
    "triton-bls": (Page(port=8002), Page()),
    "tgi": (Page(),),
    "tgi-2.0.4": (Page(),),
    "tgi-generate": (Page(),),
    "bentoml": (Page(),),
    "sglang": (Page(),),
    "llamacpp": (Page(),),
    "ollama": (),
    "anthropic": (Page(),),
}


@dataclass(frozen=True, slots=True)
class Series:
    """One name under which a concept is told. scale brings its unit to ours; fold makes one value of several series
    (the GPUs of a machine, the replicas of an engine); labels choose among them."""

    name: str
    scale: float = 1.0
    fold: Callable[[list[float]], float] = sum
    labels: Mapping[str, str] = field(default_factory=dict)


def _share(name: str, scale: float = 1.0, **labels: str) -> Series:
    return Series(name, scale, fmean, labels)


def _triton(request_type: str) -> Series:
    return Series("nv_trt_llm_request_metrics", labels={"request_type": request_type})


#: Of each concept, the names in use; where a page has several, the first counts (versions overlap for a while).
SERIES: Mapping[Concept, tuple[Series, ...]] = {
    Concept.REQUESTS_RUNNING: (
        Series("vllm:num_requests_running"),
        Series("lmdeploy:num_requests_running"),
        Series("trtllm_num_requests_running"),
        Series("sglang:num_running_reqs"),
        Series("llamacpp:requests_processing"),
        Series("tgi_batch_current_size"),
        _triton("scheduled"),
        Series("bentoml_service_request_in_progress"),  # of HTTP: those that wait inside the service are among them
    ),
    Concept.REQUESTS_WAITING: (
        Series("vllm:num_requests_waiting"),
        Series("lmdeploy:num_requests_waiting"),
        Series("trtllm_num_requests_waiting"),
        Series("sglang:num_queue_reqs"),
        Series("llamacpp:requests_deferred"),
        Series("tgi_queue_size"),
        _triton("waiting"),
        Series("nv_inference_pending_request_count"),
    ),
    Concept.KV_CACHE_UTILIZATION: (
        _share("vllm:kv_cache_usage_perc"),
        _share("vllm:gpu_cache_usage_perc"),
        _share("lmdeploy:gpu_cache_usage_perc"),
        _share("trtllm_kv_cache_utilization"),
        _share("sglang:token_usage"),
        _share("llamacpp:kv_cache_usage_ratio"),
        _share("nv_trt_llm_kv_cache_block_metrics", kv_cache_block_type="fraction"),
    ),
    Concept.PREFIX_CACHE_QUERIES_TOTAL: (
        Series("vllm:prefix_cache_queries_total"),
        Series("vllm:gpu_prefix_cache_queries_total"),
        # These look up every token of a prompt.
        Series("lmdeploy:prompt_tokens_total"),
        Series("trtllm_prompt_tokens_total"),
        Series("sglang:prompt_tokens_total"),
    ),
    Concept.PREFIX_CACHE_HITS_TOTAL: (
        Series("vllm:prefix_cache_hits_total"),
        Series("vllm:gpu_prefix_cache_hits_total"),
        Series("lmdeploy:cached_tokens_total"),
        Series("trtllm_prompt_cached_tokens_total"),
        Series("sglang:cached_tokens_total"),
    ),
    Concept.PREFIX_CACHE_HIT_RATIO: (
        _share("lmdeploy:prefix_cache_hit_rate"),
        _share("trtllm_kv_cache_hit_rate"),
        _share("sglang:cache_hit_rate"),
    ),
    Concept.PROMPT_TOKENS_TOTAL: (
        Series("vllm:prompt_tokens_total"),
        Series("lmdeploy:prompt_tokens_total"),
        Series("trtllm_prompt_tokens_total"),
        Series("sglang:prompt_tokens_total"),
        Series("llamacpp:prompt_tokens_total"),
        Series("tgi_request_input_length_sum"),
        Series("prompt_tokens_sum"),  # MLC-LLM's names have no prefix
    ),
    Concept.OUTPUT_TOKENS_TOTAL: (
        Series("vllm:generation_tokens_total"),
        Series("lmdeploy:generation_tokens_total"),
        Series("trtllm_generation_tokens_total"),
        Series("sglang:generation_tokens_total"),
        Series("llamacpp:tokens_predicted_total"),
        Series("tgi_request_generated_tokens_sum"),
        Series("completion_tokens_sum"),
    ),
    Concept.TTFT_SECONDS_LAST: (Series("last_finished_request_ttft_s", fold=fmean),),
    Concept.GPU_UTILIZATION: (_share("DCGM_FI_DEV_GPU_UTIL", scale=0.01),),
}
#: Histograms: of each, sum and count are read.
_HISTOGRAMS: Mapping[tuple[Concept, Concept], tuple[Series, ...]] = {
    (Concept.TTFT_SECONDS_SUM, Concept.TTFT_SECONDS_COUNT): (
        Series("vllm:time_to_first_token_seconds"),
        Series("lmdeploy:time_to_first_token_seconds"),
        Series("trtllm_time_to_first_token_seconds"),
        Series("sglang:time_to_first_token_seconds"),
        # Only the model that requests are sent to: the parts of an ensemble have histograms of their own.
        Series("nv_inference_first_response_histogram_ms", 1e-3, labels={"model": "ensemble"}),
        Series("nv_inference_first_response_histogram_ms", 1e-3, labels={"model": "tensorrt_llm_bls"}),
    ),
    (Concept.INTER_TOKEN_SECONDS_SUM, Concept.INTER_TOKEN_SECONDS_COUNT): (
        Series("vllm:inter_token_latency_seconds"),
        Series("vllm:time_per_output_token_seconds"),
        Series("lmdeploy:iter_token_latency"),
        Series("trtllm_time_per_output_token_seconds"),
        Series("sglang:inter_token_latency_seconds"),
        Series("sglang:time_per_output_token_seconds"),
    ),
}
_WANTED = tuple(
    {series.name for choices in SERIES.values() for series in choices}
    | {series.name + end for choices in _HISTOGRAMS.values() for series in choices for end in ("_sum", "_count")}
)


#: A gateway before a hundred engines has fewer. Reading so many takes some 0.1 s.
_MOST_LINES = 10_000


def read_metrics(body: bytes) -> dict[Concept, float]:
    """What a page tells, each concept once; {} for a page of metrics that are none of these. Raises MetricsUnreadable.

    Two forms: Prometheus' text, and the JSON list of steps that trtllm-serve shows where its Prometheus page is off.
    """
    if body.lstrip().startswith(b"["):
        return _of_steps(body)
    try:
        # The wanted lines only: the parser takes tens of milliseconds for a page of vLLM's, which the load would feel,
        # and the rest of MLC-LLM's page is no strict text.
        lines = [line for line in body.decode().splitlines() if line.startswith(_WANTED)]
        if len(lines) > _MOST_LINES:
            raise MetricsUnreadable(f"the page has more than {_MOST_LINES:,} lines of metrics that are known here")
        told = _values("\n".join([*lines, ""]))
    except ValueError as error:  # a UnicodeDecodeError is one
        raise MetricsUnreadable(f"this is not Prometheus' text format: {error}") from None
    return dict(_concepts(told))


_Told = dict[str, list[tuple[dict[str, str], float]]]


def _values(text: str) -> _Told:
    """Of each name, its series' labels and values."""
    told: _Told = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            if isfinite(sample.value):
                told.setdefault(sample.name, []).append((sample.labels, sample.value))
    return told


def _concepts(told: _Told) -> Iterator[tuple[Concept, float]]:
    for concept, choices in SERIES.items():
        for series in choices:
            if values := _of(series, "", told):
                yield concept, series.fold(values) * series.scale
                break
    for (sum_concept, count_concept), choices in _HISTOGRAMS.items():
        for series in choices:
            sums, counts = _of(series, "_sum", told), _of(series, "_count", told)
            if sums and counts:
                yield sum_concept, sum(sums) * series.scale
                yield count_concept, sum(counts)
                break


def _of(series: Series, end: str, told: _Told) -> list[float]:
    return [value for labels, value in told.get(series.name + end, ()) if series.labels.items() <= labels.items()]


class _KvCache(msgspec.Struct):
    used: int | None = msgspec.field(default=None, name="usedNumBlocks")
    most: int | None = msgspec.field(default=None, name="maxNumBlocks")
    hit_rate: float | None = msgspec.field(default=None, name="cacheHitRate")


class _Step(msgspec.Struct):
    active: int | None = msgspec.field(default=None, name="numActiveRequests")
    queued: int | None = msgspec.field(default=None, name="numQueuedRequests")
    kv_cache: _KvCache | None = msgspec.field(default=None, name="kvCacheStats")


def _of_steps(body: bytes) -> dict[Concept, float]:
    """The last step stands for now. An empty list: nothing ran since the last look."""
    try:
        steps = msgspec.json.decode(body, type=list[_Step])
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise MetricsUnreadable(f"this is no list of an engine's steps: {error}") from None
    if not steps:
        return {}
    step, cache = steps[-1], steps[-1].kv_cache or _KvCache()
    told = {
        Concept.REQUESTS_RUNNING: step.active,
        Concept.REQUESTS_WAITING: step.queued,
        Concept.KV_CACHE_UTILIZATION: cache.used / cache.most if cache.used is not None and cache.most else None,
        Concept.PREFIX_CACHE_HIT_RATIO: cache.hit_rate,
    }
    return {concept: float(value) for concept, value in told.items() if value is not None}
