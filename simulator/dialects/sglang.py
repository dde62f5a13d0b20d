"""SGLang's chat, as of 2026.

All nulls are shown, the role goes out with the first token, an event without text not at all, and the finish event has
no text. `/metrics` is shown as if `--enable-metrics` were on.

Not verified against a server: the order of keys, `/get_server_info` and `/server_info` but for their names, error
bodies, the text of `/flush_cache` (400 while there are requests), the 503 of an overload, whether the end token is
counted (here it is).
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
    openapi_page,
    page,
    parse,
    refuse_model,
)
from tokenswarm.simulator.engine_stats import State
from tokenswarm.simulator.exposition import CONTENT_TYPE, Exposition

VERSION = "0.5.9"
_END_ID = 128_009


class SglangDialect(Dialect):
    traits = EngineTraits(
        generate_path="/v1/chat/completions",
        role="first",
        usage_on_request=True,
        reasoning=True,
        flush_path="/flush_cache",
        endpoints=("completions", "responses"),
    )

    def understand(self, body: bytes, headers: Mapping[str, str]) -> GenerationRequest:
        request = parse(body, ChatBody)
        if self.only_model:
            refuse_model(request.model, self.model)
        return chat_generation(
            request,
            self.model,
            self.max_model_len,
            min_tokens=request.min_tokens or 0,
            ignore_eos=bool(request.ignore_eos),
            usage_in_every_event=request.usage_in_every_event,
        )

    def writer(self, generation: GenerationRequest, request_id: str, created_s: int) -> AnswerWriter:
        return _SglangChatWriter(generation, request_id, created_s, self.style)

    def pages(self) -> dict[str, PageResponse | Show]:
        card = {
            "id": self.model,
            "object": "model",
            "created": self.created_s,
            "owned_by": "sglang",
            "root": self.model,
            "parent": None,
            "max_model_len": self.max_model_len,
        }
        server = {"model_path": self.model, "context_length": self.max_model_len, "version": VERSION}

        def server_info(state: State) -> PageResponse:
            return page(server | {"page_size": state.cache_block_tokens})

        model = {"model_path": self.model, "tokenizer_path": self.model, "is_generation": True}
        paths = ["/health", "/health_generate", "/get_model_info", "/get_server_info", "/v1/models", "/generate"]
        return {
            "/health": _health,
            "/health_generate": _health,
            "/get_server_info": server_info,
            "/server_info": server_info,
            "/get_model_info": page(model),
            "/model_info": page(model),
            "/v1/models": page({"object": "list", "data": [card]}),
            "/openapi.json": openapi_page([*paths, "/v1/chat/completions"]),
            "/metrics": self._metrics,
        }

    def _metrics(self, state: State) -> PageResponse:
        stats = state.stats
        shown = Exposition(engine_type="unified", model_name=self.model)
        shown.gauge("sglang:num_running_reqs", state.running)
        shown.gauge("sglang:num_queue_reqs", state.waiting)
        shown.gauge("sglang:token_usage", state.kv_usage)
        shown.gauge("sglang:cache_hit_rate", state.hit_rate)
        shown.counter("sglang:prompt_tokens_total", state.prompt_tokens)
        shown.counter("sglang:generation_tokens_total", state.output_tokens)
        shown.histogram("sglang:time_to_first_token_seconds", stats.ttft_s)
        shown.histogram("sglang:inter_token_latency_seconds", stats.gap_s)
        shown.histogram("sglang:e2e_request_latency_seconds", stats.e2e_s)
        return PageResponse(shown.body(), content_type=CONTENT_TYPE)

    def flushed(self, done: bool) -> PageResponse:
        text = b"Cache flushed.\n" if done else b"Not flushed: requests are running.\n"
        return PageResponse(text, "text/plain; charset=utf-8", 200 if done else 400)

    def problem(self, problem: Problem) -> PageResponse:
        status, kind = (404, "NotFoundError") if problem.kind == "model" else (400, "BadRequestError")
        return page(_error(status, problem.message, kind), status)

    def unauthorized(self) -> PageResponse:
        return page({"error": "Unauthorized"}, 401)

    def overloaded(self, stream: bool) -> PageResponse:
        return page(_error(503, "The request queue is full.", "ServiceUnavailableError"), 503)

    def internal_error(self) -> PageResponse:
        return page(_error(500, INTERNAL, "InternalServerError"), 500)


class _SglangChatWriter:
    def __init__(self, generation: GenerationRequest, request_id: str, created_s: int, style: Style) -> None:
        self._include_usage = generation.include_usage
        self._in_every_event = generation.usage_in_every_event
        self._prompt_tokens = len(generation.prompt)
        self._sent_tokens = 0
        self._event = style.event
        self._names: dict[str, Any] = {"id": request_id, "created": created_s, "model": generation.model}
        self._start = b'{"id":"%b","object":"chat.completion.chunk","created":%d,"model":"%b","choices":[' % (
            json_text(request_id),
            created_s,
            json_text(generation.model),
        )
        self._content = Around(self._event(self._chunk(content=b'"' + HOLE + b'"') + b"null}"))
        self._reasoning = Around(self._event(self._chunk(thought=b'"' + HOLE + b'"') + b"null}"))

    def _chunk(
        self,
        role: bytes = b"null",
        content: bytes = b"null",
        thought: bytes = b"null",
        finish: bytes = b"null",
        matched: bytes = b"null",
    ) -> bytes:
        """The chunk up to the value of its usage."""
        delta = b'{"role":%b,"content":%b,"reasoning_content":%b,"tool_calls":null}' % (role, content, thought)
        choice = b'{"index":0,"delta":%b,"logprobs":null,"finish_reason":%b,"matched_stop":%b}' % (
            delta,
            finish,
            matched,
        )
        return self._start + choice + b'],"usage":'

    def _usage_so_far(self) -> bytes:
        if not self._in_every_event:
            return b"null"
        return msgspec.json.encode(_usage(Usage(self._prompt_tokens, 0, self._sent_tokens)))

    def opening(self) -> bytes:
        return self._event(self._chunk(role=b'"assistant"', content=b'""') + self._usage_so_far() + b"}")

    def tokens(self, pieces: list[str], reasoning: bool) -> bytes:
        self._sent_tokens += len(pieces)
        text = "".join(pieces)
        if not text:
            return b""
        if not self._in_every_event:
            return (self._reasoning if reasoning else self._content).text(text)
        quoted = b'"' + json_text(text) + b'"'
        chunk = self._chunk(thought=quoted) if reasoning else self._chunk(content=quoted)
        return self._event(chunk + self._usage_so_far() + b"}")

    def ending(self, pieces: list[str], reasoning: bool, finish_reason: str, usage: Usage) -> list[bytes]:
        last = self.tokens(pieces, reasoning)
        matched = b"%d" % _END_ID if finish_reason == "stop" else b"null"
        finish = self._chunk(finish=b'"%b"' % finish_reason.encode(), matched=matched)
        events = [last, self._event(finish + self._usage_so_far() + b"}")]
        if self._include_usage:
            events.append(self._event(self._start + b'],"usage":%b}' % msgspec.json.encode(_usage(usage))))
        return [*events, self._event(b"[DONE]")]

    def failure(self) -> list[bytes]:
        error = msgspec.json.encode({"error": _error(500, INTERNAL, "InternalServerError")})
        return [self._event(error), self._event(b"[DONE]")]

    def whole(self, text: str, reasoning: str, finish_reason: str, usage: Usage) -> PageResponse:
        message = {"role": "assistant", "content": text, "reasoning_content": reasoning or None, "tool_calls": None}
        matched = _END_ID if finish_reason == "stop" else None
        choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": finish_reason}
        choice["matched_stop"] = matched
        return page(self._names | {"object": "chat.completion", "choices": [choice], "usage": _usage(usage)})


def _usage(usage: Usage) -> dict[str, Any]:
    return {
        "prompt_tokens": usage.prompt_tokens,
        "total_tokens": usage.prompt_tokens + usage.output_tokens,
        "completion_tokens": usage.output_tokens,
        "prompt_tokens_details": {"cached_tokens": usage.cached_tokens} if usage.cached_tokens else None,
        "reasoning_tokens": 0,
    }


def _health(state: State) -> PageResponse:
    return empty(200 if state.ready else 503)


def _error(status: int, message: str, kind: str) -> dict[str, Any]:
    return {"object": "error", "message": message, "type": kind, "param": None, "code": status}
