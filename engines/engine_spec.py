"""What an engine is to this program: how requests and responses look, how it is detected, and what its metrics are."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from hashlib import blake2b
from typing import Any, NamedTuple, Protocol
from urllib.parse import quote

import msgspec

from tokenswarm.engines.body_merge import merged
from tokenswarm.engines.detection import Detection
from tokenswarm.engines.engine_metrics import EngineMetrics
from tokenswarm.engines.errors import error_message
from tokenswarm.engines.sampling_fields import OPENAI_NAMES, Sampling, fields_of

#: What a body of server-sent events, and one of JSON lines, begins with.
EVENT_STARTS = (b"data:", b"event:", b"id:", b"retry:", b"error:", b":")
LINE_STARTS = (b"{",)
#: Why a whole answer ends, by OpenAI's protocol.
FINISH_REASONS = frozenset({"stop", "length", "tool_calls", "function_call", "content_filter"})


class StreamBroken(Exception):
    """The bytes of a stream are not what the dialect promises; the text is one sentence for a person."""


@dataclass(frozen=True, slots=True)
class EncodedImage:
    """An image of a request. url: a data URL, ASCII; digest: equal where equal images are sent."""

    url: bytes
    digest: str

    @property
    def json(self) -> msgspec.Raw:
        """The URL as a JSON string, which is copied into a body as it is: Base64 needs no escapes."""
        return msgspec.Raw(b'"%b"' % self.url)

    @property
    def named(self) -> EncodedImage:
        """The same image by its digest alone, for records of requests."""
        media_type = self.url.partition(b";")[0]
        return EncodedImage(b"%b;base64 of image %b" % (media_type, self.digest.encode()), self.digest)


@dataclass(frozen=True, slots=True)
class ChatRequest:
    """One question. `system_prompt` None sends no system message at all; an empty one is sent as empty.

    earlier: (role, text) of the messages between the system prompt and the prompt, in order; later: of those behind the
    prompt. tool_fields: other fields (tool_calls, tool_call_id) of each message but the system prompt, in order; ()
    where there are none. max_tokens: cap on the answer's length. ignore_eos: the answer shall have exactly that many
    tokens. changes: JSON fields that are merged into the body one after the other (see `merged`). image: stands beside
    the prompt, None: there is none.
    """

    model: str
    prompt: str
    system_prompt: str | None
    max_tokens: int
    ignore_eos: bool = False
    earlier: tuple[tuple[str, str], ...] = ()
    changes: tuple[Mapping[str, Any], ...] = ()
    image: EncodedImage | None = None
    later: tuple[tuple[str, str], ...] = ()
    tool_fields: tuple[Mapping[str, Any], ...] = ()

    @property
    def messages(self) -> list[dict[str, Any]]:
        """As chat messages, the system prompt first; without the image."""
        system = [] if self.system_prompt is None else [{"role": "system", "content": self.system_prompt}]
        return [*system, *self.turns]

    @property
    def turns(self) -> list[dict[str, Any]]:
        """As chat messages, without the system prompt."""
        parts = (*self.earlier, ("user", self.prompt), *self.later)
        turns: list[dict[str, Any]] = [{"role": role, "content": text} for role, text in parts]
        if self.tool_fields:
            return [{**turn, **fields} for turn, fields in zip(turns, self.tool_fields, strict=True)]
        return turns

    def behind(self, start: str) -> ChatRequest:
        """The same with this text before its first message."""
        if self.system_prompt is not None:
            return replace(self, system_prompt=start + self.system_prompt)
        if self.earlier:
            (role, text), *others = self.earlier
            return replace(self, earlier=((role, start + text), *others))
        return replace(self, prompt=start + self.prompt)

    def without_system_role(self) -> ChatRequest:
        """The same with the system prompt and a blank line before the first user message."""
        if self.system_prompt is None:
            return self
        parts = [*self.earlier, ("user", self.prompt)]
        first = next(place for place, (role, _) in enumerate(parts) if role == "user")
        parts[first] = ("user", f"{self.system_prompt}\n\n{parts[first][1]}")
        *earlier, (_, prompt) = parts
        return replace(self, system_prompt=None, earlier=tuple(earlier), prompt=prompt)

    @property
    def content_hash(self) -> str:
        """16 hexadecimal digits (BLAKE2b) of the messages' roles and texts and of the image: equal where equal messages
        are sent."""
        digest = blake2b(digest_size=8)
        for message in self.messages:
            for part in (message["role"], message["content"]):
                digest.update(part.encode("utf-8", "surrogatepass") + b"\0")
        if self.tool_fields:
            digest.update(msgspec.json.encode(self.tool_fields))
        if self.image is not None:
            digest.update(self.image.digest.encode())
        return digest.hexdigest()


class Delta(msgspec.Struct, frozen=True, gc=False):
    """What one event of a stream added.

    text, reasoning, tool_arguments: new characters of each ("" for none). Any of them makes the event an output.
    tokens: output tokens in this event by the engine's own count, None where the dialect does not say.
    prompt_tokens, output_tokens: the server's usage so far, None where this event gave none.
    error: the server's own message, when it reported a failure inside the stream.
    done: the dialect's end of stream.
    cached_tokens: prompt tokens that the server's usage says it found in its prefix cache, None where it does not say.
    reasoning_tokens: those of output_tokens that are reasoning, sent or not, None where the usage does not say.
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
    reasoning_tokens: int | None = None


class TokenBatch(NamedTuple):
    """Outputs in a row, from pieces of a stream: the new characters of each output, in UTF-8; whether they are
    reasoning or text; of each piece, how many outputs it held."""

    texts: Sequence[bytes]
    reasoning: bool
    of_each: Sequence[int]


