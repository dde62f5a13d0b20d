"""llama.cpp's own server (`llama-server`), chat.

Its first event is the role with null for content, in one chunk with the first token; the finish event has an empty
delta and shares a chunk with the usage event; timings stand in the last of these. It closes after every stream. The
model's name in a request is not looked at, and no model is ever unknown. `/metrics` is shown as if `--metrics` were
on.

Checked against what build 11434 sent. Not verified: /props and /slots but for their names, an error in mid-stream but
for its frame, the 503 of an overload (it defers without limit).
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
from tokenswarm.simulator.dialects.requests import HOLE, INTERNAL, Around, ChatBody, chat_generation, json_text, parse
from tokenswarm.simulator.engine_stats import State
from tokenswarm.simulator.exposition import Exposition

FINGERPRINT = "b11434-tokenswarm"
_HEADERS = {"server": "llama.cpp", "access-control-allow-origin": ""}


class LlamacppDialect(Dialect):
    traits = EngineTraits(
        generate_path="/v1/chat/completions",
        endpoints=("completions", "responses"),
        stream_content_type="text/event-stream",
        headers=_HEADERS,
        head_at_once=False,
        usage_on_request=True,
        reasoning=True,
        keep_alive_s=30,
        closes_after_stream=True,
    )

    def understand(self, body: bytes, headers: Mapping[str, str]) -> GenerationRequest:
        request = parse(body, ChatBody)
        requested = request.limit
        if requested is not None and requested < -1:
            words = f"Field 'max_tokens': Value must be between -1 <= value <= 2147483647, but got {requested}"
            raise Problem("value", words, "max_tokens", requested)
        # Without max_tokens there is no limit, and -1 is none; 0 counts as 1.
        request.max_tokens = None if requested == -1 or requested is None else max(requested, 1)
        request.max_completion_tokens = None
        request.model = None
        return chat_generation(request, self.model, self.max_model_len, ignore_eos=bool(request.ignore_eos))

    def writer(self, generation: GenerationRequest, request_id: str, created_s: int) -> AnswerWriter:
        return _LlamacppChatWriter(generation, request_id, created_s, self.style)

    def stream_headers(self, generation: GenerationRequest, request_id: str) -> dict[str, str]:
        return {"x-accel-buffering": "no"} if generation.stream else {}

    def pages(self) -> dict[str, PageResponse | Show]:
        card = {
            "id": self.model,
            "aliases": [self.model],
            "tags": [],
            "object": "model",
            "created": self.created_s,
            "owned_by": "llamacpp",
            "meta": {"n_ctx": self.max_model_len, "n_ctx_train": self.max_model_len},
        }
        listed = {"models": [{"name": self.model, "model": self.model}], "object": "list", "data": [card]}
        return {
            "/health": _health,
            "/v1/health": _health,
            "/v1/models": _json(listed),
            "/models": _json(listed),
            "/props": self._props,
            "/slots": lambda state: _json([{"id": n, "n_ctx": self.max_model_len} for n in range(state.max_batch)]),
            "/metrics": _metrics,
        }

    def _props(self, state: State) -> PageResponse:
        return _json(
            {
                "default_generation_settings": {"n_ctx": self.max_model_len},
                "total_slots": state.max_batch,
                "model_alias": self.model,
                "model_path": f"{self.model}.gguf",
                "build_info": FINGERPRINT,
            }
        )

    def needs_key(self, path: str) -> bool:
        return path not in ("/health", "/v1/health", "/models", "/v1/models")

    def problem(self, problem: Problem) -> PageResponse:
        if problem.kind == "long":
            words = (
                f"request ({problem.value} tokens) exceeds the available context size ({self.max_model_len} tokens), "
                "try increasing it"
            )
            numbers = {"n_prompt_tokens": problem.value, "n_ctx": self.max_model_len}
            error = {"code": 400, "message": words, "type": "exceed_context_size_error"} | numbers
            return _json({"error": error}, 400)
        error = {"code": 400, "message": problem.message, "type": "invalid_request_error"}
        return _json({"error": error}, 400)

    def unauthorized(self) -> PageResponse:
        return _error(401, "Invalid API Key", "authentication_error")

    def overloaded(self, stream: bool) -> PageResponse:
        return _error(503, "The server is overloaded.", "unavailable_error")

    def internal_error(self) -> PageResponse:
        return _error(500, INTERNAL, "server_error")

    def not_found(self) -> PageResponse:
        return _error(404, "File Not Found", "not_found_error")

    def wrong_method(self, allow: str) -> PageResponse:
        return self.not_found()


class _LlamacppChatWriter:
    def __init__(self, generation: GenerationRequest, request_id: str, created_s: int, style: Style) -> None:
        self._include_usage = generation.include_usage
        self._event = style.event
        self._names: dict[str, Any] = {"created": created_s, "id": f"chatcmpl-{request_id}", "model": generation.model}
        self._end = (
            b'],"created":%d,"id":"chatcmpl-%b","model":"%b","system_fingerprint":"%b","object":"chat.completion.chunk"'
            % (created_s, json_text(request_id), json_text(generation.model), FINGERPRINT.encode())
        )
        self._content = Around(self._event(self._chunk(b'"content":"' + HOLE + b'"') + b"}"))
        self._reasoning = Around(self._event(self._chunk(b'"reasoning_content":"' + HOLE + b'"') + b"}"))
        self._role_sent = False

    def _chunk(self, delta: bytes, finish: bytes = b"null") -> bytes:
        return b'{"choices":[{"finish_reason":%b,"index":0,"delta":{%b}}' % (finish, delta) + self._end

    def opening(self) -> bytes:
        return b""

    def tokens(self, pieces: list[str], reasoning: bool) -> bytes:
        text = "".join(pieces)
        return self._role() + (self._reasoning if reasoning else self._content).text(text) if text else b""

    def _role(self) -> bytes:
        if self._role_sent:
            return b""
        self._role_sent = True
        return self._event(self._chunk(b'"role":"assistant","content":null') + b"}")

    def ending(self, pieces: list[str], reasoning: bool, finish_reason: str, usage: Usage) -> list[bytes]:
        last = self.tokens(pieces, reasoning) or self._role()
        finish = self._chunk(b"", b'"%b"' % finish_reason.encode())
        timings = b',"timings":' + msgspec.json.encode(_timings(usage)) + b"}"
        if self._include_usage:
            counts = b',"usage":' + msgspec.json.encode(_usage(usage))
            end = self._event(finish + b"}") + self._event(b'{"choices":[' + self._end + counts + timings)
        else:
            end = self._event(finish + timings)
        return [last, end, self._event(b"[DONE]")]

    def failure(self) -> list[bytes]:
        error = {"error": {"code": 500, "message": INTERNAL, "type": "server_error"}}
        return [self._event(msgspec.json.encode(error))]

    def whole(self, text: str, reasoning: str, finish_reason: str, usage: Usage) -> PageResponse:
        message = {"role": "assistant", "content": text} | ({"reasoning_content": reasoning} if reasoning else {})
        choice = {"finish_reason": finish_reason, "index": 0, "message": message}
        return _json(
            {
                "choices": [choice],
                "created": self._names["created"],
                "model": self._names["model"],
                "system_fingerprint": FINGERPRINT,
                "object": "chat.completion",
                "usage": _usage(usage),
                "id": self._names["id"],
                "timings": _timings(usage),
            }
        )


def _usage(usage: Usage) -> dict[str, Any]:
    return {
        "completion_tokens": usage.output_tokens,
        "prompt_tokens": usage.prompt_tokens,
        "total_tokens": usage.prompt_tokens + usage.output_tokens,
        "prompt_tokens_details": {"cached_tokens": usage.cached_tokens},
    }


def _timings(usage: Usage) -> dict[str, Any]:
    prompt_n, prompt_ms = usage.prompt_tokens - usage.cached_tokens, usage.prompt_ns / 1e6
    predicted_n, predicted_ms = usage.output_tokens, usage.output_ns / 1e6
    return {
        "cache_n": usage.cached_tokens,
        "prompt_n": prompt_n,
        "prompt_ms": prompt_ms,
        "prompt_per_token_ms": prompt_ms / prompt_n,
        "prompt_per_second": 1000 * prompt_n / prompt_ms if prompt_ms else 0.0,
        "predicted_n": predicted_n,
        "predicted_ms": predicted_ms,
        "predicted_per_token_ms": predicted_ms / predicted_n,
        "predicted_per_second": 1000 * predicted_n / predicted_ms if predicted_ms else 0.0,
    }


def _json(content: Any, status: int = 200) -> PageResponse:
    return PageResponse(msgspec.json.encode(content), content_type="application/json; charset=utf-8", status=status)


def _error(status: int, message: str, kind: str) -> PageResponse:
    return _json({"error": {"message": message, "type": kind, "code": status}}, status)


def _health(state: State) -> PageResponse:
    return _json({"status": "ok"}) if state.ready else _error(503, "Loading model", "unavailable_error")


def _metrics(state: State) -> PageResponse:
    shown = Exposition()
    shown.counter("llamacpp:prompt_tokens_total", state.prompt_tokens - state.hit_tokens)
    shown.counter("llamacpp:prompt_tokens_cached_total", state.hit_tokens)
    shown.counter("llamacpp:tokens_predicted_total", state.output_tokens)
    shown.counter("llamacpp:n_decode_total", state.steps)
    shown.gauge("llamacpp:requests_processing", state.running)
    shown.gauge("llamacpp:requests_deferred", state.waiting)
    return PageResponse(shown.body(), content_type="text/plain; version=0.0.4")
