"""Prompts of which a source records lengths and what they share, as parts whose texts are made in the run.

Equal beginnings of prompts become equal parts, so that their texts, and what a prefix cache may find, are equal too.
"""

from __future__ import annotations

from collections.abc import Sequence

from tokenswarm.prompts.prompt_records import TextPart

#: Of the text that the first prompts of all sessions share, such as system prompt and tools.
COMMON_PART = -1


class BlockParts:
    """The parts of prompts that are described by ids of blocks: prompts that begin with the same ids share them."""

    def __init__(self, block_tokens: int) -> None:
        self._block_tokens = block_tokens
        #: A tree of all blocks so far: a block behind another one, by that one's number and its id.
        self._blocks: dict[tuple[int, int], int] = {}
        #: The part that each block is of, by its number. Blocks of one part have consecutive numbers.
        self._part_of: list[int] = []
        self._parts = 0

    def parts(self, ids: Sequence[int], tokens: int) -> tuple[TextPart, ...]:
        """Of a prompt of so many tokens. Those behind its blocks are in no other prompt."""
        found: list[TextPart] = []
        block, known = -1, 0
        lengths: dict[int, int] = {}  # in blocks, by part
        for each in ids:
            behind = self._blocks.get((block, each))
            if behind is None:
                break
            block, known = behind, known + 1
            part = self._part_of[block]
            lengths[part] = lengths.get(part, 0) + 1
        left = tokens
        for part, blocks in lengths.items():
            found.append(TextPart(part, min(left, blocks * self._block_tokens)))
            left -= found[-1].tokens
        if left > 0:
            found.append(TextPart(self._add(block, ids[known:]), left))
        return tuple(part for part in found if part.tokens)

    def _add(self, block: int, ids: Sequence[int]) -> int:
        """The new part that begins behind a block."""
        part, self._parts = self._parts, self._parts + 1
        for each in ids:
            self._blocks[block, each] = len(self._part_of)
            block = len(self._part_of)
            self._part_of.append(part)
        return part


class GrowingParts:
    """The parts of prompts each of which begins with so many tokens of the one before."""

    def __init__(self) -> None:
        self._before: tuple[TextPart, ...] | None = None
        self._parts = 0

    def parts(self, shared_tokens: int, tokens: int) -> tuple[TextPart, ...]:
        """Of the next prompt. What the first one shares is what the first prompts of all sessions do."""
        before = (TextPart(COMMON_PART, shared_tokens),) if self._before is None else self._before
        found: list[TextPart] = []
        left = min(shared_tokens, tokens)
        for part in before:
            if left > 0:
                found.append(TextPart(part.key, min(left, part.tokens)))
                left -= found[-1].tokens
        own_tokens = tokens - sum(part.tokens for part in found)
        if own_tokens > 0:
            found.append(TextPart(self._parts, own_tokens))
            self._parts += 1
        self._before = tuple(found)
        return self._before

    @property
    def tokens(self) -> int:
        """Of the prompt before, 0 where there was none."""
        return sum(part.tokens for part in self._before or ())
