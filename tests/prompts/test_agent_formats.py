"""Files of agents that record lengths in place of texts: the example lines, trees of sub-agents, and bad rows."""

from __future__ import annotations

import gzip
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from tokenswarm.prompts import PromptError, PromptSet, SubAgent, TextPart, load_prompts
from tokenswarm.prompts.counting import TokenCounter
from tokenswarm.prompts.prompt_parts import COMMON_PART, BlockParts, GrowingParts

WORDS = TokenCounter("words", lambda text: len(text.split()))
BLOCKS = (
    '{"id":"w1","models":["m"],"block_size":64,"hash_id_scope":"local","tool_tokens":64,"system_tokens":64,"requests":['
    '{"t":0.0,"type":"s","model":"m","in":150,"out":30,"hash_ids":[1,2],"stop":"tool_use","api_time":1.1,"ttft":0.2},'
    '{"t":2.5,"type":"s","model":"m","in":230,"out":12,"hash_ids":[1,2,3],"input_types":["tool_result"],'
    '"stop":"end_turn","think_time":1.4}]}'
)
CALLS = (
    '{"session_id":"s1","date":"2026-06-01","turns":[{"turn_id":"t1","llm_calls":[{"message_id":"m1","timestamp":'
    '"2026-06-01T00:00:01Z","duration_ms":900.0,"initiator_type":"user","model":"Model A","result":"Success",'
    '"status_code":"OK","tokens":{"total":5200,"prompt":5000,"completion":200,"cached":0,"cached_pct":0.0},'
    '"message_metadata":[{"type":"System","role":"system","sequenceId":0,"token_len":3000},{"type":"UserMessage",'
    '"role":"user","sequenceId":1,"token_len":2000}]}],"tool_batches":[{"timestamp":"2026-06-01T00:00:03Z",'
    '"duration_ms":700.0,"auto_continue":true,"result":"Success","request_id":"m1","function_calls":[{"name":'
    '"read_file","status":1,"duration_ms":650.0}]}]}]}'
)
#: The same session, with a second call behind its tool.
TWO_CALLS = CALLS.replace(
    '}],"tool_batches"', '},{"message_id":"m2","tokens":{"prompt":5400,"completion":9,"cached":4992}}],"tool_batches"'
)


def loaded(path: Path, *lines: str | Mapping[str, Any], sessions: bool = True) -> PromptSet:
    text = "".join((line if isinstance(line, str) else json.dumps(line)) + "\n" for line in lines)
    path.write_bytes(gzip.compress(text.encode()) if path.suffix == ".gz" else text.encode())
    return load_prompts(str(path), tokens_min=1, tokens_max=10**6, counter=WORDS, sessions=sessions)


def refusal(path: Path, *lines: str | Mapping[str, Any]) -> str:
    with pytest.raises(PromptError) as caught:
        loaded(path, *lines)
    return str(caught.value)


def request(t: float, tokens: int, ids: list[int], api_time: float = 1.0, **more: Any) -> dict[str, Any]:
    return {"t": t, "type": "n", "in": tokens, "out": 5, "hash_ids": ids, "api_time": api_time, **more}


def sub_agent(t: float, name: str, *requests: dict[str, Any], duration_ms: float | None = None) -> dict[str, Any]:
    return {"t": t, "type": "subagent", "agent_id": name, "duration_ms": duration_ms, "requests": list(requests)}


def session(*requests: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"id": "w", "block_size": 64, "hash_id_scope": "local", "requests": list(requests), **more}


