"""Ollama's own chat: one JSON object a line, the counts in the last."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import msgspec

from tokenswarm.engines.decoding import DocumentDecoder, LineSplitter
from tokenswarm.engines.detection import Clue, Detection, Strength, version_at
from tokenswarm.engines.engine_metrics import NO_METRICS
from tokenswarm.engines.engine_spec import LINE_STARTS, ChatRequest, Delta, EngineSpec
from tokenswarm.engines.errors import error_text, is_failure
from tokenswarm.engines.sampling_fields import names_in
from tokenswarm.engines.server_pages import ServerPages, member, names_of, text_member


class _OllamaMessage(msgspec.Struct, gc=False):
    content: str | None = None
    thinking: str | None = None


class _OllamaLine(msgspec.Struct, gc=False):
    message: _OllamaMessage | None = None
    done: bool = False
    done_reason: str | None = None
    prompt_eval_count: int | None = None
    eval_count: int | None = None
    error: Any = None


_read = msgspec.json.Decoder(_OllamaLine, strict=False).decode
_NOTHING = _OllamaMessage()


class OllamaDecoder(DocumentDecoder[_OllamaLine]):
    """Deltas of one response; `done` is its end."""

    def __init__(self) -> None:
        super().__init__(LineSplitter(), _read)

    def _delta(self, document: _OllamaLine) -> Delta:
        if is_failure(document.error, beside_output=document.message is not None):
            return Delta(error=error_text(document.error))
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
class Ollama(EngineSpec):
    """Loads its model within the first request for it."""

    def body_fields(self, request: ChatRequest) -> dict[str, Any]:
        """JSON."""
        options = {"num_predict": request.max_tokens}
        return {"model": request.model, "messages": request.messages, "stream": True, "options": options}

    def decoder(self) -> OllamaDecoder:
        """A fresh decoder for one response."""
        return OllamaDecoder()


def _own_pages(pages: ServerPages) -> str | None:
    """Other servers have a page /api/version too, but not a list of models beside it."""
    tags = pages.json("/api/tags") if text_member(pages.json("/api/version"), "version") is not None else None
    if isinstance(tags, dict) and isinstance(tags.get("models"), list):
        return "GET /api/version has a version, and GET /api/tags a list of models"
    return None


def _models(pages: ServerPages) -> list[str]:
    return names_of(member(pages.json("/api/tags"), "models", list), "name")


OLLAMA = Ollama(
    name="ollama",
    path="/api/chat",
    sampling_names=names_in("options"),
    health_path="/api/version",
    content_type="application/x-ndjson",
    stream_starts=LINE_STARTS,
    detection=Detection(
        clues=(Clue(Strength.OWN_PAGE, _own_pages),),
        version=version_at("/api/version", "version"),
        models=_models,
    ),
    metrics=NO_METRICS,
)
