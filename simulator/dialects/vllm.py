"""vLLM: today's (0.32) and the one of April 2024 (0.4.2).

Keys, their order, explicit nulls and error bodies are vLLM's. The role goes out in an event of its own together with
the first token, the finish event carries the last text (none if the end token came), and numbers may be sent as
strings. Today's shows usage in a separate event without choices, or in every event; 0.4.2 shows it in the finish event
whether requested or not. Unlike vLLM's default, today's usage always shows the cached prompt tokens. One answer per
request (`n` above 1 is refused); tools and log probabilities are not offered, and requests for them are ignored.

Not verified against a server: 0.4.2 but for what DIALECTS says of its events, the paths in /openapi.json, the 503 of an
overload (vLLM queues without limit; only `--max-queue` brings it).
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

FINGERPRINT = "tokenswarm-simulator"
VERSION = "0.32.0"
_PATHS = ["/health", "/version", "/v1/models", "/v1/chat/completions", "/v1/completions", "/tokenize"]


class VllmDialect(Dialect):
    traits = EngineTraits(
        generate_path="/v1/chat/completions",
        role="first",
        usage_on_request=True,
        reasoning=True,
        debug_option=True,
        flush_path="/reset_prefix_cache",
        flush_needs_debug=True,
        endpoints=("completions", "responses"),
    )
    version = VERSION

    def understand(self, body: bytes, headers: Mapping[str, str]) -> GenerationRequest:
        request = parse(body, ChatBody)
        if self.only_model and request.model not in (None, "", self.model):
            message = f"The model `{request.model}` does not exist. Valid aliases: {self.model}."
            raise Problem("model", message, "model")
        if not request.messages:
            message = "Cannot apply chat template to an empty conversation. Provide at least one message."
            raise Problem("value", message)
        if request.n not in (None, 1):
            message = f"This simulator gives one answer a request: n must be 1, got {request.n}."
            raise Problem("value", message, "n", request.n)
        self._check_limit(request)
        generation = chat_generation(
            request,
            self.model,
            self.max_model_len,
            min_tokens=request.min_tokens or 0,
            ignore_eos=bool(request.ignore_eos),
            usage_in_every_event=request.usage_in_every_event,
        )
        if generation.min_tokens > generation.max_tokens:
            limits = f"max_tokens={generation.max_tokens}, got {generation.min_tokens}"
            message = f"min_tokens must be less than or equal to {limits}."
            raise Problem("value", message, "min_tokens", generation.min_tokens)
        return generation

    def _check_limit(self, request: ChatBody) -> None:
        requested, name = request.limit, request.limit_name
        if requested is not None and requested > self.max_model_len:
            raise Problem(
                "value",
                f"{name}={requested} cannot be greater than max_model_len={self.max_model_len}. Please request fewer "
                "output tokens.",
                name,
                requested,
            )

    def writer(self, generation: GenerationRequest, request_id: str, created_s: int) -> AnswerWriter:
        return _VllmChatWriter(generation, request_id, created_s, self.style)

    def pages(self) -> dict[str, PageResponse | Show]:
        return {
            "/health": lambda state: empty(200 if state.ready else 503),
            "/version": page({"version": self.version}),
            "/v1/models": page({"object": "list", "data": [self._model_card()]}),
            "/openapi.json": openapi_page(_PATHS),
            "/metrics": self._metrics,
        }

    def _model_card(self) -> dict[str, Any]:
        return {
            "id": self.model,
            "object": "model",
            "created": self.created_s,
            "owned_by": "vllm",
            "root": self.model,
            "parent": None,
            "max_model_len": self.max_model_len,
            "permission": [],
        }

    def _metrics(self, state: State) -> PageResponse:
        shown = Exposition(engine="0", model_name=self.model)
        shown.gauge("vllm:num_requests_running", state.running)
        shown.gauge("vllm:num_requests_waiting", state.waiting)
        shown.gauge("vllm:kv_cache_usage_perc", state.kv_usage)
        shown.gauge("vllm:cache_config_info", 1, block_size=str(state.cache_block_tokens))
        shown.counter("vllm:prefix_cache_queries_total", state.queried_tokens)
        shown.counter("vllm:prefix_cache_hits_total", state.hit_tokens)
        shown.counter("vllm:prompt_tokens_total", state.prompt_tokens)
        shown.counter("vllm:generation_tokens_total", state.output_tokens)
        _show_latencies(shown, state, gap="vllm:inter_token_latency_seconds")
        shown.histogram("vllm:request_time_per_output_token_seconds", state.stats.tpot_s)
        shown.counter("process_cpu_seconds_total", state.cpu_s)
        return PageResponse(shown.body(), content_type=CONTENT_TYPE)

    def problem(self, problem: Problem) -> PageResponse:
        if problem.kind == "body":
            message = f"1 validation error:\n  {{'loc': '{problem.param}', 'msg': '{problem.message}'}}"
            return self._error(400, message, "Bad Request", problem.param)
        if problem.kind == "model":
            return self._error(404, problem.message, "NotFoundError", "model")
        message, param = problem.message, problem.param
        if problem.kind == "long":
            param = "input_tokens"
            message = (
                f"This model's maximum context length is {self.max_model_len} tokens. However, your prompt contains "
                f"{problem.value} input tokens, which leaves no room for output tokens. Please reduce the length of "
                "the input prompt."
            )
        named = f" (parameter={param}, value={problem.value})" if param else ""
        return self._error(400, message + named, "BadRequestError", param)

    def _error(self, status: int, message: str, kind: str, param: str | None) -> PageResponse:
        return page({"error": {"message": message, "type": kind, "param": param, "code": status}}, status)

    def unauthorized(self) -> PageResponse:
        return page({"error": "Unauthorized"}, 401)

    def overloaded(self, stream: bool) -> PageResponse:
        message = "The server is overloaded. Please try again later."
        return self._error(503, message, "ServiceUnavailableError", None)

    def internal_error(self) -> PageResponse:
        return self._error(500, INTERNAL, "InternalServerError", None)


class Vllm042Dialect(VllmDialect):
    """As of May 2024: unknown fields refused, flat errors, usage always and only in the finish event."""

    # Of what goes wrong in mid-stream, only a ValueError became an event.
    traits = EngineTraits(generate_path="/v1/chat/completions", role="first", breaks="cut")
    version = "0.4.2"

    def understand(self, body: bytes, headers: Mapping[str, str]) -> GenerationRequest:
        refuse_unknown(body, _FIELDS_042)
        return super().understand(body, headers)

    def writer(self, generation: GenerationRequest, request_id: str, created_s: int) -> AnswerWriter:
        return _VllmChatWriter042(generation, request_id, created_s, self.style)

    def _model_card(self) -> dict[str, Any]:
        # max_model_len came later.
        return {name: value for name, value in super()._model_card().items() if name != "max_model_len"}

    def _metrics(self, state: State) -> PageResponse:
        shown = Exposition(model_name=self.model)
        shown.gauge("vllm:num_requests_running", state.running)
        shown.gauge("vllm:num_requests_swapped", 0)
        shown.gauge("vllm:num_requests_waiting", state.waiting)
        shown.gauge("vllm:gpu_cache_usage_perc", state.kv_usage)
        shown.gauge("vllm:cpu_cache_usage_perc", 0)
        shown.counter("vllm:prompt_tokens_total", state.prompt_tokens)
        shown.counter("vllm:generation_tokens_total", state.output_tokens)
        _show_latencies(shown, state, gap="vllm:time_per_output_token_seconds")
        return PageResponse(shown.body(), content_type=CONTENT_TYPE)

    def _error(self, status: int, message: str, kind: str, param: str | None) -> PageResponse:
        # The parameter stood nowhere then.
        flat = {"object": "error", "message": message, "type": kind, "param": None, "code": status}
        return page(flat, status)


#: The fields of 0.4.2's request, which forbade all others.
_FIELDS_042 = names(
    "messages model frequency_penalty logit_bias logprobs top_logprobs max_tokens n presence_penalty"
    " response_format seed stop stream temperature top_p user best_of use_beam_search top_k min_p"
    " repetition_penalty length_penalty early_stopping ignore_eos min_tokens stop_token_ids skip_special_tokens"
    " spaces_between_special_tokens echo add_generation_prompt include_stop_str_in_output guided_json"
    " guided_regex guided_choice guided_grammar guided_decoding_backend guided_whitespace_pattern"
)


def _show_latencies(shown: Exposition, state: State, gap: str) -> None:
    stats = state.stats
    for reason, count in stats.ended.items():
        shown.counter("vllm:request_success_total", count, finished_reason=reason)
    shown.histogram("vllm:time_to_first_token_seconds", stats.ttft_s)
    shown.histogram(gap, stats.gap_s)
    shown.histogram("vllm:e2e_request_latency_seconds", stats.e2e_s)


class _VllmChatWriter:
    def __init__(self, generation: GenerationRequest, request_id: str, created_s: int, style: Style) -> None:
        self._include_usage = generation.include_usage
        self._in_every_event = generation.usage_in_every_event
        self._prompt_tokens = len(generation.prompt)
        self._sent_tokens = 0
        self._event = style.event
        self._id = f"chatcmpl-{request_id}"
        self._created_s = created_s
        self._model = generation.model
        start = b'{"id":"%b","object":"chat.completion.chunk","created":%d,"model":"%b","choices":[' % (
            json_text(self._id),
            created_s,
            json_text(generation.model),
        )
        self._start = start
        after = b'":"' + HOLE + b'"},"logprobs":null,"finish_reason":null,"token_ids":null}]'
        self._delta = {name: start + b'{"index":0,"delta":{"' + name + after for name in (b"content", b"reasoning")}
        self._content = Around(style.event(self._delta[b"content"] + b"}"))
        self._reasoning = Around(style.event(self._delta[b"reasoning"] + b"}"))

    def opening(self) -> bytes:
        return self._event(
            self._start
            + b'{"index":0,"delta":{"role":"assistant","content":""},"logprobs":null,"finish_reason":null}],'
            + (self._usage_so_far() + b"," if self._in_every_event else b"")
            + b'"prompt_token_ids":null,"prompt_text":null}'
        )

    def tokens(self, pieces: list[str], reasoning: bool) -> bytes:
        text = pieces[0] if len(pieces) == 1 else "".join(pieces)
        if not self._in_every_event:
            return (self._reasoning if reasoning else self._content).text(text)
        self._sent_tokens += len(pieces)
        delta = self._delta[b"reasoning" if reasoning else b"content"]
        return Around(self._event(delta + b"," + self._usage_so_far() + b"}")).text(text)

    def ending(self, pieces: list[str], reasoning: bool, finish_reason: str, usage: Usage) -> list[bytes]:
        self._sent_tokens += len(pieces)
        name = b"reasoning" if reasoning else b"content"
        finish = self._start + (
            b'{"index":0,"delta":{"%b":"%b"},"logprobs":null,"finish_reason":"%b","stop_reason":null,"token_ids":null}]'
            % (name, json_text("".join(pieces)), finish_reason.encode())
        )
        events = [self._event(finish + (b"," + self._usage_so_far() if self._in_every_event else b"") + b"}")]
        if self._include_usage:
            counts = msgspec.json.encode(_usage(usage))
            events.append(
                self._event(b'%b],"usage":%b,"system_fingerprint":"%b"}' % (self._start, counts, FINGERPRINT.encode()))
            )
        return [*events, self._event(b"[DONE]")]

    def _usage_so_far(self) -> bytes:
        prompt, sent = self._prompt_tokens, self._sent_tokens
        return (
            b'"usage":{"prompt_tokens":%d,"total_tokens":%d,"completion_tokens":%d,"completion_tokens_details":null}'
            % (prompt, prompt + sent, sent)
        )

    def failure(self) -> list[bytes]:
        # The spaces after the colons are vLLM's: this one event is written by another serialiser there.
        error = b'{"error": {"message": "%b", "type": "InternalServerError", "param": null, "code": 500}}'
        return [self._event(error % INTERNAL.encode()), self._event(b"[DONE]")]

    def whole(self, text: str, reasoning: str, finish_reason: str, usage: Usage) -> PageResponse:
        message = {
            "role": "assistant",
            "content": text,
            "refusal": None,
            "annotations": None,
            "audio": None,
            "function_call": None,
            "reasoning": reasoning or None,
        }
        choice = {
            "index": 0,
            "message": message,
            "logprobs": None,
            "finish_reason": finish_reason,
            "stop_reason": None,
            "token_ids": None,
        }
        return page(
            {
                "id": self._id,
                "object": "chat.completion",
                "created": self._created_s,
                "model": self._model,
                "choices": [choice],
                "service_tier": None,
                "system_fingerprint": FINGERPRINT,
                "usage": _usage(usage),
                "prompt_logprobs": None,
                "prompt_token_ids": None,
                "kv_transfer_params": None,
            }
        )


class _VllmChatWriter042:
    def __init__(self, generation: GenerationRequest, request_id: str, created_s: int, style: Style) -> None:
        self._event = style.event
        self._names: dict[str, Any] = {"id": f"cmpl-{request_id}", "created": created_s, "model": generation.model}
        self._start = b'{"id":"cmpl-%b","object":"chat.completion.chunk","created":%d,"model":"%b","choices":[' % (
            json_text(request_id),
            created_s,
            json_text(generation.model),
        )
        choice = b'{"index":0,"delta":{"content":"' + HOLE + b'"},"logprobs":null,"finish_reason":null}]}'
        self._token = Around(style.event(self._start + choice))

    def opening(self) -> bytes:
        role = b'{"index":0,"delta":{"role":"assistant"},"logprobs":null,"finish_reason":null}]}'
        return self._event(self._start + role)

    def tokens(self, pieces: list[str], reasoning: bool) -> bytes:
        return self._token.text("".join(pieces))

    def ending(self, pieces: list[str], reasoning: bool, finish_reason: str, usage: Usage) -> list[bytes]:
        finish = b'{"index":0,"delta":{"content":"%b"},"logprobs":null,"finish_reason":"%b","stop_reason":null}]' % (
            json_text("".join(pieces)),
            finish_reason.encode(),
        )
        counts = msgspec.json.encode(_plain_usage(usage))
        return [self._event(self._start + finish + b',"usage":%b}' % counts), self._event(b"[DONE]")]

    def failure(self) -> list[bytes]:
        error = (
            b'{"error": {"object": "error", "message": "%b", "type": "BadRequestError", "param": null, "code": 400}}'
        )
        return [self._event(error % INTERNAL.encode()), self._event(b"[DONE]")]

    def whole(self, text: str, reasoning: str, finish_reason: str, usage: Usage) -> PageResponse:
        choice = {
            "index": 0,
            "message": {"role": "assistant", "content": text},
            "logprobs": None,
            "finish_reason": finish_reason,
            "stop_reason": None,
        }
        names = {"object": "chat.completion", "choices": [choice], "usage": _plain_usage(usage)}
        return page(self._names | names)


def _plain_usage(usage: Usage) -> dict[str, Any]:
    return {
        "prompt_tokens": usage.prompt_tokens,
        "total_tokens": usage.prompt_tokens + usage.output_tokens,
        "completion_tokens": usage.output_tokens,
    }


def _usage(usage: Usage) -> dict[str, Any]:
    return _plain_usage(usage) | {"prompt_tokens_details": {"cached_tokens": usage.cached_tokens}}
