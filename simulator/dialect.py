"""What the server needs to know of a dialect. A dialect is bytes only: no sockets, no clock, no schedule.

`openai_dialect` is one; another engine's would be one more module with the same two faces, `Dialect` and `Writer`.
"""

from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Ask:
    """A request for text, in no dialect. `max_tokens` is already cut to the context length."""

    prompt: list[str]
    max_tokens: int
    min_tokens: int
    ignore_eos: bool
    stream: bool
    include_usage: bool
    model: str


@dataclass(frozen=True, slots=True)
class Usage:
    prompt_tokens: int
    cached_tokens: int
    output_tokens: int


@dataclass(frozen=True, slots=True)
class Page:
    """An answer that is not a stream."""

    body: bytes
    content_type: str = "application/json"
    status: int = 200
    allow: str = ""


class Refusal(Exception):
    """A request that is answered with an error page."""

    def __init__(self, page: Page) -> None:
        super().__init__(page.status)
        self.page = page


class Writer(Protocol):
    """The bytes of one answer. Each returned `bytes` is one event and goes out in an HTTP chunk of its own."""

    def opening(self) -> bytes:
        """The event before the first token."""

    def tokens(self, text: str, reasoning: bool) -> bytes:
        """An event that carries the text of one or more tokens."""

    def ending(self, text: str, reasoning: bool, finish_reason: str, usage: Usage) -> list[bytes]:
        """The last text and everything after it."""

    def failure(self) -> list[bytes]:
        """An error in mid-stream and everything after it."""

    def whole(self, text: str, reasoning: str, finish_reason: str, usage: Usage) -> Page:
        """The answer to a request that did not ask for a stream."""


class Dialect(Protocol):
    ask_path: str
    stream_content_type: str

    def read(self, body: bytes) -> Ask:
        """Understand the body of a request to `ask_path`; raises Refusal."""

    def writer(self, ask: Ask, request_id: str, created_s: int) -> Writer: ...

    def page(self, path: str) -> Page | None:
        """What a GET of `path` shows; None where there is nothing."""

    def needs_key(self, path: str) -> bool: ...

    def unauthorized(self) -> Page: ...

    def overloaded(self) -> Page: ...

    def internal_error(self) -> Page: ...

    def not_found(self) -> Page: ...

    def wrong_method(self, allow: str) -> Page: ...
