"""The OpenAI chat dialect as vLLM speaks it (0.32): keys, their order, explicit nulls, and error bodies.

As in vLLM, the role goes out in an event of its own, the finish event carries the last text (none if the end token
came), usage is a separate event without choices, and numbers may be sent as strings. Unlike vLLM's default, usage
always shows the cached prompt tokens. One answer a request (`n` above 1 is refused); usage in every event, tools and
log probabilities are not offered, and asking for them is ignored.
"""

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import msgspec

from simulator.dialect import Ask, Page, Refusal, Usage, Writer
from simulator.tokens import render_chat

FINGERPRINT = "tokenswarm-simulator"
VERSION = "0.32.0+tokenswarm.simulator"


@dataclass(frozen=True, slots=True)
class Style:
    """How events are laid out: lines ended by CR LF, and a comment line before each event."""

    crlf: bool = False
    comments: bool = False

    def event(self, payload: bytes) -> bytes:
        end = b"\r\n\r\n" if self.crlf else b"\n\n"
        return (b": ping" + end if self.comments else b"") + b"data: " + payload + end


class _Part(msgspec.Struct):
    type: str
    text: str | None = None


class _Message(msgspec.Struct):
    role: str
    content: str | list[_Part] | None = None


class _StreamOptions(msgspec.Struct):
    include_usage: bool | None = False


class _Body(msgspec.Struct):
    messages: list[_Message]
    model: str | None = None
    stream: bool | None = False
    stream_options: _StreamOptions | None = None
    max_tokens: int | None = None
    max_completion_tokens: int | None = None
    min_tokens: int | None = 0
    ignore_eos: bool | None = False
    n: int | None = 1


@lru_cache(maxsize=4096)
def _json_text(text: str) -> bytes:
    """`text` escaped for the inside of a JSON string."""
    return msgspec.json.encode(text)[1:-1]


class ChatDialect:
    """Reads requests and shows pages. With `only_model`, requests for any other model are refused."""

    ask_path = "/v1/chat/completions"
    stream_content_type = "text/event-stream; charset=utf-8"

    def __init__(
        self, model: str, max_model_len: int, created_s: int, only_model: bool = False, style: Style | None = None
    ) -> None:
        self._model = model
        self._max_model_len = max_model_len
        self._created_s = created_s
        self._only_model = only_model
        self._style = style or Style()

    def read(self, body: bytes) -> Ask:
        request = self._parse(body)
        if self._only_model and request.model not in (None, "", self._model):
            message = f"The model `{request.model}` does not exist. Valid aliases: {self._model}."
            raise Refusal(_error(404, message, "NotFoundError", "model"))
        if not request.messages:
            raise _bad("Cannot apply chat template to an empty conversation. Provide at least one message.")
        if request.n not in (None, 1):
            raise _bad(f"This simulator gives one answer a request: n must be 1, got {request.n}.", "n", request.n)
        prompt = render_chat((message.role, _content(message)) for message in request.messages)
        return Ask(
            prompt=prompt,
            max_tokens=self._max_tokens(request, len(prompt)),
            min_tokens=request.min_tokens or 0,
            ignore_eos=bool(request.ignore_eos),
            stream=bool(request.stream),
            include_usage=bool(request.stream_options and request.stream_options.include_usage),
            model=request.model or self._model,
        )

    def _parse(self, body: bytes) -> _Body:
        try:
            # vLLM validates leniently: "16" is a number.
            return msgspec.json.decode(body, type=_Body, strict=False)
        except msgspec.ValidationError as error:
            reason, _, place = str(error).partition(" - at `$")
            param = "body" + place.rstrip("`")
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            reason, param = f"JSON decode error: {error}", "body"
        message = f"1 validation error:\n  {{'loc': '{param}', 'msg': '{reason}'}}"
        raise Refusal(_error(400, message, "Bad Request", param))

    def _max_tokens(self, request: _Body, prompt_tokens: int) -> int:
        limit = self._max_model_len
        name = "max_tokens" if request.max_completion_tokens is None else "max_completion_tokens"
        asked = request.max_tokens if request.max_completion_tokens is None else request.max_completion_tokens
        if asked is not None and asked < 1:
            raise _bad(f"{name} must be at least 1, got {asked}.", name, asked)
        if asked is not None and asked > limit:
            raise _bad(
                f"{name}={asked} cannot be greater than max_model_len={limit}. Please request fewer output tokens.",
                name,
                asked,
            )
        if prompt_tokens >= limit:
            raise _bad(
                f"This model's maximum context length is {limit} tokens. However, your prompt contains {prompt_tokens} "
                "input tokens, which leaves no room for output tokens. Please reduce the length of the input prompt.",
                "input_tokens",
                prompt_tokens,
            )
        room = limit - prompt_tokens
        allowed = room if asked is None else min(asked, room)
        if (request.min_tokens or 0) > allowed:
            message = f"min_tokens must be less than or equal to max_tokens={allowed}, got {request.min_tokens}."
            raise _bad(message, "min_tokens", request.min_tokens)
        return allowed

    def writer(self, ask: Ask, request_id: str, created_s: int) -> Writer:
        return _ChatWriter(ask, request_id, created_s, self._style)

    def page(self, path: str) -> Page | None:
        if path == "/health":
            return Page(b"", content_type="")
        if path == "/version":
            return _json({"version": VERSION})
        if path == "/v1/models":
            return _json({"object": "list", "data": [self._model_card()]})
        return None

    def _model_card(self) -> dict[str, Any]:
        return {
            "id": self._model,
            "object": "model",
            "created": self._created_s,
            "owned_by": "tokenswarm",
            "root": self._model,
            "parent": None,
            "max_model_len": self._max_model_len,
            "permission": [],
        }

    def needs_key(self, path: str) -> bool:
        return path.startswith("/v1")

    def unauthorized(self) -> Page:
        return _json({"error": "Unauthorized"}, 401)

    def overloaded(self) -> Page:
        return _error(503, "The server is overloaded. Please try again later.", "ServiceUnavailableError", None)

    def internal_error(self) -> Page:
        return _error(500, _INTERNAL, "InternalServerError", None)

    def not_found(self) -> Page:
        return _json({"detail": "Not Found"}, 404)

    def wrong_method(self, allow: str) -> Page:
        return Page(msgspec.json.encode({"detail": "Method Not Allowed"}), status=405, allow=allow)


