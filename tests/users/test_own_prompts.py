"""Processes of a run whose prompts a function makes: all have to make the same."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Callable, Iterator
from typing import Any

import pytest

import tokenswarm.client.workload
from tokenswarm.client.request_options import ChatOptions
from tokenswarm.command_line import option_defaults
from tokenswarm.prompts import PromptError, own_sources, register_prompts
from tokenswarm.run_control.run_parser import run_parser
from tokenswarm.users.own_prompts import check_own_prompts, own_fingerprint

DEFAULTS: dict[str, Any] = option_defaults(run_parser())


@pytest.fixture(autouse=True)
def no_sources_for_other_tests(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(own_sources, "_sources", {})
    yield
    tokenswarm.client.workload._load.cache_clear()


@pytest.fixture
def options() -> Callable[..., ChatOptions]:
    def of(**changed: Any) -> ChatOptions:
        tokenswarm.client.workload._load.cache_clear()  # as in another process
        return ChatOptions.of(Namespace(**DEFAULTS | {"prompts": "numbers", "prompt_tokens": "1:100"} | changed))

    return of


def test_a_process_that_makes_other_prompts_is_refused(options: Callable[..., ChatOptions]) -> None:
    made: list[int] = []

    @register_prompts("numbers")
    def numbers(seed: int) -> list[str]:
        made.append(seed)
        return [f"Number {number}" for number in range(seed, seed + len(made))]

    expected = own_fingerprint(options(seed=7))
    assert made == [7]
    with pytest.raises(PromptError, match="made other rows here"):
        check_own_prompts(options(seed=7), expected)


def test_the_same_prompts_and_those_of_files_are_accepted(options: Callable[..., ChatOptions]) -> None:
    register_prompts("numbers")(lambda seed: [f"Number {seed}"])
    check_own_prompts(options(seed=7), own_fingerprint(options(seed=7)))
    assert own_fingerprint(options(prompts="sample", prompt_tokens="30:150")) == ""
    check_own_prompts(options(prompts="sample", prompt_tokens="30:150"), "")
