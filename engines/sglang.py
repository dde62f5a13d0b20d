"""SGLang's chat endpoint."""

from __future__ import annotations

from tokenswarm.engines.detection import Detection, metric_names, owned_by
from tokenswarm.engines.engine_metrics import (
    INTER_TOKEN_HISTOGRAM,
    TTFT_HISTOGRAM,
    Concept,
    EngineMetrics,
    Series,
    mean_of,
)
from tokenswarm.engines.engine_spec import BlockPage
from tokenswarm.engines.openai import OpenAICompatible
from tokenswarm.engines.server_pages import json_document


def _page_size(text: str) -> int | None:
    info = json_document(text.encode())
    size = info.get("page_size") if isinstance(info, dict) else None
    return size if isinstance(size, int) and size > 0 else None


SGLANG = OpenAICompatible(
    name="sglang",
    health_path="/health",
    exact_length={"ignore_eos": True},
    prefix_block_tokens=1,
    block_page=BlockPage("/get_server_info", _page_size),
    flush_path="/flush_cache",
    detection=Detection(clues=(owned_by("sglang"), metric_names("sglang:"))),
    metrics=EngineMetrics(
        series={
            Concept.REQUESTS_RUNNING: (Series("sglang:num_running_reqs"),),
            Concept.REQUESTS_WAITING: (Series("sglang:num_queue_reqs"),),
            Concept.KV_CACHE_UTILIZATION: (mean_of("sglang:token_usage"),),
            # It looks up every token of a prompt.
            Concept.PREFIX_CACHE_QUERIES_TOTAL: (Series("sglang:prompt_tokens_total"),),
            Concept.PREFIX_CACHE_HITS_TOTAL: (Series("sglang:cached_tokens_total"),),
            Concept.PREFIX_CACHE_HIT_RATIO: (mean_of("sglang:cache_hit_rate"),),
            Concept.PROMPT_TOKENS_TOTAL: (Series("sglang:prompt_tokens_total"),),
            Concept.OUTPUT_TOKENS_TOTAL: (Series("sglang:generation_tokens_total"),),
        },
        histograms={
            TTFT_HISTOGRAM: (Series("sglang:time_to_first_token_seconds"),),
            INTER_TOKEN_HISTOGRAM: (
                Series("sglang:inter_token_latency_seconds"),
                Series("sglang:time_per_output_token_seconds"),
            ),
        },
    ),
)
