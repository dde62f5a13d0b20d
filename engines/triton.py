"""Triton's generate_stream before TensorRT-LLM: one templated text in, one event a response out.

Nothing marks the end but the body's, nothing counts tokens, and nothing says why an answer ended. The model `ensemble`
sends new text only; `tensorrt_llm_bls` with accumulate_tokens repeats the whole text in each event.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import msgspec

from tokenswarm.engines.decoding import DocumentDecoder
from tokenswarm.engines.detection import Clue, DetectedVersion, Detection, Strength
from tokenswarm.engines.engine_metrics import (
    TTFT_HISTOGRAM,
    Concept,
    EngineMetrics,
    MetricsAddress,
    Series,
    mean_of,
)
from tokenswarm.engines.engine_spec import ChatRequest, Counts, Delta, StreamBroken, StreamDecoder
from tokenswarm.engines.errors import error_text, is_failure
from tokenswarm.engines.sampling_fields import OPENAI_NAMES
from tokenswarm.engines.server_pages import ServerPages, text_member
from tokenswarm.engines.sse import EventSplitter
from tokenswarm.engines.templates import TemplatedEngine

#: So many events in a row that each repeat and extend the last are no coincidence.
_REPEATS = 4
_INCOMPLETE = "\ufffd"


class _Response(msgspec.Struct, gc=False):
    text_output: str | None = None
    error: Any = None


_read = msgspec.json.Decoder(_Response, strict=False).decode


class TritonDecoder(DocumentDecoder[_Response]):
    """Deltas of one response of the ensemble; the body's end is the stream's."""

    def __init__(self) -> None:
        super().__init__(EventSplitter(), _read)
        self._last = ""
        self._repeats = 0

    def _delta(self, document: _Response) -> Delta:
        if is_failure(document.error, beside_output=document.text_output is not None):
            return Delta(error=error_text(document.error))
        return Delta(self._new(document.text_output or ""))

    def _new(self, text: str) -> str:
        if self._repeats < 0 or not text:
            return text
        if self._last:
            repeats = text != self._last and text.startswith(self._last)
            self._repeats = self._repeats + 1 if repeats else -1
        self._last = text
        if self._repeats == _REPEATS:
            raise StreamBroken("each event repeats the text of the last: for this model give --engine triton-bls")
        return text

    def _at_end(self) -> list[Delta]:
        return [Delta(done=True)]


class AccumulatedDecoder(DocumentDecoder[_Response]):
    """Deltas of one response of the BLS model. A character of which not all tokens have come shows as U+FFFD, and
    waits."""

    def __init__(self) -> None:
        super().__init__(EventSplitter(), _read)
        self._whole = ""
        self._incomplete = ""

    def _delta(self, document: _Response) -> Delta:
        if is_failure(document.error, beside_output=document.text_output is not None):
            return Delta(error=error_text(document.error))
        if not document.text_output:
            return Delta()
        whole = document.text_output.rstrip(_INCOMPLETE)
        if not whole.startswith(self._whole):
            raise StreamBroken(
                f"event {self._seen} does not go on from the text before it: for this model give --engine triton"
            )
        new = whole[len(self._whole) :]
        self._whole = whole
        self._incomplete = document.text_output[len(whole) :]
        return Delta(new)

    def _at_end(self) -> list[Delta]:
        return [Delta(self._incomplete, done=True)]


@dataclass(frozen=True, kw_only=True)
class Triton(TemplatedEngine):
    """The model's name is part of the path."""

    decoder_type: Callable[[], StreamDecoder]

    def body_fields(self, request: ChatRequest) -> dict[str, Any]:
        """JSON. What a model does not know of it, Triton passes on as a parameter."""
        stop = self.template.stop if not request.ignore_eos else None
        body = {
            "text_input": self.template.render(request),
            "max_tokens": request.max_tokens,
            "bad_words": "",
            "stop_words": [stop] if stop else "",
            "stream": True,
        }
        return body | self.extras(request)

    def decoder(self) -> StreamDecoder:
        """A fresh decoder for one response."""
        return self.decoder_type()


def _own_page(pages: ServerPages) -> str | None:
    about = pages.json("/v2")
    if isinstance(about, dict) and about.get("name") == "triton":
        return "GET /v2: the name is triton"
    ready = pages.get("/v2/health/ready")
    if ready and ready.status in {200, 400} and not ready.body and pages.status("/v2") != 200:
        return f"GET /v2/health/ready: an empty {ready.status}"
    return None


def _version(pages: ServerPages) -> DetectedVersion:
    version = text_member(pages.json("/v2"), "version")
    if pages.status("/v2/models/ensemble/ready") == 200:
        return DetectedVersion(version, None, "the model ensemble is ready: taken to send new text only")
    if pages.status("/v2/models/tensorrt_llm_bls/ready") == 200:
        assumed = "only the model tensorrt_llm_bls is ready: taken to repeat the whole text"
        return DetectedVersion(version, "triton-bls", assumed)
    return DetectedVersion(version, None, "neither ensemble nor tensorrt_llm_bls is ready: taken for ensemble")


def _of_type(request_type: str) -> Series:
    return Series("nv_trt_llm_request_metrics", labels={"request_type": request_type})


def _first_response(model: str) -> Series:
    """Only the model that requests are sent to: the parts of an ensemble have histograms of their own."""
    return Series("nv_inference_first_response_histogram_ms", 1e-3, labels={"model": model})


TRITON = Triton(
    name="triton",
    path="/v2/models/{model}/generate_stream",
    sampling_names={**OPENAI_NAMES, "stop": "stop_words", "seed": "random_seed"},
    health_path="/v2/health/ready",
    counts=Counts.EVENTS,
    exact_length={},
    least_tokens=("min_length", "min_tokens"),  # its name until May 2025, and since
    decoder_type=TritonDecoder,
    detection=Detection(
        clues=(Clue(Strength.OWN_PAGE, _own_page),),
        version=_version,
        models=lambda _: ["ensemble"],
        same_server=frozenset({"triton-bls"}),
    ),
    metrics=EngineMetrics(
        endpoints=(MetricsAddress(port=8002), MetricsAddress()),
        series={
            Concept.REQUESTS_RUNNING: (_of_type("scheduled"),),
            Concept.REQUESTS_WAITING: (_of_type("waiting"), Series("nv_inference_pending_request_count")),
            Concept.KV_CACHE_UTILIZATION: (
                mean_of("nv_trt_llm_kv_cache_block_metrics", kv_cache_block_type="fraction"),
            ),
        },
        histograms={TTFT_HISTOGRAM: (_first_response("ensemble"), _first_response("tensorrt_llm_bls"))},
    ),
)
TRITON_BLS = replace(
    TRITON,
    name="triton-bls",
    decoder_type=AccumulatedDecoder,
    detection=Detection(models=lambda _: ["tensorrt_llm_bls"], same_server=frozenset({"triton"})),
)
