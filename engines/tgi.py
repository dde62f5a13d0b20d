"""TGI's own endpoint, /generate_stream, in either framing: `data:{…}` until 2.0, `data: {…}` since. (Its chat endpoint
is in engines/openai.py.)

One event a token; the last carries the details, and is the end. A special token such as the one that ends an answer
comes as an event too: it is no text, but it is counted.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import msgspec

from engines.decoding import DocumentDecoder
from engines.errors import words_of
from engines.records import ChatRequest, Delta
from engines.sse import EventSplitter
from engines.templates import TemplatedEngine


class _Token(msgspec.Struct, gc=False):
    text: str | None = None
    special: bool = False


class _Details(msgspec.Struct, gc=False):
    finish_reason: str | None = None
    generated_tokens: int | None = None
    input_length: int | None = None


class _Event(msgspec.Struct, gc=False):
    token: _Token | None = None
    generated_text: str | None = None
    details: _Details | None = None
    error: Any = None


_read = msgspec.json.Decoder(_Event, strict=False).decode
_UNTOLD = _Details()


class GenerateDecoder(DocumentDecoder[_Event]):
    """Deltas of one response."""

    def __init__(self) -> None:
        super().__init__(EventSplitter(), _read)
        self._tokens_without_text = 0

    def _delta(self, document: _Event) -> Delta:
        if document.error is not None:
            return Delta(error=words_of(document.error))
        text, tokens = self._output(document.token)
        details = document.details or _UNTOLD
        return Delta(
            text,
            tokens=tokens,
            prompt_tokens=details.input_length,
            output_tokens=details.generated_tokens,
            finish_reason=details.finish_reason,
            done=document.generated_text is not None or document.details is not None,
        )

    def _output(self, token: _Token | None) -> tuple[str, int | None]:
        """Text, and how many tokens it is of: those whose characters were incomplete count with the next text."""
        if token is None:
            return "", None
        self._tokens_without_text += 1
        if token.special or not token.text:
            return "", None
        tokens, self._tokens_without_text = self._tokens_without_text, 0
        return token.text, tokens


@dataclass(frozen=True, kw_only=True)
class TGIGenerate(TemplatedEngine):
    """Takes one templated text; knows no model names."""

    def request_body(self, request: ChatRequest) -> bytes:
        """JSON."""
        stop = {"stop": [self.template.stop]} if self.template.stop else {}
        parameters = {"max_new_tokens": request.max_tokens, "details": True, **stop}
        return msgspec.json.encode({"inputs": self.template.render(request), "parameters": parameters})

    def decoder(self) -> GenerateDecoder:
        """A fresh decoder for one response."""
        return GenerateDecoder()


TGI_GENERATE = TGIGenerate(
    name="tgi-generate",
    path="/generate_stream",
    default_port=80,
    health_path="/health",
    metrics_path="/metrics",
    asks_for_model=False,
    no_exact_length="TGI takes no such wish over HTTP: leave --ignore-eos out; --max-tokens then only caps",
)
