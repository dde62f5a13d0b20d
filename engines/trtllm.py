"""TensorRT-LLM's own server, trtllm-serve. (Behind Triton: engines/triton.py.)"""

from __future__ import annotations

from tokenswarm.engines.detection import Clue, Detection, Strength, owned_by, version_at
from tokenswarm.engines.engine_metrics import (
    INTER_TOKEN_HISTOGRAM,
    TTFT_HISTOGRAM,
    Concept,
    EngineMetrics,
    MetricsAddress,
    Series,
    mean_of,
)
from tokenswarm.engines.openai import OpenAICompatible
from tokenswarm.engines.server_pages import ServerPages, json_document


def _steps_page(pages: ServerPages) -> str | None:
    steps = json_document(pages.text("/metrics").encode())
    if isinstance(steps, list) and isinstance(pages.json("/version"), dict):
        return "GET /metrics is a JSON array, and GET /version has a version"
    return None


TRTLLM = OpenAICompatible(
    name="trtllm",
    health_path="/health",
    exact_length={"ignore_eos": True},
    least_tokens=("min_tokens",),
    prefix_block_tokens=32,
    detection=Detection(
        clues=(owned_by("tensorrt_llm"), Clue(Strength.METRICS, _steps_page)),
        version=version_at("/version", "version"),
    ),
    metrics=EngineMetrics(
        # The second is a list of what happened since it was last read: nobody else may read it during a run.
        endpoints=(MetricsAddress("/prometheus/metrics"), MetricsAddress("/metrics")),
        series={
            Concept.REQUESTS_RUNNING: (Series("trtllm_num_requests_running"),),
            Concept.REQUESTS_WAITING: (Series("trtllm_num_requests_waiting"),),
            Concept.KV_CACHE_UTILIZATION: (mean_of("trtllm_kv_cache_utilization"),),
            # It looks up every token of a prompt.
            Concept.PREFIX_CACHE_QUERIES_TOTAL: (Series("trtllm_prompt_tokens_total"),),
            Concept.PREFIX_CACHE_HITS_TOTAL: (Series("trtllm_prompt_cached_tokens_total"),),
            Concept.PREFIX_CACHE_HIT_RATIO: (mean_of("trtllm_kv_cache_hit_rate"),),
            Concept.PROMPT_TOKENS_TOTAL: (Series("trtllm_prompt_tokens_total"),),
            Concept.OUTPUT_TOKENS_TOTAL: (Series("trtllm_generation_tokens_total"),),
        },
        histograms={
            TTFT_HISTOGRAM: (Series("trtllm_time_to_first_token_seconds"),),
            INTER_TOKEN_HISTOGRAM: (Series("trtllm_time_per_output_token_seconds"),),
        },
    ),
)
