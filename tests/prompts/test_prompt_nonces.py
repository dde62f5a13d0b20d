"""Nonces make prompts unlike each other, and unlike those of other workers and runs."""

from __future__ import annotations

import re
from itertools import pairwise

import pytest
from msgspec.structs import replace

from tokenswarm.prompts import (
    ChatMessage,
    Prompt,
    PromptError,
    PromptMarker,
    PromptReuse,
    estimate_tokens,
    new_run_nonce,
)

WHY = Prompt("Why is the sky blue?", 6, "science", "7")
HOW = Prompt("How do bees fly?", 5, "science", "8")


def marker(reuse: PromptReuse = PromptReuse.NEVER, run_nonce: str = "run", worker: int = 0) -> PromptMarker:
    return PromptMarker(reuse, run_nonce, worker, estimate_tokens)


def nonces(of: PromptMarker, count: int) -> list[str]:
    return [of.mark(WHY, number).text.split()[0] for number in range(count)]


def test_the_nonce_is_the_first_of_the_text_and_the_rest_is_as_it_was() -> None:
    marked = marker().mark(WHY, 0)
    assert re.fullmatch(r"[0-9a-f]{12}\n\nWhy is the sky blue\?", marked.text)
    assert (marked.category, marked.id) == ("science", "7")


def test_the_nonce_s_own_tokens_are_part_of_the_length() -> None:
    marked = marker().mark(WHY, 0)
    assert marked.tokens == WHY.tokens + estimate_tokens(marked.text.removesuffix(WHY.text)) > WHY.tokens


def test_no_two_requests_of_any_worker_share_a_nonce() -> None:
    found = [nonce for worker in (0, 1, 2, 77, 65_535) for nonce in nonces(marker(worker=worker), 4_000)]
    assert len(set(found)) == len(found)


def test_neighbours_differ_in_their_first_characters() -> None:
    """A cache that works token by token would otherwise find the beginning of the nonce."""
    starts = [nonce[:2] for nonce in nonces(marker(), 2_000)]
    assert len(set(starts)) == 256
    assert sum(one == other for one, other in pairwise(starts)) < 30  # 8 by chance


def test_the_same_run_nonce_gives_the_same_texts_and_another_gives_none_of_them() -> None:
    first, again, other = (nonces(marker(run_nonce=run), 4_000) for run in ("a", "a", "b"))
    assert first == again
    assert not set(first) & set(other)


def test_a_nonce_is_a_function_of_the_request_s_number_alone() -> None:
    one, other = marker(), marker()
    assert [one.mark(WHY, number).text for number in (2, 0, 1)] == [
        other.mark(WHY, number).text for number in (2, 0, 1)
    ]


def test_within_a_run_prompts_may_repeat_on_every_worker_but_not_in_another_run() -> None:
    one, other = marker(PromptReuse.RUN, worker=0), marker(PromptReuse.RUN, worker=3)
    assert one.mark(WHY, 0).text == one.mark(WHY, 9).text == other.mark(WHY, 4).text
    assert one.mark(HOW, 0).text.split()[0] != one.mark(WHY, 0).text.split()[0]
    assert marker(PromptReuse.RUN, "another").mark(WHY, 0).text != one.mark(WHY, 0).text


def test_prompts_that_may_always_repeat_are_sent_as_they_are() -> None:
    assert marker(PromptReuse.ALWAYS).mark(WHY, 3) == WHY


def test_a_run_nonce_that_is_drawn_is_never_drawn_again() -> None:
    assert len({new_run_nonce() for _ in range(1000)}) == 1000


def test_more_workers_than_there_are_nonces_for_are_refused() -> None:
    with pytest.raises(PromptError):
        marker(worker=65_536)


def test_a_conversation_has_the_nonce_before_its_first_message_and_its_system_message() -> None:
    chat = replace(WHY, system="Be kind.", earlier=(ChatMessage("user", "Hello?"), ChatMessage("assistant", "Hello.")))
    marked = marker().mark(chat, 0)
    assert marked.text == WHY.text
    assert re.fullmatch(r"[0-9a-f]{12}\n\nBe kind\.", marked.system or "")
    first, second = marked.earlier
    assert re.fullmatch(r"[0-9a-f]{12}\n\nHello\?", first.text)
    assert second == ("assistant", "Hello.")
