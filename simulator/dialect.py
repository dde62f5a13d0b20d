"""What the server needs to know of a dialect. A dialect is bytes only: no sockets, no clock, no schedule.

The package `dialects` has one module for each family of engines. Differences in data are in `EngineTraits`, which the
server and the command's options read; differences in bytes are in each one's `Dialect` and `AnswerWriter`.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Literal, Protocol

from tokenswarm.simulator.engine_stats import State


@dataclass(frozen=True, slots=True)
class GenerationRequest:
    """A request for text, in no dialect. `max_tokens` is already cut to the context length."""

    prompt: list[str]
    max_tokens: int
    min_tokens: int
    ignore_eos: bool
    stream: bool
    include_usage: bool
    model: str
    usage_in_every_event: bool = False
    #: TGI's `details`, OpenAI's `obfuscation`: what a request can have put into the events beside the text.
    extras: bool = False


@dataclass(frozen=True, slots=True)
class Usage:
    """The counts of an answer, and how long (in nanoseconds) its prompt and its decoding took."""

    prompt_tokens: int
    cached_tokens: int
    output_tokens: int
    prompt_ns: int = 0
    output_ns: int = 0


@dataclass(frozen=True, slots=True)
class PageResponse:
    """An answer that is not a stream of tokens. With `stream`, it is sent as one all the same: an error under 200."""

    body: bytes
    content_type: str = "application/json"
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    stream: bool = False


class Refusal(Exception):
    """A request that is answered with an error page."""

    def __init__(self, page: PageResponse) -> None:
        super().__init__(page.status)
        self.page = page


#: Shows a page of the server as it is.
Show = Callable[[State], PageResponse]


class Problem(Exception):
    """What is wrong with a request, in no dialect.

    `body`: not JSON, or not of the expected shape, `param` naming the place. `unknown`: fields that the engine does not
    have. `model`: another model. `long`: no space left in the context. `value`: a number out of range.
    """

    def __init__(
        self,
        kind: Literal["body", "unknown", "model", "long", "value"],
        message: str,
        param: str | None = None,
        value: object = None,
    ) -> None:
        super().__init__(message)
        self.kind = kind
        self.message = message
        self.param = param
        self.value = value


@dataclass(frozen=True, slots=True)
class Style:
    """How events are laid out: lines ended by CR LF, a comment line before each event, and the spaces around what
    follows `data:`: `one` before it, `none`, or `trailing` (one before and one after)."""

    crlf: bool = False
    comments: bool = False
    space: str = "one"

    def event(self, payload: bytes, name: bytes = b"") -> bytes:
        end = b"\r\n" if self.crlf else b"\n"
        before = b"data:" if self.space == "none" else b"data: "
        after = b" " if self.space == "trailing" else b""
        named = b"event: " + name + end if name else b""
        return (b": ping" + end + end if self.comments else b"") + named + before + payload + after + end + end


@dataclass(frozen=True, slots=True)
class EngineTraits:
    """What an engine does beside its bytes.

    role: whether a role event of its own goes out, and when: `early` (at once) or with the `first` token.
    breaks: what a failure in mid-answer looks like: the connection is `cut`, the body is `truncated` but ends well, or
        an error event comes (`stream_error`).
    admits: most requests at once, running or waiting, before it refuses (None: no limit).
    end_token_counts: whether the end token is one of the answer's tokens in the engine's own count; not where it gives
        none, for then nobody could see that it was there.
    endpoints: which of OpenAI's other endpoints it has besides its own (see `dialects.endpoints_of`).
    holds_characters: whether text is held back until a character's last byte is there; else the parts show as U+FFFD.
    flush_path: where a POST flushes the prefix cache ("": nowhere); flush_needs_debug: only with `enable_debug`.
    """

    generate_path: str
    stream_content_type: str = "text/event-stream; charset=utf-8"
    headers: Mapping[str, str] = field(default_factory=lambda: {"server": "uvicorn"})
    sse: bool = True
    space: str = "one"
    head_at_once: bool = True
    role: Literal["", "early", "first"] = ""
    breaks: Literal["cut", "truncated", "stream_error"] = "stream_error"
    error_event: bool = True
    usage_on_request: bool = False
    reasoning: bool = False
    keep_alive_s: float | None = None
    admits: int | None = None
    end_token_counts: bool = True
    holds_characters: bool = True
    closes_after_stream: bool = False
    key_header: str = "authorization"
    debug_option: bool = False
    flush_path: str = ""
    flush_needs_debug: bool = False
    endpoints: tuple[Literal["completions", "responses"], ...] = ()


class AnswerWriter(Protocol):
    """The bytes of one answer. What a method returns goes out in an HTTP chunk of its own, empty bytes not at all."""

    def opening(self) -> bytes:
        """The event before the first token, if there is one."""

    def tokens(self, pieces: list[str], reasoning: bool) -> bytes:
        """What carries the texts of one or more tokens."""

    def ending(self, pieces: list[str], reasoning: bool, finish_reason: str, usage: Usage) -> list[bytes]:
        """The last texts and everything after them. If the engine stopped, the last piece is the end token's: empty."""

    def failure(self) -> list[bytes]:
        """An error in mid-stream and everything after it, from an engine that reports it."""

    def whole(self, text: str, reasoning: str, finish_reason: str, usage: Usage) -> PageResponse:
        """The answer to a request without a stream."""


