"""Hugging Face's text-generation-inference: `/generate_stream`, and chat as of 3.3.7 and of 2.0.4.

The headers leave before anything is checked, so that everything that goes wrong with a stream goes wrong under status
200. The end token is an event like any other, and counted; nothing can make an answer go on past it. Up to 2.0.4 there
was no space after `data:`, and `/generate_stream` here is of the version whose framing it has (`--data-space none`).

Not verified against a server: token ids and log probabilities (made up), `x-compute-type`, the words of errors; v3's
pause after each 1024 tokens is left out.
"""

from collections.abc import Callable, Mapping
from functools import lru_cache
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
    Refusal,
    Show,
    Style,
    Usage,
)
from tokenswarm.simulator.dialects.requests import (
    HOLE,
    INTERNAL,
    Around,
    ChatBody,
    chat_generation,
    cut,
    empty,
    json_text,
    page,
    parse,
    text_page,
)
from tokenswarm.simulator.engine_stats import State
from tokenswarm.simulator.exposition import CONTENT_TYPE, Exposition
from tokenswarm.simulator.tokens import tokenise_raw

_START = "<|begin_of_text|>"
_CONCURRENT = 128
_HEADERS = {"access-control-allow-origin": "*"}
_END_ID = 128_009


class _Tgi(Dialect):
    """What its endpoints share: pages, and a refusal that is a stream where a stream was requested."""

    @property
    def version(self) -> str:
        return "2.0.4" if self.style.space == "none" else "3.3.7"

    def stream_headers(self, generation: GenerationRequest, request_id: str) -> dict[str, str]:
        return {
            "cache-control": "no-cache",
            "x-compute-type": "gpu+optimized",
            "x-compute-characters": str(sum(map(len, generation.prompt))),
            "x-accel-buffering": "no",
        }

    def pages(self) -> dict[str, PageResponse | Show]:
        found: dict[str, PageResponse | Show] = {
            "/health": _health,
            "/ping": _health,
            "/info": page(self._info()),
            "/metrics": _metrics,
        }
        if self.version != "2.0.4":
            card = {"id": self.model, "object": "model", "created": 0, "owned_by": self.model}
            found["/v1/models"] = page({"object": "list", "data": [card]})
        return found

    def _info(self) -> dict[str, Any]:
        return {
            "model_id": self.model,
            "model_sha": None,
            "model_pipeline_tag": "text-generation",
            "max_concurrent_requests": _CONCURRENT,
            "max_best_of": 2,
            "max_stop_sequences": 4,
            "max_input_tokens": self.max_model_len - 1,
            "max_total_tokens": self.max_model_len,
            "router": "text-generation-router",
            "version": self.version,
            "sha": None,
            "docker_label": None,
        }

    def understand(self, body: bytes, headers: Mapping[str, str]) -> GenerationRequest:
        stream, read = self._parse(body)
        try:
            return read()
        except Problem as problem:
            if not stream:
                raise
            raise Refusal(self._streamed(problem.message, "validation")) from problem

    def _parse(self, body: bytes) -> tuple[bool, Callable[[], GenerationRequest]]:
        """Whether a stream is requested, and what reads the rest."""
        raise NotImplementedError

    def _streamed(self, message: str, kind: str) -> PageResponse:
        events = self._error_events(message, kind)
        return PageResponse(
            b"".join(events),
            content_type=self.traits.stream_content_type,
            headers={"cache-control": "no-cache"},
            stream=True,
        )

    def _error_events(self, message: str, kind: str) -> list[bytes]:
        return [self.style.event(_plain_error(message, kind))]

    def problem(self, problem: Problem) -> PageResponse:
        if problem.kind == "body":
            words = f"Failed to deserialize the JSON body into the target type: {problem.param}: {problem.message}"
            return text_page(words, 422)
        return PageResponse(_plain_error(problem.message, "validation"), status=422)

    def needs_key(self, path: str) -> bool:
        return path not in ("/health", "/ping", "/metrics")

    def unauthorized(self) -> PageResponse:
        return empty(401)

    def overloaded(self, stream: bool) -> PageResponse:
        if stream:
            return self._streamed("Model is overloaded", "overloaded")
        return PageResponse(_plain_error("Model is overloaded", "overloaded"), status=429)

    def internal_error(self) -> PageResponse:
        return PageResponse(_plain_error(f"Request failed during generation: {INTERNAL}", "generation"), status=424)

    def not_found(self) -> PageResponse:
        return empty(404)

    def wrong_method(self, allow: str) -> PageResponse:
        return PageResponse(b"", content_type="", status=405, headers={"allow": allow})


