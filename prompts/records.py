"""What every other room sees of a prompt: frozen records and the one error of this room."""

import hashlib
import statistics
from dataclasses import dataclass
from typing import NamedTuple


class PromptError(ValueError):
    """Prompts, a tokenizer or a system prompt could not be had; the message is one sentence for the user."""


class Turn(NamedTuple):
    """A message of a conversation; role: user, assistant or system."""

    role: str
    text: str


@dataclass(frozen=True, slots=True)
class Prompt:
    """One user message: its text, its length in tokens, and its category (empty where the source has none).

    In a conversation the text is its last user message. `system` is the conversation's own leading system message, None
    where it has none; `earlier` are the messages between the two. `tokens` counts all of them.

    `id` names the row of the source that it came from, the same in every run of that source: the row's number from 1,
    whatever lengths are selected.
    """

    text: str
    tokens: int
    category: str = ""
    id: str = ""
    system: str | None = None
    earlier: tuple[Turn, ...] = ()

    @property
    def messages(self) -> tuple[Turn, ...]:
        """All messages, in order."""
        leading = () if self.system is None else (Turn("system", self.system),)
        return (*leading, *self.earlier, Turn("user", self.text))


@dataclass(frozen=True, slots=True)
class LeftOut:
    """How many of a source's rows are not used, and why: a length that --prompt-tokens excludes, no text, or messages
    of other roles than user, assistant and system."""

    rows: int = 0
    by_length: int = 0
    without_text: int = 0
    of_other_roles: int = 0

    def notice(self) -> str:
        """ "" where nothing is left out; else how many, and why."""
        reasons = [
            f"{count:,} {reason}"
            for count, reason in (
                (self.by_length, "outside of --prompt-tokens"),
                (self.without_text, "without text"),
                (self.of_other_roles, "with messages of roles other than user, assistant and system"),
            )
            if count
        ]
        total = self.by_length + self.without_text + self.of_other_roles
        return f"{total:,} of {self.rows:,} rows are left out: {', '.join(reasons)}" if reasons else ""


@dataclass(frozen=True, slots=True)
class PromptSet:
    """The prompts of a run, in the source's order, with how their tokens were counted.

    `fingerprint` tells whether two runs asked the same things: see `fingerprint_of`.
    Raises PromptError when there is no prompt at all.
    """

    source: str
    prompts: tuple[Prompt, ...]
    token_counting: str
    fingerprint: str
    left_out: LeftOut = LeftOut()

    def __post_init__(self) -> None:
        if not self.prompts:
            raise PromptError(f"prompts from {self.source!r}: expected at least one prompt, got none")

    def facts(self) -> dict[str, str | int | float]:
        """What run.json records about the prompts; lengths in tokens."""
        lengths = [prompt.tokens for prompt in self.prompts]
        return {
            "source": self.source,
            "count": len(self.prompts),
            "token_counting": self.token_counting,
            "fingerprint": self.fingerprint,
            "tokens_min": min(lengths),
            "tokens_median": statistics.median(lengths),
            "tokens_max": max(lengths),
            "conversations": sum(bool(prompt.earlier) for prompt in self.prompts),
            "rows": self.left_out.rows,
            "left_out_by_length": self.left_out.by_length,
            "left_out_without_text": self.left_out.without_text,
            "left_out_of_other_roles": self.left_out.of_other_roles,
        }


def fingerprint_of(prompts: tuple[Prompt, ...]) -> str:
    """The SHA-256 (hexadecimal) of the texts in order, each ended by a zero byte; where there are other messages than
    one of the user, each has its role and a zero byte before it, and two end the prompt."""
    digest = hashlib.sha256()
    for prompt in prompts:
        alone = prompt.system is None and not prompt.earlier
        for turn in prompt.messages:
            for part in (turn.text,) if alone else turn:
                digest.update(part.encode("utf-8", "surrogatepass") + b"\0")
        if not alone:
            digest.update(b"\0")
    return digest.hexdigest()
