"""MLC-LLM's `mlc_llm serve`: today's (0.20), and the nightly build of May 2024 that the article had.

The headers leave with the first response. Error bodies are JSON strings that hold JSON. There is no way to an exact
length but `debug_config`, which a server without `--enable-debug` discards silently; the build of 2024 had
`ignore_eos`, and usage in every event, those without text included. `/metrics` is MLC's own and not strict Prometheus.

Not verified against a server: whether the end token is counted (here it is), the 503 of an overload (it queues).
"""

from collections.abc import Mapping
from typing import Any

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
from tokenswarm.simulator.dialects.requests import (
    HOLE,
    INTERNAL,
    Around,
    ChatBody,
    chat_generation,
    json_text,
    openapi_page,
    page,
    parse,
    refuse_model,
    text_page,
    validation_page,
)
from tokenswarm.simulator.engine_stats import State


class MlcDialect(Dialect):
    traits = EngineTraits(
        generate_path="/v1/chat/completions",
        endpoints=("completions",),
        head_at_once=False,
        breaks="cut",
        error_event=False,
        usage_on_request=True,
        debug_option=True,
    )

    def understand(self, body: bytes, headers: Mapping[str, str]) -> GenerationRequest:
        request = parse(body, ChatBody)
        self._check_options(request)
        if self.only_model:
            refuse_model(request.model, self.model)
        return chat_generation(request, self.model, self.max_model_len, ignore_eos=self._ignores_eos(request))

    def _check_options(self, request: ChatBody) -> None:
        if request.stream_options and not request.stream:
            raise Problem("body", "stream_options is only allowed when stream is set to true.", "body.stream_options")
        if request.stream_options and request.stream_options.include_usage is None:
            raise Problem("body", "Field required", "body.stream_options.include_usage")

    def _ignores_eos(self, request: ChatBody) -> bool:
        return self.enable_debug and bool(request.debug_config and request.debug_config.ignore_eos)

    def writer(self, generation: GenerationRequest, request_id: str, created_s: int) -> AnswerWriter:
        return _MlcChatWriter(generation, request_id, created_s, self.style)

    def pages(self) -> dict[str, PageResponse | Show]:
        return self._common_pages() | {"/metrics": _metrics}

    def _common_pages(self) -> dict[str, PageResponse | Show]:
        paths = ["/v1/models", "/v1/chat/completions", "/v1/completions"]
        return {"/v1/models": self._models, "/openapi.json": openapi_page(paths)}

    def _models(self, state: State) -> PageResponse:
        # The only way to learn whether it is up; the port opens when the model is loaded.
        if not state.ready:
            return text_page("Service Unavailable", 503)
        card = {"id": self.model, "created": self.created_s, "object": "model", "owned_by": "MLC-LLM"}
        return page({"data": [card], "object": "list"})

    def problem(self, problem: Problem) -> PageResponse:
        if problem.kind == "body":
            return validation_page(problem)
        message = problem.message
        if problem.kind == "long":
            message = (
                f"Request prompt has {problem.value} tokens in total, larger than the model input length limit "
                f"{self.max_model_len}."
            )
        return _error(400, message)

    def unauthorized(self) -> PageResponse:
        return page({"detail": "Invalid API Key"}, 401)

    def overloaded(self, stream: bool) -> PageResponse:
        return _error(503, "The server is overloaded.")

    def internal_error(self) -> PageResponse:
        return _error(500, INTERNAL)


class Mlc2024Dialect(MlcDialect):
    traits = EngineTraits(generate_path="/v1/chat/completions", head_at_once=False, breaks="cut", error_event=False)

    def _check_options(self, request: ChatBody) -> None:
        """There was no `stream_options` to be wrong."""

    def _ignores_eos(self, request: ChatBody) -> bool:
        return bool(request.ignore_eos)

    def writer(self, generation: GenerationRequest, request_id: str, created_s: int) -> AnswerWriter:
        return _MlcChatWriter2024(generation, request_id, created_s, self.style)

    def pages(self) -> dict[str, PageResponse | Show]:
        return self._common_pages()


