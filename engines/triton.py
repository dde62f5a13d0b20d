"""Triton's generate_stream before TensorRT-LLM: one templated text in, one event a response out.

Nothing marks the end but the body's, nothing counts tokens, and nothing says why an answer ended. The model `ensemble`
sends new text only; `tensorrt_llm_bls` with accumulate_tokens repeats the whole text in each event.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import msgspec

from engines.decoding import DocumentDecoder
from engines.errors import words_of
from engines.records import ChatRequest, Counts, Delta, StreamBroken, StreamDecoder
from engines.sse import EventSplitter
from engines.templates import TemplatedEngine

#: So many events in a row that each repeat and extend the last are no coincidence.
_REPEATS = 4
_INCOMPLETE = "\ufffd"


class _Response(msgspec.Struct, gc=False):
    text_output: str | None = None
    error: Any = None


_read = msgspec.json.Decoder(_Response, strict=False).decode


class TritonDecoder(DocumentDecoder[_Response]):
    """Deltas of one response of the ensemble; the body's end is the stream's."""

    def __init__(self) -> None:
        super().__init__(EventSplitter(), _read)
        self._last = ""
        self._repeats = 0

    def _delta(self, document: _Response) -> Delta:
        if document.error is not None:
            return Delta(error=words_of(document.error))
        return Delta(self._new(document.text_output or ""))

    def _new(self, text: str) -> str:
        if self._repeats < 0 or not text:
            return text
        if self._last:
            repeats = text != self._last and text.startswith(self._last)
            self._repeats = self._repeats + 1 if repeats else -1
        self._last = text
        if self._repeats == _REPEATS:
            raise StreamBroken("each event repeats the text of the last: for this model give --engine triton-bls")
        return text

    def _at_end(self) -> list[Delta]:
        return [Delta(done=True)]


class AccumulatedDecoder(DocumentDecoder[_Response]):
    """Deltas of one response of the BLS model. A character of which not all tokens have come shows as U+FFFD, and
    waits."""

    def __init__(self) -> None:
        super().__init__(EventSplitter(), _read)
        self._whole = ""
        self._incomplete = ""

    def _delta(self, document: _Response) -> Delta:
        if document.error is not None:
            return Delta(error=words_of(document.error))
        if not document.text_output:
            return Delta()
        whole = document.text_output.rstrip(_INCOMPLETE)
        if not whole.startswith(self._whole):
            raise StreamBroken(
                f"event {self._seen} does not go on from the text before it: for this model give --engine triton"
            )
        new = whole[len(self._whole) :]
        self._whole = whole
        self._incomplete = document.text_output[len(whole) :]
        return Delta(new)

    def _at_end(self) -> list[Delta]:
        return [Delta(self._incomplete, done=True)]


@dataclass(frozen=True, kw_only=True)
class Triton(TemplatedEngine):
    """The model's name is part of the path."""

    decoder_type: Callable[[], StreamDecoder]

    def request_body(self, request: ChatRequest) -> bytes:
        """JSON. What a model does not know of it, Triton passes on as a parameter."""
        stop = self.template.stop if not request.ignore_eos else None
        body = {
            "text_input": self.template.render(request),
            "max_tokens": request.max_tokens,
            "bad_words": "",
            "stop_words": [stop] if stop else "",
            "stream": True,
        }
        return msgspec.json.encode(body | self.extras(request))

    def decoder(self) -> StreamDecoder:
        """A fresh decoder for one response."""
        return self.decoder_type()


TRITON = Triton(
    name="triton",
    path="/v2/models/{model}/generate_stream",
    default_port=8000,
    health_path="/v2/health/ready",
    metrics_path="/metrics",
    metrics_port=8002,
    counts=Counts.EVENTS,
    exact_length={},
    least_tokens=("min_length", "min_tokens"),  # its name until May 2025, and since
    decoder_type=TritonDecoder,
)
TRITON_BLS = replace(TRITON, name="triton-bls", decoder_type=AccumulatedDecoder)
