"""TensorRT-LLM's `trtllm-serve`.

Nulls are left out, the role event ends with a space, no model name is checked and no unknown field taken. `/metrics` is
a JSON list of what the engine did since it was last read; Prometheus' page is elsewhere.

Not verified against a server: the known fields, the version, `owned_by`, the keys of the iteration statistics, the 503
of an overload (it queues), whether the end token is counted (here it is).
"""

from collections.abc import Mapping
from typing import Any

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
    OPENAI_FIELDS,
    Around,
    ChatBody,
    chat_generation,
    empty,
    json_text,
    names,
    openapi_page,
    page,
    parse,
    refuse_unknown,
)
from tokenswarm.simulator.engine_stats import State
from tokenswarm.simulator.exposition import CONTENT_TYPE, Exposition

VERSION = "1.2.0"
_FIELDS = OPENAI_FIELDS | names(
    "top_k min_p use_beam_search best_of repetition_penalty length_penalty early_stopping ignore_eos min_tokens"
    " stop_token_ids include_stop_str_in_output skip_special_tokens spaces_between_special_tokens"
    " truncate_prompt_tokens prompt_logprobs echo add_generation_prompt documents chat_template"
    " chat_template_kwargs disaggregated_params lora_request priority cache_salt"
)


class TrtllmDialect(Dialect):
    traits = EngineTraits(
        generate_path="/v1/chat/completions",
        endpoints=("completions", "responses"),
        role="first",
        breaks="cut",
        error_event=False,
        usage_on_request=True,
        reasoning=True,
    )
    _steps_shown = 0

    def understand(self, body: bytes, headers: Mapping[str, str]) -> GenerationRequest:
        refuse_unknown(body, _FIELDS)
        request = parse(body, ChatBody)
        options = request.stream_options
        return chat_generation(
            request,
            self.model,
            self.max_model_len,
            min_tokens=request.min_tokens or 0,
            ignore_eos=bool(request.ignore_eos),
            # Any stream_options at all request usage.
            include_usage=options is not None and options.include_usage is not False,
            usage_in_every_event=bool(options and options.continuous_usage_stats),
        )

    def writer(self, generation: GenerationRequest, request_id: str, created_s: int) -> AnswerWriter:
        return _TrtllmChatWriter(generation, request_id, created_s, self.style)

    def pages(self) -> dict[str, PageResponse | Show]:
        card = {"id": self.model, "object": "model", "created": self.created_s, "owned_by": "tensorrt_llm"}
        paths = ["/health", "/health_generate", "/version", "/v1/models", "/metrics", "/v1/chat/completions"]
        return {
            "/health": _health,
            "/health_generate": _health,
            "/version": page({"version": VERSION}),
            "/v1/models": page({"object": "list", "data": [card]}),
            "/openapi.json": openapi_page(paths),
            "/metrics": self._iterations,
            "/prometheus/metrics": self._metrics,
        }

    def _iterations(self, state: State) -> PageResponse:
        """What happened since the last reading, in one entry; an idle engine has none."""
        shown_before, self._steps_shown = self._steps_shown, state.steps
        if state.steps == shown_before:
            return page([])
        entry = {
            "iter": state.steps,
            "iterLatencyMS": state.stats.gap_s.last * 1000,
            "numActiveRequests": state.running,
            "numQueuedRequests": state.waiting,
            "maxNumActiveRequests": state.max_batch,
            "kvCacheStats": {"cacheHitRate": state.hit_rate, "tokensPerBlock": 16},
        }
        return page([entry])

    def _metrics(self, state: State) -> PageResponse:
        stats = state.stats
        shown = Exposition(engine_type="trtllm", model_name=self.model)
        for reason in ("stop", "length"):
            shown.counter("trtllm_request_success_total", stats.ended[reason], finished_reason=reason)
        shown.gauge("trtllm_num_requests_running", state.running)
        shown.gauge("trtllm_num_requests_waiting", state.waiting)
        shown.gauge("trtllm_kv_cache_utilization", state.kv_usage)
        shown.gauge("trtllm_kv_cache_hit_rate", state.hit_rate)
        shown.counter("trtllm_prompt_tokens_total", state.prompt_tokens)
        shown.counter("trtllm_generation_tokens_total", state.output_tokens)
        shown.counter("trtllm_prompt_cached_tokens_total", state.hit_tokens)
        shown.histogram("trtllm_time_to_first_token_seconds", stats.ttft_s)
        shown.histogram("trtllm_time_per_output_token_seconds", stats.tpot_s)
        shown.histogram("trtllm_e2e_request_latency_seconds", stats.e2e_s)
        return PageResponse(shown.body(), content_type=CONTENT_TYPE)

    def problem(self, problem: Problem) -> PageResponse:
        if problem.kind in ("body", "unknown"):
            return page({"error": f"[{{'loc': ('{problem.param}',), 'msg': '{problem.message}'}}]"}, 400)
        return _flat(400, problem.message, "BadRequestError")

    def unauthorized(self) -> PageResponse:
        return page({"error": "Unauthorized"}, 401)

    def overloaded(self, stream: bool) -> PageResponse:
        return _flat(503, "The server is overloaded.", "ServiceUnavailableError")

    def internal_error(self) -> PageResponse:
        return _flat(500, INTERNAL, "InternalServerError")


