"""Prefixes that requests share: their notation, which request is of which group, and their exact lengths."""

from __future__ import annotations

from collections import Counter

import pytest
from msgspec.structs import replace

from tests.prompts.synthetic.built_tokenizers import KINDS
from tests.prompts.synthetic.test_texts import Server, across_words, counts_of
from tokenswarm.prompts import ChatMessage, Prompt
from tokenswarm.prompts.synthetic.calibration import CalibrationFailed, TextCalibration, calibrate, check_shortest
from tokenswarm.prompts.synthetic.calibration import text_maker as maker_of
from tokenswarm.prompts.synthetic.length_plan import length_plan
from tokenswarm.prompts.synthetic.shared_prefixes import (
    PrefixMaker,
    PrefixNotationError,
    PrefixPlan,
    parse_prefix,
    with_prefix,
)
from tokenswarm.prompts.synthetic.text_maker import Prefix, TextMaker
from tokenswarm.prompts.synthetic.word_costs import HEAD
from tokenswarm.simulator.tokens import tokenise

COSTS = dict.fromkeys(("one", "two", "three", "four"), 1)


@pytest.mark.parametrize(
    ("text", "plan"),
    [
        ("groups=64 tokens=2048 zipf=1.2", PrefixPlan(2048, 64, 1.2)),
        ("tokens=2048, GROUPS=64", PrefixPlan(2048, 64)),
        (" tokens=1 ", PrefixPlan(1)),
        ("zipf=1\ntokens=9", PrefixPlan(9, 1, 1.0)),
        ("  ", None),
    ],
)
def test_what_a_notation_says(text: str, plan: PrefixPlan | None) -> None:
    assert parse_prefix(text) == plan


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("groups=64", 9),
        ("groups=0 tokens=5", 7),
        ("groups=64 tokens=2k", 17),
        ("tokens=5 groups=1000001", 16),
        ("tokens=5 zipf=0", 14),
        ("tokens=5 zipf=-1", 14),
        ("tokens=5 zipf=99", 14),
        ("tokens=5 group=4", 9),
        ("tokens=5 64", 9),
        ("tokens=5 tokens=6", 9),
        ("tokens=٣", 7),
    ],
)
def test_an_error_points_at_its_place(text: str, place: int) -> None:
    with pytest.raises(PrefixNotationError, match="--prefix") as caught:
        parse_prefix(text)
    assert caught.value.place == place


@pytest.mark.parametrize("zipf", [None, 0.6, 1.2])
def test_groups_are_as_frequent_as_they_should_be(zipf: float | None) -> None:
    plan = PrefixPlan(2048, 64, zipf)
    weights = [1.0 if zipf is None else (rank + 1) ** -zipf for rank in range(64)]
    draws = 20_000
    found = Counter(plan.group(1, number) for number in range(draws))
    # Chi-squared with 63 degrees of freedom is below 103.4 in 99.9 % of cases.
    expected = [draws * weight / sum(weights) for weight in weights]
    assert sum((found[group] - each) ** 2 / each for group, each in enumerate(expected)) < 103.4
    assert found.keys() <= set(range(64))


def test_groups_follow_from_the_seed_and_the_number_of_the_request() -> None:
    plan = PrefixPlan(2048, 64, 1.2)
    groups = [plan.group(1, number) for number in range(200)]
    assert [plan.group(1, number) for number in reversed(range(200))] == groups[::-1]
    assert [plan.group(2, number) for number in range(200)] != groups


@pytest.mark.parametrize("kind", [*KINDS, "simulator", "across words"])
@pytest.mark.parametrize("with_tokenizer", [True, False])
def test_prefix_and_text_have_their_tokens_by_the_servers_count(kind: str, with_tokenizer: bool) -> None:
    if kind == "across words":
        count = across_words()
    else:
        count = (lambda text: len(tokenise(text))) if kind == "simulator" else counts_of(kind)
    server = Server(count)
    found = calibrate(server.usage, ("off",), count if with_tokenizer else None)
    maker = maker_of(found, "1", count)
    prefixes = PrefixMaker(PrefixPlan(1000, 4), 1, maker)
    exact = found.adds_up
    for number in range(8):
        prefix = prefixes.prefix(number)
        alone = server.usage(HEAD + prefix.text, "off") - found.head_tokens["off"]
        text = maker.text(number, 1500, found.head_tokens["off"], prefix)
        whole = server.usage(text, "off")
        assert text.startswith(HEAD + prefix.text + " ")
        tolerance = 0 if exact else 1 if with_tokenizer else 60
        assert abs(alone - 1000) <= tolerance
        assert abs(whole - 1500) <= tolerance


def test_requests_of_a_group_share_a_prefix_and_nothing_else() -> None:
    maker = TextMaker(COSTS, "1")
    plan = PrefixPlan(100, 3)
    prefixes = PrefixMaker(plan, 1, maker)
    found = [prefixes.prefix(number) for number in range(50)]
    groups = [prefixes.group(number) for number in range(50)]
    assert len(set(found)) == 3
    assert all((one == other) == (g == h) for one, g in zip(found, groups) for other, h in zip(found, groups))
    texts = [maker.text(number, 200, 2, prefix)[len(HEAD + prefix.text) :] for number, prefix in enumerate(found)]
    assert len({" ".join(text.split()[:33]) for text in texts}) == 50


def test_without_sharing_each_request_has_a_prefix_of_its_own_and_the_same_length() -> None:
    maker = TextMaker(COSTS, "1")
    prefixes = PrefixMaker(PrefixPlan(100, 3), 1, maker, is_shared=False)
    found = [prefixes.prefix(number) for number in range(500)]
    assert len(set(found)) == 500
    assert {prefix.tokens for prefix in found} == {100}
    assert {prefixes.group(number) for number in range(50)} == {None}


def test_another_key_makes_other_prefixes() -> None:
    one, other, again = (TextMaker(COSTS, key).prefix(0, 100, "prefix") for key in "abc")
    assert one != other
    assert one == TextMaker(COSTS, "a").prefix(0, 100, "prefix") != again
    assert one != TextMaker(COSTS, "a").prefix(0, 100, "system mark")


def test_a_prefix_stands_before_whatever_of_a_prompt_comes_first() -> None:
    prefix, start = Prefix(" one two", 2), f"{HEAD} one two\n\n"
    plain = Prompt("Why?", 1)
    assert with_prefix(plain, prefix, 2, own_system=True) == Prompt(start + "Why?", 5)
    turns = replace(plain, earlier=(ChatMessage("user", "Hi"), ChatMessage("assistant", "Hello")), system="Be kind.")
    sent = with_prefix(turns, prefix, 2, own_system=True)
    assert (sent.system, sent.earlier, sent.text) == (start + "Be kind.", turns.earlier, "Why?")
    behind = with_prefix(turns, prefix, 2, own_system=False)  # the run's system prompt replaces its own
    assert (behind.system, behind.earlier[0].text, behind.earlier[1:]) == ("Be kind.", start + "Hi", turns.earlier[1:])


def test_lengths_that_leave_nothing_behind_the_prefix_are_refused() -> None:
    found = TextCalibration({"one": 1}, {"off": 13}, "usage")
    lengths = length_plan("1000", "").input
    assert lengths is not None
    check_shortest(lengths, "1000", found, prefix_tokens=986)
    with pytest.raises(CalibrationFailed, match="1000 tokens.*the prefix"):
        check_shortest(lengths, "1000", found, prefix_tokens=987)
