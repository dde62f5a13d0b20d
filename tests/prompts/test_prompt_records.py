"""Prompts as the other rooms see them."""

import hashlib
import json

import pytest

from tokenswarm.prompts import Prompt, PromptError, PromptSet
from tokenswarm.prompts.prompt_records import fingerprint_of


def prompt_set(*prompts: Prompt) -> PromptSet:
    return PromptSet("somewhere", prompts, "counted by hand", fingerprint_of(prompts))


def test_facts_are_the_prompts_object_of_run_json() -> None:
    facts = prompt_set(Prompt("one", 31), Prompt("two", 40), Prompt("three", 149)).facts()
    assert json.loads(json.dumps(facts)) == {
        "source": "somewhere",
        "count": 3,
        "token_counting": "counted by hand",
        "fingerprint": hashlib.sha256(b"one\0two\0three\0").hexdigest(),
        "tokens_min": 31,
        "tokens_median": 40,
        "tokens_max": 149,
        "conversations": 0,
        "rows": 0,
        "left_out_by_length": 0,
        "left_out_without_text": 0,
        "left_out_of_other_roles": 0,
    }


def test_the_median_of_an_even_number_of_prompts_lies_between_the_middle_two() -> None:
    assert prompt_set(Prompt("a", 30), Prompt("b", 41)).facts()["tokens_median"] == 35.5


def test_the_fingerprint_depends_on_texts_and_their_borders_alone() -> None:
    original = fingerprint_of((Prompt("ab", 1, "x"), Prompt("c", 1, "y")))
    assert fingerprint_of((Prompt("ab", 7), Prompt("c", 9))) == original
    assert fingerprint_of((Prompt("a", 1), Prompt("bc", 1))) != original
    assert fingerprint_of((Prompt("c", 1), Prompt("ab", 1))) != original


def test_the_fingerprint_depends_on_what_a_row_sets_for_its_request() -> None:
    prints = {
        fingerprint_of((prompt, Prompt("c", 1)))
        for prompt in (
            Prompt("ab", 1),
            Prompt("ab", 1, max_tokens=8),
            Prompt("ab", 1, endpoint="completions"),
            Prompt("ab", 1, body_overrides={"temperature": 0}),
            Prompt("ab", 1, body_overrides={"temperature": 1}),
        )
    }
    assert len(prints) == 5
    ordered = {"seed": 1, "temperature": 0}
    swapped = {"temperature": 0, "seed": 1}
    assert fingerprint_of((Prompt("a", 1, body_overrides=ordered),)) == fingerprint_of(
        (Prompt("a", 1, body_overrides=swapped),)
    )


def test_a_set_without_prompts_is_refused() -> None:
    with pytest.raises(PromptError, match="prompts from 'somewhere': expected at least one prompt, got none"):
        prompt_set()


def test_prompt_errors_are_value_errors() -> None:
    assert issubclass(PromptError, ValueError)
