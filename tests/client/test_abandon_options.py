"""--abandon: how it is written, which requests it is of, and what it refuses."""

from __future__ import annotations

from argparse import Namespace
from math import sqrt

import pytest
from locust.argument_parser import get_empty_argument_parser

from tokenswarm.client.abandon_options import is_abandoned, parse_abandonment
from tokenswarm.client.option_values import OptionError
from tokenswarm.client.request_options import ChatOptions, add_options
from tokenswarm.command_line import PointedError
from tokenswarm.metrics.abandonment import Abandonment
from tokenswarm.prompts.synthetic.synthetic_prompts import request_number


@pytest.mark.parametrize(
    ("text", "plan", "words"),
    [
        ("10% after=2s", Abandonment(0.1, "2s", after_s=2.0), "2s after sending"),
        ("0.1 after=2s", Abandonment(0.1, "2s", after_s=2.0), "2s after sending"),
        ("after=500ms, 2.5%", Abandonment(0.025, "500ms", after_s=0.5), "500ms after sending"),
        ("100% after=3", Abandonment(1.0, "3s", after_s=3.0), "3s after sending"),
        ("10% AFTER=First", Abandonment(0.1, "first", after_tokens=1), "at the first output"),
        ("10%\nafter=1200tok", Abandonment(0.1, "1200tok", after_tokens=1200), "after 1,200 output tokens"),
        ("10% after=200tokens", Abandonment(0.1, "200tok", after_tokens=200), "after 200 output tokens"),
    ],
)
def test_a_share_and_a_moment_in_any_order(text: str, plan: Abandonment, words: str) -> None:
    assert parse_abandonment(text) == plan
    assert plan.in_words == words


def test_nothing_is_abandoned_by_default() -> None:
    assert parse_abandonment("") is parse_abandonment("  ") is None


@pytest.mark.parametrize(
    ("text", "column", "message"),
    [
        ("0% after=2s", 0, "expected a share like 10% or 0.1, up to 100%; got '0%'"),
        ("101% after=2s", 0, "expected a share like 10% or 0.1, up to 100%; got '101%'"),
        ("10 after=2s", 0, "expected a share like 10% or 0.1, up to 100%; got '10'"),
        ("10% after=2s 5%", 13, "the share stands here twice"),
        ("10% after=2s after=first", 13, "after= stands here twice"),
        ("10%", 3, "expected after=2s, after=first or after=200tok, but the text ends here"),
        ("after=2s ", 8, "expected a share like 10%, but the text ends here"),
        ("10% first", 4, "expected a share like 10%, or after=2s, after=first or after=200tok; got 'first'"),
        ("10% after=soon", 10, "expected a time above 0 like 500ms or 2s, first, or tokens like 200tok; got 'soon'"),
        ("10% after=0s", 10, "expected a time above 0 like 500ms or 2s, first, or tokens like 200tok; got '0s'"),
        ("10% after=", 10, "expected a time above 0 like 500ms or 2s, first, or tokens like 200tok; got ''"),
        ("10% after=0tok", 10, "expected a whole number of tokens from 1 to 10,000,000, got 0"),
        ("10% after=25h", 10, "expected at most 24h, got 25h"),
    ],
)
def test_what_cannot_be_read_is_one_sentence_with_a_mark_at_its_place(text: str, column: int, message: str) -> None:
    with pytest.raises(PointedError) as raised:
        parse_abandonment(text)
    sentence, shown, mark = str(raised.value).split("\n")
    assert sentence == f"--abandon: {message}"
    assert (shown, mark) == (f"  {text}", f"  {' ' * column}^")


def drawn(share: float, seed: int = 1, turn: int = 1) -> set[int]:
    plan = Abandonment(share, "first", after_tokens=1)
    return {number for number in range(20_000) if is_abandoned(plan, seed, number, turn)}


@pytest.mark.parametrize("share", [0.001, 0.1, 0.5, 0.99])
def test_the_share_is_drawn_as_chance_has_it(share: float) -> None:
    assert abs(len(drawn(share)) - 20_000 * share) <= 4 * sqrt(20_000 * share * (1 - share))


@pytest.mark.slow
def test_the_same_requests_are_drawn_by_any_number_of_workers_and_others_by_another_seed() -> None:
    plan = Abandonment(0.1, "2s", after_s=2.0)
    by_four = {
        number
        for worker in range(4)
        for place in range(5_000)
        if is_abandoned(plan, 1, number := request_number(worker, 4, place))
    }
    assert by_four == drawn(0.1)
    assert drawn(0.1, seed=2) != drawn(0.1)
    assert drawn(0.1) < drawn(0.5)  # a larger share has those of a smaller one
    assert drawn(0.1, turn=2) not in (drawn(0.1), drawn(0.1, turn=3))
    assert len(drawn(1.0)) == 20_000


def options_of(*arguments: str) -> Namespace:
    parser = get_empty_argument_parser(default_config_files=[])
    add_options(parser)
    return parser.parse_args(list(arguments))


@pytest.mark.parametrize(
    "arguments",
    [("--max-tokens", "199"), ("--output-tokens", "u(10,199)"), ("--input-tokens", "D(100,50)", "--max-tokens", "500")],
)
def test_a_moment_that_no_answer_comes_to_is_refused(arguments: tuple[str, ...]) -> None:
    with pytest.raises(OptionError, match="--abandon after=200tok has no effect: no answer has more than"):
        ChatOptions.of(options_of("--abandon", "10% after=200tok", *arguments))


@pytest.mark.parametrize(
    "arguments", [("--max-tokens", "200"), ("--output-tokens", "n(100,30)"), ("--output-tokens", "u(10,200)")]
)
def test_a_moment_that_answers_may_come_to_is_taken(arguments: tuple[str, ...]) -> None:
    plan = ChatOptions.of(options_of("--abandon", "10% after=200tok", *arguments)).abandonment
    assert plan == Abandonment(0.1, "200tok", after_tokens=200)
