"""A BentoML service with /generate: it applies the template itself and streams bare text.

The body has no events, no counts, no finish reason and no terminator; its end is the stream's. From 1.3 on a service
that fails in mid-stream ends its body as cleanly as one that is done: that truncation cannot be seen.
"""

from __future__ import annotations

import re
from codecs import getincrementaldecoder
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from tokenswarm.engines.detection import Clue, Detection, Strength
from tokenswarm.engines.engine_metrics import Concept, EngineMetrics, Series
from tokenswarm.engines.engine_spec import (
    EMPTY_BATCH,
    ChatRequest,
    Counts,
    Delta,
    EngineSpec,
    StreamBroken,
    TokenBatch,
)
from tokenswarm.engines.errors import error_text
from tokenswarm.engines.server_pages import MODELS, ServerPages, member, text_member

#: max_tokens of the published services, for those whose schema has none.
_PUBLISHED_MAX_TOKENS = (128, 1024)
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

    @property
    def skipped_events(self) -> int:
        """See StreamDecoder."""
        return 0

    def decode_batch(self, _: Sequence[bytes]) -> TokenBatch:
        """See StreamDecoder."""
        return EMPTY_BATCH

    def end(self) -> list[Delta]:
        """The stream's end, and a failure where the last text reports one: a service that runs TensorRT-LLM yields its
        engine's errors as text. Raises StreamBroken where the body ended inside a character."""
        if self._broken is not None:
            raise self._broken
        rest, _ = self._utf8.getstate()
        if rest:
            raise StreamBroken(f"the text ended inside a character: {rest!r}")
        if match := _ERROR.search(self._tail):
            try:
                return [Delta(error=error_text(msgspec.json.decode(match[0])))]
            except (msgspec.DecodeError, RecursionError):  # an answer that only looks like it
                pass
        return [Delta(done=True)]


@dataclass(frozen=True, kw_only=True)
class BentoML(EngineSpec):
    """The published services of June 2024, for any engine."""

    def body_fields(self, request: ChatRequest) -> dict[str, Any]:
        """JSON. None at all would have the service put its own system prompt in: without one, an empty one goes."""
        return {
            "prompt": request.prompt,
            "system_prompt": request.system_prompt or "",
            "max_tokens": request.max_tokens,
        }

    def decoder(self) -> TextDecoder:
        """A fresh decoder for one response."""
        return TextDecoder()


def _generate_route(pages: ServerPages) -> str | None:
    routes = member(pages.json("/schema.json"), "routes", list)
    if any(isinstance(route, dict) and route.get("route") == "/generate" for route in routes):
        return "GET /schema.json has the route /generate"
    if _gateway(pages) and not pages.listed_models():
        return f"BentoML answers, without GET {MODELS}: taken for a service with /generate"
    return None


def _gateway(pages: ServerPages) -> str | None:
    """BentoML names itself on its API's responses; its probes are a bare line end, which no engine's are."""
    ready = pages.get("/readyz")
    named = any(response.headers.get("server", "").startswith("BentoML") for _, response in pages.responses)
    return "BentoML" if named or (ready and ready.status == 200 and ready.body == b"\n") else None


def _models(pages: ServerPages) -> list[str]:
    name = text_member(pages.json("/schema.json"), "name")
    return [name] if name else []


def _max_tokens_range(pages: ServerPages) -> tuple[int, int]:
    """What the service's schema allows for max_tokens, or what the published services do."""
    for route in member(pages.json("/schema.json"), "routes", list):
        try:
            limits = route["input"]["properties"]["max_tokens"]
            return int(limits["minimum"]), int(limits["maximum"])
        except (KeyError, TypeError, ValueError, OverflowError):
            continue
    return _PUBLISHED_MAX_TOKENS


BENTOML = BentoML(
    name="bentoml",
    path="/generate",
    sampling_names={},
    health_path="/readyz",
    takes_turns=False,
    stream_starts=(),
    counts=Counts.NOBODY,
    requests_name_model=False,
    no_exact_length="a BentoML service decides that in its code: leave --ignore-eos out",
    detection=Detection(
        clues=(Clue(Strength.GATEWAY, _generate_route),),
        models=_models,
        max_tokens_range=_max_tokens_range,
        gateway=_gateway,
    ),
    metrics=EngineMetrics(
        series={
            # Of HTTP: requests that wait inside the service are among them.
            Concept.REQUESTS_RUNNING: (Series("bentoml_service_request_in_progress"),)
        }
    ),
)