class TestBlocks:
    @pytest.mark.parametrize("name", ["trace.json", "traces.jsonl", "traces.jsonl.gz"])
    def test_the_example_is_a_session_of_two_requests(self, tmp_path: Path, name: str) -> None:
        prompts = loaded(tmp_path / name, BLOCKS)
        (prompt,) = prompts.prompts
        assert (prompt.tokens, prompt.max_tokens, prompt.custom_id, prompt.text) == (150, 30, "w1", "")
        (turn,) = prompt.turns
        assert (turn.tokens, turn.max_tokens, turn.delay_s) == (230, 12, 1.4)
        assert prompt.parts == (TextPart(0, 150),)
        assert turn.parts == (TextPart(0, 128), TextPart(1, 102))
        facts = prompts.facts()
        assert (facts["sessions"], facts["session_turns"], facts["conversations"]) == (1, 2, 0)

    def test_two_sub_agents_that_overlap_begin_and_end_as_recorded(self, tmp_path: Path) -> None:
        row = session(
            request(0.0, 100, [1]),
            sub_agent(1.5, "x", request(1.5, 130, [1, 2]), request(4.0, 200, [1, 2, 3])),
            sub_agent(2.0, "y", request(0.25, 90, [9], api_time=5.0), duration_ms=5500),
            request(9.5, 180, [1, 4], think_time=8.5),
        )
        prompts = loaded(tmp_path / "t.jsonl", row)
        (prompt,) = prompts.prompts
        x, y = prompt.agents
        assert (x.name, y.name) == ("x", "y")
        assert [turn.delay_s for turn in x.turns] == [0.5, 1.5]
        assert [turn.delay_s for turn in y.turns] == [1.25]  # older files count from the sub-agent's own beginning
        assert prompt.turns[0].delay_s == 2.0  # from the end of y at 7.5 s, and not think_time from its own request
        assert x.turns[0].parts == (TextPart(0, 64), TextPart(1, 66))
        assert prompt.turns[0].parts == (TextPart(0, 64), TextPart(4, 116))
        facts = prompts.facts()
        assert (facts["sub_agents"], facts["deepest_agent"], facts["session_requests"]) == (2, 1, 5)
        assert prompt.requests == 5

    def test_sub_agents_have_sub_agents(self, tmp_path: Path) -> None:
        deepest = sub_agent(3.0, "z", request(3.0, 70, [7]))
        row = session(request(0.0, 100, [1]), sub_agent(1.0, "x", request(1.0, 90, [2]), deepest), sub_agent(5.0, "e"))
        prompts = loaded(tmp_path / "t.jsonl", row)
        ((x,), turns) = prompts.prompts[0].agents, prompts.prompts[0].turns
        assert turns == ()
        assert x.turns[0].agents == (SubAgent(x.turns[0].agents[0].turns, "z"),)
        facts = prompts.facts()
        assert (facts["sessions"], facts["sub_agents"], facts["deepest_agent"], facts["session_requests"]) == (
            1,
            2,
            2,
            3,
        )
        assert prompts.left_out.unused == {"sub-agents without requests": 1}

    def test_a_folder_has_a_file_for_each_session(self, tmp_path: Path) -> None:
        for name in "ba":
            (tmp_path / f"{name}.json").write_text(json.dumps({**json.loads(BLOCKS), "id": name}, indent=1))
        prompts = load_prompts(str(tmp_path), tokens_min=1, tokens_max=999, counter=WORDS, sessions=True).prompts
        assert [prompt.custom_id for prompt in prompts] == ["a", "b"]
        (tmp_path / "b.json").write_text(json.dumps(session(request(0.0, 0, []))))
        with pytest.raises(PromptError, match="b.json: row 1: request 1: expected 'in'"):
            load_prompts(str(tmp_path), tokens_min=1, tokens_max=999, counter=WORDS, sessions=True)

    def test_one_request_of_a_session_is_its_last(self, tmp_path: Path) -> None:
        (prompt,) = loaded(tmp_path / "t.jsonl", BLOCKS, sessions=False).prompts
        assert (prompt.tokens, prompt.max_tokens, prompt.turns) == (230, 12, ())

    @pytest.mark.parametrize(
        ("changes", "words"),
        [
            ({"in": 0}, "'in' to be a whole number from 1 to 10,000,000, got 0"),
            ({"out": -1}, "'out' to be a whole number from 0 to"),
            ({"hash_ids": [1, 2, 3]}, "at most 2 hash_ids of 64 tokens each for 100 tokens in 'in', got 3"),
            ({"hash_ids": [1, "2"]}, "whole numbers in 'hash_ids'"),
            ({"t": -3}, "'t' to be a number of at least 0, got -3"),
            ({"api_time": "fast"}, "'api_time' to be a number of at least 0"),
            ({"think_time": 1e9}, "a delay of at most 2,678,400 s before it, got 1,000,000,000 s"),
        ],
    )
    def test_a_bad_row_is_one_sentence_with_its_place(
        self, tmp_path: Path, changes: dict[str, Any], words: str
    ) -> None:
        bad = session(request(0.0, 100, [1]), {**request(3.0, 100, [1]), **changes})
        said = refusal(tmp_path / "t.jsonl", BLOCKS, bad)
        assert f"row 2: request 2: expected {words}" in said
        assert said.count("\n") == 0

    def test_a_bad_row_of_a_sub_agent_is_named_too(self, tmp_path: Path) -> None:
        bad = session(request(0.0, 100, [1]), sub_agent(1.0, "x", request(1.0, 0, [])))
        assert "row 1: request 2: request 1: expected 'in'" in refusal(tmp_path / "t.jsonl", bad)
        first = session(sub_agent(1.0, "x", request(1.0, 9, [])))
        assert "expected a request of its agent before the sub-agent 'x'" in refusal(tmp_path / "t.jsonl", first)
        assert "row 1: expected at least one request" in refusal(tmp_path / "t.jsonl", session())
        assert "row 1: expected a list in 'requests'" in refusal(tmp_path / "t.jsonl", {**session(), "requests": 3})


def call(name: str, prompt: int, cached: int | None, at: str, **more: Any) -> dict[str, Any]:
    tokens = {"prompt": prompt, "completion": 10, "cached": cached}
    return {"message_id": name, "timestamp": f"2026-06-01T00:{at}Z", "duration_ms": 1000.0, "tokens": tokens, **more}


def batch(name: str, duration_ms: float) -> dict[str, Any]:
    return {"request_id": name, "duration_ms": duration_ms}


