"""What a request shares with others from its beginning on, so that a prefix cache may hold it.

Servers cache prompts in whole blocks of tokens. How many tokens stand before a part of a prompt is known within some
tokens, as a chat template puts tokens before and behind each text: so each part has a least and a most number.
"""

from __future__ import annotations

from hashlib import blake2b
from typing import NamedTuple

#: More than chat templates put behind the last message.
TEMPLATE_END_TOKENS = 16
#: Most tokens that a chat template puts before the first message.
TEMPLATE_START_TOKENS = 32
#: Of a part that is the whole prompt.
WHOLE = 1 << 40
_KEY_BYTES = 7


class SharedPart(NamedTuple):
    """A beginning of a prompt. key: equal for equal beginnings. least, most: tokens that it has at least and at most;
    most is 0 where no other request is to be found, and later ones may find this one."""

    key: int
    least: int
    most: int


class Shareable(NamedTuple):
    """The beginnings of one prompt that other requests may have too, each longer than the one before. block_tokens:
    of the server's prefix cache. repeats: whether the whole prompt may be sent again. in_session: whether later turns
    of its session begin with it."""

    block_tokens: int
    parts: tuple[SharedPart, ...] = ()
    repeats: bool = False
    in_session: bool = False

    def in_blocks(self, prompt_tokens: int | None) -> tuple[SharedPart, ...]:
        """The parts in whole blocks. prompt_tokens: of the whole prompt, whose last token is always computed; None
        where they are not known."""
        block = self.block_tokens
        limit = WHOLE if prompt_tokens is None else max(0, prompt_tokens - 1)
        return tuple(
            SharedPart(key, min(least, limit) // block * block, min(most, limit) // block * block)
            for key, least, most in self.parts
        )

    def with_prompt(self, content_hash: str) -> Shareable:
        """With the whole prompt of this hash as its last part, where it may be sent again."""
        if not self.repeats:
            return self
        return self._replace(parts=(*self.parts, SharedPart(key_of("prompt", content_hash), WHOLE, WHOLE)))

    def offering(self, session: int, turn: int) -> Shareable:
        """With this turn as what the next turn of its session begins with."""
        if not self.in_session:
            return self
        return self._replace(parts=(*self.parts, SharedPart(key_of("turn", session, turn), 0, 0)))

    def next_turn(self, session: int, turn: int, prompt_tokens: int, answer_tokens: int) -> Shareable:
        """Of the next turn. turn: the one before; prompt_tokens: of it; answer_tokens: of its answer, as far as it is
        sent as it came."""
        if not self.in_session:
            return self
        before = SharedPart(
            key_of("turn", session, turn),
            max(0, prompt_tokens - TEMPLATE_END_TOKENS),
            prompt_tokens + answer_tokens + TEMPLATE_END_TOKENS,
        )
        found = tuple(part for part in self.parts if part.most)
        return self._replace(parts=(*found, before)).offering(session, turn + 1)


def key_of(*words: object) -> int:
    """The key of the beginning that these words name: below 2^56."""
    text = "\0".join(map(str, words)).encode("utf-8", "surrogatepass")
    return int.from_bytes(blake2b(text, digest_size=_KEY_BYTES).digest(), "big")


def shared_beginnings(mode: str, head_tokens: int, group: int | None, prefix_tokens: int) -> tuple[SharedPart, ...]:
    """Of a prompt in this system-prompt mode. head_tokens: of the server's count that every prompt has besides its
    words; group: of its prefix, None without."""
    least, most = max(0, head_tokens - TEMPLATE_END_TOKENS), head_tokens
    start = SharedPart(key_of("start", mode), least, most)
    if group is None:
        return (start,)
    return start, SharedPart(key_of("group", mode, group), least + prefix_tokens, most + prefix_tokens)


def template_start(head_tokens: int = 0) -> tuple[SharedPart, ...]:
    """Of a prompt that shares nothing but what the chat template begins with. head_tokens: what a prompt without system
    prompt has besides its words, 0 where that is not known."""
    return (SharedPart(key_of("template"), 0, max(TEMPLATE_START_TOKENS, head_tokens)),)
