"""LMDeploy's api_server: today's, and v0.4.0 with its chat and its `/v1/chat/interactive`.

v0.4.0 sends a role event before anything is computed, never shows usage, and puts its errors under status 200. The stop
token is not counted in any of them. Today's writes its content events with spaces, \\u escapes and absent nulls,
and the usage event without.

Not verified against a server: what /openapi.json lists, v0.4.0's body for a bad API key and for a body of another
shape, today's words in error bodies, its 503 for an overload (both queue without limit by default).
"""

import json
from collections.abc import Iterator, Mapping
from functools import cached_property
from itertools import count
from typing import Any

import msgspec

from tokenswarm.simulator.dialect import (
    AnswerWriter,
    Dialect,
    EngineTraits,
    GenerationRequest,
    PageResponse,
    Problem,
    Refusal,
    Show,
    Style,
    Usage,
)
from tokenswarm.simulator.dialects.requests import (
    HOLE,
    INTERNAL,
    Around,
    ChatBody,
    Message,
    chat_generation,
    cut,
    json_text,
    openapi_page,
    page,
    parse,
    prompt_of,
    refuse_model,
    text_page,
    validation_page,
)
from tokenswarm.simulator.engine_stats import State
from tokenswarm.simulator.exposition import CONTENT_TYPE, Exposition

# FastAPI's documentation, which LMDeploy has in place of a front page.
_DOCUMENTATION = PageResponse(
    b"<!DOCTYPE html><title>FastAPI - Swagger UI</title>", content_type="text/html; charset=utf-8"
)


class LmdeployDialect(Dialect):
    """v0.16."""

    traits = EngineTraits(
        generate_path="/v1/chat/completions",
        usage_on_request=True,
        reasoning=True,
        end_token_counts=False,
        endpoints=("completions",),
    )

    def understand(self, body: bytes, headers: Mapping[str, str]) -> GenerationRequest:
        request = parse(body, ChatBody)
        if self.only_model:
            refuse_model(request.model, self.model)
        return chat_generation(
            request,
            self.model,
            self.max_model_len,
            min_tokens=request.min_new_tokens or 0,
            ignore_eos=bool(request.ignore_eos),
        )

    def writer(self, generation: GenerationRequest, request_id: str, created_s: int) -> AnswerWriter:
        return _LmdeployChatWriter(generation, request_id, created_s, self.style)

    def pages(self) -> dict[str, PageResponse | Show]:
        paths = ["/v1/models", "/health", "/v1/chat/completions", "/v1/completions", "/generate", "/v1/messages"]
        return {
            "/health": _health,
            "/v1/models": _models(self),
            "/openapi.json": openapi_page(paths),
            "/": _DOCUMENTATION,
            "/metrics": self._metrics,
        }

    def _metrics(self, state: State) -> PageResponse:
        stats = state.stats
        shown = Exposition(engine="0", model_name=self.model)
        shown.gauge("lmdeploy:num_requests_running", state.running)
        shown.gauge("lmdeploy:num_requests_waiting", state.waiting)
        shown.gauge("lmdeploy:num_api_requests_routed", state.running)
        shown.gauge("lmdeploy:num_api_requests_waiting", state.waiting)
        shown.gauge("lmdeploy:gpu_cache_usage_perc", state.kv_usage)
        shown.gauge("lmdeploy:prefix_cache_hit_rate", state.hit_rate)
        shown.counter("lmdeploy:cached_tokens_total", state.hit_tokens)
        shown.counter("lmdeploy:prompt_tokens_total", state.prompt_tokens)
        shown.counter("lmdeploy:generation_tokens_total", state.output_tokens)
        shown.histogram("lmdeploy:time_to_first_token_seconds", stats.ttft_s)
        shown.histogram("lmdeploy:iter_token_latency", stats.gap_s)
        shown.histogram("lmdeploy:time_per_output_token_seconds", stats.tpot_s)
        shown.histogram("lmdeploy:e2e_request_latency_seconds", stats.e2e_s)
        return PageResponse(shown.body(), content_type=CONTENT_TYPE)

    def problem(self, problem: Problem) -> PageResponse:
        if problem.kind == "body":
            return validation_page(problem)
        if problem.kind == "model":
            return _flat(404, problem.message, "not_found_error")
        if problem.kind == "long":
            message = (
                f"Input length ({problem.value}) must be smaller than the model context length ({self.max_model_len})."
            )
            return _flat(400, message, "invalid_request_error")
        return _flat(400, problem.message, "invalid_request_error")

    def unauthorized(self) -> PageResponse:
        return _flat(401, "Please request with valid api key!", "authentication_error")

    def overloaded(self, stream: bool) -> PageResponse:
        return _flat(503, "The server is overloaded.", "server_error")

    def internal_error(self) -> PageResponse:
        return _flat(500, INTERNAL, "internal_error")


