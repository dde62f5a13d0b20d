"""Sessions of several turns: which requests they send, one after the other, and what their options refuse."""

from __future__ import annotations

import json
from argparse import Namespace
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from locust.argument_parser import get_empty_argument_parser

from tokenswarm.client.chat_session import ChatSession, DrawnPrompt
from tokenswarm.client.length_options import TEXT_CALIBRATION, WORKERS_OF_RUN
from tokenswarm.client.option_values import OptionError
from tokenswarm.client.prompt_supply import PromptSupply
from tokenswarm.client.request_options import ChatOptions, add_options
from tokenswarm.client.session_options import check_conflicts
from tokenswarm.client.workload import check_images, check_turns, load_workload
from tokenswarm.command_line import OptionErrors
from tokenswarm.engines import ENGINES, ChatRequest
from tokenswarm.metrics.timeline import NO_SESSION, Outcome, Timeline
from tokenswarm.metrics.token_counts import TokenSource
from tokenswarm.prompts import ChatMessage, Prompt, PromptSet

CALIBRATION = {"costs": {"one": 1, "two": 1, "three": 1, "four": 1}, "head_tokens": {"off": 12}, "source": "usage"}
SYNTHETIC = ("--input-tokens", "u(50,60)", "--output-tokens", "u(5,9)", "--prompt-nonce", "same")

Given = Callable[..., Namespace]


@pytest.fixture
def given() -> Given:
    """Options as Locust reads them; keywords are what a run's start adds."""
    parser = get_empty_argument_parser(default_config_files=[])
    add_options(parser)

    def parsed(*arguments: str, **added: Any) -> Namespace:
        return Namespace(**(vars(parser.parse_args(list(arguments))) | added))

    return parsed


@pytest.fixture
def file(tmp_path: Path) -> str:
    """30 conversations of three turns."""
    rows = [
        {
            "conversations": [
                {"from": "human" if place % 2 == 0 else "gpt", "value": f"message {place} of conversation {row}."}
                for place in range(6)
            ]
        }
        for row in range(30)
    ]
    path = tmp_path / "share_gpt.json"
    path.write_text(json.dumps(rows))
    return str(path)


def supply(options: Namespace, worker: int = 0) -> PromptSupply:
    checked = ChatOptions.of(options)
    workload = load_workload(checked)
    return PromptSupply(checked, workload.prompts, workload.count_tokens, worker)


def timeline(outcome: Outcome = Outcome.OK, tokens: int = 7) -> Timeline:
    return Timeline("u", 0, outcome, 0, 0, 0, output_tokens=tokens)


def requests_of(session: ChatSession, answer: str = "An answer.") -> list[DrawnPrompt]:
    """All that it sends, where each request gets the same answer."""
    drawn = []
    while not session.is_over:
        drawn.append(session.next())
        session.ended(timeline(), answer)
    return drawn


def roles(prompt: Prompt) -> list[str]:
    return [message.role for message in prompt.messages]


def test_each_turn_of_a_file_sends_the_history_with_own_answers(given: Given, file: str) -> None:
    session = supply(given("--prompts", file, "--prompt-tokens", "1:99", "--prompt-reuse", "always")).session(0, False)
    asked = [session.next()]
    for number in (1, 2):
        assert session.keeps_answer
        session.ended(timeline(), f" Own {number}.\n")
        asked.append(session.next())
    assert not session.keeps_answer
    session.ended(timeline(), "")
    assert session.is_over
    assert [len(drawn.prompt.messages) for drawn in asked] == [1, 3, 5]
    row = asked[0].prompt.text.removeprefix("message 0 of ")
    assert asked[2].prompt.messages == (
        ("user", f"message 0 of {row}"),
        ("assistant", " Own 1.\n"),
        ("user", f"message 2 of {row}"),
        ("assistant", " Own 2.\n"),
        ("user", f"message 4 of {row}"),
    )
    tokens = asked[0].prompt.tokens
    assert [drawn.prompt.tokens for drawn in asked] == [tokens, 2 * tokens + 7, 3 * tokens + 14]
    assert [drawn.place[:3] for drawn in asked] == [("0", turn, 3) for turn in (1, 2, 3)]


