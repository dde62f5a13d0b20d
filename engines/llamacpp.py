"""llama.cpp's server: its chat endpoint."""

from __future__ import annotations

from tokenswarm.engines.detection import Detection, metric_names, owned_by, server_header, version_at
from tokenswarm.engines.engine_metrics import Concept, EngineMetrics, Series, mean_of
from tokenswarm.engines.openai import OpenAICompatible

LLAMACPP = OpenAICompatible(
    name="llamacpp",
    health_path="/health",
    exact_length={"ignore_eos": True},
    detection=Detection(
        clues=(server_header("llama.cpp"), owned_by("llamacpp"), metric_names("llamacpp:")),
        version=version_at("/props", "build_info"),
    ),
    metrics=EngineMetrics(
        series={
            Concept.REQUESTS_RUNNING: (Series("llamacpp:requests_processing"),),
            Concept.REQUESTS_WAITING: (Series("llamacpp:requests_deferred"),),
            Concept.KV_CACHE_UTILIZATION: (mean_of("llamacpp:kv_cache_usage_ratio"),),
            Concept.PROMPT_TOKENS_TOTAL: (Series("llamacpp:prompt_tokens_total"),),
            Concept.OUTPUT_TOKENS_TOTAL: (Series("llamacpp:tokens_predicted_total"),),
        }
    ),
)
