"""MLC-LLM: its chat endpoint, today's and that of mid-2024."""

from __future__ import annotations

from dataclasses import replace
from statistics import fmean

from tokenswarm.engines.detection import DetectedVersion, Detection, metric_names, owned_by
from tokenswarm.engines.engine_metrics import NO_METRICS, Concept, EngineMetrics, Series
from tokenswarm.engines.openai import OpenAICompatible
from tokenswarm.engines.server_pages import ServerPages


def _version(pages: ServerPages) -> DetectedVersion:
    if pages.status("/metrics") == 404:
        return DetectedVersion(engine="mlc-2024", assumed="without GET /metrics: taken for an MLC-LLM of 2024")
    return DetectedVersion()


MLC = OpenAICompatible(
    name="mlc",
    health_path="/v1/models",
    # Only a server with --enable-debug follows it; others drop it silently.
    exact_length={"debug_config": {"ignore_eos": True}},
    detection=Detection(clues=(owned_by("MLC-LLM"), metric_names("engine_prefill_time_sum")), version=_version),
    metrics=EngineMetrics(
        series={  # its names have no prefix
            Concept.PROMPT_TOKENS_TOTAL: (Series("prompt_tokens_sum"),),
            Concept.OUTPUT_TOKENS_TOTAL: (Series("completion_tokens_sum"),),
            Concept.TTFT_SECONDS_LAST: (Series("last_finished_request_ttft_s", fold=fmean),),
        }
    ),
)
MLC_2024 = replace(
    MLC,
    name="mlc-2024",
    requests_usage=False,
    exact_length={"ignore_eos": True},
    detection=Detection(),
    metrics=NO_METRICS,
)