def test_recorded_answers_are_those_of_the_file(given: Given, file: str) -> None:
    session = supply(given("--prompts", file, "--prompt-tokens", "1:99", "--answers", "recorded")).session(0, False)
    assert not session.keeps_answer
    *_, last = requests_of(session)
    texts = [message.text for message in last.prompt.messages]
    assert [text[:9] for text in texts[1:]] == [f"message {place}" for place in range(1, 5)]
    assert last.prompt.tokens > 5 * 6


CALLS = [{"id": "f:0", "type": "function", "function": {"name": "sh", "arguments": "{}"}}]
AGENTIC = (
    {"conversation_id": "c1", "turn": 1, "role": "user", "content": "Look."},
    {"conversation_id": "c1", "turn": 2, "role": "assistant", "content": "I look.", "tool_calls": CALLS},
    {"turn": 3, "role": "tool", "tool_results": [{"tool_call_id": "f:0", "content": "ok"}], "delay_seconds": 1.2},
    {"conversation_id": "c1", "turn": 4, "role": "assistant", "content": "Done."},
    {"conversation_id": "c1", "turn": 5, "role": "user", "content": "Thanks."},
)


@pytest.mark.parametrize(("answers", "words"), [("own", ["Own.", "Own."]), ("recorded", ["I look.", "Done."])])
def test_results_of_tools_are_messages_behind_the_calls_that_they_belong_to(
    given: Given, tmp_path: Path, answers: str, words: list[str]
) -> None:
    path = tmp_path / "agentic.jsonl"
    path.write_text("".join(json.dumps({"conversation_id": "c1", **row}) + "\n" for row in AGENTIC))
    options = ("--prompts", str(path), "--prompt-tokens", "1:99", "--prompt-reuse", "always", "--answers", answers)
    session = supply(given(*options)).session(0, False)
    asked, delays = [], []
    while not session.is_over:
        asked.append(session.next().prompt)
        session.ended(timeline(), "Own.")
        delays.append(session.delay_s)
    assert delays == [1.2, None, None]
    assert [(prompt.text, roles(prompt)) for prompt in asked] == [
        ("Look.", ["user"]),
        ("Look.", ["user", "assistant", "tool"]),
        ("Thanks.", ["user", "assistant", "tool", "assistant", "user"]),
    ]
    assert [message.text for message in asked[2].messages if message.role == "assistant"] == words
    assert [prompt.tool_fields for prompt in asked] == [
        (),
        ({}, {"tool_calls": CALLS}, {"tool_call_id": "f:0"}),
        ({}, {"tool_calls": CALLS}, {"tool_call_id": "f:0"}, {}, {}),
    ]
    body = json.loads(ENGINES["vllm"].request_body(request_of(asked[2])))
    assert body["messages"][1] == {"role": "assistant", "content": words[0], "tool_calls": CALLS}
    assert body["messages"][2] == {"role": "tool", "content": "ok", "tool_call_id": "f:0"}


def request_of(prompt: Prompt) -> ChatRequest:
    return ChatRequest(
        "m", prompt.text, None, 8, earlier=prompt.earlier, later=prompt.later, tool_fields=prompt.tool_fields
    )


def test_synthetic_sessions_have_turns_and_lengths_of_their_own(given: Given) -> None:
    made = supply(given(*SYNTHETIC, "--turns", "n(6,2,max=9)", **{TEXT_CALIBRATION: CALIBRATION}))
    counts = []
    messages: list[str] = []
    for place in range(60):
        asked = requests_of(made.session(place, False))
        counts.append(len(asked))
        assert [len(drawn.prompt.messages) for drawn in asked] == [2 * turn + 1 for turn in range(len(asked))]
        assert [drawn.place.turn for drawn in asked] == list(range(1, len(asked) + 1))
        assert {drawn.place.session_turns for drawn in asked} == {len(asked)}
        for turn, (prompt, lengths, *_) in enumerate(asked):
            assert prompt.max_tokens == lengths.output and 5 <= (lengths.output or 0) <= 9
            assert (lengths.input is None) == (turn > 0)  # of a later prompt, the answers are a part
            messages.append(prompt.text)
        assert all(50 <= len(drawn.prompt.text.split()) + 1 <= 60 for drawn in asked[1:])
    assert 1 <= min(counts) < 5
    assert 7 < max(counts) <= 9
    assert len(set(messages)) == len(messages)


