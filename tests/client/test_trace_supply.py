"""The requests of a replay: recorded lengths, texts of hash ids, and what a prefix cache may hold of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.option_parser import parser_of_all_options
from tests.prompts.traces import trace_examples as examples
from tokenswarm.client.cache_options import CACHE_BLOCK_TOKENS
from tokenswarm.client.chat_session import DrawnPrompt
from tokenswarm.client.length_options import TEXT_CALIBRATION
from tokenswarm.client.option_values import OptionError
from tokenswarm.client.request_options import ChatOptions
from tokenswarm.client.run_context import RunContext
from tokenswarm.client.trace_supply import LevelArrival, TraceSupply
from tokenswarm.client.workload import load_workload
from tokenswarm.command_line import read_options
from tokenswarm.metrics.timeline import NO_SESSION
from tokenswarm.prompts.synthetic.words import distinct_words
from tokenswarm.prompts.traces.trace_source import TraceSource
from tokenswarm.recording.recorder import Recorder

HEAD_TOKENS = {"off": 12, "on": 300}
CALIBRATION = {"costs": dict.fromkeys(distinct_words(), 1), "head_tokens": HEAD_TOKENS, "source": "usage"}


def options_of(folder: Path, text: str, *words: str, calibration: Any = CALIBRATION) -> ChatOptions:
    (file := folder / "trace").write_text(text)
    given = read_options(parser_of_all_options(), ["--trace", str(file), "--model", "m", "--engine", "vllm", *words])
    vars(given.options)[TEXT_CALIBRATION] = calibration
    vars(given.options)[CACHE_BLOCK_TOKENS] = 16
    return ChatOptions.of(given.options)


def supply_of(options: ChatOptions) -> TraceSupply:
    workload = load_workload(options)
    assert isinstance(workload.prompts, TraceSource)
    return TraceSupply(options, workload.prompts, workload.count_tokens)


def drawn(options: ChatOptions, *numbers: int, level: int = 0, warm_up: bool = False) -> list[DrawnPrompt]:
    supply = supply_of(options)
    return [supply.session(LevelArrival(level, number, warm_up), False).next() for number in numbers]


def shared_words(one: DrawnPrompt, other: DrawnPrompt) -> int:
    words = zip(one.prompt.text.split(), other.prompt.text.split(), strict=False)
    return next((place for place, (left, right) in enumerate(words) if left != right), 10**6)


def test_requests_have_the_recorded_lengths(tmp_path: Path) -> None:
    found = drawn(options_of(tmp_path, examples.MOONCAKE), 0, 1, 2)
    assert [each.lengths for each in found] == [(1100, 40), (1300, 12), (900, 5)]
    assert [each.prompt.max_tokens for each in found] == [40, 12, 5]
    assert [len(each.prompt.text.split()) - 1 for each in found] == [1100 - 12, 1300 - 12, 900 - 12]
    assert [each.prompt.id for each in found] == ["1", "2", "3"]
    assert all(each.place == NO_SESSION for each in found)


def test_equal_ids_are_equal_beginnings(tmp_path: Path) -> None:
    first, second, third = drawn(options_of(tmp_path, examples.MOONCAKE), 0, 1, 2)
    assert 1024 <= 12 - 1 + shared_words(first, second) < 1024 + 16 + 4
    assert shared_words(first, third) < 4


def test_any_process_makes_the_same_request_of_an_arrival(tmp_path: Path) -> None:
    options = options_of(tmp_path, examples.BAILIAN, "--prompt-nonce", "n")
    alone, backwards = drawn(options, 0, 1, 2), drawn(options, 2, 1, 0)
    assert [each.prompt.text for each in alone] == [each.prompt.text for each in reversed(backwards)]
    other = drawn(options_of(tmp_path, examples.BAILIAN, "--prompt-nonce", "o"), 0, 1, 2)
    assert not {each.prompt.text for each in alone} & {each.prompt.text for each in other}


def test_what_a_cache_may_hold_is_known(tmp_path: Path) -> None:
    first, second, third = drawn(options_of(tmp_path, examples.MOONCAKE), 0, 1, 2)
    parts = [each.shareable.parts if each.shareable else () for each in (first, second, third)]
    assert parts[0][-1] == parts[1][-1]
    assert second.shareable is not None
    assert second.shareable.in_blocks(1300)[-1][1:] == (1024, 1024)
    assert [len(each) for each in parts] == [2, 2, 1]


def test_with_a_system_prompt_it_is_a_part_of_the_length(tmp_path: Path) -> None:
    options = options_of(tmp_path, examples.MOONCAKE)
    one = supply_of(options).session(LevelArrival(0, 0), with_system_prompt=True).next()
    off = supply_of(options).session(LevelArrival(0, 0), with_system_prompt=False).next()
    assert len(one.prompt.text.split()) - 1 == 1100 - 300
    assert one.shareable is not None
    assert off.shareable is not None
    assert not {part.key for part in one.shareable.parts} & {part.key for part in off.shareable.parts}


def test_bust_shares_nothing_at_the_same_lengths(tmp_path: Path) -> None:
    found = drawn(options_of(tmp_path, examples.MOONCAKE, "--cache", "bust"), 0, 1, 2)
    assert [len(each.prompt.text.split()) - 1 for each in found] == [1100 - 12, 1300 - 12, 900 - 12]
    assert shared_words(found[0], found[1]) < 4
    assert found[1].shareable is not None
    assert found[1].shareable.in_blocks(1300)[-1].least == 0


def test_a_warm_up_sends_texts_of_its_own(tmp_path: Path) -> None:
    options = options_of(tmp_path, examples.MOONCAKE)
    warming = drawn(options, 0, 1, 3, warm_up=True)
    measured = drawn(options, 0, 1, level=1)
    assert [each.lengths.input for each in warming] == [1100, 1300, 1100]
    assert all(shared_words(one, other) < 4 for one in warming for other in measured)
    assert shared_words(warming[0], warming[2]) < 4


def test_lengths_alone_share_nothing_even_across_levels(tmp_path: Path) -> None:
    options = options_of(tmp_path, examples.AZURE_CODE)
    found = [*drawn(options, 0, 1), *drawn(options, 0, 1, level=1)]
    assert [each.lengths for each in found] == [(374, 44), (2015, 9)] * 2
    assert all(shared_words(one, other) < 4 for one in found for other in found if one is not other)


def test_prompts_shorter_than_the_chat_template_have_one_word(tmp_path: Path) -> None:
    (found,) = drawn(options_of(tmp_path, examples.AZURE_WEEK.replace(",12,", ",3,")), 0)
    assert found.prompt.text == "Words:"
    assert found.lengths.input == 3


def test_answers_without_recorded_length_have_the_options(tmp_path: Path) -> None:
    rate = ("--trace-rate", "1")
    (capped,) = drawn(options_of(tmp_path, examples.OFFLINE_HASHES, *rate, "--max-tokens", "33"), 0)
    assert (capped.lengths.output, capped.prompt.max_tokens) == (None, None)
    (stated,) = drawn(options_of(tmp_path, examples.OFFLINE_HASHES, *rate, "--output-tokens", "44"), 0)
    assert (stated.lengths.output, stated.prompt.max_tokens) == (44, 44)


def test_recorded_texts_are_sent_behind_a_mark_of_the_run(tmp_path: Path) -> None:
    made, text, chat = drawn(options_of(tmp_path, examples.AIPERF, "--prompt-nonce", "n"), 0, 1, 2)
    assert (made.lengths, made.prompt.body_overrides) == ((700, 30), {"temperature": 0.5})
    assert (text.lengths, text.prompt.max_tokens, text.shareable) == ((None, 8), 8, None)
    mark, _, words = text.prompt.text.partition("\n\n")
    assert words == "Name a river."
    assert chat.prompt.system == f"{mark}\n\nBe brief."
    assert chat.prompt.earlier[0].text == f"{mark}\n\nHi"
    assert (chat.prompt.text, chat.prompt.max_tokens, chat.prompt.body_overrides) == ("Why?", None, {"top_p": 0.9})
    always = drawn(options_of(tmp_path, examples.AIPERF, "--prompt-reuse", "always"), 1)
    assert always[0].prompt.text == "Name a river."
    bust = drawn(options_of(tmp_path, examples.AIPERF, "--cache", "bust"), 1, 2)
    assert bust[0].prompt.text.partition("\n")[0] != (bust[1].prompt.system or "").partition("\n")[0]


def test_sessions_are_named_for_routers(tmp_path: Path) -> None:
    ids = [each.recorded_session for each in drawn(options_of(tmp_path, examples.BURSTGPT_NEW), 0, 1, 2)]
    assert ids[0] == ids[2] != ids[1]
    assert len(set(ids)) == 2


def test_a_replay_needs_a_calibration(tmp_path: Path) -> None:
    with pytest.raises(OptionError, match="lengths of texts are not calibrated yet"):
        supply_of(options_of(tmp_path, examples.MOONCAKE, calibration=None))


def test_answers_have_exactly_the_recorded_length(tmp_path: Path) -> None:
    options = options_of(tmp_path, examples.MOONCAKE)
    context = RunContext(options, "http://127.0.0.1:1", Recorder(worker=0))
    request = context.request(context.begin_session(False, LevelArrival(0, 1)).next(), False)
    assert context.replays
    assert (request.max_tokens, request.ignore_eos) == (12, True)


def test_what_run_json_records_of_a_trace(tmp_path: Path) -> None:
    facts = load_workload(options_of(tmp_path, examples.BURSTGPT_OLD, "--trace-speed", "2")).facts()
    assert facts["source"] == f"trace {tmp_path}/trace"
    assert {name: value for name, value in facts.items() if name.startswith("trace_")} == {
        "trace_format": "burstgpt",
        "trace_sha256": facts["trace_sha256"],
        "trace_rows": 3,
        "trace_skipped_without_an_answer": 1,
        "trace_requests": 2,
        "trace_speed": 2.0,
        "trace_shared_timestamps": 0.0,
    }
    timed, other = (
        load_workload(options_of(tmp_path, examples.BURSTGPT_OLD, *words)).facts()
        for words in (("--trace-rate", "3", "--trace-spread", "poisson"), ("--trace-window", ":1m"))
    )
    assert timed["fingerprint"] == facts["fingerprint"] != other["fingerprint"]


@pytest.mark.parametrize(
    "words", [("--prefix", "tokens=9"), ("--input-tokens", "100"), ("--image", "synthetic:32x32"), ("--turns", "3")]
)
def test_a_form_that_gives_what_a_trace_has_is_refused(tmp_path: Path, words: tuple[str, str]) -> None:
    options = options_of(tmp_path, examples.MOONCAKE, *words)
    with pytest.raises(OptionError, match=f"{words[0]} has no effect beside --trace, which has its own"):
        load_workload(options)
