"""What goes out to an engine and what comes back, whatever its dialect."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from hashlib import blake2b
from typing import Any, NamedTuple, Protocol
from urllib.parse import quote

import msgspec

from engines.errors import error_message


class EngineError(ValueError):
    """A server or a template that cannot be used; the text is one sentence for a person."""


class StreamBroken(Exception):
    """The bytes of a stream are not what the dialect promises; the text is one sentence for a person."""


@dataclass(frozen=True, slots=True)
class ChatRequest:
    """One question. `system_prompt` None sends no system message at all; an empty one is sent as empty.

    earlier: (role, text) of the messages between the system prompt and the prompt, in order. max_tokens: cap on the
    answer's length. ignore_eos: the answer shall have exactly that many tokens.
    """

    model: str
    prompt: str
    system_prompt: str | None
    max_tokens: int
    ignore_eos: bool = False
    earlier: tuple[tuple[str, str], ...] = ()

    @property
    def messages(self) -> list[dict[str, str]]:
        """As chat messages, the system prompt first."""
        system = [] if self.system_prompt is None else [{"role": "system", "content": self.system_prompt}]
        return [*system, *self.turns]

    @property
    def turns(self) -> list[dict[str, str]]:
        """As chat messages, without the system prompt."""
        earlier = [{"role": role, "content": text} for role, text in self.earlier]
        return [*earlier, {"role": "user", "content": self.prompt}]

    @property
    def content_hash(self) -> str:
        """16 hexadecimal digits (BLAKE2b) of the messages' roles and texts: equal where equal messages are sent."""
        digest = blake2b(digest_size=8)
        for message in self.messages:
            for part in (message["role"], message["content"]):
                digest.update(part.encode("utf-8", "surrogatepass") + b"\0")
        return digest.hexdigest()


class Delta(msgspec.Struct, frozen=True, gc=False):
    """What one event of a stream added.

    text, reasoning, tool_arguments: new characters of each ("" for none). Any of them makes the event an output.
    tokens: output tokens in this event by the engine's own count, None where the dialect does not say.
    prompt_tokens, output_tokens: the server's usage so far, None where this event gave none.
    error: the server's own message, when it reported a failure inside the stream.
    done: the dialect's end of stream.
    cached_tokens: prompt tokens that the server's usage says it found in its prefix cache, None where it does not say.
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
    cached_tokens: int | None = None


class Alike(NamedTuple):
    """Outputs in a row, from pieces of a stream: the new characters of each output, in UTF-8; whether they are
    reasoning or text; of each piece, how many outputs it held."""

    texts: Sequence[bytes]
    reasoning: bool
    of_each: Sequence[int]


#: What a decoder says that looks at every event by itself.
NONE_ALIKE = Alike((), reasoning=False, of_each=())


class StreamDecoder(Protocol):
    """Turns a response body into deltas, fed as it arrives, in pieces of any size."""

    def feed(self, data: bytes) -> list[Delta]:
        """Deltas of the events that these bytes complete. Raises StreamBroken."""
        ...

    def alike_each(self, datas: Sequence[bytes]) -> Alike:
        """The outputs of the first of these pieces, as long as each is whole events that differ from one before in
        their text alone; the others were not taken: feed them."""
        ...

    def end(self) -> list[Delta]:
        """The body has ended: what is left over, `done` where its end is the stream's. Raises StreamBroken if it ended
        inside an event."""
        ...


class SystemPrompt(StrEnum):
    """How a system prompt goes in: as a message before the user's, as a field of its own, or written by us into one
    text with the prompt, as the model's chat template has it."""

    MESSAGE = "message"
    FIELD = "field"
    TEMPLATE = "template"


class Counts(StrEnum):
    """Who tells how many tokens an answer has: the server; nobody, but an event is about a token; nobody at all."""

    SERVER = "server"
    EVENTS = "events"
    NOBODY = "nobody"


@dataclass(frozen=True, kw_only=True)
class Engine(ABC):
    """An engine's dialect: what differs in data is a field, what differs in code a method.

    path: where requests are posted; it may hold {model}. content_type: of a streamed answer. health_path: gives 200
    once the engine can answer, None where nothing does. metrics_path: of its own metrics, on metrics_port where that is
    not the port of the requests. exact_length: what a request says, besides its cap on tokens, to have exactly as many;
    least_tokens: keys whose value is then that number. exact_length is None where the engine cannot be told, and
    no_exact_length is what to do instead. asks_for_model: whether requests name the run's model.
    takes_turns: whether a request can hold earlier messages of a conversation.
    """

    name: str
    path: str
    default_port: int
    health_path: str | None
    metrics_path: str | None
    metrics_port: int | None = None
    content_type: str = "text/event-stream"
    system_prompt: SystemPrompt = SystemPrompt.MESSAGE
    counts: Counts = Counts.SERVER
    exact_length: Mapping[str, Any] | None = None
    least_tokens: tuple[str, ...] = ()
    asks_for_model: bool = True
    takes_turns: bool = True
    no_exact_length: str = "leave it out, and choose prompts whose answers reach --max-tokens"

    @property
    def honours_ignore_eos(self) -> bool:
        """Whether the engine can be made to answer with exactly max_tokens tokens."""
        return self.exact_length is not None

    def path_for(self, model: str) -> str:
        """Where requests to a model are posted."""
        return self.path.replace("{model}", quote(model, safe=""))

    def headers(self, api_key: str) -> dict[str, str]:
        """What goes with every request; "" is no key."""
        return {"Authorization": f"Bearer {api_key}"} if api_key else {}

    @abstractmethod
    def request_body(self, request: ChatRequest) -> bytes:
        """The request as the engine wants it posted."""

    @abstractmethod
    def decoder(self) -> StreamDecoder:
        """A fresh decoder for one response."""

    def error_message(self, body: bytes) -> str:
        """The server's own words in an error response, shortened; its first bytes where there are no words."""
        return error_message(body)

    def extras(self, request: ChatRequest) -> dict[str, Any]:
        """What the request says to have an exact length, if it shall."""
        if not request.ignore_eos or self.exact_length is None:
            return {}
        return {**self.exact_length, **dict.fromkeys(self.least_tokens, request.max_tokens)}