class Lmdeploy040Dialect(Dialect):
    """v0.4.0: no health, no metrics, and errors under status 200."""

    traits = EngineTraits(
        generate_path="/v1/chat/completions", role="early", breaks="cut", error_event=False, end_token_counts=False
    )

    @cached_property
    def _sessions(self) -> Iterator[int]:
        return count(1)

    def understand(self, body: bytes, headers: Mapping[str, str]) -> GenerationRequest:
        request = parse(body, ChatBody)
        refuse_model(request.model if self.only_model else None, self.model)
        try:
            return chat_generation(
                request, self.model, self.max_model_len, ignore_eos=bool(request.ignore_eos), include_usage=False
            )
        except Problem as problem:
            if problem.kind != "long" or not request.stream:
                raise
            raise Refusal(self._no_space(request.model or self.model)) from problem

    def _no_space(self, model: str) -> PageResponse:
        """A prompt without space left in the context is answered as if its answer had ended."""
        writer = _LmdeployChatWriter040(model, next(self._sessions), self.created_s, self.style)
        events = [writer.opening(), *writer.ending([], False, "length", Usage(0, 0, 0))]
        return PageResponse(b"".join(events), content_type=self.traits.stream_content_type, stream=True)

    def writer(self, generation: GenerationRequest, request_id: str, created_s: int) -> AnswerWriter:
        return _LmdeployChatWriter040(generation.model, next(self._sessions), created_s, self.style)

    def pages(self) -> dict[str, PageResponse | Show]:
        paths = ["/v1/models", "/v1/chat/completions", "/v1/completions", "/v1/chat/interactive", "/v1/encode"]
        return {
            "/v1/models": _models(self),
            "/openapi.json": openapi_page(paths),
            "/": _DOCUMENTATION,
        }

    def problem(self, problem: Problem) -> PageResponse:
        if problem.kind == "body":
            return validation_page(problem)
        return _shown_as_fine(404 if problem.kind == "model" else 400, problem.message)

    def unauthorized(self) -> PageResponse:
        error = {
            "message": "Please request with valid api key!",
            "type": "invalid_request_error",
            "param": None,
            "code": "invalid_api_key",
        }
        return page({"detail": {"error": error}}, 401)

    def overloaded(self, stream: bool) -> PageResponse:
        return _shown_as_fine(503, "The server is overloaded.")

    def internal_error(self) -> PageResponse:
        return text_page("Internal Server Error", 500)


class LmdeployInteractiveDialect(Lmdeploy040Dialect):
    """v0.4.0's own endpoint: JSON lines with cumulative counts, under the content type of an event stream."""

    traits = EngineTraits(
        generate_path="/v1/chat/interactive", sse=False, breaks="cut", error_event=False, end_token_counts=False
    )

    def understand(self, body: bytes, headers: Mapping[str, str]) -> GenerationRequest:
        request = parse(body, _InteractiveBody)
        messages = [Message("user", request.prompt)] if isinstance(request.prompt, str) else request.prompt
        prompt = prompt_of(messages)
        return GenerationRequest(
            prompt=prompt,
            max_tokens=cut(request.request_output_len, len(prompt), self.max_model_len, "request_output_len"),
            min_tokens=0,
            ignore_eos=bool(request.ignore_eos),
            stream=bool(request.stream),
            include_usage=False,
            model=self.model,
        )

    def writer(self, generation: GenerationRequest, request_id: str, created_s: int) -> AnswerWriter:
        return _LineWriter(len(generation.prompt))


class _InteractiveBody(msgspec.Struct):
    prompt: str | list[Message]
    stream: bool | None = False
    request_output_len: int | None = None
    ignore_eos: bool | None = False


class _LmdeployChatWriter:
    def __init__(self, generation: GenerationRequest, request_id: str, created_s: int, style: Style) -> None:
        self._include_usage = generation.include_usage
        self._event = style.event
        self._names: dict[str, Any] = {
            "id": f"chatcmpl-{request_id}",
            "object": "chat.completion.chunk",
            "created": created_s,
            "model": generation.model,
        }
        self._content, self._reasoning = self._around("content"), self._around("reasoning_content")

    def _around(self, name: str) -> Around:
        # The hole's escape as json writes it stands for the hole.
        return Around(self._chunk({"delta": {"role": "assistant", name: "\0"}}).replace(b"\\u0000", HOLE))

    def _chunk(self, choice: dict[str, Any]) -> bytes:
        usage = {"usage": None} if self._include_usage else {}
        return self._event(json.dumps(self._names | {"choices": [{"index": 0} | choice]} | usage).encode())

    def opening(self) -> bytes:
        return b""

    def tokens(self, pieces: list[str], reasoning: bool) -> bytes:
        text = json.dumps("".join(pieces))[1:-1].encode()
        return (self._reasoning if reasoning else self._content).escaped(text)

    def ending(self, pieces: list[str], reasoning: bool, finish_reason: str, usage: Usage) -> list[bytes]:
        last = [self.tokens(pieces, reasoning)] if any(pieces) else []
        finish = self._chunk({"delta": {"role": "assistant", "content": ""}, "finish_reason": finish_reason})
        counts: list[bytes] = []
        if self._include_usage:
            counts = [self._event(msgspec.json.encode(self._names | {"choices": [], "usage": _usage(usage)}))]
        return [*last, finish, *counts, self._event(b"[DONE]")]

    def failure(self) -> list[bytes]:
        error = {"message": INTERNAL, "type": "internal_error", "code": 500, "param": None, "object": "error"}
        return [self._event(json.dumps({"error": error}).encode()), self._event(b"[DONE]")]

    def whole(self, text: str, reasoning: str, finish_reason: str, usage: Usage) -> PageResponse:
        message = {"role": "assistant", "content": text} | ({"reasoning_content": reasoning} if reasoning else {})
        choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": finish_reason}
        return page(self._names | {"object": "chat.completion", "choices": [choice], "usage": _usage(usage)})