@pytest.mark.parametrize("kind", ["file", "synthetic"])
def test_one_and_four_workers_send_the_same_sessions(given: Given, file: str, kind: str) -> None:
    of_file = ("--prompts", file, "--prompt-tokens", "1:99", "--prompt-nonce", "same", "--output-tokens", "u(2,90)")
    arguments = of_file if kind == "file" else (*SYNTHETIC, "--turns", "u(1,4)")
    calibrated = {TEXT_CALIBRATION: CALIBRATION}

    def all_of(made: PromptSupply, count: int) -> list[list[DrawnPrompt]]:
        return [requests_of(made.session(place, False)) for place in range(count)]

    alone = all_of(supply(given(*arguments, **calibrated)), 40)
    four = given(*arguments, **calibrated, **{WORKERS_OF_RUN: 4})
    shares = [all_of(supply(four, worker), 10) for worker in range(4)]
    assert [shares[number % 4][number // 4] for number in range(40)] == alone
    assert len({asked[0].place.session for asked in alone}) == 40
    if kind == "file":  # none comes again before all were sent
        assert len({asked[0].prompt.id for asked in alone[:30]}) == 30
    later = all_of(supply(four, 4), 10)  # of a worker that joined after the start
    assert not {asked[0].prompt.text for asked in later} & {asked[0].prompt.text for asked in alone}


def test_a_failed_turn_ends_its_session(given: Given, file: str) -> None:
    for outcome in (Outcome.HTTP_ERROR, Outcome.EMPTY, Outcome.CUT):
        session = supply(given("--prompts", file, "--prompt-tokens", "1:99")).session(0, False)
        session.ended(timeline(outcome), "half of an ans")
        assert session.is_over


def test_a_turn_that_a_limit_refused_is_sent_again(given: Given, file: str) -> None:
    session = supply(given("--prompts", file, "--prompt-tokens", "1:99")).session(0, False)
    refused = session.next()
    session.ended(timeline(Outcome.REFUSED_BY_LIMIT), "")
    assert session.next() == refused and session.delay_s is None
    assert [drawn.place.turn for drawn in requests_of(session)] == [1, 2, 3]


def test_recorded_delays_are_those_before_their_turns(given: Given, tmp_path: Path) -> None:
    path = tmp_path / "turns.jsonl"
    path.write_text('{"turns":[{"text":"A","delay":9},{"text":"B","delay":1500},{"text":"C"},{"text":"D","delay":0}]}')
    session = supply(given("--prompts", str(path), "--prompt-tokens", "1:99")).session(0, False)
    found = []
    while not session.is_over:
        found.append(session.delay_s)
        session.ended(timeline(), "Yes.")
    assert found == [None, 1.5, None, 0.0]


def test_last_makes_one_request_of_a_conversation(given: Given, file: str) -> None:
    session = supply(given("--prompts", file, "--turns", "last", "--prompt-tokens", "1:99")).session(0, False)
    (drawn,) = requests_of(session)
    assert roles(drawn.prompt) == ["user", "assistant", "user", "assistant", "user"]
    assert drawn.place == NO_SESSION


def test_requests_of_single_prompts_are_sessions_where_a_header_names_them(given: Given) -> None:
    made = supply(given("--session-header", "X-Session"))
    asked = [drawn for place in range(3) for drawn in requests_of(made.session(place, False))]
    assert [drawn.place[:3] for drawn in asked] == [(str(number), 1, 1) for number in range(3)]
    assert supply(given()).draw(0, False).place == NO_SESSION


def test_ids_of_sessions_differ_from_run_to_run(given: Given, file: str) -> None:
    prompts = ("--prompts", file, "--prompt-tokens", "1:99")
    ids = [supply(given(*prompts, "--prompt-nonce", nonce)).draw(5, False).place.session for nonce in "aab"]
    assert ids[0] == ids[1] != ids[2]
    assert ids[0].endswith("-5")


def test_answers_that_the_file_does_not_hold_are_refused(given: Given, tmp_path: Path) -> None:
    path = tmp_path / "turns.jsonl"
    path.write_text('{"turns":[{"text":"A"},{"text":"B"}]}')
    for prompts, expected in ((str(path), "no answer before 1 of its turns"), ("sample", "has no effect")):
        options = given("--prompts", prompts, "--prompt-tokens", "1:99", "--answers", "recorded")
        with pytest.raises(OptionError, match=expected):
            load_workload(ChatOptions.of(options))


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (("--turns", "8"), ["--turns 8", "--input-tokens"]),
        (("--turns", "last", "--input-tokens", "9"), ["--turns last"]),
        (("--answers", "recorded", "--input-tokens", "9"), ["--answers recorded"]),
        (("--answers", "own", "--turns", "last"), ["--turns last"]),
    ],
)
def test_options_without_effect_beside_each_other_are_refused(
    given: Given, arguments: Sequence[str], named: list[str]
) -> None:
    sources = {word.removeprefix("--").replace("-", "_"): word for word in arguments if word.startswith("--")}
    with pytest.raises((OptionError, OptionErrors)) as caught:
        check_conflicts(given(*arguments), sources)
    assert all(word in str(caught.value) for word in named)


