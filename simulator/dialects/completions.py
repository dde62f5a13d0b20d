"""OpenAI's completions, from its public API reference: one text goes on, without a chat template.

No role event. The last chunk with text has the finish reason, then usage where it is requested, then `[DONE]`. Without
max_tokens an answer has 16 tokens. The prompt is a text or token ids; several prompts in one request are refused.

Not verified on the wire: that each engine's chunks here have these keys and no others. llama.cpp itself (xllamacpp
2026.10) sends a finish chunk without text that holds the usage and its timings.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import msgspec

from tokenswarm.simulator.dialect import AnswerWriter, GenerationRequest, PageResponse, Problem, Style, Usage
from tokenswarm.simulator.dialects.at_endpoint import EndpointDialect
from tokenswarm.simulator.dialects.requests import HOLE, INTERNAL, Around, cut, json_text, page, parse
from tokenswarm.simulator.tokens import tokenise_raw

_BEGIN = "<|begin_of_text|>"
_DEFAULT_TOKENS = 16
#: Fields that chat does not have.
_OWN_FIELDS = ("prompt", "suffix", "echo", "best_of")


class _CompletionBody(msgspec.Struct):
    prompt: str | list[Any]


class CompletionsDialect(EndpointDialect):
    path = "/v1/completions"

    def understand(self, body: bytes, headers: Mapping[str, str]) -> GenerationRequest:
        prompt = _tokens_of(parse(body, _CompletionBody).prompt)
        fields = {name: value for name, value in parse(body, dict[str, Any]).items() if name not in _OWN_FIELDS}
        if fields.get("max_tokens") is None:
            fields["max_tokens"] = _DEFAULT_TOKENS
        generation = self.read_as_chat(fields | {"messages": [{"role": "user", "content": ""}]}, headers)
        allowed = cut(generation.max_tokens, len(prompt), self.max_model_len)
        return replace(generation, prompt=prompt, max_tokens=allowed)

    def writer(self, generation: GenerationRequest, request_id: str, created_s: int) -> AnswerWriter:
        return _CompletionsWriter(generation, request_id, created_s, self.style)


def _tokens_of(prompt: str | list[Any]) -> list[str]:
    """The tokens of a prompt, with the token that begins a text. Raises Problem."""
    if isinstance(prompt, list) and len(prompt) == 1 and isinstance(prompt[0], str | list):
        prompt = prompt[0]
    if isinstance(prompt, str):
        tokens = tokenise_raw(prompt)
        return tokens if tokens[:1] == [_BEGIN] else [_BEGIN, *tokens]
    if prompt and all(isinstance(token, int) for token in prompt):
        return [f"<|{token}|>" for token in prompt]
    raise Problem("value", "prompt must be one text or one list of token ids.", "prompt")


class _CompletionsWriter:
    def __init__(self, generation: GenerationRequest, request_id: str, created_s: int, style: Style) -> None:
        self._event = style.event
        self._include_usage = generation.include_usage
        self._in_every_event = generation.usage_in_every_event
        self._prompt_tokens = len(generation.prompt)
        self._sent_tokens = 0
        self._names = {"id": f"cmpl-{request_id}", "object": "text_completion", "created": created_s}
        self._names["model"] = generation.model
        self._start = b'{"id":"cmpl-%b","object":"text_completion","created":%d,"model":"%b","choices":[' % (
            json_text(request_id),
            created_s,
            json_text(generation.model),
        )
        self._token = Around(self._chunk(HOLE))

    def _chunk(self, text: bytes, finish: bytes = b"null") -> bytes:
        choice = b'{"text":"%b","index":0,"logprobs":null,"finish_reason":%b}]' % (text, finish)
        return self._event(self._start + choice + self._usage_so_far() + b"}")

    def _usage_so_far(self) -> bytes:
        if self._in_every_event:
            usage = Usage(self._prompt_tokens, 0, self._sent_tokens)
            return b',"usage":%b' % msgspec.json.encode(_usage(usage))
        return b',"usage":null' if self._include_usage else b""

    def opening(self) -> bytes:
        return b""

    def tokens(self, pieces: list[str], reasoning: bool) -> bytes:
        self._sent_tokens += len(pieces)
        text = "".join(pieces)
        return self._chunk(json_text(text)) if self._in_every_event else self._token.text(text)

    def ending(self, pieces: list[str], reasoning: bool, finish_reason: str, usage: Usage) -> list[bytes]:
        self._sent_tokens += len(pieces)
        events = [self._chunk(json_text("".join(pieces)), b'"%b"' % finish_reason.encode())]
        if self._include_usage:
            events.append(self._event(self._start + b'],"usage":%b}' % msgspec.json.encode(_usage(usage))))
        return [*events, self._event(b"[DONE]")]

    def failure(self) -> list[bytes]:
        error = {"message": INTERNAL, "type": "server_error", "param": None, "code": None}
        return [self._event(msgspec.json.encode({"error": error}))]

    def whole(self, text: str, reasoning: str, finish_reason: str, usage: Usage) -> PageResponse:
        choice = {"text": reasoning + text, "index": 0, "logprobs": None, "finish_reason": finish_reason}
        return page(self._names | {"choices": [choice], "usage": _usage(usage)})


def _usage(usage: Usage) -> dict[str, Any]:
    return {
        "prompt_tokens": usage.prompt_tokens,
        "completion_tokens": usage.output_tokens,
        "total_tokens": usage.prompt_tokens + usage.output_tokens,
        "prompt_tokens_details": {"cached_tokens": usage.cached_tokens},
    }
