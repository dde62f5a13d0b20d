"""Anthropic's Messages, from its documentation.

Named events; the prompt's count comes first, the answer's last. `max_tokens` and the header `anthropic-version` must be
there, the key is in `x-api-key`, and an overload is a 529.

Not verified on the wire: everything; in particular that the end token is counted (here it is) and when headers leave.
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
    Style,
    Usage,
)
from tokenswarm.simulator.dialects.requests import (
    HOLE,
    INTERNAL,
    Around,
    Message,
    Part,
    cut,
    page,
    parse,
    refuse_model,
    text_of,
)
from tokenswarm.simulator.tokens import render_chat

_REASONS = {"stop": "end_turn", "length": "max_tokens"}


class _AnthropicBody(msgspec.Struct):
    model: str
    messages: list[Message]
    max_tokens: int
    system: str | list[Part] | None = None
    stream: bool | None = False


class AnthropicDialect(Dialect):
    traits = EngineTraits(
        generate_path="/v1/messages", headers={}, role="first", reasoning=True, key_header="x-api-key"
    )

    def understand(self, body: bytes, headers: Mapping[str, str]) -> GenerationRequest:
        if "anthropic-version" not in headers:
            raise Problem("value", "anthropic-version: header is required")
        request = parse(body, _AnthropicBody)
        if self.only_model:
            refuse_model(request.model, self.model)
        system = [("system", text_of(request.system))] if request.system else []
        prompt = render_chat([*system, *((one.role, text_of(one.content)) for one in request.messages)])
        return GenerationRequest(
            prompt=prompt,
            max_tokens=cut(request.max_tokens, len(prompt), self.max_model_len),
            min_tokens=0,
            ignore_eos=False,
            stream=bool(request.stream),
            include_usage=True,
            model=request.model,
        )

    def writer(self, generation: GenerationRequest, request_id: str, created_s: int) -> AnswerWriter:
        return _AnthropicWriter(generation, request_id, self.style)

    def stream_headers(self, generation: GenerationRequest, request_id: str) -> dict[str, str]:
        return {"request-id": f"req_{request_id}"}

    def pages(self) -> dict[str, PageResponse | Show]:
        created = datetime.fromtimestamp(self.created_s, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        card = {"type": "model", "id": self.model, "display_name": self.model, "created_at": created}
        listed = {"data": [card], "has_more": False, "first_id": self.model, "last_id": self.model}
        return {"/v1/models": page(listed)}

    def problem(self, problem: Problem) -> PageResponse:
        if problem.kind == "model":
            return _error(404, f"model: {problem.value}", "not_found_error")
        return _error(400, problem.message, "invalid_request_error")

    def unauthorized(self) -> PageResponse:
        return _error(401, "invalid x-api-key", "authentication_error")

    def overloaded(self, stream: bool) -> PageResponse:
        return _error(529, "Overloaded", "overloaded_error")

    def internal_error(self) -> PageResponse:
        return _error(500, INTERNAL, "api_error")

    def not_found(self) -> PageResponse:
        return _error(404, "Not found", "not_found_error")

    def wrong_method(self, allow: str) -> PageResponse:
        return _error(405, "Method Not Allowed", "invalid_request_error")


class _AnthropicWriter:
    """Text and thinking are blocks of their own, each opened before its first delta and closed after its last."""

    def __init__(self, generation: GenerationRequest, request_id: str, style: Style) -> None:
        self._style = style
        self._id = f"msg_{request_id}"
        self._model = generation.model
        self._prompt_tokens = len(generation.prompt)
        self._block = -1
        self._kind = ""
        self._delta = self._around()

    def _event(self, name: str, **fields: Any) -> bytes:
        return self._style.event(msgspec.json.encode({"type": name} | fields), name.encode())

    def _around(self) -> Around:
        field = "thinking" if self._kind == "thinking" else "text"
        delta = {"type": f"{field}_delta", field: "\0"}
        event = self._event("content_block_delta", index=max(self._block, 0), delta=delta)
        return Around(event.replace(b"\\u0000", HOLE))

    def opening(self) -> bytes:
        usage = {"input_tokens": self._prompt_tokens, "output_tokens": 1}
        message = self._message([], None) | {"usage": usage}
        return self._event("message_start", message=message)

    def _message(self, content: list[dict[str, str]], reason: str | None) -> dict[str, Any]:
        return {
            "id": self._id,
            "type": "message",
            "role": "assistant",
            "content": content,
            "model": self._model,
            "stop_reason": reason,
            "stop_sequence": None,
        }

    def _enter(self, kind: str) -> bytes:
        """Close the block that is open, and open one of this kind."""
        if kind == self._kind:
            return b""
        closed = self._leave()
        self._block, self._kind = self._block + 1, kind
        self._delta = self._around()
        block = {"type": kind, kind: ""}
        opened = self._event("content_block_start", index=self._block, content_block=block)
        ping = self._style.event(b'{"type":"ping"}', b"ping") if self._block == 0 else b""
        return closed + opened + ping

    def _leave(self) -> bytes:
        return self._event("content_block_stop", index=self._block) if self._kind else b""

    def tokens(self, pieces: list[str], reasoning: bool) -> bytes:
        text = "".join(pieces)
        if not text:
            return b""
        return self._enter("thinking" if reasoning else "text") + self._delta.text(text)

    def ending(self, pieces: list[str], reasoning: bool, finish_reason: str, usage: Usage) -> list[bytes]:
        delta = {"stop_reason": _REASONS[finish_reason], "stop_sequence": None}
        counts = {"output_tokens": usage.output_tokens}
        return [
            self.tokens(pieces, reasoning),
            self._leave(),
            self._event("message_delta", delta=delta, usage=counts),
            self._event("message_stop"),
        ]

    def failure(self) -> list[bytes]:
        return [self._event("error", error={"type": "overloaded_error", "message": "Overloaded"})]

    def whole(self, text: str, reasoning: str, finish_reason: str, usage: Usage) -> PageResponse:
        thought = [{"type": "thinking", "thinking": reasoning}] if reasoning else []
        counts = {"input_tokens": usage.prompt_tokens, "output_tokens": usage.output_tokens}
        content = [*thought, {"type": "text", "text": text}]
        return page(self._message(content, _REASONS[finish_reason]) | {"usage": counts})


def _error(status: int, message: str, kind: str) -> PageResponse:
    return page({"type": "error", "error": {"type": kind, "message": message}}, status)
