"""Files of recorded sessions: the example lines of other tools' documents, what of them is sent, and what is not."""

import json
from argparse import Namespace
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from locust.argument_parser import get_empty_argument_parser

from tokenswarm.client.option_values import OptionError
from tokenswarm.client.request_options import ChatOptions, add_options, engine_of
from tokenswarm.client.run_context import RunContext
from tokenswarm.client.workload import Workload, check_turns
from tokenswarm.engines import ChatRequest
from tokenswarm.prompts import (
    ChatMessage,
    Prompt,
    PromptError,
    PromptMarker,
    PromptReuse,
    PromptSet,
    SessionTurn,
    load_prompts,
)
from tokenswarm.prompts.counting import TokenCounter
from tokenswarm.recording.recorder import Recorder

WORDS = TokenCounter("words", lambda text: len(text.split()))
TURNS = '{"session_id":"s","turns":[{"text":"Hi"},{"text":"And?","delay":1500}]}'
LISTED = (
    '{"metadata":{},"conversations":[[{"messages":[{"role":"system","content":"…"},{"role":"user","content":"…"}],'
    '"prompt_tokens":900},{"messages":[{"role":"user","content":"tool says 4"}],"prompt_tokens":1000}]]}'
)
CALLS = [{"id": "f:0", "type": "function", "function": {"name": "sh", "arguments": "{}"}}]
TWO_RESULTS = [{"tool_call_id": "f:0", "content": "ok"}, {"tool_call_id": "f:1", "content": "no"}]
TOOLS = [{"type": "function", "function": {"name": "sh"}}]
AGENTIC = (
    '{"conversation_id":"c1","turn":1,"role":"user","system":"…","content":"…","tools":[{"type":"function","function":'
    '{"name":"sh"}}],"delay_seconds":0.4}',
    '{"conversation_id":"c1","turn":2,"role":"assistant","tool_calls":[{"id":"f:0","type":"function","function":'
    '{"name":"sh","arguments":"{}"}}]}',
    '{"conversation_id":"c1","turn":3,"role":"tool","tool_results":[{"tool_call_id":"f:0","content":"ok"}],'
    '"delay_seconds":1.2}',
)


def load(source: Path) -> PromptSet:
    return load_prompts(str(source), tokens_min=1, tokens_max=1000, counter=WORDS)


def sessions(tmp_path: Path, *lines: str | Mapping[str, Any]) -> PromptSet:
    file = tmp_path / "sessions.jsonl"
    file.write_text("".join((line if isinstance(line, str) else json.dumps(line)) + "\n" for line in lines))
    return load_prompts(str(file), tokens_min=1, tokens_max=1000, counter=WORDS, sessions=True)


def loaded(tmp_path: Path, *lines: str | Mapping[str, Any], name: str = "rows.jsonl") -> PromptSet:
    file = tmp_path / name
    file.write_text("".join((line if isinstance(line, str) else json.dumps(line)) + "\n" for line in lines))
    return load(file)


def refusal(tmp_path: Path, *lines: str | Mapping[str, Any]) -> str:
    with pytest.raises(PromptError) as caught:
        loaded(tmp_path, *lines)
    return str(caught.value)


def span(operation: str = "chat", **attributes: Any) -> dict[str, Any]:
    messages = [{"role": "user", "parts": [{"type": "text", "content": "Hi"}]}]
    return {
        "start_time": "2026-06-01T00:00:01Z",
        "status": {"code": 1},
        "attributes": {"gen_ai.operation.name": operation, "gen_ai.input.messages": messages, **attributes},
    }