@pytest.mark.parametrize(
    "arguments",
    [
        ("--turns", "some"),
        ("--turns", "0"),
        ("--turns", "n(6,2"),
        ("--turns", "D(1,2)"),
        ("--turns", "100000"),
        ("--session-header", "no name"),
        ("--session-header", "Content-Type"),
        ("--session-header", "X-A", "--header", "x-a: 1"),
    ],
)
def test_what_cannot_be_is_refused(given: Given, arguments: tuple[str, ...]) -> None:
    with pytest.raises((OptionError, OptionErrors), match=arguments[0]):
        ChatOptions.of(given(*arguments))


def test_sessions_need_an_engine_that_takes_several_messages_and_no_images(given: Given, file: str) -> None:
    synthetic = ChatOptions.of(given(*SYNTHETIC, "--turns", "2"))
    with pytest.raises(OptionError, match="--turns"):
        check_turns(ENGINES["bentoml"], load_workload(synthetic))
    check_turns(ENGINES["vllm"], load_workload(synthetic))
    with_image = ChatOptions.of(given("--prompts", file, "--prompt-tokens", "1:99", "--image", "synthetic:16x16"))
    prompts = load_workload(with_image).prompts
    assert isinstance(prompts, PromptSet)
    with pytest.raises(OptionError, match="--image"):
        check_images(ENGINES["vllm"], with_image, prompts)


def test_other_turns_are_another_workload(given: Given) -> None:
    def facts(*arguments: str) -> tuple[object, object]:
        found = load_workload(ChatOptions.of(given(*arguments))).prompts.facts()
        return found["source"], found["fingerprint"]

    plain, eight, spread = (facts(*SYNTHETIC, *turns) for turns in ((), ("--turns", "8"), ("--turns", "n(8,1)")))
    assert [source for source, _ in (plain, eight, spread)] == [
        "synthetic u(50,60)",
        "synthetic u(50,60), 8 turns",
        "synthetic u(50,60), n(8,1) turns",
    ]
    assert len({fingerprint for _, fingerprint in (plain, eight, spread)}) == 3


def test_the_mark_of_a_session_stays_the_same_over_its_turns(given: Given, file: str) -> None:
    made = supply(given("--prompts", file, "--prompt-tokens", "1:99", "--prompt-nonce", "n"))
    first, second = (requests_of(made.session(place, False)) for place in (0, 30))  # of the same length
    openings = [{drawn.prompt.messages[0] for drawn in asked} for asked in (first, second)]
    assert [len(each) for each in openings] == [1, 1]
    assert openings[0] != openings[1]
    assert isinstance(first[2].prompt.earlier[0], ChatMessage)


def test_each_session_begins_once_in_a_round_over_all_workers(given: Given, file: str) -> None:
    options = ("--prompts", file, "--prompt-tokens", "1:99", "--session-supply", "once")
    for round_number in (0, 1, 2):
        found: list[str] = []
        for worker in range(4):
            made = supply(given(*options, **{WORKERS_OF_RUN: 4}), worker)
            least = 0
            while (place := made.place_in_round(round_number, least)) is not None:
                found.append(made.draw(place, False).prompt.id)
                least = place + 1
        assert sorted(found, key=int) == [str(number) for number in range(1, 31)]
    assert supply(given(*options, **{WORKERS_OF_RUN: 4}), 4).place_in_round(0, 0) is None


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (
            ("--input-tokens", "50"),
            "--session-supply once has no effect beside --input-tokens, whose sessions never end",
        ),
        (("--session-rate", "2"), "has no effect beside --session-rate, an open loop"),
    ],
)
def test_sessions_that_begin_once_are_refused_where_they_have_no_effect(
    given: Given, arguments: tuple[str, ...], words: str
) -> None:
    options = given("--session-supply", "once", *(arguments if "--input-tokens" in arguments else ()))
    name = arguments[0].removeprefix("--").replace("-", "_")
    with pytest.raises((OptionError, OptionErrors), match=words):
        check_conflicts(options, {name: arguments[0]})


