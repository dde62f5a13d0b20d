"""Prompts that a locustfile's code makes, under a name that --prompts takes."""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterator, Mapping
from typing import Any

import pytest

from tokenswarm.prompts import (
    PromptError,
    PromptSet,
    is_own_source,
    load_prompts,
    own_sources,
    register_prompts,
    token_counter,
)


@pytest.fixture(autouse=True)
def no_sources_for_other_tests(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(own_sources, "_sources", {})


def loaded(name: str, seed: int = 1, sessions: bool = False) -> PromptSet:
    return load_prompts(name, tokens_min=1, tokens_max=1000, counter=token_counter(None), seed=seed, sessions=sessions)


def test_a_function_s_rows_are_prompts_and_follow_from_the_seed() -> None:
    @register_prompts("numbers")
    def numbers(seed: int) -> Iterator[str]:
        draw = random.Random(seed)
        return (f"How large is {draw.randint(0, 10**9)}?" for _ in range(3))

    assert is_own_source("numbers")
    assert numbers(1) is not None
    one, same, other = loaded("numbers", 1), loaded("numbers", 1), loaded("numbers", 2)
    assert [prompt.id for prompt in one.prompts] == ["1", "2", "3"]
    assert one.fingerprint == same.fingerprint != other.fingerprint
    assert one.prompts[0].text.startswith("How large is ")
    assert one.facts()["source"] == "numbers"


def test_a_row_has_the_columns_of_a_file() -> None:
    @register_prompts("rows")
    def rows(_: int) -> list[Mapping[str, Any]]:
        return [
            {"prompt": "Hello", "custom_id": "a", "max_tokens": 7, "system": "Be brief.", "temperature": 0.5},
            {"prompt": None, "custom_id": "b"},
        ]

    (prompt,) = loaded("rows").prompts
    assert (prompt.text, prompt.custom_id, prompt.max_tokens, prompt.system) == ("Hello", "a", 7, "Be brief.")
    assert prompt.body_overrides == {"temperature": 0.5}


def test_messages_of_several_turns_are_a_session() -> None:
    @register_prompts("talks")
    def talks(_: int) -> list[dict[str, Any]]:
        roles = ("user", "assistant", "user", "assistant", "user")
        return [{"messages": [{"role": role, "content": f"text {number}"} for number, role in enumerate(roles)]}]

    (prompt,) = loaded("talks", sessions=True).prompts
    assert (prompt.text, [turn.text for turn in prompt.turns]) == ("text 0", ["text 2", "text 4"])


@pytest.mark.parametrize(
    ("rows", "named"),
    [([3], "row 1 is a text or a mapping, got int"), ([], "no rows"), (["", " "], "has any text")],
)
def test_rows_that_cannot_be_sent_are_refused(rows: list[Any], named: str) -> None:
    register_prompts("wrong")(lambda _: rows)
    with pytest.raises(PromptError, match=named):
        loaded("wrong")


def test_an_error_of_the_function_is_one_sentence() -> None:
    @register_prompts("broken")
    def broken(seed: int) -> list[str]:
        raise KeyError(seed)

    with pytest.raises(PromptError, match="'broken': its function raised KeyError: 1"):
        loaded("broken")


def test_a_function_that_makes_rows_for_ever_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(own_sources, "_MOST_ROWS", 1000)
    register_prompts("endless")(lambda _: map(str, itertools.count()))
    with pytest.raises(PromptError, match="'endless': its function makes more than 1,000 rows"):
        loaded("endless")
    register_prompts("many")(lambda _: map("Count to {}".format, range(1000)))
    assert len(loaded("many").prompts) == 1000


@pytest.mark.parametrize("name", ["sample", "dolly", "hf:a/b", "a.jsonl", "Tickets", "", "x" * 41])
def test_names_that_mean_something_else_are_refused(name: str) -> None:
    with pytest.raises(PromptError, match="register_prompts"):
        register_prompts(name)