class _TrtllmChatWriter:
    def __init__(self, generation: GenerationRequest, request_id: str, created_s: int, style: Style) -> None:
        self._include_usage = generation.include_usage
        self._in_every_event = generation.usage_in_every_event
        self._prompt_tokens = len(generation.prompt)
        self._sent_tokens = 0
        self._texts_begun = False
        self._event = style.event
        self._names: dict[str, Any] = {"id": f"chatcmpl-{request_id}", "created": created_s, "model": generation.model}
        self._start = b'{"id":"chatcmpl-%b","object":"chat.completion.chunk","created":%d,"model":"%b","choices":[' % (
            json_text(request_id),
            created_s,
            json_text(generation.model),
        )
        self._token = Around(self._event(self._delta(b'"content":"' + HOLE + b'"') + b"}"))

    def _delta(self, inside: bytes, finish: bytes = b"") -> bytes:
        """The chunk up to its usage."""
        return self._start + b'{"index":0,"delta":{%b}%b}]' % (inside, finish)

    def _with_usage(self, chunk: bytes) -> bytes:
        if not self._in_every_event:
            return chunk + b"}"
        counts = msgspec.json.encode(_usage(Usage(self._prompt_tokens, 0, self._sent_tokens)))
        return chunk + b',"usage":' + counts + b"}"

    def opening(self) -> bytes:
        # The space is the engine's own, from an f-string.
        return self._event(self._with_usage(self._delta(b'"role":"assistant"')) + b" ")

    def tokens(self, pieces: list[str], reasoning: bool) -> bytes:
        self._sent_tokens += len(pieces)
        text = "".join(pieces)
        if self._texts_begun and not reasoning and not self._in_every_event:
            return self._token.text(text)
        self._texts_begun = True
        content, thought = ("", text) if reasoning else (text, "")
        inside = b'"content":"%b","reasoning_content":"%b"' % (json_text(content), json_text(thought))
        return self._event(self._with_usage(self._delta(inside)))

    def ending(self, pieces: list[str], reasoning: bool, finish_reason: str, usage: Usage) -> list[bytes]:
        self._sent_tokens = usage.output_tokens
        name = b"reasoning_content" if reasoning else b"content"
        finish = b',"finish_reason":"%b"' % finish_reason.encode()
        last = self._delta(b'"%b":"%b"' % (name, json_text("".join(pieces))), finish)
        events = [self._event(self._with_usage(last))]
        if self._include_usage:
            counts = msgspec.json.encode(_usage(usage))
            events.append(self._event(self._start + b'],"usage":' + counts + b"}"))
        return [*events, self._event(b"[DONE]")]

    def failure(self) -> list[bytes]:
        return []

    def whole(self, text: str, reasoning: str, finish_reason: str, usage: Usage) -> PageResponse:
        message = {"role": "assistant", "content": text, "reasoning_content": reasoning, "tool_calls": []}
        choice = {"index": 0, "message": message, "finish_reason": finish_reason}
        return page(self._names | {"object": "chat.completion", "choices": [choice], "usage": _usage(usage)})


def _usage(usage: Usage) -> dict[str, Any]:
    return {
        "prompt_tokens": usage.prompt_tokens,
        "total_tokens": usage.prompt_tokens + usage.output_tokens,
        "completion_tokens": usage.output_tokens,
        "prompt_tokens_details": {"cached_tokens": usage.cached_tokens},
    }


def _health(state: State) -> PageResponse:
    return empty(200 if state.ready else 503)


def _flat(status: int, message: str, kind: str) -> PageResponse:
    return page({"object": "error", "message": message, "type": kind, "param": None, "code": status}, status)
