"""Block keys and the cache of them."""

import pytest

from tokenswarm.simulator.prefix_cache import BLOCK_TOKENS, PrefixCache, block_keys


def tokens(count: int, name: str = "t") -> list[str]:
    return [f"{name}{index}" for index in range(count)]


def test_only_full_blocks_have_a_key() -> None:
    assert [len(block_keys(tokens(count))) for count in (0, 15, 16, 31, 32)] == [0, 0, 1, 1, 2]


@pytest.mark.parametrize(("size", "blocks"), [(1, 33), (16, 2), (32, 1), (64, 0)])
def test_blocks_have_the_size_that_is_given(size: int, blocks: int) -> None:
    assert len(block_keys(tokens(33), size)) == blocks


def test_a_key_covers_everything_before_its_block() -> None:
    same_tail = block_keys(tokens(16, "a") + tokens(16))[1], block_keys(tokens(16, "b") + tokens(16))[1]
    assert same_tail[0] != same_tail[1]
    assert block_keys(tokens(48))[:2] == block_keys(tokens(32))


def test_tokens_are_kept_apart() -> None:
    rest = tokens(BLOCK_TOKENS - 2)
    assert block_keys(["ab", "c", *rest]) != block_keys(["a", "bc", *rest])


def test_a_match_ends_at_the_first_unknown_block() -> None:
    cache = PrefixCache(10)
    cache.insert(block_keys(tokens(48)))
    assert cache.match(block_keys(tokens(48))) == 3
    assert cache.match(block_keys(tokens(32) + tokens(32, "x"))) == 2
    assert cache.match(block_keys(tokens(48, "x"))) == 0


def test_the_least_recently_used_prompt_is_forgotten_first() -> None:
    cache = PrefixCache(2)
    first, second, third = (block_keys(tokens(16, name)) for name in "abc")
    cache.insert(first)
    cache.insert(second)
    cache.match(first)
    cache.insert(third)
    assert [cache.match(keys) for keys in (first, second, third)] == [1, 0, 1]
    assert len(cache) == 2


def test_first_in_first_out_forgets_the_oldest_though_it_was_used() -> None:
    cache = PrefixCache(2, "fifo")
    first, second, third = (block_keys(tokens(16, name)) for name in "abc")
    cache.insert(first)
    cache.insert(second)
    cache.match(first)
    cache.insert(third)
    assert [cache.match(keys) for keys in (first, second, third)] == [0, 1, 1]


def test_a_cleared_cache_knows_nothing() -> None:
    cache = PrefixCache(2)
    cache.insert(block_keys(tokens(16)))
    cache.clear()
    assert (len(cache), cache.match(block_keys(tokens(16)))) == (0, 0)


def test_a_prompt_loses_its_tail_before_its_head() -> None:
    cache = PrefixCache(4)
    keys = block_keys(tokens(64))
    cache.insert(keys)
    cache.insert(block_keys(tokens(16, "x")))
    assert cache.match(keys) == 3