class TgiGenerateDialect(_Tgi):
    traits = EngineTraits(
        generate_path="/generate_stream",
        stream_content_type="text/event-stream",
        headers=_HEADERS,
        keep_alive_s=15,
        admits=_CONCURRENT,
    )

    def _parse(self, body: bytes) -> tuple[bool, Callable[[], GenerationRequest]]:
        request = parse(body, _GenerateBody)
        return True, lambda: self._read(request)

    def _read(self, request: "_GenerateBody") -> GenerationRequest:
        parameters = request.parameters
        prompt = [_START, *tokenise_raw(request.inputs)]
        default = 100 if self.version == "2.0.4" else None
        requested = default if parameters.max_new_tokens is None else parameters.max_new_tokens
        return GenerationRequest(
            prompt=prompt,
            max_tokens=_cut(requested, len(prompt), self.max_model_len),
            min_tokens=0,
            ignore_eos=False,
            stream=True,
            include_usage=False,
            model=self.model,
            extras=bool(parameters.details),
        )

    def writer(self, generation: GenerationRequest, request_id: str, created_s: int) -> AnswerWriter:
        return _GenerateWriter(generation, self.style, shows_input=self.version != "2.0.4")


class TgiDialect(_Tgi):
    """Chat as of 3.3.7."""

    traits = EngineTraits(
        generate_path="/v1/chat/completions",
        stream_content_type="text/event-stream",
        headers=_HEADERS,
        keep_alive_s=15,
        admits=_CONCURRENT,
        usage_on_request=True,
        endpoints=("completions",),
    )
    default_tokens: int | None = None

    @property
    def version(self) -> str:
        return "3.3.7"

    def _parse(self, body: bytes) -> tuple[bool, Callable[[], GenerationRequest]]:
        request = parse(body, ChatBody)
        return bool(request.stream), lambda: self._read(request)

    def _read(self, request: ChatBody) -> GenerationRequest:
        generation = chat_generation(request, self.model, self.max_model_len, default=self.default_tokens)
        _cut(request.limit, len(generation.prompt), self.max_model_len)
        return generation

    def _error_events(self, message: str, kind: str) -> list[bytes]:
        error = msgspec.json.encode({"error": {"message": message, "http_status_code": 422}})
        return [self.style.event(error), self.style.event(b"[DONE]")]

    def writer(self, generation: GenerationRequest, request_id: str, created_s: int) -> AnswerWriter:
        return _TgiChatWriter(generation, created_s, self.style, "3.3.7-native")


class Tgi204Dialect(TgiDialect):
    """Chat as of 2.0.4: no usage, no terminator, and the answers of `/generate_stream` to what goes wrong."""

    traits = EngineTraits(
        generate_path="/v1/chat/completions",
        stream_content_type="text/event-stream",
        headers=_HEADERS,
        space="none",
        keep_alive_s=15,
        admits=_CONCURRENT,
        end_token_counts=False,
    )
    default_tokens = 100

    @property
    def version(self) -> str:
        return "2.0.4"

    def _error_events(self, message: str, kind: str) -> list[bytes]:
        return [self.style.event(_plain_error(message, kind))]

    def writer(self, generation: GenerationRequest, request_id: str, created_s: int) -> AnswerWriter:
        return _TgiChatWriter204(generation, created_s, self.style)


