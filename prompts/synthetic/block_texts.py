"""Texts of prompts that traces describe by hash ids: each id stands for a block of so many tokens, and requests with
the same first ids begin with the same text.

The text of a block is a pure function of (key of the texts, scope, hash id). Blocks end where the trace has it by the
server's own count, chat template included: what it puts before the text is a part of the first block. How many tokens
it puts behind the text is not known exactly, so that each block ends SHIFT_TOKENS later than recorded: k equal blocks
are then found whole, whatever stands behind.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from tokenswarm.prompts.synthetic.text_maker import NO_PREFIX, Prefix, TextMaker

#: As many tokens as a chat template puts behind the last message at most, and less than a block of a prefix cache has.
SHIFT_TOKENS = 15


class BlockTexts:
    """Makes the texts of prompts from their hash ids. scope: ids of other scopes stand for other texts."""

    def __init__(self, maker: TextMaker, block_tokens: int, scope: str = "") -> None:
        """block_tokens: of each block but the last of a prompt, which may be shorter."""
        self._maker = maker
        self._block_tokens = block_tokens
        self._scope = scope

    def text(self, number: int, tokens: int, head_tokens: int, hash_ids: Sequence[int]) -> str:
        """The text of the request of this number, which makes a prompt of so many tokens: head_tokens, those of the
        blocks, and words that no other request has, where the blocks are too few. Blocks beyond the tokens are left
        out, and so are those that head_tokens fill."""
        ends = block_ends(len(hash_ids), self._block_tokens, tokens)
        wanted = [0, *(max(0, self._maker.computed_tokens(end - head_tokens)) for end in ends)]
        parts: list[Prefix] = []
        made = 0
        for hash_id, (begin, end) in zip(hash_ids, pairwise(wanted)):
            if begin < end and made < end:
                parts.append(self._maker.block(hash_id, end - made, self._scope))
                made += parts[-1].tokens
        last = parts.pop() if parts else NO_PREFIX
        before = Prefix("".join(part.text for part in parts), made - last.tokens)
        return self._maker.text(number, tokens, head_tokens, before, last)


def block_ends(blocks: int, block_tokens: int, tokens: int) -> list[int]:
    """Where each block of a prompt of so many tokens ends, counted in tokens from the prompt's beginning."""
    return [min(block * block_tokens + SHIFT_TOKENS, tokens) for block in range(1, blocks + 1)]