def test_sessions_that_begin_once_need_sessions(given: Given, tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text('{"prompt": "Name a river."}\n')
    with pytest.raises((OptionError, OptionErrors), match="no row of --prompts is a session"):
        supply(given("--prompts", str(path), "--prompt-tokens", "1:99", "--session-supply", "once"))


def synthetic_session(given: Given, **calibration: int) -> ChatSession:
    added = {TEXT_CALIBRATION: CALIBRATION | calibration, WORKERS_OF_RUN: 1}
    options = given("--turns", "3", "--input-tokens", "50", "--output-tokens", "7", "--prompt-nonce", "same", **added)
    return supply(options).session(0, with_system_prompt=False)


def answered(**changes: Any) -> Timeline:
    facts = {
        "prompt_tokens": 50,
        "prompt_tokens_source": "usage",
        "output_tokens": 7,
        "finish_reason": "length",
        "output_tokens_source": TokenSource.USAGE,
        "first_ns": 5,
        "first_visible_ns": 5,
    }
    return Timeline("u", 0, Outcome.OK, 0, 0, 9, **(facts | changes))  # type: ignore[arg-type]


def test_a_later_prompt_is_requested_to_be_as_long_as_history_and_message_make_it(given: Given) -> None:
    session = synthetic_session(given, turn_tokens=11)
    assert session.next().lengths == (50, 7)
    session.ended(answered(), "a b")
    # The message has 50 tokens, about 2 of which are its first word, which turn_tokens holds.
    assert session.next().lengths == (50 + 7 + 48 + 11, 7)
    session.ended(answered(prompt_tokens=117), "a b")
    assert session.next().lengths == (117 + 7 + 48 + 11, 7)


@pytest.mark.parametrize(
    "changes",
    [
        {"finish_reason": "stop"},  # whether its end token is counted is not known
        {"prompt_tokens_source": "estimate"},
        {"output_tokens_source": TokenSource.EVENTS},
        {"first_visible_ns": 7},  # reasoning, which is not sent again
    ],
)
def test_where_it_is_not_known_how_long_the_history_is_no_length_is_requested(
    changes: dict[str, Any], given: Given
) -> None:
    session = synthetic_session(given, turn_tokens=11)
    session.ended(answered(**changes), "a b")
    assert session.next().lengths == (None, 7)


def test_without_a_calibration_of_turns_later_prompts_have_no_requested_length(given: Given) -> None:
    session = synthetic_session(given)
    session.ended(answered(), "a b")
    assert session.next().lengths == (None, 7)


@pytest.mark.parametrize(("longest", "waited_s"), [("", 1.2), ("500ms", 0.5), ("2s", 1.2), ("0s", 0.0)])
def test_recorded_delays_are_shortened(given: Given, tmp_path: Path, longest: str, waited_s: float) -> None:
    path = tmp_path / "agentic.jsonl"
    path.write_text("".join(json.dumps({"conversation_id": "c1", **row}) + "\n" for row in AGENTIC))
    options = ("--prompts", str(path), "--prompt-tokens", "1:99", "--longest-delay", longest)
    session = supply(given(*options)).session(0, False)
    session.ended(timeline(), "Own.")
    assert session.delay_s == waited_s


def test_delays_are_shortened_where_there_are_any(given: Given, file: str) -> None:
    with pytest.raises((OptionError, OptionErrors), match="--prompts records no delays between turns"):
        supply(given("--prompts", file, "--prompt-tokens", "1:99", "--longest-delay", "2s"))
    with pytest.raises((OptionError, OptionErrors), match="has no effect beside --input-tokens"):
        check_conflicts(given(*SYNTHETIC, "--longest-delay", "2s"), {"input_tokens": "--input-tokens"})


RECORDED = {
    "id": "w",
    "block_size": 64,
    "hash_id_scope": "local",
    "requests": [
        {"t": 0, "type": "n", "in": 200, "out": 5, "hash_ids": [1, 2, 3], "api_time": 1},
        {
            "t": 3,
            "type": "subagent",
            "agent_id": "x",
            "requests": [
                {"t": 3, "type": "n", "in": 90, "out": 4, "hash_ids": [1], "api_time": 1},
            ],
        },
        {"t": 7, "type": "n", "in": 300, "out": 7, "hash_ids": [1, 2, 3, 4], "api_time": 1},
    ],
}


@pytest.fixture
def recorded(tmp_path: Path) -> tuple[str, ...]:
    """Two sessions of recorded lengths."""
    path = tmp_path / "recorded.jsonl"
    path.write_text(json.dumps(RECORDED) + "\n" + json.dumps({**RECORDED, "id": "v"}) + "\n")
    return ("--prompts", str(path), "--prompt-tokens", "1:9999", "--prompt-nonce", "same")


def all_texts(session: ChatSession) -> dict[str, list[DrawnPrompt]]:
    """By agent, all that it sends."""
    place = session.place
    found = {place.agent: []}  # type: dict[str, list[DrawnPrompt]]
    begun = 0
    while not session.is_over:
        found[place.agent].append(session.next())
        session.ended(timeline(), "")
        for agent in session.begun:
            begun += 1
            below = place._replace(agent=f"{place.agent}.{begun}", turn=1, depth=place.depth + 1)
            found |= all_texts(session.agent(agent, below))
    return found


def test_sessions_of_recorded_lengths_have_exact_texts(given: Given, recorded: tuple[str, ...]) -> None:
    made = supply(given(*recorded, "--max-tokens", "99", **{TEXT_CALIBRATION: CALIBRATION}))
    found = all_texts(made.session(0, False))
    assert {agent: [drawn.prompt.tokens for drawn in asked] for agent, asked in found.items()} == {
        "main": [200, 300],
        "main.1": [90],
    }
    for drawn in (*found["main"], *found["main.1"]):
        assert len(drawn.prompt.text.split()) - 1 + 12 == drawn.prompt.tokens == drawn.lengths.input
        assert drawn.lengths.output == drawn.prompt.max_tokens
        assert drawn.prompt.earlier == () and drawn.place.session_requests == 3
    assert [drawn.prompt.max_tokens for drawn in (*found["main"], *found["main.1"])] == [5, 7, 4]
    assert {drawn.prompt.custom_id for drawn in found["main.1"]} <= {"w/x", "v/x"}


def shared_characters(one: str, other: str) -> int:
    return next((place for place, pair in enumerate(zip(one, other, strict=False)) if pair[0] != pair[1]), len(one))


@pytest.mark.parametrize(
    ("options", "shares", "repeats"),
    [
        ((), True, False),
        (("--prompt-reuse", "run"), True, True),
        (("--cache", "bust"), False, False),
    ],
)
def test_prompts_share_what_they_shared_when_they_were_recorded(
    given: Given, recorded: tuple[str, ...], options: tuple[str, ...], shares: bool, repeats: bool
) -> None:
    made = supply(given(*recorded, *options, **{TEXT_CALIBRATION: CALIBRATION}))
    by_row: dict[str, list[str]] = {}
    for place in range(4):
        found = all_texts(made.session(place, False))
        first, second = (drawn.prompt.text for drawn in found["main"])
        assert (shared_characters(first, second) > 400) == shares
        assert (shared_characters(first, found["main.1"][0].prompt.text) > 100) == shares
        by_row.setdefault(found["main"][0].prompt.id, []).append(first)
    assert all((one == other) == repeats for one, other in by_row.values())


def test_any_number_of_workers_sends_the_same_texts(given: Given, recorded: tuple[str, ...]) -> None:
    def texts(worker: int, workers: int, count: int) -> list[str]:
        made = supply(given(*recorded, **{TEXT_CALIBRATION: CALIBRATION, WORKERS_OF_RUN: workers}), worker)
        return [made.draw(place, False).prompt.text for place in range(count)]

    alone, first, second = texts(0, 1, 6), texts(0, 2, 3), texts(1, 2, 3)
    assert alone == [text for pair in zip(first, second, strict=True) for text in pair]


def test_prefixes_have_no_place_before_recorded_prompts(given: Given, recorded: tuple[str, ...]) -> None:
    with pytest.raises(OptionError, match="--prefix has no effect on the prompts of --prompts"):
        supply(given(*recorded, "--prefix", "tokens=50"))
