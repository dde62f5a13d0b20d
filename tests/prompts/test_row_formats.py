"""The formats of prompt files that users bring: what of each row is sent, and what it sets for its own request."""

import csv
import json
import random
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tokenswarm.prompts import ChatMessage, Prompt, PromptError, PromptSet, TokenCounter, load_prompts
from tokenswarm.prompts.row_formats import BODY_COLUMNS, LENGTH_COLUMNS

WORDS = TokenCounter("words", lambda text: len(text.split()))


def load(source: Path, text_column: str | None = None) -> PromptSet:
    return load_prompts(str(source), tokens_min=1, tokens_max=1000, counter=WORDS, text_column=text_column)


def loaded(tmp_path: Path, *lines: str | Mapping[str, Any]) -> tuple[Prompt, ...]:
    file = tmp_path / "rows.jsonl"
    file.write_text("".join((line if isinstance(line, str) else json.dumps(line)) + "\n" for line in lines))
    return tuple(load(file).prompts)


def refusal(tmp_path: Path, *rows: Mapping[str, Any]) -> str:
    with pytest.raises(PromptError) as caught:
        loaded(tmp_path, *rows)
    assert caught.value.__suppress_context__ or caught.value.__context__ is None
    return str(caught.value)


class TestOpenAIChat:
    def test_request_fields_of_a_row_are_sent_with_it(self, tmp_path: Path) -> None:
        tools = [{"type": "function", "function": {"name": "sh", "parameters": {"type": "object"}}}]
        row = {"messages": [{"role": "user", "content": "Hi"}], "max_tokens": 64, "temperature": 0, "tools": tools}
        assert loaded(tmp_path, row) == (
            Prompt("Hi", 1, id="1", max_tokens=64, body_overrides={"temperature": 0, "tools": tools}),
        )

    def test_what_tokenswarm_sets_itself_and_other_columns_are_not(self, tmp_path: Path) -> None:
        row = {
            "messages": [{"role": "user", "content": "Hi"}],
            "model": "gpt-4",
            "stream": False,
            "stream_options": {},
            "id": 7,
            "source": "web",
            "seed": 3,
        }
        (prompt,) = loaded(tmp_path, row)
        assert (prompt.body_overrides, prompt.model) == ({"seed": 3}, "")

    @pytest.mark.parametrize("column", LENGTH_COLUMNS)
    def test_a_cap_on_the_answer_has_several_names(self, tmp_path: Path, column: str) -> None:
        assert [prompt.max_tokens for prompt in loaded(tmp_path, {"prompt": "Hi", column: 9}, {"prompt": "Hi"})] == [
            9,
            None,
        ]

    @pytest.mark.parametrize("cap", [0, -1, 1.5, "many", True, [8]])
    def test_a_cap_that_cannot_be_is_refused_with_its_row(self, tmp_path: Path, cap: object) -> None:
        sentence = refusal(tmp_path, {"prompt": "Hi"}, {"prompt": "Hi", "max_tokens": cap})
        assert "row 2: expected max_tokens to be a whole number of at least 1" in sentence

    @pytest.mark.parametrize("column", BODY_COLUMNS)
    def test_each_documented_field_is_sent(self, tmp_path: Path, column: str) -> None:
        (prompt,) = loaded(tmp_path, {"question": "Why?", column: [1]})
        assert prompt.body_overrides == {column: [1]}

    def test_a_text_in_json_stays_a_text(self, tmp_path: Path) -> None:
        (prompt,) = loaded(tmp_path, {"prompt": "Hi", "stop": "7"})
        assert prompt.body_overrides == {"stop": "7"}


