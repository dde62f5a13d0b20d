"""Texts of prompts that are made of parts: equal parts of one session begin with the same text.

Parts end where the source has it by the server's own count, chat template included: what it puts before the text is of
the first part. As in block_texts.py each part but the last ends SHIFT_TOKENS later, so that a prefix cache finds at
least the blocks that the source's own lengths say.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate, pairwise

from tokenswarm.prompts.prompt_parts import COMMON_PART
from tokenswarm.prompts.prompt_records import TextPart
from tokenswarm.prompts.synthetic.block_texts import SHIFT_TOKENS
from tokenswarm.prompts.synthetic.text_maker import NO_PREFIX, Prefix, TextMaker


def text_of_parts(maker: TextMaker, session: int, parts: Sequence[TextPart], head_tokens: int) -> str:
    """The text of a prompt that has as many tokens as its parts. session: whose parts these are; head_tokens: those
    that every prompt has besides its words."""
    tokens = sum(part.tokens for part in parts)
    sums = accumulate(part.tokens for part in parts)
    ends = [min(end + SHIFT_TOKENS, tokens) - head_tokens for end in sums]
    wanted = [0, *(max(0, maker.computed_tokens(end)) for end in ends)]
    made: list[Prefix] = []
    length = 0
    for part, (begin, end) in zip(parts, pairwise(wanted)):
        if begin < end and length < end:
            scope = "common" if part.key == COMMON_PART else f"session {session}"
            made.append(maker.block(part.key, end - length, scope))
            length += made[-1].tokens
    last = made.pop() if made else NO_PREFIX
    before = Prefix("".join(each.text for each in made), length - last.tokens)
    return maker.text(session, tokens, head_tokens, before, last)
