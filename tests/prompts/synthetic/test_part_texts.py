"""Texts of prompts that are made of parts: exact lengths, and as much in common as their parts have."""

from __future__ import annotations

from itertools import takewhile

import pytest

from tests.prompts.synthetic.built_tokenizers import KINDS
from tests.prompts.synthetic.test_texts import Server, across_words, counts_of, maker_of
from tokenswarm.prompts import TextPart
from tokenswarm.prompts.prompt_parts import COMMON_PART, BlockParts, GrowingParts
from tokenswarm.prompts.synthetic.block_texts import SHIFT_TOKENS
from tokenswarm.prompts.synthetic.calibration import calibrate
from tokenswarm.prompts.synthetic.part_texts import text_of_parts
from tokenswarm.prompts.synthetic.text_maker import TextMaker
from tokenswarm.prompts.synthetic.words import distinct_words

MAKER = TextMaker(dict.fromkeys(distinct_words(), 1), "1")
HEAD_TOKENS = 12


def parts(*lengths: int, first: int = 0) -> tuple[TextPart, ...]:
    return tuple(TextPart(first + key, tokens) for key, tokens in enumerate(lengths))


def shared_words(one: str, other: str) -> int:
    return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(one.split(), other.split(), strict=False)))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("vocabulary", [400, 4000])
@pytest.mark.parametrize("with_tokenizer", [True, False])
def test_prompts_have_the_tokens_of_their_parts(kind: str, vocabulary: int, with_tokenizer: bool) -> None:
    count = counts_of(kind, vocabulary)
    server = Server(count)
    found = calibrate(server.usage, ("off", "on"), count if with_tokenizer else None)
    maker = maker_of(found)
    for mode in ("off", "on"):
        for lengths in [(350,), (328, 102), (64, 64, 900), (300, 107, 200, 1)]:
            text = text_of_parts(maker, 3, parts(*lengths), found.head_tokens[mode])
            assert server.usage(text, mode) == sum(lengths)


def test_texts_with_tokens_across_words_are_repaired() -> None:
    count = across_words()
    server = Server(count)
    found = calibrate(server.usage, ("off",), count)
    text = text_of_parts(maker_of(found, count), 1, parts(200, 100), found.head_tokens["off"])
    assert server.usage(text, "off") == pytest.approx(300, abs=1)


def test_prompts_share_the_parts_that_they_begin_with() -> None:
    blocks = BlockParts(64)
    prompts = {
        ids: text_of_parts(MAKER, 5, blocks.parts(ids, tokens), HEAD_TOKENS)
        for ids, tokens in [((1, 2), 170), ((1, 2, 3), 230), ((1, 2, 3, 4), 300), ((1, 9), 180), ((1, 2, 3, 5), 310)]
    }
    for one, other, equal in [
        ((1, 2), (1, 2, 3), 2),
        ((1, 2, 3), (1, 2, 3, 4), 3),
        ((1, 2, 3, 4), (1, 9), 1),
        ((1, 2, 3, 4), (1, 2, 3, 5), 3),
        ((1, 2), (1, 2, 3, 5), 2),
    ]:
        shared = shared_words(prompts[one], prompts[other]) - 1 + HEAD_TOKENS  # with "Words:", which the head has
        assert 64 * equal + SHIFT_TOKENS <= shared <= 64 * equal + SHIFT_TOKENS + 2


def test_a_prompt_that_grows_keeps_its_beginning() -> None:
    growing = GrowingParts()
    first = text_of_parts(MAKER, 5, growing.parts(0, 100_000), HEAD_TOKENS)
    second = text_of_parts(MAKER, 5, growing.parts(99_968, 120_000), HEAD_TOKENS)
    third = text_of_parts(MAKER, 5, growing.parts(80_000, 90_000), HEAD_TOKENS)
    assert len(second.split()) == 120_000 - HEAD_TOKENS + 1
    assert shared_words(first, second) >= 99_968 + SHIFT_TOKENS - HEAD_TOKENS + 1
    assert shared_words(first, third) in range(80_000 + SHIFT_TOKENS - HEAD_TOKENS + 1, 80_020)


def test_sessions_share_the_common_part_alone() -> None:
    own = parts(300)
    assert shared_words(*(text_of_parts(MAKER, session, own, HEAD_TOKENS) for session in (1, 2))) < 4
    common = (TextPart(COMMON_PART, 200), TextPart(0, 100))
    shared = shared_words(*(text_of_parts(MAKER, session, common, HEAD_TOKENS) for session in (1, 2)))
    assert 200 + SHIFT_TOKENS - HEAD_TOKENS < shared < 200 + SHIFT_TOKENS


def test_what_the_head_fills_has_no_words() -> None:
    assert text_of_parts(MAKER, 1, parts(8), HEAD_TOKENS) == "Words:"
    assert len(text_of_parts(MAKER, 1, parts(8, 4, 30), HEAD_TOKENS).split()) == 42 - HEAD_TOKENS + 1
