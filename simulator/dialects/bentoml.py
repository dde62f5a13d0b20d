"""BentoML's `/generate` as the Llama 3 services have it: the text and nothing else.

The body is bare text under the content type of an event stream. Headers leave with the first text (1.4; 1.2's left at
once: `--headers at-once`), and what fails in mid-answer ends the body as if it were complete (1.3 and later; 1.2 cut:
`--fail-after`). An end token and text that is held back send nothing. `max_tokens` is bounded to 128–1024.

Checked against what BentoML 1.4.39 sent. Not verified: the services' bounds and default system prompt, GET /.
"""

from collections.abc import Mapping

import msgspec

from tokenswarm.simulator.dialect import (
    AnswerWriter,
    Dialect,
    EngineTraits,
    GenerationRequest,
    PageResponse,
    Problem,
    Show,
    Usage,
)
from tokenswarm.simulator.dialects.requests import cut, page, parse, text_page
from tokenswarm.simulator.engine_stats import State
from tokenswarm.simulator.exposition import CONTENT_TYPE, Exposition
from tokenswarm.simulator.tokens import render_chat

_SYSTEM_PROMPT = "You are a helpful and honest assistant. Answer as well as you can, and say so when you do not know."
_MAX_TOKENS = (128, 1024)
_SERVICE = "llm"


class _BentomlBody(msgspec.Struct):
    prompt: str = "Explain superconductors in plain English"
    system_prompt: str | None = None
    max_tokens: int = 512


class BentomlDialect(Dialect):
    traits = EngineTraits(
        generate_path="/generate",
        headers={},
        sse=False,
        head_at_once=False,
        breaks="truncated",
        error_event=False,
        end_token_counts=False,
    )

    def understand(self, body: bytes, headers: Mapping[str, str]) -> GenerationRequest:
        request = parse(body, _BentomlBody)
        low, high = _MAX_TOKENS
        if not low <= request.max_tokens <= high:
            side, bound = ("greater", low) if request.max_tokens < low else ("less", high)
            message = f"Input should be {side} than or equal to {bound}"
            raise Problem("value", message, "max_tokens", f"{side}_than_equal")
        system = _SYSTEM_PROMPT if request.system_prompt is None else request.system_prompt
        prompt = render_chat([("system", system), ("user", request.prompt)])
        return GenerationRequest(
            prompt=prompt,
            max_tokens=cut(request.max_tokens, len(prompt), self.max_model_len),
            min_tokens=0,
            ignore_eos=False,
            stream=True,
            include_usage=False,
            model=self.model,
        )

    def writer(self, generation: GenerationRequest, request_id: str, created_s: int) -> AnswerWriter:
        return _BentomlWriter()

    def stream_headers(self, generation: GenerationRequest, request_id: str) -> dict[str, str]:
        return {"server": f"BentoML Service/{_SERVICE}", "x-bentoml-request-id": request_id}

    def pages(self) -> dict[str, PageResponse | Show]:
        return {
            "/livez": text_page("\n"),
            "/healthz": text_page("\n"),
            "/readyz": lambda state: text_page("\n", 200 if state.ready else 503),
            "/schema.json": page(_schema()),
            "/": PageResponse(b"<!DOCTYPE html><title>BentoML</title>", content_type="text/html; charset=utf-8"),
            "/metrics": _metrics,
        }

    def needs_key(self, path: str) -> bool:
        # The gateway of a protected deployment guards everything.
        return True

    def problem(self, problem: Problem) -> PageResponse:
        if problem.kind == "long":
            return self.internal_error()
        kind = str(problem.value) if problem.kind == "value" else "value_error"
        place = [part for part in (problem.param or "").split(".") if part and part != "body"]
        detail = {
            "type": kind,
            "loc": place,
            "msg": problem.message,
            "url": f"https://errors.pydantic.dev/2.14/v/{kind}",
        }
        return _from_service(page({"error": "1 validation error for Input", "detail": [detail]}, 400))

    def unauthorized(self) -> PageResponse:
        return page({"error": "Unauthorized"}, 401)

    def overloaded(self, stream: bool) -> PageResponse:
        return page({"error": "Too many requests"}, 429)

    def internal_error(self) -> PageResponse:
        message = "An unexpected error has occurred, please check the server log."
        return _from_service(page({"error": message}, 500))

    def not_found(self) -> PageResponse:
        return text_page("Not Found", 404)

    def wrong_method(self, allow: str) -> PageResponse:
        body = text_page("Method Not Allowed", 405)
        return PageResponse(body.body, body.content_type, 405, {"allow": allow})


class _BentomlWriter:
    def opening(self) -> bytes:
        return b""

    def tokens(self, pieces: list[str], reasoning: bool) -> bytes:
        return "".join(pieces).encode()

    def ending(self, pieces: list[str], reasoning: bool, finish_reason: str, usage: Usage) -> list[bytes]:
        return [self.tokens(pieces, reasoning)]

    def failure(self) -> list[bytes]:
        return []

    def whole(self, text: str, reasoning: str, finish_reason: str, usage: Usage) -> PageResponse:
        # The service always streams.
        raise NotImplementedError


def _from_service(found: PageResponse) -> PageResponse:
    headers = {"server": f"BentoML Service/{_SERVICE}", "x-bentoml-request-id": "0000000000000000"}
    return PageResponse(found.body, found.content_type, found.status, headers)


def _schema() -> dict[str, object]:
    low, high = _MAX_TOKENS
    properties = {
        "prompt": {"default": _BentomlBody().prompt, "title": "Prompt", "type": "string"},
        "system_prompt": {"default": None, "title": "System Prompt", "type": "string"},
        "max_tokens": {
            "default": 512,
            "maximum": high,
            "minimum": low,
            "title": "Max Tokens",
            "type": "integer",
        },
    }
    route = {
        "name": "generate",
        "route": "/generate",
        "batchable": False,
        "input": {"properties": properties, "title": "Input", "type": "object"},
        "output": {"type": "string", "is_stream": True, "media_type": "text/event-stream"},
        "is_task": False,
    }
    return {"name": _SERVICE, "type": "service", "routes": [route], "paths": {"/generate": {"mounted": False}}}


def _metrics(state: State) -> PageResponse:
    labels = {"endpoint": "/generate", "service_version": "not available"}
    shown = Exposition(runner_name=_SERVICE, service_name=_SERVICE)
    # A stream that failed counts as a 200 like the rest.
    for status, number in state.stats.statuses.items():
        shown.counter("bentoml_service_request_total", number, http_response_code=str(status), **labels)
    shown.gauge("bentoml_service_request_in_progress", state.running + state.waiting, **labels)
    name = "bentoml_service_request_duration_seconds"
    shown.histogram(name, state.stats.e2e_s, http_response_code="200", **labels)
    return PageResponse(shown.body(), content_type=CONTENT_TYPE)