class _MlcChatWriter:
    def __init__(self, generation: GenerationRequest, request_id: str, created_s: int, style: Style) -> None:
        self._include_usage = generation.include_usage
        self._event = style.event
        self._names: dict[str, Any] = {"id": f"chatcmpl-{request_id}", "created": created_s, "model": generation.model}
        self._start = b'{"id":"chatcmpl-%b","choices":[' % json_text(request_id)
        self._end = b'],"created":%d,"model":"%b","system_fingerprint":"","object":"chat.completion.chunk","usage":' % (
            created_s,
            json_text(generation.model),
        )
        self._token = Around(self._event(self._choice(HOLE, b"null") + b"null}"))

    def _choice(self, text: bytes, finish: bytes) -> bytes:
        """The chunk up to its usage."""
        delta = b'{"content":"%b","role":"assistant","name":null,"tool_calls":null,"tool_call_id":null}' % text
        choice = b'{"finish_reason":%b,"index":0,"delta":%b,"logprobs":null}' % (finish, delta)
        return self._start + choice + self._end

    def opening(self) -> bytes:
        return b""

    def tokens(self, pieces: list[str], reasoning: bool) -> bytes:
        return self._token.text("".join(pieces)) if any(pieces) else b""

    def ending(self, pieces: list[str], reasoning: bool, finish_reason: str, usage: Usage) -> list[bytes]:
        finish = self._choice(json_text("".join(pieces)), b'"%b"' % finish_reason.encode())
        events = [self._event(finish + b"null}")]
        if self._include_usage:
            counts = msgspec.json.encode(_counts(usage.prompt_tokens, usage.output_tokens) | {"extra": None})
            events.append(self._event(self._start + self._end + counts + b"}"))
        return [*events, self._event(b"[DONE]")]

    def failure(self) -> list[bytes]:
        return []

    def whole(self, text: str, reasoning: str, finish_reason: str, usage: Usage) -> PageResponse:
        message = {"content": text, "role": "assistant", "name": None, "tool_calls": None, "tool_call_id": None}
        choice = {"finish_reason": finish_reason, "index": 0, "message": message, "logprobs": None}
        counts = _counts(usage.prompt_tokens, usage.output_tokens)
        names = {"choices": [choice], "system_fingerprint": "", "object": "chat.completion", "usage": counts}
        return page(self._names | names)


class _MlcChatWriter2024(_MlcChatWriter):
    def __init__(self, generation: GenerationRequest, request_id: str, created_s: int, style: Style) -> None:
        super().__init__(generation, request_id, created_s, style)
        self._prompt_tokens = len(generation.prompt)
        self._sent_tokens = 0

    def tokens(self, pieces: list[str], reasoning: bool) -> bytes:
        self._sent_tokens += len(pieces)
        text = json_text("".join(pieces))
        chunk = self._choice(text, b"null") if text else self._start + self._end
        return self._event(chunk + self._usage_so_far() + b"}")

    def ending(self, pieces: list[str], reasoning: bool, finish_reason: str, usage: Usage) -> list[bytes]:
        self._sent_tokens = usage.output_tokens
        finish = self._choice(json_text("".join(pieces)), b'"%b"' % finish_reason.encode())
        return [self._event(finish + self._usage_so_far() + b"}"), self._event(b"[DONE]")]

    def _usage_so_far(self) -> bytes:
        return msgspec.json.encode(_counts(self._prompt_tokens, self._sent_tokens))


def _counts(prompt_tokens: int, output_tokens: int) -> dict[str, Any]:
    return {
        "prompt_tokens": prompt_tokens,
        "completion_tokens": output_tokens,
        "total_tokens": prompt_tokens + output_tokens,
    }


def _error(status: int, message: str) -> PageResponse:
    inner = msgspec.json.encode({"object": "error", "message": message, "code": status}).decode()
    return page(inner, status)


def _metrics(state: State) -> PageResponse:
    stats = state.stats
    values = {
        "engine_prefill_time_sum": stats.ttft_s.sum,
        "engine_decode_time_sum": stats.gap_s.sum,
        "prompt_tokens_sum": state.prompt_tokens,
        "completion_tokens_sum": state.output_tokens,
        "prefill_tokens_sum": state.prompt_tokens - state.hit_tokens,
        "decode_tokens_sum": state.output_tokens,
        "last_finished_request_ttft_s": stats.ttft_s.last,
        "last_finished_request_inter_token_latency_s": stats.tpot_s.last,
    }
    return text_page("".join(f"{name}\t{value}\n" for name, value in values.items()))
