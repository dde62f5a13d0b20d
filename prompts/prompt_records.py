"""What other packages see of a prompt: frozen records and the one error of this package."""

import hashlib
import json
from array import array
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, NamedTuple, Protocol

import msgspec
import numpy as np

from tokenswarm.metrics.plurals import counted

#: What the `url` of a row may choose: chat completions, completions, responses.
ENDPOINTS = ("chat", "completions", "responses")


class PromptError(ValueError):
    """Prompts, a tokenizer or a system prompt could not be had; the message is one sentence for the user."""


class ChatMessage(NamedTuple):
    """A message of a conversation; role: user, assistant, system or tool."""

    role: str
    text: str


class TextPart(NamedTuple):
    """A part of a prompt that is made in the run, as the source records lengths alone. key: of the part in its session,
    equal for equal texts; tokens: how many of it. Of two parts with one key the shorter is the longer's beginning."""

    key: int
    tokens: int


@dataclass(frozen=True, slots=True)
class SubAgent:
    """An agent that works for another one, beside which it sends requests of its own. It begins after a request of the
    other, which sends its next one when all its sub-agents have ended. `turns`: all of its requests, at least one; the
    delay of the first is from the end of the other's request. `name`: in the source, "" where it has none."""

    turns: "tuple[SessionTurn, ...]"
    name: str = ""


@dataclass(frozen=True, slots=True)
class SessionTurn:
    """A turn of a session behind its first one: the user's next message, once the turn before is answered.

    `text` is that message; `before` are other messages between the answer and it. `tokens` counts the texts of both.
    `answer` is what was recorded in the place of the answer, () where the source has none, with its `answer_tokens`.
    `delay_s`: how long after the answer the message was sent, in seconds; None where that was not recorded.
    `max_tokens` and `body_overrides` are of the turn's own request, as `Prompt` has them.
    `parts`: of a prompt that holds no history, but is made of these, `tokens` long in all; () for others.
    `agents`: those that begin after its answer. `tool_fields`: the other fields (tool_calls, tool_call_id) of each
    message of `answer` and `before`, in order; () where none has any. `text` is "" where only results of tools are new.
    """

    text: str
    tokens: int = 0
    before: tuple[ChatMessage, ...] = ()
    answer: tuple[ChatMessage, ...] = ()
    answer_tokens: int = 0
    delay_s: float | None = None
    max_tokens: int | None = None
    body_overrides: Mapping[str, Any] | None = None
    parts: tuple[TextPart, ...] = ()
    agents: tuple[SubAgent, ...] = ()
    tool_fields: tuple[Mapping[str, Any], ...] = ()


class Prompt(msgspec.Struct, frozen=True):
    """One user message: its text, its length in tokens, and its category (empty where the source has none).

    In a conversation the text is its last user message. `system` is the conversation's own leading system message, None
    where it has none; `earlier` are the messages between the two, `later` tool calls and their results behind the text.
    `tokens` counts the texts of all of them.

    `id` names the row of the source that it came from, the same in every run of that source: the row's number from 1,
    whatever lengths are selected. `custom_id` is the name that the source itself gives the row, "" where it gives none.

    What the row sets for its own request: `max_tokens`, the cap on the answer in tokens (None: the run's),
    `body_overrides`, JSON fields that are merged into the request body last (None: none), `endpoint`, one of
    ENDPOINTS ("": the run's), and `model` ("": the run's, which --model also sets for rows that name one).
    `tool_fields` are the other fields (tool_calls, tool_call_id) of each of its messages behind the system message, in
    order; () where no message has any.

    `turns` are those of the session that begins with this prompt, behind it; () for one request. `parts` and `agents`:
    of its first request, as `SessionTurn` has them.
    """

    text: str
    tokens: int
    category: str = ""
    id: str = ""
    system: str | None = None
    earlier: tuple[ChatMessage, ...] = ()
    custom_id: str = ""
    max_tokens: int | None = None
    body_overrides: Mapping[str, Any] | None = None
    endpoint: str = ""
    model: str = ""
    later: tuple[ChatMessage, ...] = ()
    tool_fields: tuple[Mapping[str, Any], ...] = ()
    turns: tuple[SessionTurn, ...] = ()
    parts: tuple[TextPart, ...] = ()
    agents: tuple[SubAgent, ...] = ()

    @property
    def messages(self) -> tuple[ChatMessage, ...]:
        """All messages, in order."""
        leading = () if self.system is None else (ChatMessage("system", self.system),)
        return (*leading, *self.earlier, ChatMessage("user", self.text), *self.later)

    @property
    def requests(self) -> int:
        """Of its session, those of sub-agents included."""
        return 1 + len(self.turns) + sum(_requests_of(agent) for agent in _agents_of(self, *self.turns))

    @property
    def request_settings(self) -> dict[str, Any]:
        """What the row sets for its own request, by name; empty for most sources."""
        settings = {
            "max_tokens": self.max_tokens,
            "body_overrides": self.body_overrides or None,
            "endpoint": self.endpoint or None,
            "model": self.model or None,
            "tool_fields": self.tool_fields or None,
        }
        return {name: value for name, value in settings.items() if value is not None}


