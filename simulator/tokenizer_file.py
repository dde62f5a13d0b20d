"""Counts prompts with a real tokenizer, where the command names one, in place of the simulator's own rule."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from tokenswarm.simulator.dialect import Dialect, GenerationRequest, Problem, Refusal
from tokenswarm.simulator.errors import SimulatorError

if TYPE_CHECKING:
    from tokenizers import Tokenizer

_SPECIAL = re.compile(r"<\|\w+\|>")


class TokenizerFile:
    """A tokenizer.json, as the tokenizers library saves it."""

    def __init__(self, path: Path) -> None:
        """Raises SimulatorError if it cannot be read."""
        self._tokenizer = _read(path)

    def tokens(self, prompt: Sequence[str]) -> list[str]:
        """The tokens of a prompt that is given as tokens of the simulator's own: special tokens stay, each text
        between two of them is divided as the tokenizer has it."""
        found: list[str] = []
        text: list[str] = []
        for token in prompt:
            if _SPECIAL.fullmatch(token):
                found += self._divided(text)
                found.append(token)
                text = []
            else:
                text.append(token)
        return found + self._divided(text)

    def applied(self, generation: GenerationRequest, dialect: Dialect) -> GenerationRequest:
        """The request with its prompt's tokens as the tokenizer has them. Raises Refusal if they fill the context."""
        prompt, context = self.tokens(generation.prompt), dialect.max_model_len
        if len(prompt) >= context:
            message = f"{len(prompt)} prompt tokens leave no space in a context of {context}."
            raise Refusal(dialect.problem(Problem("long", message, "messages", len(prompt))))
        return replace(generation, prompt=prompt, max_tokens=min(generation.max_tokens, context - len(prompt)))

    def _divided(self, text: list[str]) -> list[str]:
        return self._tokenizer.encode("".join(text), add_special_tokens=False).tokens if text else []


def _read(path: Path) -> Tokenizer:
    from tokenizers import Tokenizer

    try:
        tokenizer = Tokenizer.from_file(str(path))
    except Exception as error:  # the library raises bare Exception
        raise SimulatorError(
            f"--tokenizer takes a tokenizer.json, and {path} cannot be read as one: {error}."
        ) from None
    # A saved tokenizer may cut or pad every text to one length.
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return tokenizer