class _Parameters(msgspec.Struct):
    max_new_tokens: int | None = None
    details: bool | None = False


class _GenerateBody(msgspec.Struct):
    inputs: str
    parameters: _Parameters = msgspec.field(default_factory=_Parameters)


class _GenerateWriter:
    def __init__(self, generation: GenerationRequest, style: Style, shows_input: bool) -> None:
        self._event = style.event
        self._details = generation.extras
        self._prompt_tokens = len(generation.prompt)
        self._shows_input = shows_input
        self._text: list[str] = []

    def opening(self) -> bytes:
        return b""

    def tokens(self, pieces: list[str], reasoning: bool) -> bytes:
        return b"".join(self._token(piece, b'"generated_text":null,"details":null') for piece in pieces)

    def _token(self, piece: str, rest: bytes, special: bool = False) -> bytes:
        self._text.append(piece)
        token = _end_token() if special else _token(piece)
        return self._event(b'{"index":%d,"token":%b,%b}' % (len(self._text), token, rest))

    def ending(self, pieces: list[str], reasoning: bool, finish_reason: str, usage: Usage) -> list[bytes]:
        *before, last = pieces
        events = [self.tokens(before, reasoning)]
        text = "".join(self._text) + last
        stopped = finish_reason == "stop"
        details: dict[str, Any] | None = None
        if self._details:
            reason = "eos_token" if stopped else "length"
            details = {"finish_reason": reason, "generated_tokens": usage.output_tokens, "seed": None}
            details |= {"input_length": self._prompt_tokens} if self._shows_input else {}
        rest = b'"generated_text":"%b","details":%b' % (json_text(text), msgspec.json.encode(details))
        return [*events, self._token(last, rest, special=stopped)]

    def failure(self) -> list[bytes]:
        return [self._event(_plain_error(f"Request failed during generation: {INTERNAL}", "generation"))]

    def whole(self, text: str, reasoning: str, finish_reason: str, usage: Usage) -> PageResponse:
        # Its path streams, whatever the request says.
        raise NotImplementedError


class _TgiChatWriter:
    def __init__(self, generation: GenerationRequest, created_s: int, style: Style, fingerprint: str) -> None:
        self._event = style.event
        self._include_usage = generation.include_usage
        self._names: dict[str, Any] = {
            "created": created_s,
            "model": generation.model,
            "system_fingerprint": fingerprint,
        }
        self._start = (
            b'{"object":"chat.completion.chunk","id":"","created":%d,"model":"%b","system_fingerprint":"%b","choices":['
            % (created_s, json_text(generation.model), fingerprint.encode())
        )
        self._token = Around(self._event(self._chunk(HOLE, b"null")))

    def _chunk(self, text: bytes, finish: bytes) -> bytes:
        delta = b'{"role":"assistant","content":"%b"}' % text
        choice = b'{"index":0,"delta":%b,"logprobs":null,"finish_reason":%b}' % (delta, finish)
        return self._start + choice + b'],"usage":null}'

    def opening(self) -> bytes:
        return b""

    def tokens(self, pieces: list[str], reasoning: bool) -> bytes:
        return b"".join(map(self._token.text, pieces))

    def ending(self, pieces: list[str], reasoning: bool, finish_reason: str, usage: Usage) -> list[bytes]:
        *before, last = pieces
        finish = self._chunk(json_text(last), b'"%b"' % finish_reason.encode())
        events = [self.tokens(before, reasoning), self._event(finish)]
        if self._include_usage:
            events.append(self._event(self._start + b'],"usage":%b}' % msgspec.json.encode(_usage(usage))))
        return [*events, self._event(b"[DONE]")]

    def failure(self) -> list[bytes]:
        message = f"Request failed during generation: {INTERNAL}"
        error = msgspec.json.encode({"error": {"message": message, "http_status_code": 424}})
        return [self._event(error), self._event(b"[DONE]")]

    def whole(self, text: str, reasoning: str, finish_reason: str, usage: Usage) -> PageResponse:
        message = {"role": "assistant", "content": text}
        choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": finish_reason}
        head = {"object": "chat.completion", "id": ""}
        return page(head | self._names | {"choices": [choice], "usage": _usage(usage)})


