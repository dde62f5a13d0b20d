"""Texts of stated lengths: exact by tokenizer and by the server's own count, the same on every node."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from tokenizers import Tokenizer, models, trainers

from tests.prompts.synthetic.built_tokenizers import KINDS, built_tokenizer, token_count
from tokenswarm.prompts.synthetic.calibration import (
    CalibrationFailed,
    TextCalibration,
    calibrate,
    check_shortest,
)
from tokenswarm.prompts.synthetic.length_plan import length_plan
from tokenswarm.prompts.synthetic.text_maker import TextMaker
from tokenswarm.prompts.synthetic.word_costs import chosen_words, measured_costs
from tokenswarm.simulator.tokens import tokenise

Count = Callable[[str], int]
TEMPLATE, SYSTEM = 11, 300
LENGTHS = (40, 128, 1024, 8192)


class Server:
    """Counts the prompt tokens of requests as a server's usage does."""

    def __init__(self, count: Count) -> None:
        self._count = count
        self.requests = 0

    def usage(self, text: str, mode: str) -> int:
        self.requests += 1
        return TEMPLATE + self._count(text) + (SYSTEM if mode == "on" else 0)


def counts_of(kind: str, vocabulary: int = 4000) -> Count:
    tokenizer = built_tokenizer(kind, vocabulary)
    return lambda text: token_count(tokenizer, text)


def maker_of(found: TextCalibration, count: Count | None = None, key: str = "1") -> TextMaker:
    return TextMaker(found.costs, key, scale=found.scale, count=None if found.adds_up else count)


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("vocabulary", [400, 4000])
@pytest.mark.parametrize("with_tokenizer", [True, False])
def test_texts_have_the_requested_tokens(kind: str, vocabulary: int, with_tokenizer: bool) -> None:
    count = counts_of(kind, vocabulary)
    server = Server(count)
    found = calibrate(server.usage, ("off", "on"), count if with_tokenizer else None)
    assert found.source == ("tokenizer" if with_tokenizer else "usage")
    assert server.requests <= (3 if with_tokenizer else 43)
    maker = maker_of(found)
    for tokens in LENGTHS:
        for number in range(10):
            assert server.usage(maker.text(number, tokens, found.head_tokens["off"]), "off") == tokens
    assert server.usage(maker.text(1, 1024, found.head_tokens["on"]), "on") == 1024


def test_a_server_with_a_token_for_each_common_word_is_calibrated_by_few_requests() -> None:
    server = Server(lambda text: len(tokenise(text)))
    found = calibrate(server.usage, ("off",), None)
    assert server.requests <= 20
    assert len(found.costs) > 300


def test_no_two_requests_have_the_same_opening() -> None:
    maker = TextMaker(dict.fromkeys(("one", "two", "three", "four"), 1), "1")
    openings = {" ".join(maker.text(number, 200, 2).split(" ")[:33]) for number in range(5000)}
    assert len(openings) == 5000


def test_the_same_seed_gives_the_same_bytes_on_one_and_four_workers() -> None:
    costs = dict.fromkeys(("one", "two", "three", "four"), 1)
    alone = TextMaker(costs, "7")
    expected = [alone.text(number, 500, 2) for number in range(100)]
    workers = [TextMaker(costs, "7") for _ in range(4)]
    assert [workers[number % 4].text(number, 500, 2) for number in reversed(range(100))] == expected[::-1]
    assert TextMaker(costs, "8").text(0, 500, 2) != expected[0]


def test_a_tokenizer_that_is_not_the_servers_is_noticed() -> None:
    server = Server(counts_of("byte-level BPE"))
    found = calibrate(server.usage, ("off",), lambda text: 2 * len(text.split()))
    assert found.source == "usage"
    maker = maker_of(found)
    assert {server.usage(maker.text(number, 1024, found.head_tokens["off"]), "off") for number in range(20)} == {1024}


def across_words() -> Count:
    """A tokenizer with tokens that hold several words."""
    tokenizer = Tokenizer(models.BPE())
    trainer = trainers.BpeTrainer(vocab_size=600, show_progress=False)
    text = Path(__file__).read_text(encoding="utf-8") + "of the in the to the on the and the is a for the " * 50
    tokenizer.train_from_iterator([text], trainer)
    return lambda text: token_count(tokenizer, text)


def test_words_whose_tokens_do_not_add_up_are_repaired() -> None:
    count = across_words()
    server = Server(count)
    found = calibrate(server.usage, ("off",), count)
    assert not found.adds_up
    maker = maker_of(found, count)
    differences = [
        server.usage(maker.text(number, 1024, found.head_tokens["off"]), "off") - 1024 for number in range(20)
    ]
    assert max(map(abs, differences)) <= 1
    assert differences.count(0) >= 19


def test_without_a_tokenizer_such_lengths_are_right_on_average() -> None:
    server = Server(across_words())
    found = calibrate(server.usage, ("off",), None)
    assert (found.adds_up, found.source) == (False, "usage")
    maker = maker_of(found)
    lengths = [server.usage(maker.text(number, 4096, found.head_tokens["off"]), "off") for number in range(10)]
    assert sum(lengths) / 10 == pytest.approx(4096, rel=0.015)


def test_words_of_several_tokens_are_used_where_none_has_one() -> None:
    measured = measured_costs(lambda words: 2 * len(words) + sum(len(word) == 2 for word in words), 100)
    assert set(chosen_words(measured).values()) == {2}
    costs = dict(list(measured.items())[:20])
    assert set(costs.values()) == {2, 3}
    maker = TextMaker(costs, "1")
    for tokens in range(10, 300):
        words = maker.text(tokens, tokens, 3).split(" ")[1:]
        assert sum(costs[word] for word in words) == tokens - 3


def test_lengths_that_no_words_add_up_to_are_missed_by_one() -> None:
    maker = TextMaker(dict.fromkeys(("one", "two"), 2), "1")
    assert {2 * len(maker.text(number, 101, 0).split(" ")[1:]) for number in range(50)} <= {100, 102}


def test_a_server_without_usage_needs_a_tokenizer() -> None:
    with pytest.raises(CalibrationFailed, match="--tokenizer"):
        calibrate(lambda text, mode: None, ("off",), None)
    count = counts_of("WordPiece")
    found = calibrate(lambda text, mode: None, ("off",), count)
    assert not found.includes_template
    assert count(maker_of(found).text(0, 1024, found.head_tokens["off"])) == 1024


@pytest.mark.parametrize("notation", ["128", "n(300,100)", "u(14,1000)"])
def test_lengths_below_what_every_prompt_has_are_refused(notation: str) -> None:
    found = TextCalibration({"one": 1}, {"off": 13, "on": 313}, "usage")
    plan = length_plan(notation, "").input
    assert plan is not None
    with pytest.raises(CalibrationFailed, match="313 tokens"):
        check_shortest(plan, notation, found)


def test_lengths_above_what_every_prompt_has_pass() -> None:
    found = TextCalibration({"one": 1}, {"off": 13, "on": 313}, "usage")
    plan = length_plan("u(314,1000)", "").input
    assert plan is not None
    check_shortest(plan, "u(314,1000)", found)
