"""What every other room sees of a prompt: frozen records and the one error of this room."""

import hashlib
import statistics
from dataclasses import dataclass


class PromptError(ValueError):
    """Prompts, a tokenizer or a system prompt could not be had; the message is one sentence for the user."""


@dataclass(frozen=True, slots=True)
class Prompt:
    """One user message: its text, its length in tokens, and its category (empty where the source has none).

    `id` names the row of the source that it came from, the same in every run of that source: the row's number from 1,
    whatever lengths are selected.
    """

    text: str
    tokens: int
    category: str = ""
    id: str = ""


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
        }


def fingerprint_of(prompts: tuple[Prompt, ...]) -> str:
    """The SHA-256 (hexadecimal) of the texts in order, each ended by a zero byte."""
    digest = hashlib.sha256()
    for prompt in prompts:
        digest.update(prompt.text.encode("utf-8", "surrogatepass"))
        digest.update(b"\0")
    return digest.hexdigest()