class _TgiChatWriter204(_TgiChatWriter):
    def __init__(self, generation: GenerationRequest, created_s: int, style: Style) -> None:
        super().__init__(generation, created_s, style, "2.0.4-native")

    def _chunk(self, text: bytes, finish: bytes) -> bytes:
        # As if it were no chat, a mistake of that version.
        start = self._start.replace(
            b'{"object":"chat.completion.chunk","id":""', b'{"id":"","object":"text_completion"', 1
        )
        delta = b'{"role":"assistant","content":"%b"}' % text
        return start + b'{"index":0,"delta":%b,"logprobs":null,"finish_reason":%b}]}' % (delta, finish)

    def ending(self, pieces: list[str], reasoning: bool, finish_reason: str, usage: Usage) -> list[bytes]:
        *before, last = pieces
        reason = b'"eos_token"' if finish_reason == "stop" else b'"length"'
        return [self.tokens(before, reasoning), self._event(self._chunk(json_text(last), reason))]

    def failure(self) -> list[bytes]:
        return [self._event(_plain_error(f"Request failed during generation: {INTERNAL}", "generation"))]


def _cut(requested: int | None, prompt_tokens: int, context: int) -> int:
    """As `cut`, but what does not fit is refused, not shortened."""
    if prompt_tokens >= context:
        message = f"`inputs` must have less than {context - 1} tokens. Given: {prompt_tokens}"
        raise Problem("long", f"Input validation error: {message}", "inputs", prompt_tokens)
    if requested is not None and prompt_tokens + requested > context:
        message = (
            f"`inputs` tokens + `max_new_tokens` must be <= {context}. Given: {prompt_tokens} `inputs` tokens and "
            f"{requested} `max_new_tokens`"
        )
        raise Problem("long", f"Input validation error: {message}", "max_new_tokens", requested)
    return cut(requested, prompt_tokens, context, "max_new_tokens")


@lru_cache(maxsize=4096)
def _token(piece: str) -> bytes:
    identity = crc32(piece.encode("utf-8", "surrogatepass")) % 128_000
    return b'{"id":%d,"text":"%b","logprob":-0.1,"special":false}' % (identity, json_text(piece))


def _end_token() -> bytes:
    return b'{"id":%d,"text":"<|eot_id|>","logprob":-0.2,"special":true}' % _END_ID


def _plain_error(message: str, kind: str) -> bytes:
    return msgspec.json.encode({"error": message, "error_type": kind})


def _usage(usage: Usage) -> dict[str, int]:
    return {
        "prompt_tokens": usage.prompt_tokens,
        "completion_tokens": usage.output_tokens,
        "total_tokens": usage.prompt_tokens + usage.output_tokens,
    }


def _health(state: State) -> PageResponse:
    return empty() if state.ready else PageResponse(_plain_error("unhealthy", "healthcheck"), status=503)


def _metrics(state: State) -> PageResponse:
    stats = state.stats
    shown = Exposition()
    shown.counter("tgi_request_count", sum(stats.statuses.values()))
    shown.counter("tgi_request_success", stats.ended["stop"] + stats.ended["length"], kind="generate_stream")
    shown.counter("tgi_request_failure", stats.ended["error"], err="generation")
    shown.gauge("tgi_queue_size", state.waiting)
    shown.gauge("tgi_batch_current_size", state.running)
    shown.gauge("tgi_batch_current_max_tokens", state.max_batch * 1024)
    shown.histogram("tgi_request_duration", stats.e2e_s)
    shown.histogram("tgi_request_mean_time_per_token_duration", stats.tpot_s)
    shown.histogram("tgi_request_generated_tokens", stats.output_tokens)
    shown.histogram("tgi_request_input_length", stats.input_tokens)
    return PageResponse(shown.body(), content_type=CONTENT_TYPE)
