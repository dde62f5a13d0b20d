"""--input-tokens and --output-tokens: what they give each request, and what they refuse."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Callable
from typing import Any

import pytest
from locust.argument_parser import get_empty_argument_parser

from tests.prompts.synthetic.built_tokenizers import built_tokenizer, token_count
from tokenswarm.client.length_options import TEXT_CALIBRATION, WORKERS_OF_RUN, check_conflicts
from tokenswarm.client.option_values import OptionError
from tokenswarm.client.prompt_supply import DrawnPrompt, PromptSupply
from tokenswarm.client.request_options import ChatOptions, add_options, check_engine
from tokenswarm.client.workload import load_workload
from tokenswarm.command_line import OptionErrors
from tokenswarm.engines import ENGINES
from tokenswarm.prompts import PromptError, estimate_tokens
from tokenswarm.prompts.counting import ESTIMATE
from tokenswarm.prompts.synthetic.synthetic_prompts import SyntheticSource, request_number

CALIBRATION = {"costs": {"one": 1, "two": 1, "three": 1, "four": 1}, "head_tokens": {"off": 12}, "source": "usage"}

Given = Callable[..., Namespace]


@pytest.fixture
def given() -> Given:
    """Options as Locust reads them; keywords are what a run's start adds."""
    parser = get_empty_argument_parser(default_config_files=[])
    add_options(parser)

    def parsed(*arguments: str, **added: Any) -> Namespace:
        return Namespace(**(vars(parser.parse_args(list(arguments))) | added))

    return parsed


def drawn(options: Namespace, worker: int = 0, count: int = 20, mode: bool = False) -> list[DrawnPrompt]:
    checked = ChatOptions.of(options)
    workload = load_workload(checked)
    supply = PromptSupply(checked, workload.prompts, workload.count_tokens, worker)
    return [supply.draw(place, mode) for place in range(count)]


def test_synthetic_prompts_have_their_lengths_and_numbers(given: Given) -> None:
    options = given("--isl", "u(50,60)", "--osl", "n(100,20)", **{TEXT_CALIBRATION: CALIBRATION})
    for number, (prompt, lengths, *_) in enumerate(drawn(options)):
        assert 50 <= (lengths.input or 0) <= 60
        assert len(prompt.text.split(" ")) - 1 == (lengths.input or 0) - 12
        assert prompt.max_tokens == lengths.output
        assert prompt.id == str(number)


