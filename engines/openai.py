"""The OpenAI-compatible chat dialect, as vLLM and its kin stream it.

One `data:` event a step, `data: [DONE]` at the end. A first event may carry the role alone; a last one, with
`choices: []`, the usage. Failures inside the stream come as an event with an `error`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import msgspec

from engines.pages import looks_like_a_page, words_of_page
from engines.records import ChatRequest, Delta, StreamBroken
from engines.sse import EventSplitter

_MESSAGE_CHARACTERS = 300


class _Function(msgspec.Struct, gc=False):
    arguments: str | None = None


class _ToolCall(msgspec.Struct, gc=False):
    function: _Function | None = None


class _ChoiceDelta(msgspec.Struct, gc=False):
    content: str | None = None
    # vLLM: newest `reasoning`, older `reasoning_content`, some versions both with the same text.
    reasoning: str | None = None
    reasoning_content: str | None = None
    tool_calls: list[_ToolCall] | None = None


class _Choice(msgspec.Struct, gc=False):
    delta: _ChoiceDelta | None = None
    finish_reason: str | None = None


class _Usage(msgspec.Struct, gc=False):
    prompt_tokens: int | None = None
    completion_tokens: int | None = None


class _Chunk(msgspec.Struct, gc=False):
    choices: list[_Choice] | None = None
    usage: _Usage | None = None
    error: Any = None
    # Older servers report a failure as a flat object: {"object": "error", "message": ...}.
    object: str | None = None
    message: str | None = None


_decode_chunk = msgspec.json.Decoder(_Chunk, strict=False).decode  # 3.0 tokens are 3
_DONE = Delta(done=True)


class OpenAIDecoder:
    """Deltas of one stream."""

    def __init__(self) -> None:
        self._events = EventSplitter()
        self._events_seen = 0
        self._broken: StreamBroken | None = None

    def feed(self, data: bytes) -> list[Delta]:
        """Deltas of the events that these bytes complete. Raises StreamBroken; where good events came first in the same
        bytes, only at the next call, as what is read shall not depend on how the bytes were cut."""
        self._check()
        deltas: list[Delta] = []
        try:
            for event in self._events.feed(data):
                deltas.append(self._delta(event))  # noqa: PERF401 - those before a broken event are kept
        except StreamBroken as broken:
            self._broken = broken
            if not deltas:
                raise
        return deltas

    def end(self) -> list[Delta]:
        """Nothing is left over in this dialect, unless the body ended inside an event: then StreamBroken."""
        self._check()
        rest = self._events.pending
        # The terminator is whole even where the blank line behind it is missing; any other event would not be.
        leftover = [event.strip() for event in self._events.feed(b"\n\n")]
        if leftover == [b"[DONE]"]:
            return [_DONE]
        if any(line and not line.startswith(b":") for line in rest.split(b"\n")):
            raise StreamBroken(f"the stream ended inside an event: {rest.strip()[:60]!r}")
        return []

    def _check(self) -> None:
        if self._broken is not None:
            raise self._broken

    def _delta(self, event: bytes) -> Delta:
        self._events_seen += 1
        if event == b"[DONE]":
            return _DONE
        try:
            chunk = _decode_chunk(event)
        except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
            return self._odd(event.strip(), error)
        choices = chunk.choices
        if choices is None or len(choices) != 1 or chunk.usage is not None or chunk.error is not None:
            return _delta_of(chunk)
        choice = choices[0]
        delta = choice.delta
        if delta is None or delta.tool_calls is not None:
            return _delta_of(chunk)
        return Delta(  # one choice, text or reasoning or neither, nothing else: nearly every event
            delta.content or "", delta.reasoning or delta.reasoning_content or "", finish_reason=choice.finish_reason
        )

    def _odd(self, event: bytes, error: Exception) -> Delta:
        if event == b"[DONE]":
            return _DONE
        if not event:
            return Delta()
        if isinstance(error, UnicodeDecodeError):
            raise StreamBroken(f"an event is not UTF-8: {event[:60]!r}") from None
        start = event[:80].decode("utf-8", "replace")
        raise StreamBroken(f"event {self._events_seen} is no chat chunk: {error}: {start!r}") from None


def _delta_of(chunk: _Chunk) -> Delta:
    if chunk.error is not None:
        return Delta(error=_words(chunk.error))
    if chunk.object == "error":
        return Delta(error=_words(chunk.message))
    text = reasoning = tool_arguments = ""
    finish_reason = None
    for choice in chunk.choices or ():
        finish_reason = choice.finish_reason or finish_reason
        delta = choice.delta
        if delta is None:
            continue
        text += delta.content or ""
        reasoning += delta.reasoning or delta.reasoning_content or ""
        for call in delta.tool_calls or ():
            tool_arguments += (call.function.arguments or "") if call.function else ""
    usage = chunk.usage
    return Delta(
        text,
        reasoning,
        tool_arguments,
        None,
        usage.prompt_tokens if usage else None,
        usage.completion_tokens if usage else None,
        finish_reason,
    )


def _words(error: Any) -> str:
    """The message inside an error of any of the shapes in use: an object with a message, a string, anything."""
    if isinstance(error, dict):
        message = error.get("message", error.get("error"))
        return _words(message if message is not None else msgspec.json.encode(error).decode())
    return _shortened(str(error)) or "the server reported an error without a message"


def _shortened(text: str) -> str:
    text = " ".join(text.split())
    return text if len(text) <= _MESSAGE_CHARACTERS else text[: _MESSAGE_CHARACTERS - 1] + "…"


@dataclass(frozen=True, slots=True)
class OpenAICompatible:
    """An engine that speaks this dialect; the fields are where such engines differ."""

    name: str
    honours_ignore_eos: bool
    path: str = "/v1/chat/completions"
    content_type: str = "text/event-stream"

    def request_body(self, request: ChatRequest) -> bytes:
        """JSON; usage is always asked for, as its default differs between versions of one server."""
        messages = [{"role": "user", "content": request.prompt}]
        if request.system_prompt is not None:
            messages.insert(0, {"role": "system", "content": request.system_prompt})
        body: dict[str, Any] = {
            "model": request.model,
            "messages": messages,
            "max_tokens": request.max_tokens,
            "stream": True,
            "stream_options": {"include_usage": True},
        }
        if request.ignore_eos:
            body |= {"ignore_eos": True, "min_tokens": request.max_tokens}
        return msgspec.json.encode(body)

    def decoder(self) -> OpenAIDecoder:
        """A fresh decoder for one response."""
        return OpenAIDecoder()

    def error_message(self, body: bytes) -> str:
        """The server's own words: `error.message`, `error`, `message` or `detail`, or a page's title; else the body's
        beginning."""
        try:
            document = msgspec.json.decode(body)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            text = body.decode("utf-8-sig", "replace")
            return _shortened(words_of_page(text) if looks_like_a_page(text) else text) or "no message"
        if isinstance(document, dict):
            for key in ("error", "message", "detail"):
                if document.get(key):
                    return _words(document[key])
            if document.get("choices"):
                return "the server answered without streaming"
        return _shortened(body.decode("utf-8", "replace"))


OPENAI = OpenAICompatible("openai", honours_ignore_eos=False)
VLLM = OpenAICompatible("vllm", honours_ignore_eos=True)