class TestSystemPrompts:
    @pytest.mark.parametrize("column", ["system", "system_prompt"])
    def test_a_row_may_have_its_own(self, tmp_path: Path, column: str) -> None:
        (prompt,) = loaded(tmp_path, {"question": "Why?", column: " Be brief. "})
        assert [tuple(message) for message in prompt.messages] == [("system", "Be brief."), ("user", "Why?")]
        assert prompt.tokens == 3

    def test_that_of_the_messages_goes_before_it(self, tmp_path: Path) -> None:
        chat = [{"role": "system", "content": "One."}, {"role": "user", "content": "Why?"}]
        (prompt,) = loaded(tmp_path, {"messages": chat, "system": "Two."})
        assert prompt.system == "One."

    def test_sharegpt_files_have_one_beside_the_conversation(self, tmp_path: Path) -> None:
        (prompt,) = loaded(
            tmp_path, {"id": "a", "system": "Be kind.", "conversations": [{"from": "human", "value": "?"}]}
        )
        assert (prompt.system, prompt.text) == ("Be kind.", "?")


class TestOpenAIBatch:
    BODY: Mapping[str, Any] = {"model": "m", "messages": [{"role": "user", "content": "Hi"}], "max_tokens": 8}

    def test_a_line_of_a_batch_file_is_its_body(self, tmp_path: Path) -> None:
        row = {"custom_id": "r1", "method": "POST", "url": "/v1/chat/completions", "body": self.BODY}
        assert loaded(tmp_path, row) == (
            Prompt("Hi", 1, id="1", custom_id="r1", max_tokens=8, endpoint="chat", model="m"),
        )

    def test_all_other_fields_of_the_body_are_sent_whatever_they_are(self, tmp_path: Path) -> None:
        extra = {"temperature": 0.5, "my_gateway": {"lane": "fast"}, "stop": None}
        row = {"custom_id": "r1", "url": "/v1/chat/completions", "body": {**self.BODY, **extra, "stream": False}}
        (prompt,) = loaded(tmp_path, row)
        assert prompt.body_overrides == extra

    @pytest.mark.parametrize(
        ("url", "body", "endpoint", "system"),
        [
            ("/v1/completions", {"prompt": "Hi"}, "completions", None),
            (
                "/v1/responses",
                {"input": "Hi", "instructions": "Be brief.", "max_output_tokens": 8},
                "responses",
                "Be brief.",
            ),
            (
                "https://gateway.example/openai/v1/responses/",
                {"input": [{"role": "user", "content": [{"type": "input_text", "text": "Hi"}]}]},
                "responses",
                None,
            ),
            ("/openai/deployments/d/chat/completions", {"messages": [{"role": "user", "content": "Hi"}]}, "chat", None),
        ],
    )
    def test_the_url_chooses_the_endpoint(
        self, tmp_path: Path, url: str, body: Mapping[str, Any], endpoint: str, system: str | None
    ) -> None:
        (prompt,) = loaded(tmp_path, {"custom_id": "r1", "method": "POST", "url": url, "body": body})
        assert (prompt.text, prompt.endpoint, prompt.system) == ("Hi", endpoint, system)
        assert prompt.max_tokens == body.get("max_output_tokens")
        assert prompt.body_overrides is None

    @pytest.mark.parametrize("change", [{"url": "/v1/embeddings"}, {"method": "GET"}])
    def test_what_streams_no_text_is_refused(self, tmp_path: Path, change: Mapping[str, str]) -> None:
        row = {"custom_id": "r1", "method": "POST", "url": "/v1/chat/completions", "body": self.BODY, **change}
        assert "row 1: expected POST to /v1/chat/completions, /v1/completions, /v1/responses, got" in refusal(
            tmp_path, row
        )

    @pytest.mark.parametrize("body", [[], 3, "text", None])
    def test_a_body_that_is_no_object_is_refused(self, tmp_path: Path, body: object) -> None:
        row = {"custom_id": "r1", "url": "/v1/chat/completions", "body": body}
        assert "row 1: expected body to be a JSON object" in refusal(tmp_path, row)

    def test_a_prompt_of_token_ids_is_refused(self, tmp_path: Path) -> None:
        row = {"custom_id": "r1", "url": "/v1/completions", "body": {"prompt": [1, 2, 3]}}
        assert "row 1: expected text in column 'body.prompt', got list" in refusal(tmp_path, row)

    def test_a_custom_id_that_no_table_would_hold_is_refused(self, tmp_path: Path) -> None:
        assert "at most 256 characters, got 257" in refusal(tmp_path, {"prompt": "Hi", "custom_id": "x" * 257})
        assert loaded(tmp_path, {"prompt": "Hi", "custom_id": "x" * 256})[0].custom_id == "x" * 256
        assert loaded(tmp_path, {"prompt": "Hi", "custom_id": 42})[0].custom_id == "42"


