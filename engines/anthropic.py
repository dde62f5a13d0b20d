"""Anthropic's messages: named events, whose names their data repeat, from message_start to message_stop."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import msgspec

from engines.decoding import DocumentDecoder
from engines.errors import words_of
from engines.records import ChatRequest, Delta, Engine, SystemPrompt
from engines.sse import EventSplitter

_VERSION = "2023-06-01"


class _Usage(msgspec.Struct, gc=False):
    input_tokens: int | None = None
    output_tokens: int | None = None


class _Message(msgspec.Struct, gc=False):
    usage: _Usage | None = None


class _Delta(msgspec.Struct, gc=False):
    text: str | None = None
    thinking: str | None = None
    partial_json: str | None = None
    stop_reason: str | None = None


class _Event(msgspec.Struct, gc=False):
    type: str = ""
    message: _Message | None = None
    delta: _Delta | None = None
    usage: _Usage | None = None
    error: Any = None


_read = msgspec.json.Decoder(_Event, strict=False).decode
_NOTHING = _Delta()


class AnthropicDecoder(DocumentDecoder[_Event]):
    """Deltas of one response. Pings and events of unknown names add nothing, as the protocol wants it."""

    def __init__(self) -> None:
        super().__init__(EventSplitter(), _read)

    def _delta(self, document: _Event) -> Delta:
        if document.type == "error":
            return Delta(error=words_of(document.error))
        if document.type == "message_start":
            usage = document.message.usage if document.message else None
            return Delta(prompt_tokens=usage.input_tokens if usage else None)
        delta = document.delta or _NOTHING
        if document.type == "content_block_delta":
            return Delta(delta.text or "", delta.thinking or "", delta.partial_json or "")
        if document.type == "message_delta":
            output_tokens = document.usage.output_tokens if document.usage else None
            return Delta(output_tokens=output_tokens, finish_reason=delta.stop_reason)
        return Delta(done=document.type == "message_stop")


@dataclass(frozen=True, kw_only=True)
class Anthropic(Engine):
    """The system prompt is a field of its own."""

    def headers(self, api_key: str) -> dict[str, str]:
        """The key goes into a header of Anthropic's own."""
        return {"anthropic-version": _VERSION} | ({"x-api-key": api_key} if api_key else {})

    def request_body(self, request: ChatRequest) -> bytes:
        """JSON."""
        system = {} if request.system_prompt is None else {"system": request.system_prompt}
        body = {
            "model": request.model,
            **system,
            "messages": request.turns,
            "max_tokens": request.max_tokens,
            "stream": True,
        }
        return msgspec.json.encode(body)

    def decoder(self) -> AnthropicDecoder:
        """A fresh decoder for one response."""
        return AnthropicDecoder()


ANTHROPIC = Anthropic(
    name="anthropic",
    path="/v1/messages",
    default_port=443,
    health_path=None,
    metrics_path=None,
    system_prompt=SystemPrompt.FIELD,
)
