"""Anthropic's messages: named events, whose names their data repeat, from message_start to message_stop."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import msgspec

from tokenswarm.engines.decoding import DocumentDecoder
from tokenswarm.engines.detection import Clue, Detection, Strength
from tokenswarm.engines.engine_spec import ChatRequest, Delta, EngineSpec
from tokenswarm.engines.errors import error_text
from tokenswarm.engines.server_pages import MODELS, ServerPages, json_document
from tokenswarm.engines.sse import EventSplitter

_VERSION = "2023-06-01"


class _AnthropicUsage(msgspec.Struct, gc=False):
    input_tokens: int | None = None
    output_tokens: int | None = None


class _AnthropicMessage(msgspec.Struct, gc=False):
    usage: _AnthropicUsage | None = None


class _Delta(msgspec.Struct, gc=False):
    text: str | None = None
    thinking: str | None = None
    partial_json: str | None = None
    stop_reason: str | None = None


class _AnthropicEvent(msgspec.Struct, gc=False):
    type: str = ""
    message: _AnthropicMessage | None = None
    delta: _Delta | None = None
    usage: _AnthropicUsage | None = None
    error: Any = None


_read = msgspec.json.Decoder(_AnthropicEvent, strict=False).decode
_NOTHING = _Delta()


class AnthropicDecoder(DocumentDecoder[_AnthropicEvent]):
    """Deltas of one response. Pings and events of unknown names add nothing, as the protocol wants it."""

    def __init__(self) -> None:
        super().__init__(EventSplitter(), _read)

    def _delta(self, document: _AnthropicEvent) -> Delta:
        if document.type == "error" or document.error:
            return Delta(error=error_text(document.error))
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
class Anthropic(EngineSpec):
    """The system prompt is a field of its own."""

    def headers(self, api_key: str) -> dict[str, str]:
        """The key goes into a header of Anthropic's own."""
        return {"anthropic-version": _VERSION} | ({"x-api-key": api_key} if api_key else {})

    def body_fields(self, request: ChatRequest) -> dict[str, Any]:
        """JSON."""
        system = {} if request.system_prompt is None else {"system": request.system_prompt}
        return {
            "model": request.model,
            **system,
            "messages": request.turns,
            "max_tokens": request.max_tokens,
            "stream": True,
        }

    def decoder(self) -> AnthropicDecoder:
        """A fresh decoder for one response."""
        return AnthropicDecoder()


def _models_shape(pages: ServerPages) -> str | None:
    response = pages.get(MODELS)
    document = json_document(response.body) if response else None
    if isinstance(document, dict) and document.get("type") == "error" and isinstance(document.get("error"), dict):
        return f"GET {MODELS}: an error in Anthropic's shape"
    if any(model.get("type") == "model" and "display_name" in model for model in pages.listed_models()):
        return f"GET {MODELS}: models in Anthropic's shape"
    return None


ANTHROPIC = Anthropic(
    name="anthropic",
    finish_reasons=frozenset(
        {
            "end_turn",
            "max_tokens",
            "stop_sequence",
            "tool_use",
            "pause_turn",
            "refusal",
            "model_context_window_exceeded",
        }
    ),
    path="/v1/messages",
    sampling_names={"temperature": "temperature", "top_p": "top_p", "top_k": "top_k", "stop": "stop_sequences"},
    health_path=None,
    detection=Detection(clues=(Clue(Strength.MODELS_SHAPE, _models_shape),)),
)
