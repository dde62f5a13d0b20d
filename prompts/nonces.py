"""Nonces: short marks at the beginning of prompts, so that a server's prefix cache holds nothing of them.

A data set of some hundred prompts is soon exhausted. Sent again, as the next level or the next run does, a prompt is
found in the prefix cache of most servers, and time to first token becomes the cache's. A mark that differs, as the
first tokens of the user's message, leaves nothing to find behind the system prompt.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Sequence
from enum import StrEnum
from hashlib import blake2b

from msgspec.structs import replace

from tokenswarm.prompts.prompt_records import ChatMessage, Prompt, PromptError

#: Hexadecimal digits of a nonce: 48 bits, of which the worker takes 16 and its requests 32.
NONCE_DIGITS = 12
_HALF_BITS = 24
_HALF = (1 << _HALF_BITS) - 1
_NUMBER_BITS = 32
_MOST_WORKERS = 1 << 16
_ROUNDS = 4


class PromptReuse(StrEnum):
    """Which prompts may equal an earlier one: none (NEVER), those of the same run (RUN), or all, sent as the source has
    them (ALWAYS)."""

    NEVER = "never"
    RUN = "run"
    ALWAYS = "always"


def new_run_nonce() -> str:
    """A run nonce that no other run has: 16 random hexadecimal digits."""
    return secrets.token_hex(8)


class PromptMarker:
    """Puts nonces before the prompts of one worker.

    A nonce is a pure function of (run_nonce, worker, number of the request); no two workers of a run share one, nor do
    two requests of a worker.
    """

    def __init__(self, reuse: PromptReuse, run_nonce: str, worker: int, count_tokens: Callable[[str], int]) -> None:
        """`count_tokens` counts the nonce's own tokens. Raises PromptError for a worker number above 65,535."""
        if not 0 <= worker < _MOST_WORKERS:
            raise PromptError(
                f"--prompt-reuse {reuse}: expected at most {_MOST_WORKERS:,} workers, got number {worker}."
            )
        self._reuse = reuse
        self._key = blake2b(run_nonce.encode("utf-8", "surrogatepass"), digest_size=32).digest()
        self._rounds = [blake2b(digest_size=3, key=self._key, salt=bytes([step])) for step in range(_ROUNDS)]
        self._count_tokens = count_tokens
        self._first = worker << _NUMBER_BITS

    def mark(self, prompt: Prompt, number: int) -> Prompt:
        """The prompt as the worker's request of this number (from 0) sends it: behind a nonce, whose tokens are added
        to its length. A conversation has it before its first message, and before its system message. With
        PromptReuse.RUN a prompt has the same nonce in each request, with ALWAYS none."""
        if self._reuse is PromptReuse.ALWAYS:
            return prompt
        start = self._nonce(prompt, number) + "\n\n"
        tokens = prompt.tokens + self._count_tokens(start)
        if prompt.system is not None:  # a system prompt of the run replaces it: the turns have their own mark
            prompt = replace(prompt, system=start + prompt.system)
            tokens += self._count_tokens(start)
        if prompt.earlier:
            (role, text), *others = prompt.earlier
            return replace(prompt, earlier=(ChatMessage(role, start + text), *others), tokens=tokens)
        return replace(prompt, text=start + prompt.text, tokens=tokens)

    def start(self, number: int) -> str:
        """A nonce that no other request has, with the blank line behind it, for the worker's request of this number
        (from 0)."""
        return self._nonce_of(number) + "\n\n"

    def image_mark(self, number: int) -> bytes:
        """NONCE_DIGITS / 2 bytes that mark the image of the worker's request of this number (from 0), as `mark` does
        its text; with PromptReuse.RUN the same ones in each request, with ALWAYS none."""
        if self._reuse is PromptReuse.ALWAYS:
            return b""
        if self._reuse is PromptReuse.RUN:
            return blake2b(b"image", digest_size=NONCE_DIGITS // 2, key=self._key).digest()
        return bytes.fromhex(self._nonce_of(number))

    def _nonce(self, prompt: Prompt, number: int) -> str:
        if self._reuse is PromptReuse.RUN:
            source = "\0".join((prompt.id, *(turn.text for turn in prompt.messages))).encode("utf-8", "surrogatepass")
            return blake2b(source, digest_size=NONCE_DIGITS // 2, key=self._key).hexdigest()
        return self._nonce_of(number)

    def _nonce_of(self, number: int) -> str:
        return f"{_permuted(self._first + number % (1 << _NUMBER_BITS), self._rounds):0{NONCE_DIGITS}x}"


def _permuted(number: int, rounds: Sequence[blake2b]) -> int:
    """A permutation of the 48-bit numbers (a Feistel network): as different numbers stay different, no nonce can come
    twice; as each round is keyed, neighbours share no first digits, and another run has other nonces."""
    left, right = number >> _HALF_BITS, number & _HALF
    for keyed in rounds:
        hashed = keyed.copy()
        hashed.update(right.to_bytes(3, "big"))
        left, right = right, left ^ int.from_bytes(hashed.digest(), "big")
    return left << _HALF_BITS | right
