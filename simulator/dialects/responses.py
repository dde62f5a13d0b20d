"""OpenAI's responses, from its public API reference: typed events, each with its number, and no `[DONE]`.

response.created and response.in_progress go out before anything is computed. Reasoning is an output item of its own
before the message. An answer that its limit ends is response.incomplete, one that fails in mid-stream response.failed;
a failure before the first event is an `error` event.

Not verified on the wire: everything; in particular which of the response object's fields each engine has. llama.cpp
itself (xllamacpp 2026.10) numbers no events, and ends an answer at its limit with response.completed.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any
from zlib import crc32

import msgspec

from tokenswarm.simulator.dialect import AnswerWriter, Dialect, GenerationRequest, PageResponse, Style, Usage
from tokenswarm.simulator.dialects.at_endpoint import PADDING, EndpointDialect
from tokenswarm.simulator.dialects.requests import INTERNAL, names, page, parse

#: Fields that chat does not have, or has with another meaning.
_OWN_FIELDS = names(
    "input instructions max_output_tokens include reasoning text truncation previous_response_id conversation"
    " background max_tool_calls prompt context_management stream_options ignore_eos min_tokens"
)
_TEXT_PARTS = ("input_text", "output_text", "text")
_ERROR = {"code": "server_error", "message": INTERNAL}


class _InputPart(msgspec.Struct):
    type: str
    text: str | None = None


class _InputItem(msgspec.Struct):
    role: str = "user"
    content: str | list[_InputPart] | None = None


class _ResponsesOptions(msgspec.Struct):
    include_obfuscation: bool | None = True


class _ResponsesBody(msgspec.Struct):
    input: str | list[_InputItem]
    instructions: str | None = None
    max_output_tokens: int | None = None
    stream_options: _ResponsesOptions | None = None


class ResponsesDialect(EndpointDialect):
    path = "/v1/responses"

    def __init__(self, chat: Dialect) -> None:
        super().__init__(chat)
        self.traits = replace(self.traits, role="early" if chat.traits.head_at_once else "first")

    def understand(self, body: bytes, headers: Mapping[str, str]) -> GenerationRequest:
        request = parse(body, _ResponsesBody)
        fields = {name: value for name, value in parse(body, dict[str, Any]).items() if name not in _OWN_FIELDS}
        fields["messages"] = _messages_of(request)
        if request.max_output_tokens is not None:
            fields["max_tokens"] = request.max_output_tokens
        if request.stream_options is not None:
            fields["stream_options"] = {"include_obfuscation": request.stream_options.include_obfuscation}
        return replace(self.read_as_chat(fields, headers), include_usage=True)

    def writer(self, generation: GenerationRequest, request_id: str, created_s: int) -> AnswerWriter:
        return _ResponsesWriter(generation, request_id, created_s, self.style)


def _messages_of(request: _ResponsesBody) -> list[dict[str, str]]:
    system = [] if request.instructions is None else [{"role": "system", "content": request.instructions}]
    items = [_InputItem(content=request.input)] if isinstance(request.input, str) else request.input
    return [*system, *({"role": item.role, "content": _text_of(item.content)} for item in items)]


def _text_of(content: str | list[_InputPart] | None) -> str:
    if isinstance(content, list):
        return "\n".join(part.text or "" for part in content if part.type in _TEXT_PARTS)
    return content or ""


class _ResponsesWriter:
    """Reasoning and text are output items of their own, each added before its first delta and done after its last."""

    def __init__(self, generation: GenerationRequest, request_id: str, created_s: int, style: Style) -> None:
        self._style = style
        self._generation = generation
        self._id = request_id
        self._created_s = created_s
        self._events_sent = 0
        self._output: list[dict[str, Any]] = []
        self._open: list[str] = []  # the texts of the item that is open
        self._kind = ""  # of that item: reasoning or message
        self._reasoning_tokens = 0

    def _event(self, name: str, **fields: Any) -> bytes:
        document = {"type": name, "sequence_number": self._events_sent} | fields
        self._events_sent += 1
        return self._style.event(msgspec.json.encode(document), name.encode())

    def _response(self, status: str, **fields: Any) -> dict[str, Any]:
        document = {
            "id": f"resp_{self._id}",
            "object": "response",
            "created_at": self._created_s,
            "status": status,
            "error": None,
            "incomplete_details": None,
            "max_output_tokens": self._generation.max_tokens,
            "model": self._generation.model,
            "output": list(self._output),
            "usage": None,
        }
        return document | fields

    def opening(self) -> bytes:
        response = self._response("in_progress")
        return self._event("response.created", response=response) + self._event(
            "response.in_progress", response=response
        )

    def tokens(self, pieces: list[str], reasoning: bool) -> bytes:
        text = "".join(pieces)
        if reasoning:
            self._reasoning_tokens += len(pieces)
        if not text:
            return b""
        entered = self._enter("reasoning" if reasoning else "message")
        self._open.append(text)
        # OpenAI's own pads its events.
        padding = {"obfuscation": PADDING[: 1 + crc32(text.encode()) % len(PADDING)]} if self._generation.extras else {}
        name = "response.reasoning_text.delta" if reasoning else "response.output_text.delta"
        logprobs: dict[str, Any] = {} if reasoning else {"logprobs": []}
        return entered + self._event(name, **self._place(), content_index=0, delta=text, **logprobs, **padding)

    def _place(self) -> dict[str, Any]:
        return {"item_id": self._item_id(), "output_index": len(self._output)}

    def _item_id(self) -> str:
        return f"{'rs' if self._kind == 'reasoning' else 'msg'}_{self._id}"

    def _item(self, status: str, content: list[dict[str, Any]]) -> dict[str, Any]:
        item: dict[str, Any] = {"id": self._item_id(), "type": self._kind, "status": status, "content": content}
        of_kind: dict[str, Any] = {"summary": []} if self._kind == "reasoning" else {"role": "assistant"}
        return item | of_kind

    def _part(self, text: str) -> dict[str, Any]:
        if self._kind == "reasoning":
            return {"type": "reasoning_text", "text": text}
        return {"type": "output_text", "annotations": [], "logprobs": [], "text": text}

    def _enter(self, kind: str) -> bytes:
        """End the item that is open, and begin one of this kind."""
        if kind == self._kind:
            return b""
        ended = self._leave("completed")
        self._kind = kind
        place = self._place()
        return (
            ended
            + self._event(
                "response.output_item.added",
                output_index=place["output_index"],
                item=self._item("in_progress", []),
            )
            + self._event("response.content_part.added", **place, content_index=0, part=self._part(""))
        )

    def _leave(self, status: str) -> bytes:
        if not self._kind:
            return b""
        text, place = "".join(self._open), self._place()
        name = "response.reasoning_text.done" if self._kind == "reasoning" else "response.output_text.done"
        item = self._item(status, [self._part(text)])
        ended = (
            self._event(name, **place, content_index=0, text=text)
            + self._event("response.content_part.done", **place, content_index=0, part=self._part(text))
            + self._event("response.output_item.done", output_index=place["output_index"], item=item)
        )
        self._output.append(item)
        self._open, self._kind = [], ""
        return ended

    def ending(self, pieces: list[str], reasoning: bool, finish_reason: str, usage: Usage) -> list[bytes]:
        last = self.tokens(pieces, reasoning)
        status, why = _end_of(finish_reason)
        left = self._leave(status)
        counts = self._usage(usage) if self._generation.include_usage else None
        response = self._response(status, incomplete_details=why, usage=counts)
        return [last, left, self._event(f"response.{status}", response=response)]

    def failure(self) -> list[bytes]:
        if not self._events_sent:
            return [self._event("error", **_ERROR, param=None)]
        return [self._event("response.failed", response=self._response("failed", error=_ERROR))]

    def whole(self, text: str, reasoning: str, finish_reason: str, usage: Usage) -> PageResponse:
        status, why = _end_of(finish_reason)
        for kind, content in (("reasoning", reasoning), ("message", text)):
            if content:
                self._enter(kind)
                self._open = [content]
                self._leave(status)
        return page(self._response(status, incomplete_details=why, usage=self._usage(usage)))

    def _usage(self, usage: Usage) -> dict[str, Any]:
        return {
            "input_tokens": usage.prompt_tokens,
            "input_tokens_details": {"cached_tokens": usage.cached_tokens},
            "output_tokens": usage.output_tokens,
            "output_tokens_details": {"reasoning_tokens": self._reasoning_tokens},
            "total_tokens": usage.prompt_tokens + usage.output_tokens,
        }


def _end_of(finish_reason: str) -> tuple[str, dict[str, str] | None]:
    """The response's status and its incomplete_details."""
    if finish_reason == "length":
        return "incomplete", {"reason": "max_output_tokens"}
    return "completed", None