class _ChatWriter:
    def __init__(self, ask: Ask, request_id: str, created_s: int, style: Style) -> None:
        self._include_usage = ask.include_usage
        self._event = style.event
        self._id = f"chatcmpl-{request_id}"
        self._created_s = created_s
        self._model = ask.model
        start = b'{"id":"%b","object":"chat.completion.chunk","created":%d,"model":"%b","choices":[' % (
            msgspec.json.encode(self._id)[1:-1],
            created_s,
            msgspec.json.encode(ask.model)[1:-1],
        )
        self._start = start
        # Rendered once: what surrounds the text of every token.
        before, after = style.event(b"@").split(b"@")
        delta = before + start + b'{"index":0,"delta":{"'
        self._before = {False: delta + b'content":"', True: delta + b'reasoning":"'}
        self._after = b'"},"logprobs":null,"finish_reason":null,"token_ids":null}]}' + after

    def opening(self) -> bytes:
        return self._event(
            self._start
            + b'{"index":0,"delta":{"role":"assistant","content":""},"logprobs":null,"finish_reason":null}],'
            b'"prompt_token_ids":null,"prompt_text":null}'
        )

    def tokens(self, text: str, reasoning: bool) -> bytes:
        return self._before[reasoning] + _json_text(text) + self._after

    def ending(self, text: str, reasoning: bool, finish_reason: str, usage: Usage) -> list[bytes]:
        name = b"reasoning" if reasoning else b"content"
        finish = (
            b'{"index":0,"delta":{"%b":"%b"},"logprobs":null,"finish_reason":"%b",'
            b'"stop_reason":null,"token_ids":null}]}'
        )
        events = [self._event(self._start + finish % (name, _json_text(text), finish_reason.encode()))]
        if self._include_usage:
            counts = msgspec.json.encode(_usage(usage))
            events.append(
                self._event(b'%b],"usage":%b,"system_fingerprint":"%b"}' % (self._start, counts, _FINGERPRINT))
            )
        return [*events, self._event(b"[DONE]")]

    def failure(self) -> list[bytes]:
        # The spaces after the colons are vLLM's: this one event is written by another serialiser there.
        error = b'{"error": {"message": "%b", "type": "InternalServerError", "param": null, "code": 500}}'
        return [self._event(error % _INTERNAL.encode()), self._event(b"[DONE]")]

    def whole(self, text: str, reasoning: str, finish_reason: str, usage: Usage) -> Page:
        message = {
            "role": "assistant",
            "content": text,
            "refusal": None,
            "annotations": None,
            "audio": None,
            "function_call": None,
            "reasoning": reasoning or None,
        }
        choice = {
            "index": 0,
            "message": message,
            "logprobs": None,
            "finish_reason": finish_reason,
            "stop_reason": None,
            "token_ids": None,
        }
        return _json(
            {
                "id": self._id,
                "object": "chat.completion",
                "created": self._created_s,
                "model": self._model,
                "choices": [choice],
                "service_tier": None,
                "system_fingerprint": FINGERPRINT,
                "usage": _usage(usage),
                "prompt_logprobs": None,
                "prompt_token_ids": None,
                "kv_transfer_params": None,
            }
        )


_FINGERPRINT = FINGERPRINT.encode()
_INTERNAL = "The simulated engine failed, as it was told to."


def _content(message: _Message) -> str:
    if isinstance(message.content, list):
        return "\n".join(part.text or "" for part in message.content if part.type == "text")
    return message.content or ""


def _usage(usage: Usage) -> dict[str, Any]:
    return {
        "prompt_tokens": usage.prompt_tokens,
        "total_tokens": usage.prompt_tokens + usage.output_tokens,
        "completion_tokens": usage.output_tokens,
        "prompt_tokens_details": {"cached_tokens": usage.cached_tokens},
    }


def _json(content: Any, status: int = 200) -> Page:
    return Page(msgspec.json.encode(content), status=status)


def _error(status: int, message: str, kind: str, param: str | None) -> Page:
    return _json({"error": {"message": message, "type": kind, "param": param, "code": status}}, status)


def _bad(message: str, param: str | None = None, value: object = None) -> Refusal:
    named = f" (parameter={param}, value={value})" if param else ""
    return Refusal(_error(400, message + named, "BadRequestError", param))
