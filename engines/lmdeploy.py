"""LMDeploy: its chat endpoint, and its own, /v1/chat/interactive, which was removed in 0.16.

The response of the latter has the type of an event stream and is JSON lines: text as it comes, tokens counted so far,
and a finish reason in the last.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import msgspec

from tokenswarm.engines.decoding import DocumentDecoder, LineSplitter
from tokenswarm.engines.detection import Clue, DetectedVersion, Detection, Strength, metric_names, owned_by
from tokenswarm.engines.engine_metrics import (
    INTER_TOKEN_HISTOGRAM,
    NO_METRICS,
    TTFT_HISTOGRAM,
    Concept,
    EngineMetrics,
    Series,
    mean_of,
)
from tokenswarm.engines.engine_spec import LINE_STARTS, ChatRequest, Counts, Delta, EngineSpec
from tokenswarm.engines.errors import error_text, is_failure
from tokenswarm.engines.openai import OpenAICompatible
from tokenswarm.engines.server_pages import ServerPages


class _InteractiveLine(msgspec.Struct, gc=False):
    text: str | None = None
    tokens: int | None = None
    input_tokens: int | None = None
    finish_reason: str | None = None
    error: Any = None
    object: str | None = None
    message: str | None = None


_read = msgspec.json.Decoder(_InteractiveLine, strict=False).decode


class InteractiveDecoder(DocumentDecoder[_InteractiveLine]):
    """Deltas of one response; the finish reason is its end."""

    def __init__(self) -> None:
        super().__init__(LineSplitter(), _read)

    def _delta(self, document: _InteractiveLine) -> Delta:
        if is_failure(document.error, beside_output=document.text is not None) or document.object == "error":
            return Delta(error=error_text(document.error or document.message))
        return Delta(
            document.text or "",
            prompt_tokens=document.input_tokens,
            output_tokens=document.tokens,
            finish_reason=document.finish_reason,
            done=document.finish_reason is not None,
        )


@dataclass(frozen=True, kw_only=True)
class LMDeployInteractive(EngineSpec):
    """One request a session, so that nothing of the last answer is kept."""

    def body_fields(self, request: ChatRequest) -> dict[str, Any]:
        """A prompt alone goes as text, one with other messages before it as messages."""
        return {
            "prompt": request.messages if request.system_prompt is not None or request.earlier else request.prompt,
            "stream": True,
            "session_id": -1,
            "interactive_mode": False,
            "request_output_len": request.max_tokens,
            **self.extras(request),
        }

    def decoder(self) -> InteractiveDecoder:
        """A fresh decoder for one response."""
        return InteractiveDecoder()


def _routes(pages: ServerPages) -> str | None:
    return "GET /openapi.json has the route /v1/chat/interactive" if "/v1/chat/interactive" in pages.routes() else None


def _version(pages: ServerPages) -> DetectedVersion:
    if pages.status("/health") == 404:
        assumed = "without GET /health, which came with 0.6: taken for an LMDeploy of 0.4"
        return DetectedVersion(engine="lmdeploy-0.4.0", assumed=assumed)
    return DetectedVersion()


LMDEPLOY = OpenAICompatible(
    name="lmdeploy",
    health_path="/health",
    exact_length={"ignore_eos": True},
    prefix_block_tokens=64,
    detection=Detection(
        clues=(owned_by("lmdeploy"), metric_names("lmdeploy:"), Clue(Strength.ROUTES, _routes)),
        version=_version,
    ),
    metrics=EngineMetrics(
        series={
            Concept.REQUESTS_RUNNING: (Series("lmdeploy:num_requests_running"),),
            Concept.REQUESTS_WAITING: (Series("lmdeploy:num_requests_waiting"),),
            Concept.KV_CACHE_UTILIZATION: (mean_of("lmdeploy:gpu_cache_usage_perc"),),
            # It looks up every token of a prompt.
            Concept.PREFIX_CACHE_QUERIES_TOTAL: (Series("lmdeploy:prompt_tokens_total"),),
            Concept.PREFIX_CACHE_HITS_TOTAL: (Series("lmdeploy:cached_tokens_total"),),
            Concept.PREFIX_CACHE_HIT_RATIO: (mean_of("lmdeploy:prefix_cache_hit_rate"),),
            Concept.PROMPT_TOKENS_TOTAL: (Series("lmdeploy:prompt_tokens_total"),),
            Concept.OUTPUT_TOKENS_TOTAL: (Series("lmdeploy:generation_tokens_total"),),
        },
        histograms={
            TTFT_HISTOGRAM: (Series("lmdeploy:time_to_first_token_seconds"),),
            INTER_TOKEN_HISTOGRAM: (Series("lmdeploy:iter_token_latency"),),
        },
    ),
)
LMDEPLOY_0_4_0 = replace(
    LMDEPLOY,
    name="lmdeploy-0.4.0",
    health_path="/v1/models",
    requests_usage=False,
    counts=Counts.EVENTS,
    detection=Detection(),
    metrics=NO_METRICS,
)
LMDEPLOY_INTERACTIVE = LMDeployInteractive(
    name="lmdeploy-interactive",
    path="/v1/chat/interactive",
    stream_starts=LINE_STARTS,
    sampling_names={name: name for name in ("temperature", "top_p", "top_k", "stop")},
    health_path="/v1/models",
    exact_length={"ignore_eos": True},
    requests_name_model=False,
    detection=Detection(same_server=frozenset({"lmdeploy", "lmdeploy-0.4.0"})),
)
