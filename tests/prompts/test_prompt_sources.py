"""Prompts from local files, through the real `datasets` library; and everything that can be wrong with them."""

import json
import re
import tempfile
from collections.abc import Mapping
from pathlib import Path

import datasets
import pytest

from tokenswarm.prompts import Prompt, PromptError, PromptSet, TokenCounter, hub, load_prompts, parse_token_range
from tokenswarm.prompts.file_rows import PromptTable

WORDS = TokenCounter("words", lambda text: len(text.split()))


def load(source: str | Path, tokens_min: int = 1, tokens_max: int = 1000, text_column: str | None = None) -> PromptSet:
    return load_prompts(
        str(source), tokens_min=tokens_min, tokens_max=tokens_max, counter=WORDS, text_column=text_column
    )


def texts(source: str | Path, text_column: str | None = None) -> list[str]:
    return [prompt.text for prompt in load(source, text_column=text_column).prompts]


def jsonl(path: Path, *rows: Mapping[str, object]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def refusal(source: str | Path, **options: object) -> str:
    """The one sentence with which a source is refused, checked to be one line and to hide no other exception."""
    with pytest.raises(PromptError) as caught:
        load(source, **options)  # type: ignore[arg-type]
    error = caught.value
    assert error.__cause__ is None
    assert error.__suppress_context__ or error.__context__ is None
    sentence = str(error)
    assert "\n" not in sentence and sentence.endswith(".")
    return sentence.removesuffix(".")


class TestColumns:
    def test_instruction_follows_its_context_after_a_blank_line(self, tmp_path: Path) -> None:
        file = jsonl(
            tmp_path / "rows.jsonl",
            {"instruction": " Who won? ", "context": "Ann beat Bo.\n", "response": "Ann", "category": "closed_qa"},
            {"instruction": "Why?", "context": "", "response": "Because", "category": "open_qa"},
            {"instruction": "When?", "context": None, "response": "Then", "category": "open_qa"},
        )
        assert load(file).prompts == (
            Prompt("Ann beat Bo.\n\nWho won?", 5, "closed_qa", "1"),
            Prompt("Why?", 1, "open_qa", "2"),
            Prompt("When?", 1, "open_qa", "3"),
        )

    @pytest.mark.parametrize("names", [("prompt", "question", "text"), ("question", "text"), ("text",)])
    def test_without_instruction_the_first_of_prompt_question_text_is_taken(
        self, tmp_path: Path, names: tuple[str, ...]
    ) -> None:
        file = jsonl(tmp_path / "rows.jsonl", {name: f"from {name}" for name in reversed(names)})
        assert texts(file) == [f"from {names[0]}"]

    def test_all_messages_of_a_conversation_up_to_the_last_of_the_user_are_taken(self, tmp_path: Path) -> None:
        chat = [
            {"role": "system", "content": "Be kind."},
            {"role": "user", "content": "Hello?"},
            {"role": "assistant", "content": "Hello."},
            {"role": "user", "content": "Still there?"},
            {"role": "assistant", "content": "Yes."},
        ]
        (prompt,) = load(jsonl(tmp_path / "chat.jsonl", {"messages": chat})).prompts
        assert (prompt.system, prompt.text) == ("Be kind.", "Still there?")
        assert prompt.earlier == (("user", "Hello?"), ("assistant", "Hello."))
        assert prompt.tokens == 6  # words of all four

    def test_messages_without_text_and_after_the_last_question_are_none(self, tmp_path: Path) -> None:
        picture = [{"type": "image_url", "text": None}]
        chat = [
            {"role": "user", "content": [{"type": "text", "text": "One?"}]},
            {"role": "assistant", "content": None},
            {"role": "developer", "content": [{"type": "text", "text": "Be brief."}]},
            {"role": "user", "content": [{"type": "text", "text": "Two?"}]},
            {"role": "user", "content": picture},
        ]
        (prompt,) = load(jsonl(tmp_path / "chat.jsonl", {"messages": chat})).prompts
        assert (prompt.system, prompt.text) == (None, "Two?")
        assert prompt.earlier == (("user", "One?"), ("system", "Be brief."))

    def test_what_is_left_out_is_counted_by_its_reason(self, tmp_path: Path) -> None:
        rows: list[dict[str, object]] = [
            {"messages": [{"role": "user", "content": "Just right, is it not?"}]},
            {"messages": [{"role": "user", "content": "long " * 500}]},
            {"messages": [{"role": "user", "content": "Hi"}]},
            {"messages": [{"role": "assistant", "content": "nobody asked"}]},
            {"messages": [{"role": "user", "content": "And?"}, {"role": "tool", "content": "42"}]},
        ]
        loaded = load(jsonl(tmp_path / "chat.jsonl", *rows), tokens_min=3, tokens_max=100)
        assert [prompt.id for prompt in loaded.prompts] == ["1"]
        facts = loaded.facts()
        assert [facts[name] for name in ("rows", "left_out_by_length", "left_out_without_text")] == [5, 2, 1]
        assert facts["left_out_of_other_roles"] == 1
        assert loaded.left_out.notice().startswith("4 of 5 rows")

    def test_equal_texts_in_other_roles_are_other_prompts(self, tmp_path: Path) -> None:
        def loaded(*messages: tuple[str, str]) -> str:
            chat = [{"role": role, "content": text} for role, text in messages]
            return load(jsonl(tmp_path / "chat.jsonl", {"messages": chat})).fingerprint

        asked = ("user", "And then?")
        alone = loaded(asked)
        assert alone == load(jsonl(tmp_path / "plain.jsonl", {"prompt": "And then?"})).fingerprint
        prints = [
            alone,
            loaded(("system", "x"), asked),
            loaded(("user", "x"), asked),
            loaded(("assistant", "x"), asked),
        ]
        assert len(set(prints)) == 4

    def test_a_conversation_may_name_speakers_as_sharegpt_does(self, tmp_path: Path) -> None:
        turns = [{"from": "gpt", "value": "Welcome."}, {"from": "human", "value": "Hi."}]
        assert texts(jsonl(tmp_path / "chat.jsonl", {"conversations": turns})) == ["Hi."]

    def test_a_message_in_parts_gives_its_texts(self, tmp_path: Path) -> None:
        parts = [{"type": "text", "text": "What is this?"}, {"type": "image", "text": None}]
        chat = [{"role": "user", "content": parts}]
        assert texts(jsonl(tmp_path / "chat.jsonl", {"messages": chat})) == ["What is this?"]

    def test_a_column_asked_for_is_taken_in_place_of_all_others(self, tmp_path: Path) -> None:
        file = jsonl(tmp_path / "rows.jsonl", {"prompt": "no", "body": "yes"})
        assert texts(file, text_column="body") == ["yes"]

    def test_a_column_asked_for_that_is_missing_is_named_beside_those_found(self, tmp_path: Path) -> None:
        file = jsonl(tmp_path / "rows.jsonl", {"prompt": "no", "b": 1})
        assert refusal(file, text_column="body").endswith("expected a column body, found the columns prompt, b")

    def test_no_known_column_is_refused_with_those_expected_and_those_found(self, tmp_path: Path) -> None:
        file = jsonl(tmp_path / "rows.jsonl", {"id": 1, "answer": "x"})
        assert refusal(file) == (
            f"prompts from {str(file)!r}: expected a column instruction (with context, if any), prompt, question, "
            "text, messages or conversations, found the columns id, answer; name another with --prompts-column"
        )

    def test_rows_without_text_are_passed_over(self, tmp_path: Path) -> None:
        file = jsonl(tmp_path / "rows.jsonl", {"prompt": "a"}, {"prompt": " "}, {"prompt": None}, {"prompt": "b"})
        assert texts(file) == ["a", "b"]

    def test_nothing_but_rows_without_text_is_refused(self, tmp_path: Path) -> None:
        file = jsonl(tmp_path / "rows.jsonl", {"prompt": ""}, {"prompt": " "})
        assert refusal(file).endswith("none of its 2 rows has any text")

    def test_a_cell_that_is_no_text_is_refused_with_its_row(self, tmp_path: Path) -> None:
        file = jsonl(tmp_path / "rows.jsonl", {"prompt": 3}, {"prompt": 4})
        assert refusal(file).endswith("row 1: expected text in column 'prompt', got int")


class TestFiles:
    def test_json_csv_and_parquet_hold_the_same_prompts_as_jsonl(self, tmp_path: Path) -> None:
        rows: list[dict[str, object]] = [{"prompt": 'one, "two"'}, {"prompt": "drei für\nvier"}]
        jsonl(tmp_path / "a.jsonl", *rows)
        (tmp_path / "a.json").write_text(json.dumps(rows), encoding="utf-8")
        (tmp_path / "a.csv").write_text('prompt\n"one, ""two"""\n"drei für\nvier"\n', encoding="utf-8")
        datasets.Dataset.from_list(rows).to_parquet(str(tmp_path / "a.parquet"))
        loaded = [load(tmp_path / name) for name in ("a.jsonl", "a.json", "a.csv", "a.parquet")]
        assert {prompts.prompts for prompts in loaded} == {
            (Prompt('one, "two"', 2, id="1"), Prompt("drei für\nvier", 3, id="2"))
        }
        assert len({prompts.fingerprint for prompts in loaded}) == 1

    def test_words_that_csv_readers_take_for_missing_values_stay_words(self, tmp_path: Path) -> None:
        (tmp_path / "a.csv").write_text("prompt,n\nNA,1\nnull,2\n")
        assert texts(tmp_path / "a.csv") == ["NA", "null"]

    def test_nothing_is_left_behind(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        temporary, home = tmp_path / "tmp", tmp_path / "home"
        temporary.mkdir()
        home.mkdir()
        monkeypatch.setattr(tempfile, "tempdir", str(temporary))
        monkeypatch.chdir(home)
        jsonl(home / "a.jsonl", {"prompt": "a"})
        assert texts("a.jsonl") == ["a"]
        assert list(temporary.iterdir()) == []
        assert [entry.name for entry in home.iterdir()] == ["a.jsonl"]

    def test_a_file_changed_between_two_runs_is_read_anew(self, tmp_path: Path) -> None:
        assert texts(jsonl(tmp_path / "a.jsonl", {"prompt": "before"})) == ["before"]
        assert texts(jsonl(tmp_path / "a.jsonl", {"prompt": "behind"})) == ["behind"]

    def test_what_is_neither_a_known_source_nor_a_file_is_refused_with_the_choices(self) -> None:
        assert refusal("dolli") == (
            "prompts from 'dolli': no such file; expected sample, dolly, hf:OWNER/NAME[:CONFIG][@SPLIT] "
            "or a .jsonl, .json, .csv (also .gz), .parquet or .arrow file"
        )

    def test_a_source_that_code_registers_is_among_the_choices(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("tokenswarm.prompts.own_sources._sources", {"tickets": lambda _: []})
        assert "expected sample, dolly, tickets, hf:" in refusal("tickest")

    def test_a_folder_is_refused(self, tmp_path: Path) -> None:
        found = refusal(tmp_path)
        assert "that is a folder without .jsonl or .json files; give a .jsonl, .json, .csv (also .gz)" in found

    def test_an_unknown_kind_of_file_is_refused(self, tmp_path: Path) -> None:
        (tmp_path / "a.txt").write_text("hello")
        assert refusal(tmp_path / "a.txt").endswith(
            "expected a .jsonl, .json, .csv (also .gz), .parquet or .arrow file, got '.txt'"
        )

    @pytest.mark.parametrize("name", ["a.jsonl", "a.json", "a.csv", "a.parquet"])
    def test_an_empty_file_is_refused(self, tmp_path: Path, name: str) -> None:
        (tmp_path / name).touch()
        assert refusal(tmp_path / name).endswith("the file is empty; give one with prompts")

    @pytest.mark.parametrize(("name", "content"), [("a.jsonl", "\n\n"), ("a.json", "[]"), ("a.csv", "prompt,n\n")])
    def test_a_file_without_rows_is_refused(self, tmp_path: Path, name: str, content: str) -> None:
        (tmp_path / name).write_text(content)
        assert refusal(tmp_path / name).endswith("there are no rows in it; give a source with prompts")

    @pytest.mark.parametrize(
        ("name", "content", "kind"),
        [
            ("a.jsonl", b'{"prompt": "a"}\n{"prompt": \n', "JSON"),
            ("a.json", b"hello", "JSON"),
            ("a.csv", b"prompt,n\na,1\nb,2,3,4\n", "CSV"),
            ("a.csv", b"prompt\ncaf\xe9\xff\n", "CSV"),
            ("a.parquet", b"this is a text that only claims to be Parquet", "Parquet"),
        ],
    )
    def test_a_broken_file_is_refused_with_the_readers_reason(
        self, tmp_path: Path, name: str, content: bytes, kind: str, capfd: pytest.CaptureFixture[str]
    ) -> None:
        (tmp_path / name).write_bytes(content)
        assert re.search(rf"the file is not sound {kind} \([^)]{{10,}}", refusal(tmp_path / name))
        assert capfd.readouterr() == ("", "")

    def test_json_in_another_encoding_is_refused(self, tmp_path: Path) -> None:
        (tmp_path / "a.jsonl").write_bytes(b'{"prompt": "caf\xe9\xff"}\n')
        sentence = refusal(tmp_path / "a.jsonl")
        assert re.search(r"the file is not sound JSON \(line 1: 'utf-8' codec can't decode .*\)$", sentence)


class TestLengths:
    def test_both_ends_of_the_range_are_kept(self, tmp_path: Path) -> None:
        file = jsonl(tmp_path / "a.jsonl", *({"prompt": "word " * count} for count in range(1, 7)))
        assert [prompt.tokens for prompt in load(file, 2, 5).prompts] == [2, 3, 4, 5]

    @pytest.mark.parametrize("name", ["deep.jsonl", "deep.json"])
    def test_json_that_is_nested_too_deep_is_refused_before_a_parser_overflows(self, tmp_path: Path, name: str) -> None:
        """pyarrow's would end the process without a word. Brackets in a text are no nesting."""
        row = json.dumps({"prompt": "[" * 5000 + "{" * 5000})
        good = tmp_path / f"good-{name}"
        good.write_text(f"[{row}]" if name.endswith(".json") else f"{row}\n" * 3)
        assert load(good)
        deep = tmp_path / name
        deep.write_text('{"prompt":' + "[" * 200_000 + "]" * 200_000 + "}\n")
        assert "nested deeper" in refusal(deep)

    @pytest.mark.parametrize("text", ["\\", 'a"b', '"', "\\\\", '\\"'])
    def test_nesting_is_counted_whatever_the_texts_beside_it_hold(self, tmp_path: Path, text: str) -> None:
        """An escaped backslash before the closing quote does not escape the quote, and an escaped quote closes none."""
        deep = tmp_path / "deep.jsonl"
        row = f'{{"a":{json.dumps(text)},"prompt":{"[" * 200_000}{"]" * 200_000},"z":""}}\n'
        deep.write_text(row)
        assert "nested deeper" in refusal(deep)
        flat = jsonl(tmp_path / "flat.jsonl", {"prompt": text + "[" * 5000 + text, "z": ""})
        assert [prompt.text for prompt in load(flat).prompts] == [text + "[" * 5000 + text]

    def test_nothing_of_that_length_is_refused_with_the_lengths_found(self, tmp_path: Path) -> None:
        file = jsonl(tmp_path / "a.jsonl", {"prompt": "one"}, {"prompt": ""}, {"prompt": "one two three"})
        assert refusal(file, tokens_min=30, tokens_max=150) == (
            f"prompts from {str(file)!r}: none of its 3 rows has 30 to 150 tokens; by words they have 1 to 3; "
            "widen --prompt-tokens"
        )

    @pytest.mark.parametrize(("text", "bounds"), [("30:150", (30, 150)), (" 1 : 1 ", (1, 1)), ("0:9", (0, 9))])
    def test_a_range_is_read(self, text: str, bounds: tuple[int, int]) -> None:
        assert parse_token_range(text) == bounds

    @pytest.mark.parametrize("text", ["", "30", "30-150", "30:", ":150", "a:b", "-1:5", "1:2:3", "1.5:3", "٣:٥"])
    def test_what_is_no_range_is_refused_with_an_example(self, text: str) -> None:
        with pytest.raises(PromptError) as caught:
            parse_token_range(text)
        assert str(caught.value) == f"--prompt-tokens: expected MIN:MAX such as 30:150, got {text!r}."

    @pytest.mark.parametrize("text", ["150:30", "0:0"])
    def test_a_range_that_nothing_can_meet_is_refused(self, text: str) -> None:
        with pytest.raises(PromptError, match="expected MIN no greater than MAX, and MAX at least 1, got"):
            parse_token_range(text)


class TestHubNames:
    @pytest.mark.parametrize("source", ["hf:", "hf:squad", "hf:json", "hf:a/b/c", "hf:a/b@", "hf:a b/c"])
    def test_a_malformed_name_is_refused_before_anything_is_asked(self, source: str) -> None:
        assert refusal(source).endswith("expected hf:OWNER/NAME[:CONFIG][@SPLIT]")

    def test_a_local_folder_of_the_same_name_is_never_read_in_its_place(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        (tmp_path / "databricks" / "databricks-dolly-15k").mkdir(parents=True)
        monkeypatch.chdir(tmp_path)
        assert "in the working directory would be read in place of the hub's data set" in refusal("dolly")

    def test_a_name_that_is_not_on_the_hub_is_refused(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def missing(*_: object, **__: object) -> None:
            raise datasets.exceptions.DatasetNotFoundError("Dataset 'a/b' doesn't exist on the Hub")

        monkeypatch.setattr(datasets, "load_dataset_builder", missing)
        assert refusal("hf:a/b") == (
            "prompts from 'hf:a/b': a/b is not on the Hugging Face hub, or not for this login; check the name, "
            "log in (hf auth login), use --prompts sample, or --prompts PATH with a local file"
        )

    def test_only_the_columns_in_use_are_decoded(self, monkeypatch: pytest.MonkeyPatch) -> None:
        class Picky(datasets.Dataset):  # type: ignore[misc]
            def __iter__(self) -> object:
                assert self.column_names == ["prompt", "category"]
                return super().__iter__()

        rows = datasets.Dataset.from_list([{"id": 1, "prompt": "a", "category": "x", "picture": b""}])
        rows.__class__ = Picky
        table = PromptTable(tuple(rows.column_names), rows.select_columns)
        monkeypatch.setattr(hub, "load_table", lambda name, split: table)
        assert load("hf:a/b@test").prompts == (Prompt("a", 1, "x", "1"),)


def test_the_notice_of_rows_left_out_names_the_range_of_lengths(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps({"prompt": "word " * count}) + "\n" for count in (2, 40, 50)))
    counter = TokenCounter("words", lambda text: len(text.split()))
    notice = load_prompts(str(path), tokens_min=30, tokens_max=150, counter=counter).left_out.notice()
    assert notice == "1 of 3 rows is left out: shorter or longer than --prompt-tokens 30:150"
