"""What requests and pages have in common: bodies to records, messages to prompts, limits, and JSON."""

import re
from collections.abc import Set
from functools import lru_cache
from typing import Any, TypeVar

import msgspec

from tokenswarm.simulator.dialect import GenerationRequest, PageResponse, Problem
from tokenswarm.simulator.tokens import render_chat

T = TypeVar("T")

#: Stands for a text in a template; JSON never has it as a byte.
HOLE = b"\x00"

INTERNAL = "The simulated engine failed, as its options say."


class Part(msgspec.Struct):
    type: str
    text: str | None = None


class Message(msgspec.Struct):
    role: str
    content: str | list[Part] | None = None


class StreamOptions(msgspec.Struct):
    include_usage: bool | None = None
    continuous_usage_stats: bool | None = False
    include_obfuscation: bool | None = True


class DebugConfig(msgspec.Struct):
    ignore_eos: bool | None = False


class ChatBody(msgspec.Struct):
    """OpenAI's chat request, with every field that one of the dialects looks at."""

    messages: list[Message]
    model: str | None = None
    stream: bool | None = False
    stream_options: StreamOptions | None = None
    max_tokens: int | None = None
    max_completion_tokens: int | None = None
    min_tokens: int | None = 0
    min_new_tokens: int | None = 0
    ignore_eos: bool | None = False
    debug_config: DebugConfig | None = None
    n: int | None = 1

    @property
    def limit(self) -> int | None:
        """The requested limit of tokens; the newer field goes first."""
        return self.max_tokens if self.max_completion_tokens is None else self.max_completion_tokens

    @property
    def limit_name(self) -> str:
        return "max_tokens" if self.max_completion_tokens is None else "max_completion_tokens"

    @property
    def include_usage(self) -> bool:
        return bool(self.stream_options and self.stream_options.include_usage)

    @property
    def usage_in_every_event(self) -> bool:
        return self.include_usage and bool(self.stream_options and self.stream_options.continuous_usage_stats)


def names(text: str) -> frozenset[str]:
    return frozenset(text.split())


#: OpenAI's own request fields (its API reference, 2024 to 2026), for the engines that know no others.
OPENAI_FIELDS = names(
    "messages model audio frequency_penalty function_call functions logit_bias logprobs max_completion_tokens"
    " max_tokens metadata modalities n parallel_tool_calls prediction presence_penalty prompt_cache_key"
    " reasoning_effort response_format safety_identifier seed service_tier stop store stream stream_options"
    " temperature tool_choice tools top_logprobs top_p user verbosity web_search_options"
)


def parse(body: bytes, kind: type[T]) -> T:
    """The body as a record, leniently ("16" is a number, as most engines have it). Raises Problem."""
    try:
        return msgspec.json.decode(body, type=kind, strict=False)
    except msgspec.ValidationError as error:
        reason, _, place = str(error).partition(" - at `$")
        raise Problem("body", reason, "body" + place.rstrip("`")) from error
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise Problem("body", f"JSON decode error: {error}", "body") from error


def refuse_unknown(body: bytes, known: Set[str]) -> None:
    """Raise Problem if the body has fields that the engine does not know."""
    unknown = [name for name in parse(body, dict[str, msgspec.Raw]) if name not in known]
    if unknown:
        raise Problem("unknown", f"Extra inputs are not permitted: {', '.join(unknown)}", unknown[0])


def refuse_model(requested: str | None, served: str) -> None:
    """Raise Problem if another model is requested."""
    if requested not in (None, "", served):
        raise Problem("model", f"The model `{requested}` does not exist.", "model", requested)


def prompt_of(messages: list[Message]) -> list[str]:
    """The tokens of a conversation under the chat template."""
    return render_chat((message.role, text_of(message.content)) for message in messages)


def text_of(content: str | list[Part] | None) -> str:
    if isinstance(content, list):
        return "\n".join(part.text or "" for part in content if part.type == "text")
    return content or ""


def cut(requested: int | None, prompt_tokens: int, context: int, name: str = "max_tokens") -> int:
    """How long the answer may become: as requested, or as the context allows. Raises Problem if that is nothing."""
    if requested is not None and requested < 1:
        raise Problem("value", f"{name} must be at least 1, got {requested}.", name, requested)
    if prompt_tokens >= context:
        raise Problem(
            "long",
            f"{prompt_tokens} prompt tokens leave no space in a context of {context}.",
            "messages",
            prompt_tokens,
        )
    left = context - prompt_tokens
    return left if requested is None else min(requested, left)


def chat_generation(
    body: ChatBody, model: str, context: int, *, default: int | None = None, **fields: Any
) -> GenerationRequest:
    """A chat request as most engines read it; `fields` are an engine's own values. Raises Problem."""
    prompt = prompt_of(body.messages)
    requested = default if body.limit is None else body.limit
    allowed = cut(requested, len(prompt), context, body.limit_name)
    common: dict[str, Any] = {
        "prompt": prompt,
        "max_tokens": allowed,
        "min_tokens": 0,
        "ignore_eos": False,
        "stream": bool(body.stream),
        "include_usage": body.include_usage,
        "model": body.model or model,
    }
    return GenerationRequest(**(common | fields))


@lru_cache(maxsize=4096)
def json_text(text: str) -> bytes:
    """`text` escaped for the inside of a JSON string."""
    return msgspec.json.encode(text)[1:-1]


class Around:
    """What surrounds a text in an event, rendered once: `template` has `HOLE` where the text goes."""

    def __init__(self, template: bytes) -> None:
        self._before, self._after = template.split(HOLE)

    def text(self, text: str) -> bytes:
        return self._before + json_text(text) + self._after

    def escaped(self, text: bytes) -> bytes:
        """The same for a text that is escaped already."""
        return self._before + text + self._after


def page(content: Any, status: int = 200) -> PageResponse:
    """A JSON page, compact."""
    return PageResponse(msgspec.json.encode(content), status=status)


def text_page(text: str, status: int = 200) -> PageResponse:
    return PageResponse(text.encode(), content_type="text/plain; charset=utf-8", status=status)


def empty(status: int = 200) -> PageResponse:
    return PageResponse(b"", content_type="", status=status)


def validation_page(problem: Problem) -> PageResponse:
    """FastAPI's own answer to a body of another shape: 422, the place as a list."""
    place = [part for part in re.split(r"[.\[\]]+", problem.param or "body") if part]
    return page({"detail": [{"type": "value_error", "loc": place, "msg": problem.message}]}, 422)


def openapi_page(paths: list[str], title: str = "FastAPI", version: str = "0.1.0") -> PageResponse:
    """The index that FastAPI serves at /openapi.json, down to its paths."""
    return page({"openapi": "3.1.0", "info": {"title": title, "version": version}, "paths": {p: {} for p in paths}})