class TestTurns:
    def test_the_first_turn_is_sent_where_the_others_need_an_answer(self, tmp_path: Path) -> None:
        prompts = loaded(tmp_path, TURNS)
        assert tuple(prompts.prompts) == (Prompt("Hi", 1, id="1"),)
        assert prompts.left_out.unused == {"later turns": 1, "delays": 1, "session ids": 1}
        facts = prompts.facts()
        assert [facts[f"not_used_{name}"] for name in ("later_turns", "delays", "session_ids")] == [1, 1, 1]

    def test_recorded_answers_are_sent_with_the_turns_before_the_last(self, tmp_path: Path) -> None:
        turns = [{"text": "A?"}, {"role": "assistant", "text": "B."}, {"text": "C?", "output_length": 9}]
        prompts = loaded(tmp_path, {"turns": turns})
        assert tuple(prompts.prompts) == (
            Prompt("C?", 3, id="1", earlier=(ChatMessage("user", "A?"), ChatMessage("assistant", "B.")), max_tokens=9),
        )
        assert not any(prompts.left_out.unused.values())

    def test_a_turn_has_settings_of_its_own(self, tmp_path: Path) -> None:
        row = {"turns": [{"texts": ["A", "B"], "output_length": 4, "extra": {"top_k": 1}}, {"text": "C", "seed": 3}]}
        (prompt,) = loaded(tmp_path, row).prompts
        assert (prompt.text, prompt.max_tokens, prompt.body_overrides) == ("A\n\nB", 4, {"top_k": 1})

    @pytest.mark.parametrize("turns", [[], "Hi", [{"text": "Hi"}, {"words": 1}], [3]])
    def test_what_is_no_turn_is_refused_with_its_row(self, tmp_path: Path, turns: object) -> None:
        assert "row 2: " in refusal(tmp_path, TURNS, {"turns": turns})

    def test_times_and_sessions_of_single_rows_are_counted(self, tmp_path: Path) -> None:
        row = '{"text":"Hi","output_length":16,"timestamp":100,"session_id":"s","extra":{"temperature":0}}'
        assert loaded(tmp_path, row, '{"text":"Ho"}').left_out.unused == {"timestamps": 1, "session ids": 1}


class TestListedSessions:
    def test_the_first_turn_of_each_conversation_is_sent(self, tmp_path: Path) -> None:
        for name in ("rows.jsonl", "rows.json"):
            prompts = loaded(tmp_path, LISTED, name=name)
            assert tuple(prompts.prompts) == (Prompt("…", 2, id="1", system="…"),)
            assert prompts.left_out.unused == {"later turns": 1, "recorded prompt lengths": 2}

    def test_each_conversation_is_a_row(self, tmp_path: Path) -> None:
        rows = [[{"messages": [{"role": "user", "content": text}]}] for text in ("A", "B")]
        prompts = loaded(tmp_path, {"conversations": rows})
        assert [(prompt.id, prompt.text) for prompt in prompts.prompts] == [("1", "A"), ("2", "B")]

    def test_what_is_no_turn_is_refused_with_its_place(self, tmp_path: Path) -> None:
        rows = [[{"messages": [{"role": "user", "content": "A"}]}], [{"prompt": "B"}]]
        assert "conversation 2: turn 1: " in refusal(tmp_path, {"conversations": rows})
        assert "conversation 3: " in refusal(tmp_path, {"conversations": [rows[0]] * 2}, {"conversations": 4})


class TestAgenticRows:
    def test_tool_calls_and_results_become_messages(self, tmp_path: Path) -> None:
        prompts = loaded(tmp_path, *AGENTIC)
        expected = Prompt(
            "…",
            3,
            id="1",
            system="…",
            later=(ChatMessage("assistant", ""), ChatMessage("tool", "ok")),
            tool_fields=({}, {"tool_calls": CALLS}, {"tool_call_id": "f:0"}),
            body_overrides={"tools": TOOLS},
        )
        assert tuple(prompts.prompts) == (expected,)
        assert prompts.left_out.unused == {"delays": 2}
        assert prompts.facts()["conversations"] == 1

    def test_conversations_are_told_apart_and_end_before_the_answer(self, tmp_path: Path) -> None:
        rows = [
            {"conversation_id": "c2", "turn": 1, "role": "user", "content": "A?", "max_tokens": 5},
            {"conversation_id": "c2", "turn": 2, "role": "assistant", "content": "B."},
        ]
        prompts = loaded(tmp_path, *AGENTIC, *rows)
        assert [prompt.text for prompt in prompts.prompts] == ["…", "A?"]
        assert prompts.prompts[1] == Prompt("A?", 1, id="2", max_tokens=5)

    @pytest.mark.parametrize(
        ("row", "place"),
        [
            ({"conversation_id": "c1", "turn": 5, "role": "user", "content": "A"}, "row 4: "),
            ({"conversation_id": "c1", "turn": 4, "role": "critic", "content": "A"}, "row 4: "),
            ({"conversation_id": "c1", "turn": 4, "role": "tool", "tool_results": [{}]}, "row 4: "),
            ("{", "line 4 "),
        ],
    )
    def test_bad_rows_are_refused_with_their_number(
        self, tmp_path: Path, row: str | Mapping[str, Any], place: str
    ) -> None:
        assert place in refusal(tmp_path, *AGENTIC, row)

    def test_a_conversation_that_comes_again_is_refused(self, tmp_path: Path) -> None:
        other = {"conversation_id": "c2", "turn": 1, "role": "user", "content": "A"}
        assert "row 5: " in refusal(tmp_path, *AGENTIC, other, {**other, "conversation_id": "c1"})


