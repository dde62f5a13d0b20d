"""--prefix and --cache: what they put into requests, and what they refuse."""

from __future__ import annotations

from argparse import Namespace
from collections import Counter
from dataclasses import replace
from itertools import combinations, takewhile
from pathlib import Path
from typing import Any

import pytest
from locust.argument_parser import get_empty_argument_parser

from tokenswarm.client.cache_options import CACHE_BLOCK_TOKENS, CacheUse, check_conflicts
from tokenswarm.client.chat_session import DrawnPrompt
from tokenswarm.client.length_options import TEXT_CALIBRATION, WORKERS_OF_RUN
from tokenswarm.client.option_values import OptionError
from tokenswarm.client.prompt_supply import PromptSupply, turn_mark
from tokenswarm.client.request_options import ChatOptions, add_options
from tokenswarm.client.workload import load_workload
from tokenswarm.engines import ChatRequest
from tokenswarm.prompts import PromptError
from tokenswarm.prompts.synthetic.shared_prefixes import PrefixPlan

HEADS = {"off": 12, "on": 40}
CALIBRATION = {"costs": dict.fromkeys(("one", "two", "three", "four"), 1), "head_tokens": HEADS, "source": "usage"}
PREFIX = ("--prefix", "groups=3 tokens=100 zipf=1")
LENGTHS = ("--input-tokens", "u(160,200)")
SYSTEM = "You are kind."


def given(*arguments: str, **added: Any) -> Namespace:
    parser = get_empty_argument_parser(default_config_files=[])
    add_options(parser)
    calibrated = {TEXT_CALIBRATION: CALIBRATION, "prompt_nonce": "same"}
    return Namespace(**(vars(parser.parse_args(list(arguments))) | calibrated | added))


def drawn(options: Namespace, worker: int = 0, count: int = 40, mode: bool = False) -> list[DrawnPrompt]:
    checked = ChatOptions.of(options)
    workload = load_workload(checked)
    supply = PromptSupply(checked, workload.prompts, workload.count_tokens, worker)
    return [supply.draw(place, mode) for place in range(count)]


def sent(found: DrawnPrompt, mode: bool = False) -> str:
    """All that is sent, the system prompt first."""
    system = found.system_mark + SYSTEM if mode else found.prompt.system or ""
    return "\n".join((system, *(turn.text for turn in found.prompt.earlier), found.prompt.text))


def words(text: str) -> int:
    return len(text.split(" ")) - 1


def in_common(one: str, other: str) -> int:
    """Words that both begin with."""
    return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(one.split(" "), other.split(" "))))