class TestOtherTools:
    """The example lines of other tools' documents."""

    @pytest.mark.parametrize(
        ("line", "expected"),
        [
            ('{"prompt":"Name a river.","output_tokens":32}', Prompt("Name a river.", 3, id="1", max_tokens=32)),
            (
                '{"text":"Hi","output_length":16,"timestamp":100,"session_id":"s","extra":{"temperature":0}}',
                Prompt("Hi", 1, id="1", max_tokens=16, body_overrides={"temperature": 0}),
            ),
            (
                '{"model":"m","messages":[{"role":"user","content":"Hi"}],"max_completion_tokens":8,"stream":true}',
                Prompt("Hi", 1, id="1", max_tokens=8),
            ),
            (
                '{"conversations":[{"from":"human","value":"Hi"},{"from":"gpt","value":"Hello."}],"id":"x"}',
                Prompt("Hi", 1, id="1"),
            ),
            (
                '{"id":"c1","messages":[{"role":"user","content":"A?"},{"role":"assistant","content":"B."}]}',
                Prompt("A?", 1, id="1"),
            ),
            (
                '{"messages":[{"role":"user","content":"Hi"}],"max_tokens":64,"temperature":0,"tools":[{"type":"x"}]}',
                Prompt("Hi", 1, id="1", max_tokens=64, body_overrides={"temperature": 0, "tools": [{"type": "x"}]}),
            ),
            (
                '{"custom_id":"r1","method":"POST","url":"/v1/chat/completions","body":{"model":"m","messages":'
                '[{"role":"user","content":"Hi"}],"max_tokens":8}}',
                Prompt("Hi", 1, id="1", custom_id="r1", max_tokens=8, endpoint="chat", model="m"),
            ),
            ('{"prompt":"Look here.","image_files":["a.png"]}', Prompt("Look here.", 2, id="1")),
            (
                '{"id":"c1","messages":[{"role":"user","content":"A?"},{"role":"assistant","content":"B."},'
                '{"role":"user","content":"C?"},{"role":"assistant","content":"D."}]}',
                Prompt("C?", 3, id="1", earlier=(ChatMessage("user", "A?"), ChatMessage("assistant", "B."))),
            ),
        ],
    )
    def test_a_line_loads(self, tmp_path: Path, line: str, expected: Prompt) -> None:
        assert loaded(tmp_path, line) == (expected,)
        file = tmp_path / "rows.json"  # as ShareGPT and vLLM have it: one array
        file.write_text(f"[{line}]")
        assert tuple(load(file).prompts) == (expected,)

    def test_pictures_are_counted_as_they_are_not_sent(self, tmp_path: Path) -> None:
        picture = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AA=="}}
        file = tmp_path / "rows.jsonl"
        rows = [
            {"prompt": "Look.", "image_files": ["a.png"]},
            {"prompt": "No picture.", "image_files": []},
        ]
        file.write_text("".join(json.dumps(row) + "\n" for row in rows))
        assert load(file).left_out.images == 1
        chat = [{"role": "user", "content": [{"type": "text", "text": "Look."}, picture]}]
        file.write_text(json.dumps({"messages": chat}) + "\n")
        assert load(file).left_out.images == 1
        assert load(file).left_out.notice() == "images of 1 row are not sent"


