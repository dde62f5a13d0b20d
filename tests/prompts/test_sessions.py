"""Conversations as sessions of several turns: which requests each format gives, and the order of sessions."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from tokenswarm.prompts import ChatMessage, Prompt, PromptError, PromptSet, SessionSampler, SessionTurn, load_prompts
from tokenswarm.prompts.counting import TokenCounter
from tokenswarm.prompts.stored_prompts import PromptCollector

WORDS = TokenCounter("words", lambda text: len(text.split()))


def sessions(tmp_path: Path, document: str | list[Any], name: str = "rows.json", seed: int = 0) -> PromptSet:
    file = tmp_path / name
    file.write_text(document if isinstance(document, str) else json.dumps(document))
    return load_prompts(str(file), tokens_min=1, tokens_max=1000, counter=WORDS, sessions=True, seed=seed)


def said(role: str, text: str) -> dict[str, str]:
    return {"role": role, "content": text}


def assistant(*texts: str) -> tuple[ChatMessage, ...]:
    return tuple(ChatMessage("assistant", text) for text in texts)


EXPECTED = Prompt(
    "One?",
    3,
    id="1",
    system="Be kind.",
    turns=(
        SessionTurn("Two or three?", 3, answer=assistant("One."), answer_tokens=1),
        SessionTurn("Four?", 1, answer=assistant("Two, I think."), answer_tokens=3),
    ),
)
SHARE_GPT = [
    {
        "id": "a",
        "conversations": [
            {"from": "system", "value": "Be kind."},
            {"from": "human", "value": "One?"},
            {"from": "gpt", "value": "One."},
            {"from": "human", "value": "Two or three?"},
            {"from": "gpt", "value": "Two, I think."},
            {"from": "human", "value": "Four?"},
            {"from": "gpt", "value": "the last answer is never sent"},
        ],
    }
]


def as_messages(share_gpt: Mapping[str, Any]) -> list[dict[str, str]]:
    roles = {"system": "system", "human": "user", "gpt": "assistant"}
    return [said(roles[each["from"]], each["value"]) for each in share_gpt["conversations"]]


class TestConversations:
    def test_each_answered_question_of_share_gpt_is_a_turn(self, tmp_path: Path) -> None:
        prompts = sessions(tmp_path, SHARE_GPT)
        assert tuple(prompts.prompts) == (EXPECTED,)
        facts = prompts.facts()
        assert (facts["sessions"], facts["session_turns"], facts["session_turns_max"]) == (1, 3, 3)
        assert (facts["conversations"], facts["tokens_max"]) == (1, 3)  # lengths are those of first requests

    def test_messages_of_vllm_and_openai_are_read_the_same(self, tmp_path: Path) -> None:
        row = {"id": "c1", "messages": as_messages(SHARE_GPT[0])}
        assert tuple(sessions(tmp_path, [row]).prompts) == (EXPECTED,)
        assert tuple(sessions(tmp_path, json.dumps(row), "rows.jsonl").prompts) == (EXPECTED,)

    def test_what_a_row_sets_holds_for_each_turn(self, tmp_path: Path) -> None:
        messages = [said("user", "A?"), said("assistant", "B."), said("user", "C?")]
        (prompt,) = sessions(tmp_path, [{"messages": messages, "max_tokens": 7, "temperature": 0}]).prompts
        assert [(each.max_tokens, each.body_overrides) for each in (prompt, *prompt.turns)] == [
            (7, {"temperature": 0})
        ] * 2

    def test_messages_without_an_answer_between_them_are_one_turn(self, tmp_path: Path) -> None:
        messages = [
            said("assistant", "Welcome."),
            said("user", "A"),
            said("user", "and B?"),
            said("system", "Answer twice."),
            said("assistant", "C."),
            said("assistant", "D."),
            said("system", "Now be brief."),
            said("user", "E?"),
        ]
        (prompt,) = sessions(tmp_path, [{"messages": messages}]).prompts
        assert prompt.messages == (("assistant", "Welcome."), ("user", "A"), ("user", "and B?"))
        (turn,) = prompt.turns
        assert turn.answer == (("system", "Answer twice."), *assistant("C.", "D."))
        assert (turn.before, turn.text, turn.tokens) == ((("system", "Now be brief."),), "E?", 4)

    def test_a_conversation_of_one_question_is_one_request(self, tmp_path: Path) -> None:
        messages = [said("user", "A?"), said("assistant", "B.")]
        prompts = sessions(tmp_path, [{"messages": messages}])
        assert tuple(prompts.prompts) == (Prompt("A?", 1, id="1"),)
        assert "sessions" not in prompts.facts()

    def test_rows_of_a_batch_stay_one_request(self, tmp_path: Path) -> None:
        messages = [said("user", "A?"), said("assistant", "B."), said("user", "C?")]
        (prompt,) = sessions(
            tmp_path, [{"custom_id": "r", "url": "/v1/chat/completions", "body": {"messages": messages}}]
        ).prompts
        assert (prompt.text, prompt.turns) == ("C?", ())

    def test_other_turns_are_other_prompts(self, tmp_path: Path) -> None:
        other = json.loads(json.dumps(SHARE_GPT))
        other[0]["conversations"][2]["value"] = "Two."
        assert sessions(tmp_path, SHARE_GPT).fingerprint != sessions(tmp_path, other).fingerprint

    def test_turns_are_kept_in_a_temporary_file_where_there_are_many(self) -> None:
        collector = PromptCollector(most_characters=1)
        collector.add(EXPECTED)
        assert tuple(collector.prompts()) == (EXPECTED,)


class TestTurns:
    def test_each_turn_of_aiperf_is_a_request_with_its_delay(self, tmp_path: Path) -> None:
        document = '{"session_id":"s","turns":[{"text":"Hi"},{"text":"And?","delay":1500}]}'
        prompts = sessions(tmp_path, document, "rows.jsonl")
        assert tuple(prompts.prompts) == (Prompt("Hi", 1, id="1", turns=(SessionTurn("And?", 1, delay_s=1.5),)),)
        assert prompts.left_out.unused == {"session ids": 1}
        assert (prompts.stats.unanswered, prompts.facts()["recorded_delays"]) == (1, 1)

    def test_recorded_answers_and_settings_stay_with_their_turn(self, tmp_path: Path) -> None:
        turns = [
            {"role": "system", "text": "S"},
            {"texts": ["A", "B"], "output_length": 4},
            {"role": "assistant", "text": "C D"},
            {"text": "E?", "seed": 3},
            "F?",
        ]
        (prompt,) = sessions(tmp_path, [{"turns": turns, "extra": {"top_k": 1}}]).prompts
        assert (prompt.system, prompt.text, prompt.max_tokens, prompt.tokens) == ("S", "A\n\nB", 4, 3)
        assert prompt.turns == (
            SessionTurn("E?", 1, (), assistant("C D"), 2, body_overrides={"seed": 3, "top_k": 1}),
            SessionTurn("F?", 1, body_overrides={"top_k": 1}),
        )

    @pytest.mark.parametrize("delay", [-1, "1s", True, 1e12])
    def test_what_is_no_delay_is_refused_with_its_turn(self, tmp_path: Path, delay: object) -> None:
        with pytest.raises(PromptError, match=r"row 1: turn 2: expected a delay"):
            sessions(tmp_path, [{"turns": [{"text": "A"}, {"text": "B", "delay": delay}]}])

    def test_turns_of_sglang_are_what_is_new(self, tmp_path: Path) -> None:
        turns = [
            {"messages": [said("system", "S"), said("user", "A")], "prompt_tokens": 9},
            {"messages": [said("user", "B"), said("user", "C")], "max_tokens": 5},
        ]
        prompts = sessions(tmp_path, [{"metadata": {}, "conversations": [turns]}])
        assert tuple(prompts.prompts) == (
            Prompt("A", 2, id="1", system="S", turns=(SessionTurn("C", 2, (ChatMessage("user", "B"),), max_tokens=5),)),
        )
        assert prompts.left_out.unused == {"recorded prompt lengths": 1}


def test_a_generator_file_makes_all_turns_of_its_conversations(tmp_path: Path) -> None:
    (tmp_path / "novel.txt").write_text(" ".join(f"w{number}" for number in range(5000)))
    tokens = {"num_tokens": {"distribution": "constant", "value": 20}}
    document = {
        "filetype": "generate_conversations",
        "num_conversations": 5,
        "text_files": ["novel.txt"],
        "prompt_input": {"num_turns": {"distribution": "uniform", "min": 3, "max": 8}, **tokens},
        "prompt_output": tokens,
    }
    found = sessions(tmp_path, json.dumps(document))
    counts = [1 + len(prompt.turns) for prompt in found.prompts]
    assert set(counts) <= {2, 3, 4}
    assert sum(counts) == found.stats.turns
    turns = [turn for prompt in found.prompts for turn in prompt.turns]
    assert {(turn.tokens, turn.max_tokens) for turn in turns} == {(20, 20)}
    assert len({turn.text for turn in turns}) == len(turns)
    assert sessions(tmp_path, json.dumps(document)).fingerprint == found.fingerprint
    assert sessions(tmp_path, json.dumps(document), seed=1).fingerprint != found.fingerprint


def test_workers_divide_sessions_without_repeats() -> None:
    prompts = PromptSet("test", tuple(Prompt(f"p{number}", 1) for number in range(50)), "words", "f")
    alone = [SessionSampler(prompts, 3).prompt(number) for number in range(100)]
    assert [sorted(prompt.text for prompt in part) for part in (alone[:50], alone[50:])] == [
        sorted(prompt.text for prompt in prompts.prompts)
    ] * 2
    assert alone[:50] != alone[50:] != [SessionSampler(prompts, 4).prompt(number) for number in range(50)]
    of_workers = [
        [SessionSampler(prompts, 3).prompt(number) for number in range(worker, 100, 4)] for worker in range(4)
    ]
    assert [of_workers[number % 4][number // 4] for number in range(100)] == alone