class TestCalls:
    @pytest.mark.parametrize("name", ["calls.jsonl", "calls.jsonl.gz"])
    def test_the_example_is_a_session_of_one_request(self, tmp_path: Path, name: str) -> None:
        (prompt,) = loaded(tmp_path / name, CALLS).prompts
        assert (prompt.tokens, prompt.max_tokens, prompt.custom_id) == (5000, 200, "s1")
        assert prompt.parts == (TextPart(0, 5000),)
        assert prompt.turns == ()

    def test_prompts_share_what_was_cached_and_wait_for_tools_and_users(self, tmp_path: Path) -> None:
        turns = [
            {
                "llm_calls": [call("a", 1000, 300, "00:00"), call("b", 1500, 960, "00:03"), call("c", 0, 0, "00:04")],
                "tool_batches": [batch("a", 700), batch("a", 50)],
            },
            {"llm_calls": [call("d", 1600, 1600, "01:30")], "tool_batches": []},
        ]
        prompts = loaded(tmp_path / "c.jsonl", {"session_id": "s", "turns": turns})
        (prompt,) = prompts.prompts
        b, d = prompt.turns
        assert prompt.parts == (TextPart(COMMON_PART, 300), TextPart(0, 700))
        assert (b.parts, b.delay_s) == ((TextPart(COMMON_PART, 300), TextPart(0, 660), TextPart(1, 540)), 0.75)
        assert (d.parts, d.delay_s) == ((*b.parts, TextPart(2, 100)), 86.0)  # b ended at 4 s
        assert prompts.left_out.unused == {
            "calls without prompt tokens": 1,
            "calls that found more cached than the prompt before them has": 1,
        }

    def test_where_no_cached_tokens_are_recorded_equal_segments_are_shared(self, tmp_path: Path) -> None:
        def segments(*lengths: int) -> dict[str, Any]:
            kinds = ("System", "UserMessage", "ToolResult")
            found = [{"type": kinds[place], "sequenceId": place, "token_len": n} for place, n in enumerate(lengths)]
            return {"message_metadata": found}

        calls = [
            call("a", 300, None, "00:00", **segments(200, 100)),
            call("b", 350, None, "00:02", **segments(200, 90, 60)),
        ]
        (prompt,) = loaded(tmp_path / "c.jsonl", {"session_id": "s", "turns": [{"llm_calls": calls}]}).prompts
        assert prompt.parts == (TextPart(0, 300),)
        assert prompt.turns[0].parts == (TextPart(0, 200), TextPart(1, 150))

    @pytest.mark.parametrize(
        ("bad", "words"),
        [
            (call("b", 100, 101, "00:01"), "tokens.cached of at most 100 tokens.prompt, got 101"),
            (call("b", 100, -1, "00:01"), "'tokens.cached' to be a whole number from 0"),
            (call("b", 100, 0, "later"), "'timestamp' as 2026-06-01T00:00:01Z"),
            ({**call("b", 100, 0, "00:01"), "tokens": 5}, "an object in 'tokens', got '5'"),
            ({**call("b", 100, 0, "00:01"), "message_metadata": [1]}, "objects in 'message_metadata'"),
        ],
    )
    def test_a_bad_row_is_one_sentence_with_its_place(self, tmp_path: Path, bad: dict[str, Any], words: str) -> None:
        row = {"session_id": "s", "turns": [{"llm_calls": [call("a", 100, 0, "00:00"), bad]}]}
        assert f"row 2: call 2: expected {words}" in refusal(tmp_path / "c.jsonl", CALLS, row)

    def test_a_session_without_calls_is_refused(self, tmp_path: Path) -> None:
        row = {"session_id": "s", "turns": [{"llm_calls": []}]}
        assert "row 1: expected a call with prompt tokens" in refusal(tmp_path / "c.jsonl", row)


def test_prompts_that_begin_with_the_same_blocks_share_their_parts() -> None:
    parts = BlockParts(64)
    assert parts.parts([1, 2], 150) == (TextPart(0, 150),)
    assert parts.parts([1, 2, 3], 230) == (TextPart(0, 128), TextPart(1, 102))
    assert parts.parts([1, 2, 3, 4], 256) == (TextPart(0, 128), TextPart(1, 64), TextPart(2, 64))
    assert parts.parts([1, 5], 128) == (TextPart(0, 64), TextPart(3, 64))
    assert parts.parts([1, 2], 100) == (TextPart(0, 100),)  # the last block may be cut
    assert parts.parts([2, 1], 128) == (TextPart(4, 128),)  # the same ids at other places are other prefixes
    assert parts.parts([], 10) == (TextPart(5, 10),)


def test_a_prompt_shares_no_more_than_the_one_before_has() -> None:
    parts = GrowingParts()
    assert parts.parts(0, 100) == (TextPart(0, 100),)
    assert parts.parts(150, 200) == (TextPart(0, 100), TextPart(1, 100))
    assert parts.parts(40, 60) == (TextPart(0, 40), TextPart(2, 20))
    assert parts.tokens == 60
