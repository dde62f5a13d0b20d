"""Ollama's own chat: one JSON object a line, the counts in the last."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import msgspec

from engines.decoding import DocumentDecoder, LineSplitter
from engines.errors import words_of
from engines.records import ChatRequest, Delta, Engine


class _Message(msgspec.Struct, gc=False):
    content: str | None = None
    thinking: str | None = None


class _Line(msgspec.Struct, gc=False):
    message: _Message | None = None
    done: bool = False
    done_reason: str | None = None
    prompt_eval_count: int | None = None
    eval_count: int | None = None
    error: Any = None


_read = msgspec.json.Decoder(_Line, strict=False).decode
_NOTHING = _Message()


class OllamaDecoder(DocumentDecoder[_Line]):
    """Deltas of one response; `done` is its end."""

    def __init__(self) -> None:
        super().__init__(LineSplitter(), _read)

    def _delta(self, document: _Line) -> Delta:
        if document.error is not None:
            return Delta(error=words_of(document.error))
        message = document.message or _NOTHING
        return Delta(
            message.content or "",
            message.thinking or "",
            prompt_tokens=document.prompt_eval_count,
            output_tokens=document.eval_count,
            finish_reason=document.done_reason,
            done=document.done,
        )


@dataclass(frozen=True, kw_only=True)
class Ollama(Engine):
    """Loads its model within the first request that asks for it."""

    def request_body(self, request: ChatRequest) -> bytes:
        """JSON."""
        options = {"num_predict": request.max_tokens}
        return msgspec.json.encode(
            {"model": request.model, "messages": request.messages, "stream": True, "options": options}
        )

    def decoder(self) -> OllamaDecoder:
        """A fresh decoder for one response."""
        return OllamaDecoder()


OLLAMA = Ollama(
    name="ollama",
    path="/api/chat",
    default_port=11434,
    health_path="/api/version",
    metrics_path=None,
    content_type="application/x-ndjson",
)
