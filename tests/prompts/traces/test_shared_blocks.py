"""What prompts of a replay share: held against a prefix cache that is given their words."""

from __future__ import annotations

import random
from collections.abc import Sequence

import pytest

from tokenswarm.prompts.synthetic.block_texts import BlockTexts
from tokenswarm.prompts.synthetic.text_maker import TextMaker
from tokenswarm.prompts.synthetic.words import distinct_words
from tokenswarm.prompts.traces.shared_blocks import SharedBlocks

Request = tuple[Sequence[int], int]
CACHE_BLOCK, HEAD_TOKENS = 16, 12


def cached_tokens(requests: list[Request], block_tokens: int, end_tokens: int) -> list[int]:
    """What a server's cache of unlimited size holds of each prompt. end_tokens: what its chat template puts behind the
    text, of HEAD_TOKENS."""
    texts = BlockTexts(TextMaker(dict.fromkeys(distinct_words(), 1), "1"), block_tokens)
    known: set[int] = set()
    found = []
    for number, (ids, tokens) in enumerate(requests):
        words = texts.text(number, tokens, HEAD_TOKENS, ids).split()
        prompt = ["<s>"] * (HEAD_TOKENS - 1 - end_tokens) + words + ["</s>"] * end_tokens
        assert len(prompt) == tokens
        blocks = [hash(tuple(prompt[:end])) for end in range(CACHE_BLOCK, tokens + 1, CACHE_BLOCK)]
        hits = next((place for place, block in enumerate(blocks) if block not in known), len(blocks))
        found.append(min(hits * CACHE_BLOCK, (tokens - 1) // CACHE_BLOCK * CACHE_BLOCK))
        known.update(blocks)
    return found


def expected_tokens(requests: list[Request], block_tokens: int) -> list[tuple[int, int]]:
    """The same as the shared beginnings say, at least and at most."""
    shared = SharedBlocks(requests, block_tokens)
    known: set[tuple[int, bool]] = set()
    found = []
    for number, (_, tokens) in enumerate(requests):
        least = most = 0
        beginnings = list(shared.beginnings(number))
        for each in beginnings:
            if (each.key, each.is_end) in known:
                least, most = max(least, each.least), max(most, each.most)
        known.update((each.key, each.is_end) for each in beginnings)
        limit = tokens - 1
        found.append(tuple(min(each, limit) // CACHE_BLOCK * CACHE_BLOCK for each in (least, most)))
    return found


def random_requests(block_tokens: int, seed: int) -> list[Request]:
    """Prompts of chats: each goes on from another one, or begins anew; ids stand for all blocks before them too."""
    draw = random.Random(seed)
    requests: list[Request] = [((0,), block_tokens)]
    fresh = 1
    for _ in range(150):
        before = list(draw.choice(requests)[0]) if draw.random() < 0.8 else []
        ids = before[: draw.randint(0, len(before))]
        for _ in range(draw.randint(0 if ids else 1, 4)):
            ids.append(fresh)
            fresh += 1
        is_own = ids and ids[-1] >= fresh - 1
        part = draw.randint(1, block_tokens) if is_own and draw.random() < 0.7 else block_tokens
        if draw.random() < 0.1:
            part += block_tokens  # words without ids
        requests.append((ids, max(HEAD_TOKENS + 1, (len(ids) - 1) * block_tokens + part)))
    return requests


@pytest.mark.slow
@pytest.mark.parametrize("block_tokens", [16, 64, 512])
@pytest.mark.parametrize("end_tokens", [0, 5, 11])
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_expected_hits_are_those_of_a_cache(block_tokens: int, end_tokens: int, seed: int) -> None:
    requests = random_requests(block_tokens, seed)
    cached = cached_tokens(requests, block_tokens, end_tokens)
    expected = expected_tokens(requests, block_tokens)
    outside = [
        (request, hits, bounds)
        for request, hits, bounds in zip(requests, cached, expected, strict=True)
        # By chance, the first word behind a shared beginning may be the same.
        if not bounds[0] <= hits <= bounds[1] and hits > CACHE_BLOCK
    ]
    assert len(outside) <= 1
    certain, possible = (sum(each[place] for each in expected) for place in (0, 1))
    assert certain > (0.8 if block_tokens == CACHE_BLOCK else 0.9) * sum(cached)
    assert possible < (1.25 if block_tokens == CACHE_BLOCK else 1.1) * sum(cached)


def test_only_beginnings_that_others_leave_are_listed() -> None:
    requests: list[Request] = [([1, 2, 3, 4], 250), ([1, 2, 3, 5], 250), ([1, 2, 3, 4], 250), ([9, 8, 7, 6], 250)]
    shared = SharedBlocks(requests, 64)
    counts = [len(list(shared.beginnings(number))) for number in range(4)]
    assert counts == [2, 1, 2, 0]
    assert [(each.least, each.most) for each in shared.beginnings(1)] == [(192, 192 + 15)]


def test_ids_of_blocks_by_themselves_stand_for_their_place() -> None:
    requests: list[Request] = [((1, 5, 2), 190), ((3, 5, 2), 190), ((1, 5, 9), 190)]
    shared = SharedBlocks(requests, 64)
    assert [[each.least for each in shared.beginnings(number)] for number in range(3)] == [[128], [], [128]]


def test_requests_without_ids_share_nothing() -> None:
    shared = SharedBlocks([((), 100), ((), 100), ((4,), 3)], 64)
    assert [list(shared.beginnings(number)) for number in range(3)] == [[], [], []]
