"""TGI: its chat endpoint, and its own, /generate_stream, in either framing: `data:{…}` until 2.0, `data: {…}` since.

The latter has one event per token; the last has the details, and is the end. A special token such as the one that ends
an answer comes as an event too: it is no text, but it is counted.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import msgspec

from tokenswarm.engines.decoding import DocumentDecoder
from tokenswarm.engines.detection import Clue, DetectedVersion, Detection, Strength, is_before, metric_names
from tokenswarm.engines.engine_metrics import Concept, EngineMetrics, Series
from tokenswarm.engines.engine_spec import FINISH_REASONS, ChatRequest, Counts, Delta
from tokenswarm.engines.errors import error_text, is_failure
from tokenswarm.engines.openai import FinishEndsDecoder, OpenAICompatible
from tokenswarm.engines.sampling_fields import names_in
from tokenswarm.engines.server_pages import ServerPages, text_member
from tokenswarm.engines.sse import EventSplitter
from tokenswarm.engines.templates import TemplatedEngine


class _Token(msgspec.Struct, gc=False):
    text: str | None = None
    special: bool = False


class _Details(msgspec.Struct, gc=False):
    finish_reason: str | None = None
    generated_tokens: int | None = None
    input_length: int | None = None


class _TgiEvent(msgspec.Struct, gc=False):
    token: _Token | None = None
    generated_text: str | None = None
    details: _Details | None = None
    error: Any = None


_read = msgspec.json.Decoder(_TgiEvent, strict=False).decode
_NO_DETAILS = _Details()


class GenerateDecoder(DocumentDecoder[_TgiEvent]):
    """Deltas of one response."""

    def __init__(self) -> None:
        super().__init__(EventSplitter(), _read)
        self._tokens_without_text = 0

    def _delta(self, document: _TgiEvent) -> Delta:
        if is_failure(document.error, beside_output=document.token is not None):
            return Delta(error=error_text(document.error))
        text, tokens = self._output(document.token)
        details = document.details or _NO_DETAILS
        return Delta(
            text,
            tokens=tokens,
            prompt_tokens=details.input_length,
            output_tokens=details.generated_tokens,
            finish_reason=details.finish_reason,
            done=document.generated_text is not None or document.details is not None,
        )

    def _output(self, token: _Token | None) -> tuple[str, int | None]:
        """Text, and how many tokens it is of: those whose characters were incomplete count with the next text."""
        if token is None:
            return "", None
        self._tokens_without_text += 1
        if token.special or not token.text:
            return "", None
        tokens, self._tokens_without_text = self._tokens_without_text, 0
        return token.text, tokens


@dataclass(frozen=True, kw_only=True)
class TGIGenerate(TemplatedEngine):
    """Takes one templated text, and no model name."""

    def body_fields(self, request: ChatRequest) -> dict[str, Any]:
        """JSON."""
        stop = {"stop": [self.template.stop]} if self.template.stop else {}
        parameters = {"max_new_tokens": request.max_tokens, "details": True, **stop}
        return {"inputs": self.template.render(request), "parameters": parameters}

    def decoder(self) -> GenerateDecoder:
        """A fresh decoder for one response."""
        return GenerateDecoder()


def _info_page(pages: ServerPages) -> str | None:
    info = pages.json("/info")
    if isinstance(info, dict) and "model_id" in info and "max_concurrent_requests" in info:
        return "GET /info: a model_id and max_concurrent_requests, as in TGI's"
    return None


def _version(pages: ServerPages) -> DetectedVersion:
    version = text_member(pages.json("/info"), "version")
    if version is None:
        return DetectedVersion(assumed="GET /info shows no version: taken for a TGI of 2.2 or later")
    return DetectedVersion(version, "tgi-2.0.4" if is_before(version, 2, 2) else None)


def _models(pages: ServerPages) -> list[str]:
    name = text_member(pages.json("/info"), "model_id")
    return [name] if name else []


_METRICS = EngineMetrics(
    series={
        Concept.REQUESTS_RUNNING: (Series("tgi_batch_current_size"),),
        Concept.REQUESTS_WAITING: (Series("tgi_queue_size"),),
        Concept.PROMPT_TOKENS_TOTAL: (Series("tgi_request_input_length_sum"),),
        Concept.OUTPUT_TOKENS_TOTAL: (Series("tgi_request_generated_tokens_sum"),),
    }
)
_FINISH_REASONS = FINISH_REASONS | {"eos_token", "stop_sequence"}
_NO_EXACT_LENGTH = "TGI has no such option over HTTP: leave --ignore-eos out; --max-tokens then only caps"
# It takes any name but its own for that of an adapter.
TGI = OpenAICompatible(
    name="tgi",
    health_path="/health",
    requests_name_model=False,
    only_model="tgi",
    no_exact_length=_NO_EXACT_LENGTH,
    finish_reasons=_FINISH_REASONS,
    detection=Detection(
        clues=(Clue(Strength.OWN_PAGE, _info_page), metric_names("tgi_")), version=_version, models=_models
    ),
    metrics=_METRICS,
)
TGI_2_0_4 = replace(
    TGI,
    name="tgi-2.0.4",
    requests_usage=False,
    counts=Counts.EVENTS,
    decoder_type=FinishEndsDecoder,
    detection=Detection(models=_models),
)
TGI_GENERATE = TGIGenerate(
    name="tgi-generate",
    path="/generate_stream",
    sampling_names=names_in("parameters", "presence_penalty"),
    health_path="/health",
    requests_name_model=False,
    no_exact_length=_NO_EXACT_LENGTH,
    finish_reasons=_FINISH_REASONS,
    detection=Detection(models=_models, same_server=frozenset({"tgi", "tgi-2.0.4"})),
    metrics=_METRICS,
)