def test_one_and_four_workers_send_the_same_bytes() -> None:
    options = (*PREFIX, *LENGTHS)
    alone = drawn(given(*options))
    shares = [drawn(given(*options, **{WORKERS_OF_RUN: 4}), worker, 10) for worker in range(4)]
    assert [shares[number % 4][number // 4] for number in range(40)] == alone
    assert drawn(given(*options)) == alone
    assert drawn(given(*options, "--seed", "2")) != alone


def test_a_prefix_is_part_of_the_input_tokens() -> None:
    for found in drawn(given(*PREFIX, *LENGTHS)):
        assert words(found.prompt.text) == (found.lengths.input or 0) - HEADS["off"]
    for found in drawn(given(*PREFIX, *LENGTHS), mode=True):
        assert words(found.prompt.text) == (found.lengths.input or 0) - HEADS["on"]


def test_requests_of_a_group_share_its_prefix() -> None:
    found = drawn(given(*PREFIX, *LENGTHS))
    assert Counter(each.group for each in found).keys() == {0, 1, 2}
    for one, other in combinations(found, 2):
        shared = in_common(one.prompt.text, other.prompt.text)
        assert 101 <= shared < 133 if one.group == other.group else shared < 33


@pytest.mark.parametrize("mode", [False, True])
@pytest.mark.parametrize("lengths", [LENGTHS, ()])
def test_with_bust_no_two_requests_begin_with_the_same_text(mode: bool, lengths: tuple[str, ...]) -> None:
    found = drawn(given(*PREFIX, *lengths, "--cache", "bust"), mode=mode)
    texts = [sent(each, mode) for each in found]
    assert max(in_common(*pair) for pair in combinations(texts, 2)) < 12
    assert {each.group for each in found} == {None}
    if lengths:
        assert all(
            words(each.prompt.text) == (each.lengths.input or 0) - HEADS["on" if mode else "off"] for each in found
        )
        assert len({words(each.system_mark) for each in found}) == 1


def test_with_bust_the_system_prompt_is_marked_without_any_calibration() -> None:
    found = drawn(given("--cache", "bust", **{TEXT_CALIBRATION: None}), mode=True)
    assert len({each.system_mark for each in found}) == len(found)
    assert all(each.system_mark.endswith("\n\n") for each in found)
    plain = drawn(given(**{TEXT_CALIBRATION: None}), mode=True)
    assert {each.system_mark for each in plain} == {""}


def test_a_prefix_stands_before_prompts_of_a_file(tmp_path: Path) -> None:
    file = tmp_path / "rows.jsonl"
    file.write_text('{"prompt": "Why?"}\n{"prompt": "How?", "system": "Be kind."}\n')
    options = given(*PREFIX, "--prompts", str(file), "--prompt-tokens", "1:99", "--prompt-reuse", "always")
    for mode in (False, True):
        for found in drawn(options, mode=mode):
            own = found.prompt.system is not None and not mode
            first = found.prompt.system or "" if own else found.prompt.text
            start, rest = first.split("\n\n")
            assert start.startswith("Words: ")
            assert words(start) == 100
            assert rest == ("Be kind." if own else "Why?" if found.prompt.system is None else "How?")
            assert found.prompt.tokens > 100


def test_what_is_recorded_of_them() -> None:
    def facts(*arguments: str) -> dict[str, Any]:
        return dict(ChatOptions.of(given(*arguments)).cache.facts())

    assert facts() == {"cache": "share"}
    assert facts(*PREFIX) == {"cache": "share", "prefix_groups": 3, "prefix_tokens": 100, "prefix_zipf": 1.0}
    cache = ChatOptions.of(given("--prefix", "tokens=9", "--cache", "flush")).cache
    assert (cache.use, cache.prefix, cache.shares) == (CacheUse.FLUSH, PrefixPlan(9), True)


def test_a_prefix_that_cannot_be_read_is_one_of_the_errors() -> None:
    with pytest.raises(PromptError, match="--prefix"):
        ChatOptions.of(given("--prefix", "groups=3"))


@pytest.mark.parametrize(("reuse", "refused"), [("always", True), ("run", True), ("never", False)])
def test_bust_beside_prompts_that_repeat_is_refused(reuse: str, refused: bool) -> None:
    options, sources = given("--cache", "bust", "--prompt-reuse", reuse), {"prompt_reuse": "--prompt-reuse"}
    if refused:
        with pytest.raises(OptionError, match="--cache bust"):
            check_conflicts(options, sources)
    else:
        check_conflicts(options, sources)
    check_conflicts(given("--prompt-reuse", reuse), sources)


def test_with_bust_later_turns_of_a_session_share_nothing_either() -> None:
    (first,) = drawn(given(*LENGTHS, "--cache", "bust", "--turns", "3"), count=1)
    turns = [first._replace(place=first.place._replace(turn=turn)) for turn in (2, 3)]
    marks = {turn_mark("same", turn) for turn in turns} | {turn_mark("other", turns[0])}
    assert len(marks) == 3
    request = ChatRequest("m", "And?", None, 9, earlier=(("user", "Hi"), ("assistant", "Hello")))
    assert request.behind("x ").messages[0] == {"role": "user", "content": "x Hi"}
    assert replace(request, system_prompt="Be kind.").behind("x ").messages[0]["content"] == "x Be kind."
    assert replace(request, earlier=()).behind("x ").messages == [{"role": "user", "content": "x And?"}]


@pytest.mark.parametrize(
    ("arguments", "mode", "parts"),
    [
        ((*PREFIX, *LENGTHS), False, [(0, 12), (100, 112)]),
        ((*PREFIX, *LENGTHS), True, [(24, 40), (124, 140)]),
        (PREFIX, False, [(0, 12), (100, 112)]),
        (LENGTHS, True, [(24, 40)]),
        ((*PREFIX, *LENGTHS, "--cache", "bust"), True, [(0, 32)]),
    ],
)
def test_what_a_prefix_cache_may_hold_of_a_request(
    arguments: tuple[str, ...], mode: bool, parts: list[tuple[int, int]]
) -> None:
    found = drawn(given(*arguments, **{CACHE_BLOCK_TOKENS: 16}), mode=mode)
    assert all(each.shareable is not None for each in found)
    assert {tuple(part[1:] for part in each.shareable.parts) for each in found if each.shareable} == {tuple(parts)}
    groups = {each.shareable.parts[-1].key for each in found if each.shareable}
    assert len(groups) == (3 if "--prefix" in arguments and "bust" not in arguments else 1)
    assert {each.shareable.repeats for each in found if each.shareable} == {False}


def test_where_it_is_not_known_how_the_server_caches_nothing_is_expected() -> None:
    assert {each.shareable for each in drawn(given(*PREFIX, *LENGTHS))} == {None}
    uncalibrated = {TEXT_CALIBRATION: None, CACHE_BLOCK_TOKENS: 16}
    assert {each.shareable for each in drawn(given(**uncalibrated))} == {None}
    repeated = drawn(given(*PREFIX, "--prompt-reuse", "always", **{CACHE_BLOCK_TOKENS: 16}))
    assert all(each.shareable and each.shareable.repeats for each in repeated)
