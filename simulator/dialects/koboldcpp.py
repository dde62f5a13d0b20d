"""KoboldCpp's chat completions, from its source (koboldcpp.py of mid-2026).

Every chunk repeats the role; the last text comes before a chunk with the finish reason alone; usage only if requested.
It also has Ollama's `/api/version` and `/api/tags`. Its body is not chunked and ends with the connection; here it is
chunked, and the connection closes after it.

Not verified against a server: the counting of the end token (here it is not counted), the words of errors. A prompt
longer than the context is shortened there, and refused here.
"""

import json
from collections.abc import Mapping
from typing import Any

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
from tokenswarm.simulator.dialects.requests import ChatBody, chat_generation, page, parse, text_page
from tokenswarm.simulator.engine_stats import State

VERSION = "1.122.1"
_NO_SUCH_PAGE = "Error: KoboldCpp HTTP Server is running, but this endpoint does not exist. Please check the URL."


class KoboldcppDialect(Dialect):
    traits = EngineTraits(
        generate_path="/v1/chat/completions",
        endpoints=("completions",),
        stream_content_type="text/event-stream",
        headers={"server": "KoboldCppServer 1", "access-control-allow-origin": "*"},
        breaks="cut",
        error_event=False,
        usage_on_request=True,
        reasoning=True,
        end_token_counts=False,
        closes_after_stream=True,
    )

    def understand(self, body: bytes, headers: Mapping[str, str]) -> GenerationRequest:
        return chat_generation(parse(body, ChatBody), self.model, self.max_model_len)

    def writer(self, generation: GenerationRequest, request_id: str, created_s: int) -> AnswerWriter:
        return _KoboldcppChatWriter(generation, request_id, created_s, self.model, self.style)

    def stream_headers(self, generation: GenerationRequest, request_id: str) -> dict[str, str]:
        return {"x-accel-buffering": "no", "cache-control": "no-cache"}

    def pages(self) -> dict[str, PageResponse | Show]:
        card = {"id": self.model, "object": "model", "created": self.created_s, "owned_by": "koboldcpp"}
        models = {"object": "list", "data": [card | {"permission": [], "root": "koboldcpp"}]}
        abilities = {"llm": True, "txt2img": False, "vision": False, "transcribe": False, "tts": False}
        return {
            "/v1/models": page(models),
            "/api/extra/version": page({"result": "KoboldCpp", "version": VERSION, "protected": False} | abilities),
            "/api/extra/perf": _performance,
            "/api/version": page({"version": "0.7.0"}),
            "/api/tags": page({"models": [{"name": "koboldcpp", "model": f"{self.model}:latest"}]}),
            "/ping": page({"status": "healthy"}),
        }

    def needs_key(self, path: str) -> bool:
        return path == self.traits.generate_path

    def problem(self, problem: Problem) -> PageResponse:
        return _error(500, problem.message, "bad_input")

    def unauthorized(self) -> PageResponse:
        return page({"detail": {"error": "Unauthorized", "msg": "Authentication key is missing or invalid."}}, 401)

    def overloaded(self, stream: bool) -> PageResponse:
        return _error(503, "Server is busy; please try again later.", "service_unavailable")

    def internal_error(self) -> PageResponse:
        return _error(500, "Error processing input.", "server_error")

    def not_found(self) -> PageResponse:
        return text_page(_NO_SUCH_PAGE, 404)

    def wrong_method(self, allow: str) -> PageResponse:
        return self.not_found()


class _KoboldcppChatWriter:
    """JSON as Python's `json` writes it: spaces behind commas and colons, nothing beyond ASCII."""

    def __init__(
        self, generation: GenerationRequest, request_id: str, created_s: int, model: str, style: Style
    ) -> None:
        self._event = style.event
        self._include_usage = generation.include_usage
        names = {"id": f"chatcmpl-A{request_id}", "created": created_s, "model": model}
        self._chunk = {"id": names["id"], "object": "chat.completion.chunk", "created": created_s, "model": model}
        self._names = names

    def opening(self) -> bytes:
        return b""

    def tokens(self, pieces: list[str], reasoning: bool) -> bytes:
        text = "".join(pieces)
        return self._choice({"reasoning_content" if reasoning else "content": text}, None) if text else b""

    def ending(self, pieces: list[str], reasoning: bool, finish_reason: str, usage: Usage) -> list[bytes]:
        events = [self.tokens(pieces, reasoning), self._choice({"content": ""}, finish_reason)]
        if self._include_usage:
            events.append(self._event(_dumped(self._chunk | {"choices": [], "usage": _usage(usage)})))
        return [*events, self._event(b"[DONE]")]

    def _choice(self, delta: dict[str, str], finish_reason: str | None) -> bytes:
        choice = {"index": 0, "finish_reason": finish_reason, "delta": {"role": "assistant"} | delta}
        return self._event(_dumped(self._chunk | {"choices": [choice]}))

    def failure(self) -> list[bytes]:
        return []

    def whole(self, text: str, reasoning: str, finish_reason: str, usage: Usage) -> PageResponse:
        message = {"role": "assistant", "content": text} | ({"reasoning_content": reasoning} if reasoning else {})
        choice = {"index": 0, "message": message, "finish_reason": finish_reason}
        rest = {"object": "chat.completion", "usage": _usage(usage), "choices": [choice]}
        return PageResponse(_dumped(self._names | rest))


def _dumped(document: Any) -> bytes:
    return json.dumps(document).encode()


def _usage(usage: Usage) -> dict[str, int]:
    return {
        "prompt_tokens": usage.prompt_tokens,
        "completion_tokens": usage.output_tokens,
        "total_tokens": usage.prompt_tokens + usage.output_tokens,
    }


def _error(status: int, message: str, kind: str) -> PageResponse:
    return page({"detail": {"msg": message, "type": kind}}, status)


def _performance(state: State) -> PageResponse:
    ended = state.stats.ended
    idle = 0 if state.running else 1
    return page({"total_gens": ended["stop"] + ended["length"], "queue": state.waiting, "idle": idle})
