"""OpenAI's own chat completions, from its documentation.

Not verified on the wire: everything; in particular the length of `obfuscation`, the words of errors, and that an error
in mid-stream is an event.
"""

from collections.abc import Mapping
from typing import Any
from zlib import crc32

import msgspec

from tokenswarm.simulator.dialect import (
    AnswerWriter,
    Dialect,
    EngineTraits,
    GenerationRequest,
    PageResponse,
    Problem,
    Show,
    Style,
    Usage,
)
from tokenswarm.simulator.dialects.at_endpoint import PADDING
from tokenswarm.simulator.dialects.requests import (
    INTERNAL,
    OPENAI_FIELDS,
    ChatBody,
    chat_generation,
    json_text,
    page,
    parse,
    refuse_model,
    refuse_unknown,
)

FINGERPRINT = "fp_tokenswarm"


class OpenaiDialect(Dialect):
    traits = EngineTraits(
        generate_path="/v1/chat/completions",
        endpoints=("completions", "responses"),
        headers={"openai-version": "2020-10-01"},
        role="first",
        usage_on_request=True,
    )

    def understand(self, body: bytes, headers: Mapping[str, str]) -> GenerationRequest:
        refuse_unknown(body, OPENAI_FIELDS)
        request = parse(body, ChatBody)
        if self.only_model:
            refuse_model(request.model, self.model)
        options = request.stream_options
        obfuscates = options is None or options.include_obfuscation is not False
        return chat_generation(request, self.model, self.max_model_len, extras=obfuscates)

    def writer(self, generation: GenerationRequest, request_id: str, created_s: int) -> AnswerWriter:
        return _OpenaiChatWriter(generation, request_id, created_s, self.style)

    def stream_headers(self, generation: GenerationRequest, request_id: str) -> dict[str, str]:
        return {"x-request-id": f"req_{request_id}"}

    def pages(self) -> dict[str, PageResponse | Show]:
        card = {"id": self.model, "object": "model", "created": self.created_s, "owned_by": "openai"}
        return {"/v1/models": page({"object": "list", "data": [card]})}

    def problem(self, problem: Problem) -> PageResponse:
        if problem.kind == "model":
            words = f"The model `{problem.value}` does not exist or you do not have access to it."
            return _error(404, words, param=None, code="model_not_found")
        if problem.kind == "unknown":
            return _error(400, f"Unrecognized request argument supplied: {problem.param}", param=None)
        code = "context_length_exceeded" if problem.kind == "long" else None
        return _error(400, problem.message, problem.param, code)

    def unauthorized(self) -> PageResponse:
        return _error(401, "Incorrect API key provided.", code="invalid_api_key")

    def overloaded(self, stream: bool) -> PageResponse:
        return _error(429, "Rate limit reached.", code="rate_limit_exceeded", kind="requests")

    def internal_error(self) -> PageResponse:
        return _error(500, INTERNAL, kind="server_error")

    def not_found(self) -> PageResponse:
        return _error(404, "Invalid URL")

    def wrong_method(self, allow: str) -> PageResponse:
        return _error(405, "Not allowed to use this method on this path")


class _OpenaiChatWriter:
    def __init__(self, generation: GenerationRequest, request_id: str, created_s: int, style: Style) -> None:
        self._event = style.event
        self._include_usage = generation.include_usage
        self._obfuscates = generation.extras
        self._names: dict[str, Any] = {"id": f"chatcmpl-{request_id}", "created": created_s, "model": generation.model}
        self._start = (
            b'{"id":"chatcmpl-%b","object":"chat.completion.chunk","created":%d,"model":"%b",'
            b'"service_tier":"default","system_fingerprint":"%b","choices":['
            % (json_text(request_id), created_s, json_text(generation.model), FINGERPRINT.encode())
        )

    def _chunk(self, delta: bytes, finish: bytes = b"null") -> bytes:
        choice = b'{"index":0,"delta":{%b},"logprobs":null,"finish_reason":%b}]' % (delta, finish)
        usage = b',"usage":null' if self._include_usage else b""
        padding = b""
        if self._obfuscates:
            # So long that the event's length says little of the text's.
            padding = b',"obfuscation":"%b"' % PADDING[: 1 + crc32(delta) % len(PADDING)].encode()
        return self._event(self._start + choice + usage + padding + b"}")

    def opening(self) -> bytes:
        return self._chunk(b'"role":"assistant","content":"","refusal":null')

    def tokens(self, pieces: list[str], reasoning: bool) -> bytes:
        text = "".join(pieces)
        return self._chunk(b'"content":"%b"' % json_text(text)) if text else b""

    def ending(self, pieces: list[str], reasoning: bool, finish_reason: str, usage: Usage) -> list[bytes]:
        events = [self.tokens(pieces, reasoning), self._chunk(b"", b'"%b"' % finish_reason.encode())]
        if self._include_usage:
            events.append(self._event(self._start + b'],"usage":%b}' % msgspec.json.encode(_usage(usage))))
        return [*events, self._event(b"[DONE]")]

    def failure(self) -> list[bytes]:
        error = {"message": INTERNAL, "type": "server_error", "param": None, "code": None}
        return [self._event(msgspec.json.encode({"error": error}))]

    def whole(self, text: str, reasoning: str, finish_reason: str, usage: Usage) -> PageResponse:
        message: dict[str, Any] = {"role": "assistant", "content": text, "refusal": None, "annotations": []}
        choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": finish_reason}
        rest = {"choices": [choice], "usage": _usage(usage), "system_fingerprint": FINGERPRINT}
        return page(self._names | {"object": "chat.completion"} | rest)


def _usage(usage: Usage) -> dict[str, Any]:
    return {
        "prompt_tokens": usage.prompt_tokens,
        "completion_tokens": usage.output_tokens,
        "total_tokens": usage.prompt_tokens + usage.output_tokens,
        "prompt_tokens_details": {"cached_tokens": usage.cached_tokens, "audio_tokens": 0},
        "completion_tokens_details": {"reasoning_tokens": 0, "audio_tokens": 0},
    }


def _error(
    status: int, message: str, param: str | None = None, code: str | None = None, kind: str = "invalid_request_error"
) -> PageResponse:
    return page({"error": {"message": message, "type": kind, "param": param, "code": code}}, status)