def test_one_and_four_workers_send_the_same_requests(given: Given) -> None:
    options = ("--input-tokens", "u(50,500)", "--output-tokens", "u(1,9)", "--prompt-nonce", "same")
    alone = drawn(given(*options, **{TEXT_CALIBRATION: CALIBRATION}), count=40)
    four = given(*options, **{TEXT_CALIBRATION: CALIBRATION, WORKERS_OF_RUN: 4})
    shares = [drawn(four, worker, 10) for worker in range(4)]
    assert [shares[number % 4][number // 4] for number in range(40)] == alone


def test_texts_differ_from_run_to_run_unless_they_are_to_repeat(given: Given) -> None:
    def texts(*arguments: str, nonce: str = "") -> list[str]:
        calibrated = {TEXT_CALIBRATION: CALIBRATION, "prompt_nonce": nonce}
        return [prompt.text for prompt, *_ in drawn(given("--input-tokens", "64", *arguments, **calibrated))]

    assert texts(nonce="a") != texts(nonce="b")
    assert texts(nonce="a") == texts(nonce="a")
    assert texts(nonce="a") != texts("--seed", "2", nonce="a")


def test_a_worker_that_joins_later_repeats_no_number() -> None:
    numbers = [request_number(worker, 2, place) for worker in range(5) for place in range(1000)]
    assert len(set(numbers)) == len(numbers)


def test_output_lengths_go_with_the_prompts_of_a_data_set(given: Given) -> None:
    found = drawn(given("--output-tokens", "u(5,9)"), count=100)
    assert {prompt.max_tokens for prompt, *_ in found} == set(range(5, 10))
    assert all(lengths == (None, prompt.max_tokens) for prompt, lengths, *_ in found)


def test_an_exact_length_without_output_tokens_is_that_of_max_tokens(given: Given) -> None:
    assert {lengths for _, lengths, *_ in drawn(given("--ignore-eos", "--max-tokens", "64"))} == {(None, 64)}
    assert {lengths for _, lengths, *_ in drawn(given("--max-tokens", "64"))} == {(None, None)}


def test_texts_whose_words_do_not_add_up_are_counted(given: Given, tmp_path: Any) -> None:
    tokenizer = built_tokenizer("byte-level BPE")
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    wrong = {
        "costs": {"one": 2, "unbelievable": 1},
        "head_tokens": {"off": 12},
        "source": "tokenizer",
        "adds_up": False,
    }
    options = given(
        "--input-tokens", "200", "--tokenizer", str(tmp_path / "tokenizer.json"), **{TEXT_CALIBRATION: wrong}
    )
    head = token_count(tokenizer, "Words:")
    lengths = [token_count(tokenizer, prompt.text) - head for prompt, *_ in drawn(options)]
    assert max(abs(length - 188) for length in lengths) <= 1


@pytest.mark.parametrize("lengths", [(), ("--input-tokens", "64")], ids=["data set", "synthetic"])
def test_the_system_prompt_is_counted_by_the_tokenizer_or_by_the_estimate(
    given: Given, tmp_path: Any, lengths: tuple[str, ...]
) -> None:
    tokenizer, text, file = built_tokenizer("byte-level BPE"), "Answer in unbelievably few words.", tmp_path / "s.txt"
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    file.write_text(text)
    options = (*lengths, "--prompt-tokens", "1:999", "--system-prompt-file", str(file))
    estimated = load_workload(ChatOptions.of(given(*options))).facts()
    assert (estimated["system_prompt_tokens"], estimated["system_prompt_counting"]) == (estimate_tokens(text), ESTIMATE)
    path = str(tmp_path / "tokenizer.json")
    counted = load_workload(ChatOptions.of(given(*options, "--tokenizer", path))).facts()
    assert counted["system_prompt_tokens"] == token_count(tokenizer, text) != estimated["system_prompt_tokens"]
    assert counted["system_prompt_counting"] == f"tokenizer {path}"


def test_without_a_calibration_no_synthetic_prompt_is_made(given: Given) -> None:
    with pytest.raises(OptionError, match="not calibrated"):
        drawn(given("--input-tokens", "64"))


def test_synthetic_prompts_are_recorded_and_equal_settings_have_one_fingerprint(given: Given) -> None:
    def source(*arguments: str) -> SyntheticSource:
        prompts = load_workload(ChatOptions.of(given(*arguments))).prompts
        assert isinstance(prompts, SyntheticSource)
        return prompts

    one = source("--input-tokens", "n(550,100)")
    assert one.facts()["source"] == "synthetic n(550,100)"
    assert one.fingerprint == source("--input-tokens", "n(550, 100)").fingerprint
    assert one.fingerprint != source("--input-tokens", "n(550,101)").fingerprint
    assert one.fingerprint != source("--input-tokens", "n(550,100)", "--seed", "2").fingerprint


@pytest.mark.parametrize(
    ("arguments", "sources", "refused"),
    [
        (("--input-tokens", "64"), ("prompts",), 1),
        (("--input-tokens", "64"), ("prompts", "prompt_tokens"), 2),
        (("--input-tokens", "64"), ("max_tokens",), 0),
        (("--output-tokens", "64"), ("max_tokens", "prompts"), 1),
        (("--input-tokens", "D(64,8)"), ("max_tokens",), 1),
        ((), ("max_tokens", "prompts", "prompt_tokens"), 0),
    ],
)
def test_options_without_effect_beside_lengths_are_refused(
    given: Given, arguments: tuple[str, ...], sources: tuple[str, ...], refused: int
) -> None:
    named = {name: f"--{name.replace('_', '-')}" for name in (*sources, "input_tokens", "output_tokens")}
    try:
        check_conflicts(given(*arguments), named)
        found: list[str] = []
    except (OptionErrors, OptionError) as error:
        found = str(error).split("\n")
    assert len(found) == refused
    assert all("no effect" in sentence for sentence in found)


def test_a_notation_that_cannot_be_read_is_one_of_the_errors(given: Given) -> None:
    with pytest.raises(PromptError, match="--input-tokens"):
        ChatOptions.of(given("--input-tokens", "n(550"))


@pytest.mark.parametrize("lengths", ["100", "u(20,500)"])
def test_output_lengths_that_a_service_takes_pass(given: Given, lengths: str) -> None:
    check_engine(ChatOptions.of(given("--output-tokens", lengths)), ENGINES["vllm"], (16, 1000))


@pytest.mark.parametrize("lengths", ["8", "n(100,9)"])
def test_output_lengths_that_a_service_would_refuse_are_refused(given: Given, lengths: str) -> None:
    options = ChatOptions.of(given("--output-tokens", lengths))
    with pytest.raises(OptionError, match="16 to 1000"):
        check_engine(options, ENGINES["vllm"], (16, 1000))
