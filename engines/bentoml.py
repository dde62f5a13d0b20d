"""A BentoML service with /generate: it applies the template itself and streams bare text.

The body has no events, no counts, no finish reason and no terminator; its end is the stream's. From 1.3 on a service
that fails in mid-stream ends its body as cleanly as one that is done: that truncation cannot be seen.
"""

from __future__ import annotations

import re
from codecs import getincrementaldecoder
from collections.abc import Sequence
from dataclasses import dataclass

import msgspec

from engines.errors import words_of
from engines.records import NONE_ALIKE, Alike, ChatRequest, Counts, Delta, Engine, StreamBroken, SystemPrompt

#: max_tokens of the published services, for where one does not tell its own.
MAX_TOKENS_RANGE = (128, 1024)
_ERROR = re.compile(r'\{\s*"status"\s*:\s*"error".*\Z', re.DOTALL)
_TAIL_CHARACTERS = 4096


class TextDecoder:
    """Deltas of one response. A character that is cut between reads waits for its rest."""

    def __init__(self) -> None:
        self._utf8 = getincrementaldecoder("utf-8")()
        self._tail = ""
        self._broken: StreamBroken | None = None

    def feed(self, data: bytes) -> list[Delta]:
        """The text of these bytes. Raises StreamBroken for bytes that are not UTF-8; where text precedes them, only at
        the next call, so that the result does not depend on how the bytes were split."""
        if self._broken is not None:
            raise self._broken
        text = self._decoded(data)
        if self._broken is not None and not text:
            raise self._broken
        self._tail = (self._tail + text)[-_TAIL_CHARACTERS:]
        return [Delta(text)] if text else []

    def _decoded(self, data: bytes) -> str:
        try:
            return self._utf8.decode(data)
        except UnicodeDecodeError as error:
            bad = error.object[error.start : error.end]
            self._broken = StreamBroken(f"the text is not UTF-8: {bad!r}")
            return error.object[: error.start].decode()

    def alike_each(self, _: Sequence[bytes]) -> Alike:
        """As StreamDecoder's."""
        return NONE_ALIKE

    def end(self) -> list[Delta]:
        """The stream's end, and a failure where the last text tells of one: a service that runs TensorRT-LLM yields its
        engine's errors as text. Raises StreamBroken where the body ended inside a character."""
        if self._broken is not None:
            raise self._broken
        rest, _ = self._utf8.getstate()
        if rest:
            raise StreamBroken(f"the text ended inside a character: {rest!r}")
        if match := _ERROR.search(self._tail):
            try:
                return [Delta(error=words_of(msgspec.json.decode(match[0])))]
            except (msgspec.DecodeError, RecursionError):  # an answer that only looks like it
                pass
        return [Delta(done=True)]


@dataclass(frozen=True, kw_only=True)
class BentoML(Engine):
    """The published services of June 2024, for any engine."""

    def request_body(self, request: ChatRequest) -> bytes:
        """JSON. None at all would have the service put its own system prompt in: without one, an empty one goes."""
        return msgspec.json.encode(
            {
                "prompt": request.prompt,
                "system_prompt": request.system_prompt or "",
                "max_tokens": request.max_tokens,
            }
        )

    def decoder(self) -> TextDecoder:
        """A fresh decoder for one response."""
        return TextDecoder()


BENTOML = BentoML(
    name="bentoml",
    path="/generate",
    default_port=3000,
    health_path="/readyz",
    metrics_path="/metrics",
    system_prompt=SystemPrompt.FIELD,
    takes_turns=False,
    counts=Counts.NOBODY,
    asks_for_model=False,
    no_exact_length="a BentoML service decides that in its code: leave --ignore-eos out",
)
