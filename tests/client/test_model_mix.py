"""The models of --models: how they are written, and which one each session gets."""

from __future__ import annotations

from argparse import Namespace
from collections import Counter
from math import sqrt

import pytest
from locust.argument_parser import get_empty_argument_parser

from tokenswarm.client.length_options import WORKERS_OF_RUN
from tokenswarm.client.model_mix import ModelMix, parse_models
from tokenswarm.client.option_values import OptionError
from tokenswarm.client.prompt_supply import PromptSupply
from tokenswarm.client.request_options import ChatOptions, add_options
from tokenswarm.client.workload import load_workload
from tokenswarm.command_line import OptionErrors


@pytest.mark.parametrize(
    ("text", "names", "shares"),
    [
        ("base=70% sql=30%", ("base", "sql"), (0.7, 0.3)),
        ("base=7, sql=3", ("base", "sql"), (0.7, 0.3)),
        ("base=.5 sql=1.5", ("base", "sql"), (0.25, 0.75)),
        ("a b c d", ("a", "b", "c", "d"), (0.25,) * 4),
        ("a=33.3% b=33.3% c=33.3%", ("a", "b", "c"), (1 / 3,) * 3),
        ("org/base:8b=50%\norg/base:sql=50%", ("org/base:8b", "org/base:sql"), (0.5, 0.5)),
        ("a=b=1 c=1", ("a=b", "c"), (0.5, 0.5)),
        ("alone", ("alone",), (1.0,)),
    ],
)
def test_shares_are_percentages_weights_or_equal(text: str, names: tuple[str, ...], shares: tuple[float, ...]) -> None:
    mix = parse_models(text)
    assert mix is not None
    assert mix.names == names
    assert mix.shares == pytest.approx(shares)
    assert sum(mix.shares) == pytest.approx(1)


def test_no_text_is_no_mix() -> None:
    assert parse_models(" ") is None


@pytest.mark.parametrize(
    ("text", "errors"),
    [
        ("a=70% b=20%", 1),
        ("a=70% b=30", 1),
        ("a=70% b", 1),
        ("a=0 b=1", 1),
        ("a=-1 b=1", 1),
        ("a=x b=1", 1),
        ("=1 b=1", 1),
        ("a a b", 1),
        (" ".join(f"m{number}" for number in range(17)), 1),
        ("a=x b=y", 2),
        (f"{'x' * 201} b", 1),
    ],
)
def test_what_cannot_be_shares_is_refused(text: str, errors: int) -> None:
    with pytest.raises((OptionError, OptionErrors)) as refused:
        parse_models(text)
    assert len(refused.value.sentences if isinstance(refused.value, OptionErrors) else [refused.value]) == errors


def test_sessions_draw_models_with_their_shares() -> None:
    mix, sessions = ModelMix(("a", "b", "c"), (0.6, 0.3, 0.1)), 30_000
    for seed in (1, 2):
        counts = Counter(mix.model_of(seed, session) for session in range(sessions))
        for name, share in zip(mix.names, mix.shares):
            assert abs(counts[name] - sessions * share) < 3 * sqrt(sessions * share * (1 - share))
        # Independent of each other: as often the same as the one before as chance has it.
        drawn = [mix.model_of(seed, session) for session in range(sessions)]
        pairs, expected = sum(map(str.__eq__, drawn, drawn[1:])), 0.46
        assert abs(pairs - sessions * expected) < 4 * sqrt(sessions * expected * (1 - expected))


def _given(*arguments: str, **added: int) -> Namespace:
    parser = get_empty_argument_parser(default_config_files=[])
    add_options(parser)
    return Namespace(**(vars(parser.parse_args(list(arguments))) | added))


def _models(options: Namespace, worker: int, count: int) -> list[str]:
    checked = ChatOptions.of(options)
    workload = load_workload(checked)
    supply = PromptSupply(checked, workload.prompts, workload.count_tokens, worker)
    return [supply.draw(place, False).model for place in range(count)]


def test_one_and_four_workers_draw_the_same_models() -> None:
    options = ("--models", "a=60% b=40%", "--seed", "5")
    alone = _models(_given(*options), 0, 200)
    shares = [_models(_given(*options, **{WORKERS_OF_RUN: 4}), worker, 50) for worker in range(4)]
    assert [model for of_all in zip(*shares) for model in of_all] == alone
    assert alone != _models(_given("--models", "a=60% b=40%", "--seed", "6"), 0, 200)


def test_model_and_models_exclude_each_other() -> None:
    with pytest.raises(OptionError, match="--model and --models"):
        ChatOptions.of(_given("--model", "a", "--models", "a b"))


def test_an_engine_whose_requests_name_no_model_has_none_to_mix() -> None:
    with pytest.raises(OptionError, match="--models"):
        ChatOptions.of(_given("--engine", "tgi-generate", "--models", "a b"))