def _agents_of(*turns: Prompt | SessionTurn) -> Iterator[SubAgent]:
    for turn in turns:
        yield from turn.agents


def _requests_of(agent: SubAgent) -> int:
    return len(agent.turns) + sum(_requests_of(below) for below in _agents_of(*agent.turns))


def _depth_of(agents: Iterable[SubAgent]) -> int:
    """How many agents are below each other."""
    return max((1 + _depth_of(_agents_of(*agent.turns)) for agent in agents), default=0)


def _count_of(agents: Iterable[SubAgent]) -> int:
    """With those below them."""
    return sum(1 + _count_of(_agents_of(*agent.turns)) for agent in agents)


@dataclass(frozen=True, slots=True)
class LeftOut:
    """How many of a source's rows are not used, and why: a length that --prompt-tokens excludes, no text, or messages
    of other roles than user, assistant and system; spans that failed, or are of other operations than chat. images:
    rows that are used without the pictures that they have. unused: what else of used rows is not sent, with how often
    it is there. tokens_range: the lengths of --prompt-tokens, like `30:150`."""

    rows: int = 0
    by_length: int = 0
    without_text: int = 0
    of_other_roles: int = 0
    images: int = 0
    failed_spans: int = 0
    other_spans: int = 0
    unused: Mapping[str, int] = field(default_factory=dict)
    tokens_range: str = ""

    def notice(self) -> str:
        """ "" where nothing is left out; else how many, and why."""
        by_length = f"shorter or longer than --prompt-tokens{self.tokens_range and f' {self.tokens_range}'}"
        reasons = {
            by_length: self.by_length,
            "without text": self.without_text,
            "with messages of roles other than user, assistant and system": self.of_other_roles,
            "spans that failed": self.failed_spans,
            "spans of operations other than chat, generate and text_completion": self.other_spans,
        }
        found = {reason: count for reason, count in reasons.items() if count}
        total = sum(found.values())
        are = "is" if total == 1 else "are"
        why = ", ".join(f"{count:,} {reason}" if len(found) > 1 else reason for reason, count in found.items())
        rows = [f"{total:,} of {counted(self.rows, 'row')} {are} left out: {why}"] if found else []
        images = [f"images of {counted(self.images, 'row')} are not sent"] if self.images else []
        unused = [f"{count:,} {name}" for name, count in self.unused.items() if count]
        return "; ".join(rows + images + ([f"not used: {', '.join(unused)}"] if unused else []))

    def facts(self) -> dict[str, int]:
        """What run.json records of them."""
        spans = {"left_out_failed_spans": self.failed_spans, "left_out_other_spans": self.other_spans}
        unused = {f"not_used_{name.replace(' ', '_')}": count for name, count in self.unused.items()}
        return {
            "rows": self.rows,
            "left_out_by_length": self.by_length,
            "left_out_without_text": self.without_text,
            "left_out_of_other_roles": self.of_other_roles,
            **{name: count for name, count in (spans | unused).items() if count},
        }


