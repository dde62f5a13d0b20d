"""Texts of prompts from hash ids: exact lengths, and equal beginnings for equal ids."""

from __future__ import annotations

from itertools import takewhile

import pytest

from tests.prompts.synthetic.built_tokenizers import KINDS
from tests.prompts.synthetic.test_texts import Server, across_words, counts_of, maker_of
from tokenswarm.prompts.synthetic.block_texts import SHIFT_TOKENS, BlockTexts, block_ends
from tokenswarm.prompts.synthetic.calibration import calibrate
from tokenswarm.prompts.synthetic.text_maker import TextMaker
from tokenswarm.prompts.synthetic.words import distinct_words

ONE_TOKEN_EACH = dict.fromkeys(distinct_words(), 1)
FEW_WORDS = dict.fromkeys(("one", "two", "three", "four"), 1)
HEAD_TOKENS = 12
#: Of `Server`, all before the text.
TEMPLATE_TOKENS = 11


def shared_words(one: str, other: str) -> int:
    pairs = zip(one.split(" "), other.split(" "), strict=False)
    return len(list(takewhile(lambda pair: pair[0] == pair[1], pairs)))


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("vocabulary", [400, 4000])
@pytest.mark.parametrize("with_tokenizer", [True, False])
def test_prompts_have_the_recorded_tokens(kind: str, vocabulary: int, with_tokenizer: bool) -> None:
    count = counts_of(kind, vocabulary)
    server = Server(count)
    found = calibrate(server.usage, ("off", "on"), count if with_tokenizer else None)
    for mode in ("off", "on"):
        head_tokens = found.head_tokens[mode]
        for block_tokens, tokens, ids in [
            (512, 1100, (0, 1, 2)),
            (512, 1024, (0, 1)),
            (512, 513, (0, 1)),
            (64, 500, (5, 6)),
            (16, 400, range(25)),
            (16, 409, range(26)),
            (512, 700, ()),
        ]:
            texts = BlockTexts(maker_of(found), block_tokens)
            assert server.usage(texts.text(3, tokens, head_tokens, ids), mode) == tokens


def test_texts_with_tokens_across_words_are_repaired() -> None:
    count = across_words()
    server = Server(count)
    found = calibrate(server.usage, ("off",), count)
    assert not found.adds_up
    texts = BlockTexts(maker_of(found, count), 64)
    one = texts.text(1, 300, found.head_tokens["off"], (1, 2, 3, 4, 5))
    other = texts.text(2, 400, found.head_tokens["off"], (1, 2, 3, 9))
    assert server.usage(one, "off") == pytest.approx(300, abs=1)
    assert server.usage(other, "off") == pytest.approx(400, abs=1)
    shared = count(" ".join(one.split(" ")[: shared_words(one, other)]))
    assert 192 <= TEMPLATE_TOKENS + shared <= 192 + SHIFT_TOKENS + 4


@pytest.mark.parametrize("block_tokens", [16, 64, 512])
@pytest.mark.parametrize("end_tokens", [0, 5, 15])
def test_requests_share_as_many_whole_blocks_as_their_ids(block_tokens: int, end_tokens: int) -> None:
    """end_tokens: of HEAD_TOKENS, those that the chat template puts behind the text, so that they are not shared."""
    texts = BlockTexts(TextMaker(ONE_TOKEN_EACH, "1"), block_tokens)
    first = texts.text(0, 6 * block_tokens - 3, 20, (1, 2, 3, 4, 5, 6))
    for number, blocks in enumerate(range(1, 5), 1):
        ids = (*range(1, blocks + 1), *range(100 * number, 100 * number + 3))
        text = texts.text(number, (blocks + 3) * block_tokens - 1, 20, ids)
        before_text = 20 - 1 - end_tokens
        shared = before_text + shared_words(first, text)
        assert shared // 16 * 16 == blocks * block_tokens


def test_a_shorter_prompt_is_the_beginning_of_one_that_goes_on() -> None:
    texts = BlockTexts(TextMaker(ONE_TOKEN_EACH, "1"), 512)
    short, long = texts.text(1, 1024, HEAD_TOKENS, (7, 8)), texts.text(2, 1600, HEAD_TOKENS, (7, 8, 9, 10))
    assert long.startswith(short)
    assert texts.text(3, 1024, HEAD_TOKENS, (7, 8)) == short


@pytest.mark.slow
def test_blocks_follow_from_the_key_the_scope_and_the_id() -> None:
    def text(key: str, scope: str, hash_id: int) -> str:
        return BlockTexts(TextMaker(ONE_TOKEN_EACH, key), 64, scope).text(1, 75, HEAD_TOKENS, (hash_id,))

    variants = [("1", "", 5), ("2", "", 5), ("1", "w1", 5), ("1", "", 6), ("1", "", -5), ("1", "", 2**80)]
    assert len({text(*each) for each in variants}) == len(variants)
    assert [text(*each) for each in variants] == [text(*each) for each in variants]


def test_what_has_no_id_is_in_no_other_request() -> None:
    texts = BlockTexts(TextMaker(ONE_TOKEN_EACH, "1"), 64)
    one, other = (texts.text(number, 150, HEAD_TOKENS, (1, 2)) for number in (1, 2))
    assert shared_words(one, other) in range(128 + SHIFT_TOKENS - HEAD_TOKENS, 128 + SHIFT_TOKENS - HEAD_TOKENS + 5)
    assert len(one.split()) == len(other.split()) == 150 - HEAD_TOKENS + 1


@pytest.mark.parametrize("costs", [ONE_TOKEN_EACH, FEW_WORDS])
def test_no_two_blocks_have_the_same_text(costs: dict[str, int]) -> None:
    blocks = 20_000 if len(costs) > 100 else 2_000
    maker = TextMaker(costs, "1")
    assert len({maker.block(hash_id, 16, "").text for hash_id in range(blocks)}) == blocks


@pytest.mark.parametrize("tokens", [1, 15, 16, 17, 600, 200_000])
def test_a_block_has_its_words(tokens: int) -> None:
    block = TextMaker(ONE_TOKEN_EACH, "1").block(3, tokens, "")
    assert len(block.text.split(" ")) - 1 == tokens == block.tokens


def test_blocks_that_the_head_fills_are_left_out() -> None:
    texts = BlockTexts(TextMaker(ONE_TOKEN_EACH, "1"), 16)
    text = texts.text(1, 100, 60, tuple(range(7)))
    assert len(text.split()) == 100 - 60 + 1
    assert texts.text(1, 30, 60, (1, 2)) == "Words:"


def test_where_blocks_end() -> None:
    assert block_ends(3, 512, 1100) == [512 + SHIFT_TOKENS, 1024 + SHIFT_TOKENS, 1100]
    assert block_ends(2, 16, 20) == [20, 20]
    assert block_ends(0, 16, 20) == []
