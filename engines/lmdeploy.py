"""LMDeploy's own endpoint, /v1/chat/interactive, which went with 0.16. (Its chat endpoint: engines/openai.py.)

The response calls itself an event stream and is bare JSON lines: text as it comes, tokens counted so far, and a finish
reason in the last.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import msgspec

from engines.decoding import DocumentDecoder, LineSplitter
from engines.errors import words_of
from engines.records import ChatRequest, Delta, Engine


class _Line(msgspec.Struct, gc=False):
    text: str | None = None
    tokens: int | None = None
    input_tokens: int | None = None
    finish_reason: str | None = None
    error: Any = None
    object: str | None = None
    message: str | None = None


_read = msgspec.json.Decoder(_Line, strict=False).decode


class InteractiveDecoder(DocumentDecoder[_Line]):
    """Deltas of one response; the finish reason is its end."""

    def __init__(self) -> None:
        super().__init__(LineSplitter(), _read)

    def _delta(self, document: _Line) -> Delta:
        if document.error is not None or document.object == "error":
            return Delta(error=words_of(document.error if document.error is not None else document.message))
        return Delta(
            document.text or "",
            prompt_tokens=document.input_tokens,
            output_tokens=document.tokens,
            finish_reason=document.finish_reason,
            done=document.finish_reason is not None,
        )


@dataclass(frozen=True, kw_only=True)
class LMDeployInteractive(Engine):
    """One request a session, so that nothing of the last answer is kept."""

    def request_body(self, request: ChatRequest) -> bytes:
        """A prompt alone goes as text, one with other messages before it as messages."""
        return msgspec.json.encode(
            {
                "prompt": request.messages if request.system_prompt is not None or request.earlier else request.prompt,
                "stream": True,
                "session_id": -1,
                "interactive_mode": False,
                "request_output_len": request.max_tokens,
                **self.extras(request),
            }
        )

    def decoder(self) -> InteractiveDecoder:
        """A fresh decoder for one response."""
        return InteractiveDecoder()


LMDEPLOY_INTERACTIVE = LMDeployInteractive(
    name="lmdeploy-interactive",
    path="/v1/chat/interactive",
    default_port=23333,
    health_path="/v1/models",
    metrics_path=None,
    exact_length={"ignore_eos": True},
    asks_for_model=False,
)