class PromptCounts:
    """Counts over prompts. lengths: in tokens; conversations: prompts with earlier messages or further turns; sessions:
    those with further turns; turns: of all of these, the first ones included; most_turns: of one of them; unanswered:
    turns behind the first one that have no recorded answer before them; delays: those with a recorded delay; settings:
    how many prompts set each part of their own request; endpoints, models: those that prompts name. made: prompts that
    are made of parts; agents: sub-agents of all sessions, deepest: how many are below each other at most; requests: of
    all sessions and their sub-agents."""

    def __init__(self, prompts: Iterable[Prompt] = ()) -> None:
        self.lengths = array("l")
        self.conversations = self.sessions = self.turns = self.most_turns = self.unanswered = self.delays = 0
        self.made = self.agents = self.deepest = self.requests = 0
        self.settings: Counter[str] = Counter()
        self.max_tokens: tuple[int, int] | None = None
        self.endpoints: set[str] = set()
        self.models: set[str] = set()
        for prompt in prompts:
            self.add(prompt)

    def add(self, prompt: Prompt) -> None:
        """Count one more."""
        self.lengths.append(prompt.tokens)
        self.made += bool(prompt.parts)
        self.conversations += not prompt.parts and bool(prompt.earlier or prompt.later or prompt.turns)
        if agents := list(_agents_of(prompt, *prompt.turns)):
            self.agents += _count_of(agents)
            self.deepest = max(self.deepest, _depth_of(agents))
        if prompt.turns or agents:
            self.requests += prompt.requests
            self.sessions += 1
            self.turns += len(prompt.turns) + 1
            self.most_turns = max(self.most_turns, len(prompt.turns) + 1)
            self.unanswered += sum(not turn.answer for turn in prompt.turns)
            self.delays += sum(turn.delay_s is not None for turn in prompt.turns)
        self.endpoints.add(prompt.endpoint)
        self.models.add(prompt.model)
        self.settings.update(prompt.request_settings.keys())
        if not prompt.tool_fields and any(turn.tool_fields for turn in prompt.turns):
            self.settings["tool_fields"] += 1
        if prompt.max_tokens is not None:
            shortest, longest = self.max_tokens or (prompt.max_tokens, prompt.max_tokens)
            self.max_tokens = min(shortest, prompt.max_tokens), max(longest, prompt.max_tokens)

    def facts(self) -> dict[str, str | int | float]:
        """What run.json records of them; lengths in tokens."""
        lengths = np.frombuffer(self.lengths, dtype=np.dtype("l"))
        median = float(np.median(lengths))
        settings = {f"rows_with_{name}": count for name, count in sorted(self.settings.items())}
        if self.max_tokens:
            settings |= {"max_tokens_min": self.max_tokens[0], "max_tokens_max": self.max_tokens[1]}
        return {
            "tokens_min": int(lengths.min()),
            "tokens_median": int(median) if median.is_integer() else median,
            "tokens_max": int(lengths.max()),
            "conversations": self.conversations,
            **self._session_facts(),
            **settings,
        }

    def _session_facts(self) -> dict[str, str | int | float]:
        if not self.sessions:
            return {}
        facts: dict[str, str | int | float] = {
            "sessions": self.sessions,
            "session_turns": self.turns,
            "session_turns_max": self.most_turns,
        }
        if self.delays:
            facts["recorded_delays"] = self.delays
        if self.agents:
            facts |= {"sub_agents": self.agents, "deepest_agent": self.deepest, "session_requests": self.requests}
        return facts


@dataclass(frozen=True, slots=True)
class PromptSet:
    """The prompts of a run, in the source's order, with how their tokens were counted.

    `fingerprint` is equal for two runs with the same prompts: see `fingerprint_of`. `stats`: of the prompts.
    Raises PromptError when there is no prompt at all.
    """

    source: str
    prompts: Sequence[Prompt]
    token_counting: str
    fingerprint: str
    left_out: LeftOut = LeftOut()
    stats: PromptCounts = field(default_factory=PromptCounts, compare=False)

    def __post_init__(self) -> None:
        if not self.prompts:
            raise PromptError(f"prompts from {self.source!r}: expected at least one prompt, got none.")
        if not self.stats.lengths:
            object.__setattr__(self, "stats", PromptCounts(self.prompts))

    def facts(self) -> dict[str, str | int | float]:
        """What run.json records about the prompts; lengths in tokens."""
        return {
            "source": self.source,
            "count": len(self.prompts),
            "token_counting": self.token_counting,
            "fingerprint": self.fingerprint,
            **self.stats.facts(),
            **self.left_out.facts(),
        }


class _Digest(Protocol):
    def update(self, data: bytes, /) -> None: ...


def add_to_fingerprint(digest: _Digest, prompt: Prompt) -> None:
    """Its texts in order, each ended by a zero byte; where there are other messages than one of the user, each has its
    role and a zero byte before it, and two end the prompt. A row's own request settings follow as JSON with sorted keys
    and a zero byte, and so do the further turns of a session."""
    alone = prompt.system is None and not prompt.earlier and not prompt.later
    for turn in prompt.messages:
        for part in (turn.text,) if alone else turn:
            digest.update(part.encode("utf-8", "surrogatepass") + b"\0")
    if not alone:
        digest.update(b"\0")
    if settings := prompt.request_settings:
        digest.update(json.dumps(settings, sort_keys=True).encode() + b"\0")
    if prompt.turns:
        digest.update(json.dumps([_turn_facts(turn) for turn in prompt.turns], sort_keys=True).encode() + b"\0")
    if prompt.parts or prompt.agents:
        own = prompt.tokens, prompt.parts, [asdict(agent) for agent in prompt.agents]
        digest.update(json.dumps(own, sort_keys=True).encode() + b"\0")


def _turn_facts(turn: SessionTurn) -> dict[str, Any]:
    """Without what conversations of texts do not have."""
    rare = ("parts", "agents", "tool_fields")
    return {name: value for name, value in asdict(turn).items() if value or name not in rare}


def fingerprint_of(prompts: Iterable[Prompt]) -> str:
    """The SHA-256 (hexadecimal) of all prompts, in order, as `add_to_fingerprint` adds them."""
    digest = hashlib.sha256()
    for prompt in prompts:
        add_to_fingerprint(digest, prompt)
    return digest.hexdigest()