class TestTables:
    def test_cells_of_csv_hold_numbers_and_json(self, tmp_path: Path) -> None:
        with (tmp_path / "rows.csv").open("w", newline="") as file:
            rows = csv.writer(file)
            rows.writerow(["id", "prompt", "max_tokens", "temperature", "stop", "extra", "custom_id"])
            rows.writerow([1, "Hi", "8", "0.5", '["END"]', '{"top_k": 4}', "007"])
            rows.writerow([2, "Ho", "", "", "END", "", ""])
        assert tuple(load(tmp_path / "rows.csv").prompts) == (
            Prompt(
                "Hi",
                1,
                id="1",
                custom_id="007",
                max_tokens=8,
                body_overrides={"temperature": 0.5, "stop": ["END"], "top_k": 4},
            ),
            Prompt("Ho", 1, id="2", body_overrides={"stop": "END"}),
        )

    def test_gaps_that_a_typed_table_fills_are_no_settings(self, tmp_path: Path) -> None:
        rows = {
            "prompt": ["Hi", "Ho", "Hey"],
            "max_tokens": [8.0, None, float("nan")],
            "temperature": [float("nan"), 0.5, None],
            "extra": [{"top_k": 1, "seed": None}, {"top_k": None, "seed": 2}, None],
        }
        pq.write_table(pa.table(rows), tmp_path / "rows.parquet")
        prompts = load(tmp_path / "rows.parquet").prompts
        assert [prompt.max_tokens for prompt in prompts] == [8, None, None]
        assert [prompt.body_overrides for prompt in prompts] == [{"top_k": 1}, {"temperature": 0.5, "seed": 2}, None]

    @pytest.mark.parametrize("name", ["rows.jsonl", "rows.json"])
    def test_other_columns_may_hold_anything(self, tmp_path: Path, name: str) -> None:
        odd = [1, "x", {"a": []}, [1, {"b": "c"}], None, 2.5, "2026-11-29"]
        rows = [{"input": f"Prompt {n}", "meta": value, f"own {n}": value} for n, value in enumerate(odd)]
        lines = "".join(json.dumps(row) + "\n" for row in rows)
        (tmp_path / name).write_text(json.dumps(rows, indent=1) if name.endswith(".json") else lines)
        assert len(load(tmp_path / name, text_column="input").prompts) == len(odd)

    def test_other_columns_of_parquet_are_not_read(self, tmp_path: Path) -> None:
        """One is damaged: whoever reads it fails."""
        noise = random.Random(1).randbytes(50_000)
        table = pa.table({"query": ["Hi"] * 4, "blob": [noise] * 4})
        pq.write_table(
            table, tmp_path / "rows.parquet", compression={"query": "none", "blob": "zstd"}, use_dictionary=False
        )
        content = bytearray((tmp_path / "rows.parquet").read_bytes())
        place = content.find(noise[1000:1100])
        assert place > 0
        content[place - 900 : place + 40_000] = bytes(40_900)
        (tmp_path / "rows.parquet").write_bytes(content)
        assert [prompt.text for prompt in load(tmp_path / "rows.parquet", text_column="query").prompts] == ["Hi"] * 4

    @pytest.mark.parametrize("column", ["input", "problem", "user_input", "Frage"])
    def test_the_column_may_be_called_anything(self, tmp_path: Path, column: str) -> None:
        (tmp_path / "rows.csv").write_text(f"id,{column}\n1,Why?\n", encoding="utf-8")
        assert [prompt.text for prompt in load(tmp_path / "rows.csv", text_column=column).prompts] == ["Why?"]
        with pytest.raises(PromptError, match=f"found the columns id, {column}; name another with --prompts-column"):
            load(tmp_path / "rows.csv")

    def test_a_column_that_is_named_may_hold_messages(self, tmp_path: Path) -> None:
        chat = [{"role": "system", "content": "Be kind."}, {"role": "user", "content": "Hi"}]
        (tmp_path / "rows.json").write_text(json.dumps([{"prompt": "no", "dialogue": chat, "max_tokens": 5}]))
        assert tuple(load(tmp_path / "rows.json", text_column="dialogue").prompts) == (
            Prompt("Hi", 3, id="1", system="Be kind.", max_tokens=5),
        )
