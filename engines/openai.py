"""The OpenAI-compatible chat dialect, as vLLM and its kin stream it.

One `data:` event a step, `data: [DONE]` at the end. A first event may carry the role alone; a last one, with
`choices: []`, the usage. Failures inside the stream come as an event with an `error`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from tokenswarm.engines.engine_spec import (
    EMPTY_BATCH,
    FINISH_REASONS,
    ChatRequest,
    Delta,
    EngineSpec,
    StreamBroken,
    TokenBatch,
)
from tokenswarm.engines.errors import error_text, is_failure
from tokenswarm.engines.fast_path import EventTemplate
from tokenswarm.engines.sse import EventSplitter, is_error


class _Function(msgspec.Struct, gc=False):
    arguments: str | None = None


class _ToolCall(msgspec.Struct, gc=False):
    function: _Function | None = None


class _ChoiceDelta(msgspec.Struct, gc=False):
    # Some servers send a list of typed parts, or one such part.
    content: str | list[Any] | dict[str, Any] | None = None
    # vLLM: newest `reasoning`, older `reasoning_content`, some versions both with the same text.
    reasoning: str | list[Any] | dict[str, Any] | None = None
    reasoning_content: str | list[Any] | dict[str, Any] | None = None
    tool_calls: list[_ToolCall] | None = None


class _Choice(msgspec.Struct, gc=False):
    delta: _ChoiceDelta | None = None
    # Of completions.
    text: str | None = None
    finish_reason: str | None = None
    error: Any = None


class _OpenAIUsage(msgspec.Struct, gc=False):
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    # Any, as not every server has the same in it, and an event must not break over a detail.
    prompt_tokens_details: Any = None
    completion_tokens_details: Any = None

    @property
    def cached_tokens(self) -> int | None:
        """Prompt tokens found in the prefix cache, None where the server does not say."""
        return detail(self.prompt_tokens_details, "cached_tokens")

    @property
    def reasoning_tokens(self) -> int | None:
        """Output tokens that are reasoning, None where the server does not say."""
        return detail(self.completion_tokens_details, "reasoning_tokens")


def detail(details: Any, key: str) -> int | None:
    """A number in the details of a usage, None where there is none."""
    value = details.get(key) if isinstance(details, dict) else None
    return value if isinstance(value, int) else None


class _Chunk(msgspec.Struct, gc=False):
    choices: list[_Choice] | None = None
    usage: _OpenAIUsage | None = None
    error: Any = None
    # Older servers report a failure as a flat object: {"object": "error", "message": ...}.
    object: str | None = None
    message: str | None = None


#: Parts of a content that are the model's reasoning, by their type.
_REASONING_PARTS = {"thinking", "reasoning", "reasoning_text", "reasoning.text", "summary_text"}
#: Where the text of a part stands, by the first that it has.
_PART_TEXTS = ("text", "thinking", "reasoning", "summary", "refusal", "content")
#: Parts hold parts, but not deeper than this.
_MOST_PART_DEPTH = 4


_decode_chunk = msgspec.json.Decoder(_Chunk, strict=False).decode  # 3.0 tokens are 3
_DONE = Delta(done=True)


class OpenAIDecoder:
    """Deltas of one stream."""

    def __init__(self) -> None:
        self._events = EventSplitter(reads_named=_is_chunk)
        self._template = EventTemplate(_read_event)
        self._events_seen = 0
        self._broken: StreamBroken | None = None

    def feed(self, data: bytes) -> list[Delta]:
        """Deltas of the events that these bytes complete. Raises StreamBroken; where good events came first in the same
        bytes, only at the next call, as what is read shall not depend on how the bytes were cut."""
        if self._broken is not None:
            raise self._broken
        if not data:
            return []
        between = self._events.between
        if between and (batch := self._template.read(data)) is not None:
            self._events_seen += len(batch)
            return batch
        deltas: list[Delta] = []
        try:
            for event in self._events.feed(data):
                deltas.append(self._delta(event))  # noqa: PERF401 - those before a broken event are kept
        except StreamBroken as broken:
            self._broken = broken
            if not deltas:
                raise
        if between and deltas:
            self._template.learn(data, deltas[-1])
        return deltas

    def decode_batch(self, datas: Sequence[bytes]) -> TokenBatch:
        """See StreamDecoder."""
        if self._broken is not None or not self._events.between:
            return EMPTY_BATCH
        batch = self._template.outputs_of_each(datas)
        self._events_seen += len(batch.texts)
        return batch

    def end(self) -> list[Delta]:
        """Nothing is left over in this dialect, unless the body ended inside an event: then StreamBroken."""
        if self._broken is not None:
            raise self._broken
        rest = self._events.pending
        # The terminator and an error are whole even where the blank line behind them is missing; any other event would
        # not be.
        leftover = [event.strip() for event in self._events.feed(b"\n\n")]
        if leftover == [b"[DONE]"]:
            return [_DONE]
        if (error := _error_of(leftover)) is not None:
            return [error]
        if any(line and not line.startswith(b":") for line in rest.split(b"\n")):
            raise StreamBroken(f"the stream ended inside an event: {rest.strip()[:60]!r}")
        return []

    @property
    def skipped_events(self) -> int:
        """See StreamDecoder."""
        return self._events.skipped

    def _delta(self, event: bytes) -> Delta:
        self._events_seen += 1
        if event == b"[DONE]":
            return _DONE
        try:
            return _read_event(event)
        except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
            return self._odd(event.strip(), error)

    def _odd(self, event: bytes, error: Exception) -> Delta:
        if event == b"[DONE]":
            return _DONE
        if not event:
            return Delta()
        if isinstance(error, UnicodeDecodeError):
            raise StreamBroken(f"an event is not UTF-8: {event[:60]!r}") from None
        start = event[:80].decode("utf-8", "replace")
        raise StreamBroken(f"event {self._events_seen} is no chat chunk: {error}: {start!r}") from None


def _is_chunk(data: bytes) -> bool:
    """Whether the data of an event with a name of its own is what this dialect sends without one."""
    if data.strip() == b"[DONE]":
        return True
    try:
        document = msgspec.json.decode(data)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
        return False
    if not isinstance(document, dict):
        return False
    return isinstance(document.get("choices"), list) or bool(document.get("usage")) or is_error(document)


def _error_of(events: Sequence[bytes]) -> Delta | None:
    """The failure that the last of these events reports, None where it is none."""
    try:
        delta = _read_event(events[-1]) if events else Delta()
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
        return None
    return delta if delta.error is not None else None


def _read_event(event: bytes) -> Delta:
    chunk = _decode_chunk(event)
    choices = chunk.choices
    if choices is None or len(choices) != 1 or chunk.usage is not None or chunk.error is not None:
        return _delta_of(chunk)
    choice = choices[0]
    delta = choice.delta
    if delta is None and choice.error is None:  # of completions
        return Delta(choice.text or "", "", "", None, None, None, choice.finish_reason or None)
    if delta is None or delta.tool_calls is not None or choice.error is not None:
        return _delta_of(chunk)
    # One choice, text or reasoning or neither, nothing else: nearly every event.
    text, reasoning = delta.content or "", delta.reasoning or delta.reasoning_content or ""
    if text.__class__ is not str or reasoning.__class__ is not str:
        return _delta_of(chunk)
    return Delta(text, reasoning, "", None, None, None, choice.finish_reason or None)


def _delta_of(chunk: _Chunk) -> Delta:
    if is_failure(chunk.error, beside_output=chunk.choices is not None):
        return Delta(error=error_text(chunk.error))
    if chunk.object == "error":
        return Delta(error=error_text(chunk.message))
    text = reasoning = tool_arguments = ""
    finish_reason = error = None
    for choice in chunk.choices or ():
        finish_reason = choice.finish_reason or finish_reason
        error = choice.error or error
        text += choice.text or ""
        delta = choice.delta
        if delta is None:
            continue
        of_content = _text_and_reasoning(delta.content)
        text += of_content[0]
        reasoning += of_content[1] + "".join(_text_and_reasoning(delta.reasoning or delta.reasoning_content))
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
        error=error_text(error) if error else None,
        cached_tokens=usage.cached_tokens if usage else None,
        reasoning_tokens=usage.reasoning_tokens if usage else None,
    )


def _text_and_reasoning(content: Any, depth: int = _MOST_PART_DEPTH) -> tuple[str, str]:
    """The visible text and the reasoning of a content: a text, a part with a type, or a list of them. Parts without
    text (images, references) add nothing."""
    if isinstance(content, str):
        return content, ""
    if not depth:
        return "", ""
    if isinstance(content, list):
        parts = [_text_and_reasoning(part, depth - 1) for part in content]
        return "".join(text for text, _ in parts), "".join(reasoning for _, reasoning in parts)
    if not isinstance(content, dict):
        return "", ""
    inside = next((content[key] for key in _PART_TEXTS if content.get(key)), "")
    text, reasoning = _text_and_reasoning(inside, depth - 1)
    return ("", text + reasoning) if content.get("type") in _REASONING_PARTS else (text, reasoning)


class FinishEndsDecoder(OpenAIDecoder):
    """Where no [DONE] comes: the finish reason is the end."""

    def feed(self, data: bytes) -> list[Delta]:
        """See OpenAIDecoder."""
        return [
            msgspec.structs.replace(delta, done=True) if delta.finish_reason else delta for delta in super().feed(data)
        ]


@dataclass(frozen=True, kw_only=True)
class OpenAICompatible(EngineSpec):
    """An engine that speaks this dialect; the fields are where such engines differ.

    requests_usage: whether requests set include_usage; servers without that option may refuse them. only_model: the
    model that requests name, whatever the run's is. max_tokens_field: the name of the field that caps an answer.
    """

    path: str = "/v1/chat/completions"
    requests_usage: bool = True
    only_model: str | None = None
    max_tokens_field: str = "max_tokens"
    takes_tool_turns: bool = True
    takes_images: bool = True
    decoder_type: type[OpenAIDecoder] = OpenAIDecoder

    def body_fields(self, request: ChatRequest) -> dict[str, Any]:
        """JSON. Usage is requested from every server that has the option, as defaults differ between versions."""
        usage = {"stream_options": {"include_usage": True}} if self.requests_usage else {}
        body = {
            "model": self.only_model or request.model,
            **self.input_fields(request),
            self.max_tokens_field: request.max_tokens,
            "stream": True,
        }
        return body | usage | self.extras(request)

    def input_fields(self, request: ChatRequest) -> dict[str, Any]:
        """The fields that hold the messages."""
        if request.image is None:
            return {"messages": request.messages}
        messages = request.messages
        place = len(messages) - 1 - len(request.later)
        text = {"type": "text", "text": request.prompt}
        image = {"type": "image_url", "image_url": {"url": request.image.json}}
        messages[place] |= {"content": [text, image]}
        return {"messages": messages}

    def decoder(self) -> OpenAIDecoder:
        """A fresh decoder for one response."""
        return self.decoder_type()


#: Finish reasons that gateways pass on from what is behind them.
_PASSED_ON = {
    *("eos", "eos_token", "end_of_text", "stop_sequence", "stop_token", "end_turn", "complete", "completed"),
    *("max_tokens", "max_length", "max_output_tokens", "model_length", "tool_use", "tool_call"),
    *("safety", "refusal"),
}
OPENAI = OpenAICompatible(name="openai", health_path=None, finish_reasons=FINISH_REASONS | _PASSED_ON)
