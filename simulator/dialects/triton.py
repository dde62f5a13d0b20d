"""Triton with tensorrtllm_backend: `generate_stream` of the ensemble, and of tensorrt_llm_bls, which accumulates.

No template, no terminator, no finish reason, no count. Keys are in alphabetical order. The ensemble's events hold each
token's own text, so that parts of characters show as U+FFFD; bls's hold all text so far. A real server has its metrics
on another port (8002): here they are on this one, at /metrics.

Not verified against a server: that the tokenizer adds its own start token to the prompt (here it does), the words of
error bodies, the keys of /v2, the KV cache's block counts.
"""

from collections.abc import Mapping

import msgspec

from tokenswarm.simulator.dialect import (
    AnswerWriter,
    Dialect,
    EngineTraits,
    GenerationRequest,
    PageResponse,
    Problem,
    Show,
    Style,
    Usage,
)
from tokenswarm.simulator.dialects.requests import (
    HOLE,
    INTERNAL,
    Around,
    cut,
    empty,
    json_text,
    page,
    parse,
)
from tokenswarm.simulator.engine_stats import CountHistogram, State
from tokenswarm.simulator.exposition import CONTENT_TYPE, Exposition
from tokenswarm.simulator.tokens import tokenise_raw

VERSION = "2.71.0"
_START = "<|begin_of_text|>"
_KV_BLOCKS = 10_000
_TOKENS_IN_BLOCK = 64
#: The ids that end an answer of Llama 3. With any other one for `end_id`, nothing does.
_END_IDS = (128_001, 128_009)
_MS_BOUNDS = (100.0, 500.0, 2000.0, 5000.0)


class _Tensors(msgspec.Struct):
    """What may stand at top level as well as inside `parameters`."""

    max_tokens: int | None = None
    min_length: int | None = None
    min_tokens: int | None = None
    end_id: int | None = None


class _TritonBody(_Tensors):
    text_input: str | None = None
    stream: bool | None = False
    parameters: _Tensors | None = None


class TritonDialect(Dialect):
    served = "ensemble"
    traits = EngineTraits(
        generate_path="/v2/models/ensemble/generate_stream",
        headers={},
        head_at_once=False,
        end_token_counts=False,
        holds_characters=False,
    )

    def understand(self, body: bytes, headers: Mapping[str, str]) -> GenerationRequest:
        request = parse(body, _TritonBody)
        if request.text_input is None:
            raise Problem("body", "expected number of inputs between 2 and 24 but got 1 inputs", "text_input")
        prompt = [_START, *tokenise_raw(request.text_input)]
        requested = _given(request, "max_tokens")
        if requested is None:
            raise Problem("body", "unable to find required input 'max_tokens'", "max_tokens")
        allowed = cut(requested, len(prompt), self.max_model_len)
        least = _given(request, "min_tokens") or _given(request, "min_length") or 0
        end_id = _given(request, "end_id")
        return GenerationRequest(
            prompt=prompt,
            max_tokens=allowed,
            min_tokens=min(least, allowed),
            # A minimum that is the maximum leaves no space for the end token.
            ignore_eos=least >= allowed or (end_id is not None and end_id not in _END_IDS),
            stream=bool(request.stream),
            include_usage=False,
            model=self.served,
        )

    def writer(self, generation: GenerationRequest, request_id: str, created_s: int) -> AnswerWriter:
        return _TritonWriter(self.served, self.style)

    def pages(self) -> dict[str, PageResponse | Show]:
        model = f"/v2/models/{self.served}"
        metadata = {"name": self.served, "versions": ["1"], "platform": "ensemble", "inputs": [], "outputs": []}
        return {
            "/v2": page({"name": "triton", "version": VERSION, "extensions": ["generate", "statistics"]}),
            "/v2/health/live": empty(),
            "/v2/health/ready": _ready,
            f"{model}/ready": _ready,
            model: page(metadata),
            "/metrics": self._metrics,
        }

    def _metrics(self, state: State) -> PageResponse:
        stats = state.stats
        shown = Exposition(model=self.served, version="1")
        shown.counter("nv_inference_request_success", stats.ended["stop"] + stats.ended["length"])
        shown.counter("nv_inference_request_failure", stats.ended["error"], reason="BACKEND")
        shown.gauge("nv_inference_pending_request_count", state.waiting)
        shown.histogram("nv_inference_first_response_histogram_ms", _in_ms(stats.ttft_s))
        requests = {
            "active": state.running + state.waiting,
            "max": state.max_batch,
            "scheduled": state.running,
            "context": 0,
            "waiting": state.waiting,
        }
        for kind, number in requests.items():
            shown.gauge("nv_trt_llm_request_metrics", number, request_type=kind)
        used = round(state.kv_usage * _KV_BLOCKS)
        blocks = {
            "used": used,
            "free": _KV_BLOCKS - used,
            "max": _KV_BLOCKS,
            "tokens_per": _TOKENS_IN_BLOCK,
            "fraction": state.kv_usage,
        }
        for kind, value in blocks.items():
            shown.gauge("nv_trt_llm_kv_cache_block_metrics", value, kv_cache_block_type=kind)
        return PageResponse(shown.body(), content_type=CONTENT_TYPE)

    def needs_key(self, path: str) -> bool:
        return path.startswith("/v2")

    def problem(self, problem: Problem) -> PageResponse:
        if problem.kind == "body":
            return _error(400, f"failed to parse the request JSON buffer or its inputs: {problem.message}")
        return _error(400, problem.message)

    def unauthorized(self) -> PageResponse:
        return _error(403, "This API is restricted, expecting header")

    def overloaded(self, stream: bool) -> PageResponse:
        return _error(503, "Exceeds maximum queue size")

    def internal_error(self) -> PageResponse:
        return _error(500, INTERNAL)

    def not_found(self) -> PageResponse:
        return _error(404, "Not Found")

    def wrong_method(self, allow: str) -> PageResponse:
        return _error(405, "Method Not Allowed")