class Dialect(ABC):
    """Reads requests and shows pages. With `only_model`, requests for any other model are refused."""

    traits: EngineTraits

    def __init__(
        self,
        model: str,
        max_model_len: int,
        created_s: int,
        only_model: bool = False,
        style: Style | None = None,
        enable_debug: bool = False,
    ) -> None:
        self.model = model
        self.max_model_len = max_model_len
        self.created_s = created_s
        self.only_model = only_model
        self.style = style or Style(space=self.traits.space)
        self.enable_debug = enable_debug
        self._pages = self.pages()

    def read(self, body: bytes, headers: Mapping[str, str]) -> GenerationRequest:
        """Understand the body of a request to the engine's `generate_path`; raises Refusal."""
        try:
            return self.understand(body, headers)
        except Problem as problem:
            raise Refusal(self.problem(problem)) from problem

    @abstractmethod
    def understand(self, body: bytes, headers: Mapping[str, str]) -> GenerationRequest:
        """As `read`; raises Problem, or Refusal where no kind of problem fits."""

    @abstractmethod
    def writer(self, generation: GenerationRequest, request_id: str, created_s: int) -> AnswerWriter: ...

    def stream_headers(self, generation: GenerationRequest, request_id: str) -> dict[str, str]:
        """Further headers of a stream."""
        return {}

    def page(self, path: str, state: State) -> PageResponse | None:
        """What a GET of `path` shows; None where there is nothing."""
        found = self._pages.get(path)
        return found(state) if callable(found) else found

    @abstractmethod
    def pages(self) -> dict[str, PageResponse | Show]:
        """Everything that can be had with GET, by path: pages that never change, and what shows the others."""

    def flush_path(self) -> str:
        """Where a POST flushes the prefix cache, "" for nowhere."""
        traits = self.traits
        return traits.flush_path if self.enable_debug or not traits.flush_needs_debug else ""

    def flushed(self, done: bool) -> PageResponse:
        """The answer to a request that flushes the prefix cache. done: whether it was flushed."""
        return PageResponse(b"", content_type="")

    def needs_key(self, path: str) -> bool:
        return path.startswith("/v1")

    @abstractmethod
    def problem(self, problem: Problem) -> PageResponse:
        """How the engine refuses a request."""

    @abstractmethod
    def unauthorized(self) -> PageResponse: ...

    @abstractmethod
    def overloaded(self, stream: bool) -> PageResponse:
        """How the engine refuses a request when it is full, for a stream or not."""

    @abstractmethod
    def internal_error(self) -> PageResponse: ...

    def not_found(self) -> PageResponse:
        return PageResponse(b'{"detail":"Not Found"}', status=404)

    def wrong_method(self, allow: str) -> PageResponse:
        return PageResponse(b'{"detail":"Method Not Allowed"}', status=405, headers={"allow": allow})
