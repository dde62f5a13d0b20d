"""OpenAI's responses: typed events, from response.created to response.completed, response.incomplete or
response.failed. The type stands in the data too; events of other types add nothing, as the protocol wants it."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

import msgspec

from tokenswarm.engines.decoding import DocumentDecoder
from tokenswarm.engines.engine_spec import ChatRequest, Delta
from tokenswarm.engines.errors import error_text, is_failure
from tokenswarm.engines.openai import OpenAICompatible, detail
from tokenswarm.engines.sampling_fields import Sampling, fields_of
from tokenswarm.engines.sse import EventSplitter


class _ResponseUsage(msgspec.Struct, gc=False):
    input_tokens: int | None = None
    output_tokens: int | None = None
    input_tokens_details: Any = None
    output_tokens_details: Any = None


class _IncompleteDetails(msgspec.Struct, gc=False):
    reason: str | None = None


class _ResponseObject(msgspec.Struct, gc=False):
    status: str | None = None
    usage: _ResponseUsage | None = None
    incomplete_details: _IncompleteDetails | None = None
    error: Any = None


class _ResponseEvent(msgspec.Struct, gc=False):
    type: str = ""
    object: str | None = None
    delta: Any = None  # a text in the events that are read here, something else in others
    response: _ResponseObject | None = None
    message: Any = None
    error: Any = None


_decode = msgspec.json.Decoder(_ResponseEvent, strict=False).decode
#: The events that hold new characters, and what of the answer these are.
_OUTPUTS = {
    "response.output_text.delta": "text",
    "response.refusal.delta": "text",
    "response.reasoning_text.delta": "reasoning",
    "response.reasoning_summary_text.delta": "reasoning",
    "response.reasoning.delta": "reasoning",
    "response.function_call_arguments.delta": "tool_arguments",
    "response.custom_tool_call_input.delta": "tool_arguments",
    "response.mcp_call_arguments.delta": "tool_arguments",
}
#: The finish reasons of chat for the same ends.
_FINISH_REASONS = {"max_output_tokens": "length", "max_tokens": "length"}
_NOTHING = Delta()
_ENDS = {"response.completed", "response.incomplete", "response.cancelled"}


def _read(event: bytes) -> _ResponseEvent:
    """Some servers end these streams too as they end those of chat."""
    return _ResponseEvent(type="[DONE]") if event.strip() == b"[DONE]" else _decode(event)


def _is_document(data: bytes) -> bool:
    """Whether the data of an event with a name may be one of this protocol's; a ping's, say, is not."""
    return data.lstrip().startswith(b"{") or data.strip() == b"[DONE]"


class ResponsesDecoder(DocumentDecoder[_ResponseEvent]):
    """Deltas of one response."""

    def __init__(self) -> None:
        self._events = EventSplitter(reads_named=_is_document)
        super().__init__(self._events, _read)

    @property
    def skipped_events(self) -> int:
        """See StreamDecoder."""
        return self._events.skipped

    def _delta(self, document: _ResponseEvent) -> Delta:
        kind, response = document.type, document.response
        if isinstance(document.delta, str) and (field := _OUTPUTS.get(kind)):
            return msgspec.structs.replace(_NOTHING, **{field: document.delta})
        if kind in _ENDS and response is not None:
            return _end_of(response)
        if kind == "response.failed":
            return Delta(error=error_text((response and response.error) or document.error or ""))
        if is_failure(document.error, beside_output=bool(kind)) or "error" in (kind, document.object):
            return Delta(error=error_text(document.error or document.message or ""))
        return Delta(done=kind == "[DONE]")


def _end_of(response: _ResponseObject) -> Delta:
    reason = response.incomplete_details.reason if response.incomplete_details else None
    ended = "stop" if response.status in (None, "completed") else response.status
    usage = response.usage
    return Delta(
        prompt_tokens=usage.input_tokens if usage else None,
        output_tokens=usage.output_tokens if usage else None,
        finish_reason=_FINISH_REASONS.get(reason, reason) if reason else ended,
        done=True,
        cached_tokens=detail(usage.input_tokens_details, "cached_tokens") if usage else None,
        reasoning_tokens=detail(usage.output_tokens_details, "reasoning_tokens") if usage else None,
    )


@dataclass(frozen=True, kw_only=True)
class OpenAIResponses(OpenAICompatible):
    """An OpenAI-compatible engine at its responses endpoint. The system prompt goes as `instructions`."""

    path: str = "/v1/responses"
    max_tokens_field: str = "max_output_tokens"

    def input_fields(self, request: ChatRequest) -> dict[str, Any]:
        """Messages without the system prompt, and that."""
        system = {} if request.system_prompt is None else {"instructions": request.system_prompt}
        if request.image is None:
            return {"input": request.turns} | system
        *before, prompt = request.turns
        text = {"type": "input_text", "text": prompt["content"]}
        # Some servers refuse an image without `detail`; this is its default.
        image = {"type": "input_image", "image_url": request.image.json, "detail": "auto"}
        return {"input": [*before, {**prompt, "content": [text, image]}]} | system

    def sampling_fields(self, sampling: Sampling) -> dict[str, Any]:
        """See EngineSpec."""
        return fields_of(sampling, self.sampling_names, "of --endpoint responses")

    def decoder(self) -> ResponsesDecoder:  # type: ignore[override]
        """A fresh decoder for one response."""
        return ResponsesDecoder()


#: Chat's other sampling fields are not in this protocol.
_SAMPLING = ("temperature", "top_p")


def responses_of(engine: OpenAICompatible) -> OpenAIResponses:
    """The engine at its responses endpoint."""
    own = {each.name: getattr(engine, each.name) for each in fields(engine)}
    changed: dict[str, Any] = {
        "path": "/v1/responses",
        "max_tokens_field": "max_output_tokens",
        "takes_tool_turns": False,
        "requests_usage": False,
        "exact_length": None,
        "no_exact_length": "requests of --endpoint responses have no such field; leave it out",
        "sampling_names": {name: name for name in _SAMPLING},
    }
    return OpenAIResponses(**(own | changed))