class TestAgenticSessions:
    def test_each_result_of_a_tool_is_a_turn_with_its_delay(self, tmp_path: Path) -> None:
        prompts = sessions(tmp_path, *AGENTIC)
        turn = SessionTurn(
            "",
            1,
            before=(ChatMessage("tool", "ok"),),
            answer=(ChatMessage("assistant", ""),),
            delay_s=1.2,
            body_overrides={"tools": TOOLS},
            tool_fields=({"tool_calls": CALLS}, {"tool_call_id": "f:0"}),
        )
        expected = Prompt("…", 2, id="1", system="…", body_overrides={"tools": TOOLS}, turns=(turn,))
        assert tuple(prompts.prompts) == (expected,)
        facts = prompts.facts()
        assert (facts["sessions"], facts["session_turns"], facts["recorded_delays"]) == (1, 2, 1)
        assert facts["rows_with_tool_fields"] == 1

    def test_rows_between_two_answers_are_one_turn(self, tmp_path: Path) -> None:
        row = {"conversation_id": "c2"}
        rows = [
            {**row, "turn": 1, "role": "user", "content": "A?", "tools": TOOLS},
            {**row, "turn": 2, "role": "assistant", "content": "B.", "tool_calls": CALLS},
            {**row, "turn": 3, "role": "tool", "tool_results": TWO_RESULTS, "delay_seconds": 1},
            {**row, "turn": 4, "role": "user", "content": "C?", "max_tokens": 5, "delay_seconds": 0.5},
            {**row, "turn": 5, "role": "assistant", "content": "never sent"},
        ]
        (turn,) = sessions(tmp_path, *rows).prompts[0].turns
        assert (turn.text, turn.max_tokens, turn.delay_s) == ("C?", 5, 1.5)
        assert turn.answer == (("assistant", "B."),)
        assert turn.before == (("tool", "ok"), ("tool", "no"))
        assert turn.tool_fields == ({"tool_calls": CALLS}, {"tool_call_id": "f:0"}, {"tool_call_id": "f:1"})
        assert turn.body_overrides == {"tools": TOOLS}

    @pytest.mark.parametrize("delay", [-1, "soon", True, 90_000])
    def test_a_delay_that_is_none_is_refused_with_its_row(self, tmp_path: Path, delay: object) -> None:
        row = {"conversation_id": "c1", "turn": 4, "role": "user", "content": "A", "delay_seconds": delay}
        with pytest.raises(PromptError, match="row 4: expected delay_seconds from 0 to 86,400, got"):
            sessions(tmp_path, *AGENTIC, row)