class TritonBlsDialect(TritonDialect):
    served = "tensorrt_llm_bls"
    traits = EngineTraits(
        generate_path="/v2/models/tensorrt_llm_bls/generate_stream",
        headers={},
        head_at_once=False,
        end_token_counts=False,
    )

    def writer(self, generation: GenerationRequest, request_id: str, created_s: int) -> AnswerWriter:
        return _AccumulatingWriter(self.served, self.style)


class _TritonWriter:
    def __init__(self, model: str, style: Style) -> None:
        self._event = style.event
        self._token = Around(
            style.event(
                b'{"context_logits":0.0,"cum_log_probs":0.0,"generation_logits":0.0,"model_name":"%b",'
                b'"model_version":"1","output_log_probs":[0.0],"sequence_end":false,"sequence_id":0,'
                b'"sequence_start":false,"text_output":"%b"}' % (json_text(model), HOLE)
            )
        )

    def opening(self) -> bytes:
        return b""

    def tokens(self, pieces: list[str], reasoning: bool) -> bytes:
        return self._token.text("".join(pieces))

    def ending(self, pieces: list[str], reasoning: bool, finish_reason: str, usage: Usage) -> list[bytes]:
        return [self.tokens(pieces, reasoning)]

    def failure(self) -> list[bytes]:
        return [self._event(b'{"error":"%b"}' % INTERNAL.encode())]

    def whole(self, text: str, reasoning: str, finish_reason: str, usage: Usage) -> PageResponse:
        # The path always streams, and without `stream` the one event has everything.
        return PageResponse(self._token.text(text), content_type=TritonDialect.traits.stream_content_type, stream=True)


class _AccumulatingWriter(_TritonWriter):
    def __init__(self, model: str, style: Style) -> None:
        super().__init__(model, style)
        self._text = ""

    def tokens(self, pieces: list[str], reasoning: bool) -> bytes:
        self._text += "".join(pieces)
        return self._token.text(self._text)


def _given(request: _TritonBody, name: str) -> int | None:
    """A tensor of the request, from wherever it stands."""
    value: int | None = getattr(request, name)
    return getattr(request.parameters, name) if value is None and request.parameters else value


def _ready(state: State) -> PageResponse:
    # 400 is Triton's own way of not being ready.
    return empty(200 if state.ready else 400)


def _error(status: int, message: str) -> PageResponse:
    return page({"error": message}, status)


def _in_ms(values: CountHistogram) -> CountHistogram:
    """The same counts under Triton's few bounds: each count goes where its own bound does."""
    found = CountHistogram(_MS_BOUNDS)
    for bound, number in zip([*values.bounds, float("inf")], values.counts, strict=True):
        if number:
            found.add(bound * 1000, number)
    found.sum = values.sum * 1000
    return found
