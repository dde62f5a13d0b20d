"""What goes out to an engine and what comes back, whatever its dialect."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple, Protocol


class EngineError(ValueError):
    """A server or a template that cannot be used; the text is one sentence for a person."""


class StreamBroken(Exception):
    """The bytes of a stream are not what the dialect promises; the text is one sentence for a person."""


@dataclass(frozen=True, slots=True)
class ChatRequest:
    """One question. `system_prompt` None sends no system message at all; an empty one is sent as empty.

    max_tokens: cap on the answer's length. ignore_eos: the answer shall have exactly that many tokens.
    """

    model: str
    prompt: str
    system_prompt: str | None
    max_tokens: int
    ignore_eos: bool = False


class Delta(NamedTuple):
    """What one event of a stream added.

    text, reasoning, tool_arguments: new characters of each ("" for none). Any of them makes the event an output.
    tokens: output tokens in this event by the engine's own count, None where the dialect does not say.
    prompt_tokens, output_tokens: the server's usage so far, None where this event gave none.
    error: the server's own message, when it reported a failure inside the stream.
    done: the dialect's end of stream.
    """

    text: str = ""
    reasoning: str = ""
    tool_arguments: str = ""
    tokens: int | None = None
    prompt_tokens: int | None = None
    output_tokens: int | None = None
    finish_reason: str | None = None
    error: str | None = None
    done: bool = False


class StreamDecoder(Protocol):
    """Turns a response body into deltas, fed as it arrives, in pieces of any size."""

    def feed(self, data: bytes) -> list[Delta]:
        """Deltas of the events that these bytes complete. Raises StreamBroken."""
        ...

    def end(self) -> list[Delta]:
        """The body has ended: what is left over. Raises StreamBroken if it ended inside an event."""
        ...


class Engine(Protocol):
    """An engine's dialect."""

    @property
    def name(self) -> str: ...

    @property
    def path(self) -> str:
        """Where requests are posted."""
        ...

    @property
    def content_type(self) -> str:
        """Of a streamed answer."""
        ...

    @property
    def honours_ignore_eos(self) -> bool:
        """Whether the engine can be made to answer with exactly max_tokens tokens."""
        ...

    def request_body(self, request: ChatRequest) -> bytes:
        """The request as the engine wants it posted to `path`."""
        ...

    def decoder(self) -> StreamDecoder:
        """A fresh decoder for one response."""
        ...

    def error_message(self, body: bytes) -> str:
        """The server's own words in an error response, shortened; its first bytes where there are no words."""
        ...
