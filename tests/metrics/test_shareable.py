"""What a prefix cache may hold of a prompt: in whole blocks, and over the turns of a session."""

from __future__ import annotations

import pytest

from tokenswarm.metrics.shareable import (
    TEMPLATE_END_TOKENS,
    TEMPLATE_START_TOKENS,
    WHOLE,
    Shareable,
    SharedPart,
    key_of,
    shared_beginnings,
    template_start,
)


@pytest.mark.parametrize(
    ("block", "prompt_tokens", "found"),
    [(16, 200, (96, 112)), (64, 200, (64, 64)), (1, 200, (100, 120)), (16, None, (96, 112)), (16, 100, (96, 96))],
)
def test_parts_are_cached_in_whole_blocks_and_never_the_last_token(
    block: int, prompt_tokens: int | None, found: tuple[int, int]
) -> None:
    (part,) = Shareable(block, (SharedPart(7, 100, 120),)).in_blocks(prompt_tokens)
    assert part == (7, *found)


def test_a_prompt_that_is_sent_again_is_found_whole_but_for_its_last_token() -> None:
    once, again = Shareable(16), Shareable(16, repeats=True)
    assert once.with_prompt("ab") == once
    (part,) = again.with_prompt("ab").in_blocks(161)
    assert (part.least, part.most) == (160, 160)
    assert again.with_prompt("ab").in_blocks(160)[0].least == 144
    assert again.with_prompt("ab").in_blocks(None)[0].most == WHOLE // 16 * 16
    assert again.with_prompt("cd").parts[0].key != part.key


def test_a_prefix_stands_behind_what_every_prompt_begins_with() -> None:
    start, group = shared_beginnings("on", 300, 5, 2048)
    assert (start.least, start.most) == (300 - TEMPLATE_END_TOKENS, 300)
    assert (group.least, group.most) == (start.least + 2048, start.most + 2048)
    assert shared_beginnings("on", 300, None, 0) == (start,)
    keys = {part.key for mode in ("off", "on") for g in (0, 1) for part in shared_beginnings(mode, 300, g, 9)}
    assert len(keys) == 6
    assert shared_beginnings("off", 9, None, 0)[0].least == 0
    assert template_start()[0][1:] == template_start(12)[0][1:] == (0, TEMPLATE_START_TOKENS)
    assert template_start(500)[0][1:] == (0, 500)  # a gateway's own text


def test_a_turn_finds_the_one_before_with_its_answer_and_no_other() -> None:
    first = Shareable(1, shared_beginnings("off", 20, None, 0), in_session=True).offering(3, 1)
    assert [part.most for part in first.parts] == [20, 0]
    second = first.next_turn(3, 1, prompt_tokens=100, answer_tokens=30)
    assert second.parts[0] == first.parts[0]
    assert second.parts[1] == (first.parts[1].key, 100 - TEMPLATE_END_TOKENS, 130 + TEMPLATE_END_TOKENS)
    third = second.next_turn(3, 2, prompt_tokens=200, answer_tokens=0)
    assert third.parts[-2].key == second.parts[-1].key == key_of("turn", 3, 2)
    assert key_of("turn", 4, 2) != key_of("turn", 3, 2)


def test_turns_that_share_nothing_find_nothing() -> None:
    alone = Shareable(16, template_start())
    assert alone.offering(3, 1) == alone == alone.next_turn(3, 1, 100, 30)