#: Of a decoder that reads every event by itself.
EMPTY_BATCH = TokenBatch((), reasoning=False, of_each=())


class StreamDecoder(Protocol):
    """Turns a response body into deltas, fed as it arrives, in pieces of any size."""

    def feed(self, data: bytes) -> list[Delta]:
        """Deltas of the events that these bytes complete. Raises StreamBroken."""
        ...

    def decode_batch(self, datas: Sequence[bytes]) -> TokenBatch:
        """The outputs of the first of these pieces, as long as each is whole events that differ from one before in
        their text alone; the others were not taken: feed them."""
        ...

    def end(self) -> list[Delta]:
        """The body has ended: what is left over, `done` where its end is the stream's. Raises StreamBroken if it ended
        inside an event."""
        ...

    @property
    def skipped_events(self) -> int:
        """Events that were passed over: they have names of their own and are no part of the answer."""
        ...


class BlockPage(NamedTuple):
    """A page of a server that says how many tokens a block of its prefix cache holds. read: the number in its text,
    None where there is none."""

    path: str
    read: Callable[[str], int | None]


class Counts(StrEnum):
    """Who counts an answer's tokens: SERVER; EVENTS: nobody, but an event is about a token; NOBODY."""

    SERVER = "server"
    EVENTS = "events"
    NOBODY = "nobody"


@dataclass(frozen=True, kw_only=True)
class EngineSpec(ABC):
    """An engine: its dialect, its detection, its metrics and its quirks. What differs in data is a field, what differs
    in code a method.

    path: where requests are posted; it may hold {model}. health_path: gives 200 once the engine can answer, None where
    nothing does. content_type: of a streamed answer. counts: who counts an answer's tokens. exact_length: fields of a
    request, besides its cap on tokens, for exactly as many; least_tokens: fields whose value is then that number.
    exact_length is None where the engine has no such fields, and no_exact_length is what to do instead.
    stream_starts: what the body of a stream begins with, where it may come under another content type; none where any
    text may be its beginning.
    finish_reasons: those of a whole answer, in lower case; any other is a server's that gave the answer up.
    sampling_names: where a body has the field of each sampling option, dots between the keys; an option without a
    place cannot be set. requests_name_model: whether requests name the run's model. takes_turns: whether a request can
    hold earlier messages of a conversation; takes_tool_turns: whether OpenAI's tool calls and their results may be
    among them; takes_images: whether it can hold an image.
    prefix_block_tokens: the prefix cache holds whole blocks of so many tokens, by default; None where that is not known
    or hits do not follow from earlier requests alone. block_page: where a server says how many tokens they have, None
    where it does not. flush_path: where a POST empties it, "" where the engine has no
    such endpoint; flush_needs: what a server needs for it to be there.
    """

    name: str
    path: str
    health_path: str | None
    detection: Detection = field(default_factory=Detection)
    metrics: EngineMetrics = field(default_factory=EngineMetrics)
    content_type: str = "text/event-stream"
    stream_starts: tuple[bytes, ...] = EVENT_STARTS
    counts: Counts = Counts.SERVER
    exact_length: Mapping[str, Any] | None = None
    least_tokens: tuple[str, ...] = ()
    requests_name_model: bool = True
    takes_turns: bool = True
    takes_tool_turns: bool = False
    takes_images: bool = False
    finish_reasons: frozenset[str] = FINISH_REASONS
    sampling_names: Mapping[str, str] = field(default_factory=lambda: OPENAI_NAMES)
    prefix_block_tokens: int | None = None
    block_page: BlockPage | None = None
    flush_path: str = ""
    flush_needs: str = ""
    no_exact_length: str = "leave it out, and choose prompts whose answers reach --max-tokens"

    @property
    def honours_ignore_eos(self) -> bool:
        """Whether the engine can be made to answer with exactly max_tokens tokens."""
        return self.exact_length is not None

    def path_for(self, model: str) -> str:
        """Where requests to a model are posted."""
        return self.path.replace("{model}", quote(model, safe="")) if "{model}" in self.path else self.path

    def headers(self, api_key: str) -> dict[str, str]:
        """Headers of every request; api_key "" is none."""
        return {"Authorization": f"Bearer {api_key}"} if api_key else {}

    @abstractmethod
    def body_fields(self, request: ChatRequest) -> dict[str, Any]:
        """The fields of the request's body, without those that the request itself adds or changes."""

    def request_body(self, request: ChatRequest) -> bytes:
        """The request's body as JSON: the engine's fields, and the request's own merged into them."""
        body = self.body_fields(request)
        for changes in request.changes:
            body = merged(body, changes)
        return msgspec.json.encode(body)

    def sampling_fields(self, sampling: Sampling) -> dict[str, Any]:
        """The fields of a body that set these. Raises EngineError for one that requests to the engine cannot set."""
        return fields_of(sampling, self.sampling_names, f"to {self.name}")

    @abstractmethod
    def decoder(self) -> StreamDecoder:
        """A fresh decoder for one response."""

    def error_message(self, body: bytes) -> str:
        """The server's message in an error response, shortened; the first bytes of the body where it has none."""
        return error_message(body)

    def extras(self, request: ChatRequest) -> dict[str, Any]:
        """The fields for an exact length, where the request has ignore_eos."""
        if not request.ignore_eos or self.exact_length is None:
            return {}
        return {**self.exact_length, **dict.fromkeys(self.least_tokens, request.max_tokens)}
