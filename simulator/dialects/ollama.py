"""Ollama's `/api/chat`: one JSON object a line, streamed unless `stream` is false.

A prompt too long for the context is shortened, not refused. Token counts and nanoseconds stand in the last line. There
is no metrics page, and no way to an exact length.

Not verified against a server: the order of keys, the version, the words of errors, whether the end token is counted
(here it is). All lines of an answer have the answer's own `created_at`.
"""

from collections.abc import Mapping
from datetime import UTC, datetime
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
    Usage,
)
from tokenswarm.simulator.dialects.requests import (
    HOLE,
    INTERNAL,
    Around,
    Message,
    cut,
    json_text,
    page,
    parse,
    prompt_of,
    refuse_model,
    text_page,
)

VERSION = "0.13.5"


class _Options(msgspec.Struct):
    num_predict: int | None = None


class _OllamaBody(msgspec.Struct):
    messages: list[Message]
    model: str | None = None
    stream: bool | None = True
    options: _Options | None = None


class OllamaDialect(Dialect):
    traits = EngineTraits(
        generate_path="/api/chat",
        stream_content_type="application/x-ndjson",
        headers={},
        sse=False,
        head_at_once=False,
        reasoning=True,
    )

    def understand(self, body: bytes, headers: Mapping[str, str]) -> GenerationRequest:
        request = parse(body, _OllamaBody)
        if not request.model:
            raise Problem("value", "model is required", "model")
        if self.only_model:
            refuse_model(request.model, self.model)
        prompt = prompt_of(request.messages)[-(self.max_model_len // 2) :]
        requested = request.options.num_predict if request.options else None
        return GenerationRequest(
            prompt=prompt,
            # Below 1 there is no limit but the context's.
            max_tokens=cut(None if requested is None or requested < 1 else requested, len(prompt), self.max_model_len),
            min_tokens=0,
            ignore_eos=False,
            stream=request.stream is not False,
            include_usage=False,
            model=request.model,
        )

    def writer(self, generation: GenerationRequest, request_id: str, created_s: int) -> AnswerWriter:
        return _OllamaWriter(generation, created_s)

    def pages(self) -> dict[str, PageResponse | Show]:
        tag = {
            "name": self.model,
            "model": self.model,
            "modified_at": _time(self.created_s),
            "size": 0,
            "digest": "",
            "details": {"format": "gguf", "family": "llama", "parameter_size": "8.0B", "quantization_level": "F16"},
        }
        card = {"id": self.model, "object": "model", "created": self.created_s, "owned_by": "library"}
        return {
            "/": text_page("Ollama is running"),
            "/api/version": page({"version": VERSION}),
            "/api/tags": page({"models": [tag]}),
            # Its readiness: the model is listed once it is loaded.
            "/api/ps": lambda state: page({"models": [tag] if state.ready else []}),
            "/v1/models": page({"object": "list", "data": [card]}),
        }

    def needs_key(self, path: str) -> bool:
        # It has no keys of its own; a gateway's would guard everything.
        return True

    def problem(self, problem: Problem) -> PageResponse:
        if problem.kind == "model":
            return _error(404, f"model '{problem.value}' not found")
        return _error(400, problem.message)

    def unauthorized(self) -> PageResponse:
        return _error(401, "unauthorized")

    def overloaded(self, stream: bool) -> PageResponse:
        return _error(503, "server busy, please try again.  maximum pending requests exceeded")

    def internal_error(self) -> PageResponse:
        return _error(500, INTERNAL)

    def not_found(self) -> PageResponse:
        return text_page("404 page not found", 404)

    def wrong_method(self, allow: str) -> PageResponse:
        return text_page("405 method not allowed", 405)


class _OllamaWriter:
    def __init__(self, generation: GenerationRequest, created_s: int) -> None:
        self._names: dict[str, Any] = {"model": generation.model, "created_at": _time(created_s)}
        start = b'{"model":"%b","created_at":"%b","message":{"role":"assistant",' % (
            json_text(generation.model),
            _time(created_s).encode(),
        )
        end = b'"},"done":false}\n'
        self._content = Around(start + b'"content":"' + HOLE + end)
        self._thinking = Around(start + b'"content":"","thinking":"' + HOLE + end)

    def opening(self) -> bytes:
        return b""

    def tokens(self, pieces: list[str], reasoning: bool) -> bytes:
        text = "".join(pieces)
        return (self._thinking if reasoning else self._content).text(text) if text else b""

    def ending(self, pieces: list[str], reasoning: bool, finish_reason: str, usage: Usage) -> list[bytes]:
        return [self.tokens(pieces, reasoning), self._last("", finish_reason, usage) + b"\n"]

    def _last(self, text: str, finish_reason: str, usage: Usage, reasoning: str = "") -> bytes:
        message = {"role": "assistant", "content": text} | ({"thinking": reasoning} if reasoning else {})
        return msgspec.json.encode(
            self._names
            | {
                "message": message,
                "done_reason": finish_reason,
                "done": True,
                "total_duration": usage.prompt_ns + usage.output_ns,
                "load_duration": 0,
                "prompt_eval_count": usage.prompt_tokens,
                "prompt_eval_duration": usage.prompt_ns,
                "eval_count": usage.output_tokens,
                "eval_duration": usage.output_ns,
            }
        )

    def failure(self) -> list[bytes]:
        return [msgspec.json.encode({"error": INTERNAL}) + b"\n"]

    def whole(self, text: str, reasoning: str, finish_reason: str, usage: Usage) -> PageResponse:
        return PageResponse(self._last(text, finish_reason, usage, reasoning))


def _time(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _error(status: int, message: str) -> PageResponse:
    return page({"error": message}, status)