class TestSpans:
    def test_a_span_is_sent_with_its_messages_and_the_length_of_its_answer(self, tmp_path: Path) -> None:
        usage = {"gen_ai.usage.input_tokens": 30, "gen_ai.usage.output_tokens": 12, "gen_ai.request.temperature": 0.5}
        for operation in ("chat", "generate", "text_completion"):
            prompts = loaded(tmp_path, span(operation, **usage))
            assert tuple(prompts.prompts) == (
                Prompt("Hi", 1, id="1", max_tokens=12, body_overrides={"temperature": 0.5}),
            )
            assert prompts.left_out.unused == {"timestamps": 1, "recorded prompt lengths": 1}

    def test_older_names_of_the_counts_are_read(self, tmp_path: Path) -> None:
        (prompt,) = loaded(tmp_path, span(**{"gen_ai.usage.completion_tokens": 7})).prompts
        assert prompt.max_tokens == 7

    def test_failed_spans_and_those_of_other_operations_are_counted(self, tmp_path: Path) -> None:
        spans = [span(), *map(span, ("invoke_agent", "execute_tool", "embeddings")), {**span(), "status": {"code": 2}}]
        prompts = loaded(tmp_path, *spans)
        assert [prompt.id for prompt in prompts.prompts] == ["1"]
        assert (prompts.left_out.failed_spans, prompts.left_out.other_spans) == (1, 3)
        assert prompts.facts()["left_out_failed_spans"] == 1

    def test_spans_without_messages_are_refused_with_their_row(self, tmp_path: Path) -> None:
        assert "row 2: " in refusal(tmp_path, span(), span(**{"gen_ai.input.messages": None}))

    def test_messages_may_be_text_and_hold_tool_calls(self, tmp_path: Path) -> None:
        call = {"type": "tool_call", "id": "f:0", "name": "sh", "arguments": {"a": 1}}
        messages = [
            {"role": "system", "parts": [{"type": "text", "content": "Be kind."}]},
            {"role": "user", "parts": [{"type": "text", "content": "Go."}]},
            {"role": "assistant", "parts": [call]},
            {"role": "tool", "parts": [{"type": "tool_call_response", "id": "f:0", "response": "ok"}]},
        ]
        (prompt,) = loaded(tmp_path, span(**{"gen_ai.input.messages": json.dumps(messages)})).prompts
        assert (prompt.system, prompt.text) == ("Be kind.", "Go.")
        assert prompt.later == (("assistant", ""), ("tool", "ok"))
        function = {"name": "sh", "arguments": '{"a": 1}'}
        calls = [{"id": "f:0", "type": "function", "function": function}]
        assert prompt.tool_fields == ({}, {"tool_calls": calls}, {"tool_call_id": "f:0"})

    def test_documents_of_the_exporter_are_read(self, tmp_path: Path) -> None:
        plain = span()["attributes"]
        attributes = [
            {"key": "gen_ai.operation.name", "value": {"stringValue": "chat"}},
            {"key": "gen_ai.input.messages", "value": {"stringValue": json.dumps(plain["gen_ai.input.messages"])}},
            {"key": "gen_ai.usage.output_tokens", "value": {"intValue": "9"}},
        ]
        document = {"resourceSpans": [{"scopeSpans": [{"spans": [{"attributes": attributes}] * 2}]}]}
        prompts = loaded(tmp_path, document)
        assert [(prompt.text, prompt.max_tokens) for prompt in prompts.prompts] == [("Hi", 9), ("Hi", 9)]


class TestTables:
    TABLE = pa.table(
        {
            "timestamp_start_unix_ms": [1, 2],
            "prompt": ["Name a river.", "And a lake."],
            "input_tokens": [3, 3],
            "output_tokens": [8, 9],
            "poor_man_session_id": ["s", None],
        }
    )

    @pytest.mark.parametrize("name", ["rows.parquet", "rows.arrow", "rows.feather", "stream.arrow"])
    def test_prompts_and_lengths_of_tables_are_read(self, tmp_path: Path, name: str) -> None:
        file = tmp_path / name
        if name == "rows.parquet":
            pq.write_table(self.TABLE, file)
        else:
            make = pa.ipc.new_stream if name.startswith("stream") else pa.ipc.new_file
            with make(str(file), self.TABLE.schema) as writer:
                writer.write_table(self.TABLE, max_chunksize=1)
        prompts = load(file)
        assert [(prompt.text, prompt.max_tokens) for prompt in prompts.prompts] == [
            ("Name a river.", 8),
            ("And a lake.", 9),
        ]
        assert prompts.left_out.unused == {"timestamps": 2, "session ids": 1}

    @pytest.mark.parametrize(
        "content", [b"ARROW1\0\0 no more", b"nothing of the kind", b"\xff\xff\xff\xff\x10\0\0\0ab"]
    )
    def test_a_damaged_arrow_file_is_refused(self, tmp_path: Path, content: bytes) -> None:
        (tmp_path / "rows.arrow").write_bytes(content)
        with pytest.raises(PromptError, match="the file is not sound Arrow"):
            load(tmp_path / "rows.arrow")


