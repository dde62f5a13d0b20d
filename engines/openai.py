"""The OpenAI-compatible chat dialect, as vLLM and its kin stream it.

One `data:` event a step, `data: [DONE]` at the end. A first event may carry the role alone; a last one, with
`choices: []`, the usage. Failures inside the stream come as an event with an `error`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import msgspec

from engines.alike import AlikeEvents
from engines.errors import words_of
from engines.records import NONE_ALIKE, Alike, ChatRequest, Counts, Delta, Engine, StreamBroken
from engines.sse import EventSplitter


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
    # Any, as not every server has the same in it, and an event must not break over a detail.
    prompt_tokens_details: Any = None

    @property
    def cached_tokens(self) -> int | None:
        """Prompt tokens found in the prefix cache, None where the server does not say."""
        details = self.prompt_tokens_details
        cached = details.get("cached_tokens") if isinstance(details, dict) else None
        return cached if isinstance(cached, int) else None


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
        self._alike = AlikeEvents(_read_event)
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
        if between and (alike := self._alike.read(data)) is not None:
            self._events_seen += len(alike)
            return alike
        deltas: list[Delta] = []
        try:
            for event in self._events.feed(data):
                deltas.append(self._delta(event))  # noqa: PERF401 - those before a broken event are kept
        except StreamBroken as broken:
            self._broken = broken
            if not deltas:
                raise
        if between and deltas:
            self._alike.learn(data, deltas[-1])
        return deltas

    def alike_each(self, datas: Sequence[bytes]) -> Alike:
        """As StreamDecoder's."""
        if self._broken is not None or not self._events.between:
            return NONE_ALIKE
        alike = self._alike.outputs_of_each(datas)
        self._events_seen += len(alike.texts)
        return alike

    def end(self) -> list[Delta]:
        """Nothing is left over in this dialect, unless the body ended inside an event: then StreamBroken."""
        if self._broken is not None:
            raise self._broken
        rest = self._events.pending
        # The terminator is whole even where the blank line behind it is missing; any other event would not be.
        leftover = [event.strip() for event in self._events.feed(b"\n\n")]
        if leftover == [b"[DONE]"]:
            return [_DONE]
        if any(line and not line.startswith(b":") for line in rest.split(b"\n")):
            raise StreamBroken(f"the stream ended inside an event: {rest.strip()[:60]!r}")
        return []

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


def _read_event(event: bytes) -> Delta:
    chunk = _decode_chunk(event)
    choices = chunk.choices
    if choices is None or len(choices) != 1 or chunk.usage is not None or chunk.error is not None:
        return _delta_of(chunk)
    choice = choices[0]
    delta = choice.delta
    if delta is None or delta.tool_calls is not None:
        return _delta_of(chunk)
    # One choice, text or reasoning or neither, nothing else: nearly every event.
    reasoning = delta.reasoning or delta.reasoning_content or ""
    return Delta(delta.content or "", reasoning, "", None, None, None, choice.finish_reason)


def _delta_of(chunk: _Chunk) -> Delta:
    if chunk.error is not None:
        return Delta(error=words_of(chunk.error))
    if chunk.object == "error":
        return Delta(error=words_of(chunk.message))
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
        cached_tokens=usage.cached_tokens if usage else None,
    )


class FinishEndsDecoder(OpenAIDecoder):
    """Where no [DONE] comes: the finish reason is the end."""

    def feed(self, data: bytes) -> list[Delta]:
        """As OpenAIDecoder's."""
        return [
            msgspec.structs.replace(delta, done=True) if delta.finish_reason else delta for delta in super().feed(data)
        ]


@dataclass(frozen=True, kw_only=True)
class OpenAICompatible(Engine):
    """An engine that speaks this dialect; the fields are where such engines differ.

    asks_usage: whether requests ask for usage; servers that do not know the question may refuse it.
    only_model: what is asked for whatever the run's model is called.
    """

    path: str = "/v1/chat/completions"
    asks_usage: bool = True
    only_model: str | None = None
    decoder_type: type[OpenAIDecoder] = OpenAIDecoder

    def request_body(self, request: ChatRequest) -> bytes:
        """JSON; usage is always asked for where it can be, as its default differs between versions of one server."""
        usage = {"stream_options": {"include_usage": True}} if self.asks_usage else {}
        body = {
            "model": self.only_model or request.model,
            "messages": request.messages,
            "max_tokens": request.max_tokens,
            "stream": True,
        }
        return msgspec.json.encode(body | usage | self.extras(request))

    def decoder(self) -> OpenAIDecoder:
        """A fresh decoder for one response."""
        return self.decoder_type()


_IGNORE_EOS = {"ignore_eos": True}
_TGI_CANNOT = "TGI takes no such wish over HTTP: leave --ignore-eos out; --max-tokens then only caps"

OPENAI = OpenAICompatible(name="openai", default_port=443, health_path=None, metrics_path=None)
VLLM = OpenAICompatible(
    name="vllm",
    default_port=8000,
    health_path="/health",
    metrics_path="/metrics",
    exact_length=_IGNORE_EOS,
    least_tokens=("min_tokens",),
)
VLLM_0_4_2 = replace(VLLM, name="vllm-0.4.2", asks_usage=False)
LMDEPLOY = OpenAICompatible(
    name="lmdeploy",
    default_port=23333,
    health_path="/health",
    metrics_path="/metrics",
    exact_length=_IGNORE_EOS,
)
LMDEPLOY_0_4_0 = replace(
    LMDEPLOY,
    name="lmdeploy-0.4.0",
    health_path="/v1/models",
    metrics_path=None,
    asks_usage=False,
    counts=Counts.EVENTS,
)
MLC = OpenAICompatible(
    name="mlc",
    default_port=8000,
    health_path="/v1/models",
    metrics_path="/metrics",
    # Only a server with --enable-debug follows it; others drop it without a word.
    exact_length={"debug_config": _IGNORE_EOS},
)
MLC_2024 = replace(MLC, name="mlc-2024", metrics_path=None, asks_usage=False, exact_length=_IGNORE_EOS)
TRTLLM = OpenAICompatible(
    name="trtllm",
    default_port=8000,
    health_path="/health",
    metrics_path="/prometheus/metrics",
    exact_length=_IGNORE_EOS,
    least_tokens=("min_tokens",),
)
# It takes any name but its own for that of an adapter.
TGI = OpenAICompatible(
    name="tgi",
    default_port=80,
    health_path="/health",
    metrics_path="/metrics",
    asks_for_model=False,
    only_model="tgi",
    no_exact_length=_TGI_CANNOT,
)
TGI_2_0_4 = replace(TGI, name="tgi-2.0.4", asks_usage=False, counts=Counts.EVENTS, decoder_type=FinishEndsDecoder)
SGLANG = OpenAICompatible(
    name="sglang",
    default_port=30000,
    health_path="/health",
    metrics_path="/metrics",
    exact_length=_IGNORE_EOS,
)
LLAMACPP = OpenAICompatible(
    name="llamacpp",
    default_port=8080,
    health_path="/health",
    metrics_path="/metrics",
    exact_length=_IGNORE_EOS,
)
