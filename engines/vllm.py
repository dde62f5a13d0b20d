"""vLLM: its chat endpoint, today's and that before 0.5."""

from __future__ import annotations

import re
from dataclasses import replace

from tokenswarm.engines.detection import (
    Clue,
    DetectedVersion,
    Detection,
    Strength,
    has_no_release,
    is_before,
    metric_names,
    owned_by,
)
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
from tokenswarm.engines.server_pages import ServerPages, text_member


def _routes(pages: ServerPages) -> str | None:
    routes = pages.routes()
    if "/v1/chat/completions" not in routes or "/v1/chat/interactive" in routes:  # the latter is LMDeploy's
        return None
    if not isinstance(pages.json("/version"), dict):
        return None
    return "GET /openapi.json has /v1/chat/completions, and GET /version has a version"


def _version(pages: ServerPages) -> DetectedVersion:
    version = text_member(pages.json("/version"), "version")
    if version is None:
        return DetectedVersion(assumed="GET /version shows none: taken for a vLLM of 0.5 or later")
    if has_no_release(version):
        return DetectedVersion(version, None, "a build without a release number: taken for the newest vLLM")
    return DetectedVersion(version, "vllm-0.4.2" if is_before(version, 0, 5) else None)


def _block_tokens(metrics: str) -> int | None:
    found = re.search(r'^vllm:cache_config_info\{[^}\n]*\bblock_size="(\d{1,6})"', metrics, re.MULTILINE)
    return int(found[1]) or None if found else None


VLLM = OpenAICompatible(
    name="vllm",
    health_path="/health",
    exact_length={"ignore_eos": True},
    least_tokens=("min_tokens",),
    prefix_block_tokens=16,
    block_page=BlockPage("/metrics", _block_tokens),
    flush_path="/reset_prefix_cache",
    flush_needs="vLLM has it if it is started with VLLM_SERVER_DEV_MODE=1",
    detection=Detection(
        clues=(owned_by("vllm"), metric_names("vllm:"), Clue(Strength.ROUTES, _routes)),
        version=_version,
    ),
    metrics=EngineMetrics(
        series={
            Concept.REQUESTS_RUNNING: (Series("vllm:num_requests_running"),),
            Concept.REQUESTS_WAITING: (Series("vllm:num_requests_waiting"),),
            Concept.KV_CACHE_UTILIZATION: (mean_of("vllm:kv_cache_usage_perc"), mean_of("vllm:gpu_cache_usage_perc")),
            Concept.PREFIX_CACHE_QUERIES_TOTAL: (
                Series("vllm:prefix_cache_queries_total"),
                Series("vllm:gpu_prefix_cache_queries_total"),
            ),
            Concept.PREFIX_CACHE_HITS_TOTAL: (
                Series("vllm:prefix_cache_hits_total"),
                Series("vllm:gpu_prefix_cache_hits_total"),
            ),
            Concept.PROMPT_TOKENS_TOTAL: (Series("vllm:prompt_tokens_total"),),
            Concept.OUTPUT_TOKENS_TOTAL: (Series("vllm:generation_tokens_total"),),
        },
        histograms={
            TTFT_HISTOGRAM: (Series("vllm:time_to_first_token_seconds"),),
            INTER_TOKEN_HISTOGRAM: (
                Series("vllm:inter_token_latency_seconds"),
                Series("vllm:time_per_output_token_seconds"),
            ),
        },
    ),
)
VLLM_0_4_2 = replace(VLLM, name="vllm-0.4.2", requests_usage=False, detection=Detection(), flush_path="")