class TestFolders:
    def test_the_files_of_a_folder_are_read_in_the_order_of_their_names(self, tmp_path: Path) -> None:
        (tmp_path / "a.jsonl").write_text(
            '{"model":"m","messages":[{"role":"user","content":"A"}],"max_tokens":8,"stream":true}\n' * 2
        )
        (tmp_path / "notes.txt").write_text("x")
        (tmp_path / "b.jsonl").write_text('{"messages":[{"role":"user","content":"B"}]}\n')
        assert [(prompt.text, prompt.max_tokens) for prompt in load(tmp_path).prompts] == [
            ("A", 8),
            ("A", 8),
            ("B", None),
        ]

    @pytest.mark.parametrize(
        ("line", "place"), [('{"messages": 4}', "b.jsonl: row 2: "), ("{", "b.jsonl: line 2 is not JSON")]
    )
    def test_a_bad_line_is_named_with_its_file(self, tmp_path: Path, line: str, place: str) -> None:
        good = '{"messages":[{"role":"user","content":"A"}]}\n'
        (tmp_path / "a.jsonl").write_text(good * 3)
        (tmp_path / "b.jsonl").write_text(good + line)
        with pytest.raises(PromptError) as caught:
            load(tmp_path)
        assert place in str(caught.value)


class TestRequests:
    """What the body of a request with tool calls holds."""

    @pytest.fixture
    def prompts(self, tmp_path: Path) -> PromptSet:
        return loaded(tmp_path, *AGENTIC)

    def test_the_body_holds_the_messages_of_tools(self, prompts: PromptSet) -> None:
        marked = PromptMarker(PromptReuse.NEVER, "run", 0, len).mark(prompts.prompts[0], 0)
        assert marked.body_overrides
        request = ChatRequest(
            "m",
            marked.text,
            "Be brief.",
            8,
            earlier=marked.earlier,
            later=marked.later,
            tool_fields=marked.tool_fields,
            changes=(marked.body_overrides,),
        )
        body = json.loads(engine_of(options()).request_body(request))
        assert body["messages"] == [
            {"role": "system", "content": "Be brief."},
            {"role": "user", "content": marked.text},
            {"role": "assistant", "content": "", "tool_calls": CALLS},
            {"role": "tool", "content": "ok", "tool_call_id": "f:0"},
        ]
        assert marked.text.endswith("\n\n…")
        assert body["tools"] == TOOLS
        folded = json.loads(engine_of(options()).request_body(request.without_system_role()))
        assert folded["messages"][0]["content"] == f"Be brief.\n\n{marked.text}"
        assert folded["messages"][1:] == body["messages"][2:]

    def test_a_run_sends_them(self, tmp_path: Path, prompts: PromptSet) -> None:
        given = options(
            *("--prompts", str(tmp_path / "rows.jsonl"), "--prompt-tokens", "1:99", "--prompt-reuse", "always"),
            *("--turns", "last"),
        )
        context = RunContext(given, "http://127.0.0.1:1", Recorder(worker=0))
        request = context.request(context.draw(False), False)
        body = json.loads(context.engine.request_body(request))
        assert [message["role"] for message in body["messages"]] == ["system", "user", "assistant", "tool"]
        assert body["messages"][2]["tool_calls"] == CALLS
        assert body["messages"][3]["tool_call_id"] == "f:0"
        assert body["tools"] == TOOLS
        assert request.content_hash != replace(request, tool_fields=()).content_hash

    @pytest.mark.parametrize("arguments", [("--endpoint", "responses"), ("--engine", "ollama")])
    def test_where_they_have_no_place_the_run_is_refused(
        self, tmp_path: Path, prompts: PromptSet, arguments: tuple[str, ...]
    ) -> None:
        for each in (prompts, sessions(tmp_path, *AGENTIC)):
            workload = Workload(each, "Be brief.", len)
            check_turns(engine_of(options()), workload)
            with pytest.raises(OptionError, match="1 rows hold tool calls"):
                check_turns(engine_of(options(*arguments)), workload)


def options(*arguments: str) -> ChatOptions:
    parser = get_empty_argument_parser(default_config_files=[])
    add_options(parser)
    given: Namespace = parser.parse_args(["--engine", "vllm", "--model", "m", *arguments])
    return ChatOptions.of(given)