class _LmdeployChatWriter040:
    def __init__(self, model: str, session: int, created_s: int, style: Style) -> None:
        self._event = style.event
        self._session = session
        self._model = model
        self._created_s = created_s
        self._start = b'{"id":"%d","object":"chat.completion.chunk","created":%d,"model":"%b","choices":[' % (
            session,
            created_s,
            json_text(model),
        )
        choice = b'{"index":0,"delta":{"role":"assistant","content":"' + HOLE + b'"},"logprobs":null,"finish_reason":'
        self._token = Around(style.event(self._start + choice + b"null}]}"))
        self._choice = choice

    def opening(self) -> bytes:
        start = b'{"id":"%d","model":"%b","choices":[' % (self._session, json_text(self._model))
        return self._event(start + b'{"index":0,"delta":{"role":"assistant"},"finish_reason":null}]}')

    def tokens(self, pieces: list[str], reasoning: bool) -> bytes:
        return self._token.text("".join(pieces))

    def ending(self, pieces: list[str], reasoning: bool, finish_reason: str, usage: Usage) -> list[bytes]:
        last = [self.tokens(pieces, reasoning)] if any(pieces) else []
        choice = self._choice.replace(HOLE, b"") + b'"%b"}]}' % finish_reason.encode()
        return [*last, self._event(self._start + choice), self._event(b"[DONE]")]

    def failure(self) -> list[bytes]:
        return []

    def whole(self, text: str, reasoning: str, finish_reason: str, usage: Usage) -> PageResponse:
        choice = {
            "index": 0,
            "message": {"role": "assistant", "content": text},
            "logprobs": None,
            "finish_reason": finish_reason,
        }
        counts = {name: number for name, number in _usage(usage).items() if name != "prompt_tokens_details"}
        names = {"id": str(self._session), "object": "chat.completion", "created": self._created_s}
        return page(names | {"model": self._model, "choices": [choice], "usage": counts})


class _LineWriter:
    def __init__(self, prompt_tokens: int) -> None:
        self._prompt_tokens = prompt_tokens
        self._sent_tokens = 0

    def _line(self, text: str, finish: bytes = b"null") -> bytes:
        counts = b'"tokens":%d,"input_tokens":%d,"history_tokens":0' % (self._sent_tokens, self._prompt_tokens)
        return b'{"text":"%b",%b,"finish_reason":%b}\n' % (json_text(text), counts, finish)

    def opening(self) -> bytes:
        return b""

    def tokens(self, pieces: list[str], reasoning: bool) -> bytes:
        self._sent_tokens += len(pieces)
        return self._line("".join(pieces))

    def ending(self, pieces: list[str], reasoning: bool, finish_reason: str, usage: Usage) -> list[bytes]:
        self._sent_tokens = usage.output_tokens
        last = [self._line("".join(pieces))] if any(pieces) else []
        return [*last, self._line("", b'"%b"' % finish_reason.encode())]

    def failure(self) -> list[bytes]:
        return []

    def whole(self, text: str, reasoning: str, finish_reason: str, usage: Usage) -> PageResponse:
        self._sent_tokens = usage.output_tokens
        return PageResponse(self._line(text, b'"%b"' % finish_reason.encode()).rstrip())


def _health(state: State) -> PageResponse:
    if state.ready:
        return page({"status": "healthy", "message": "The engine is healthy."})
    return page({"status": "initializing", "message": "The engine is not ready."}, 503)


def _models(dialect: Dialect) -> PageResponse:
    permission = {"id": "modelperm-0", "object": "model_permission", "created": dialect.created_s}
    card = {
        "id": dialect.model,
        "object": "model",
        "created": dialect.created_s,
        "owned_by": "lmdeploy",
        "root": dialect.model,
        "parent": None,
        "permission": [permission],
    }
    return page({"object": "list", "data": [card]})


def _flat(status: int, message: str, kind: str) -> PageResponse:
    return page({"message": message, "type": kind, "code": status, "param": None, "object": "error"}, status)


def _shown_as_fine(code: int, message: str) -> PageResponse:
    return page({"object": "error", "message": message, "code": code})


def _usage(usage: Usage) -> dict[str, Any]:
    return {
        "prompt_tokens": usage.prompt_tokens,
        "total_tokens": usage.prompt_tokens + usage.output_tokens,
        "completion_tokens": usage.output_tokens,
        "prompt_tokens_details": {"cached_tokens": usage.cached_tokens},
    }
