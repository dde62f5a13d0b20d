"""Files of any size: read in pieces, compressed or not, and kept on disk once they are many."""

import gzip
import io
import json
import os
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from tokenswarm.prompts import Prompt, PromptError, PromptSet, Sampler, TokenCounter, load_prompts
from tokenswarm.prompts import json_rows as json_rows_module
from tokenswarm.prompts.json_rows import UnsoundRows, rows_of_document, rows_of_lines
from tokenswarm.prompts.prompt_records import ChatMessage, fingerprint_of
from tokenswarm.prompts.stored_prompts import PromptCollector

WORDS = TokenCounter("words", lambda text: len(text.split()))
ROWS: list[Any] = [
    {"prompt": 'quote " and \\ backslash', "n": -12.5e3},
    {"prompt": "Grüße, 世界 🙂", "nested": {"a": [1, [2, [3]], {"b": None}], "c": True}},
    {"prompt": "[{,]}" * 40, "false": False},
    "a text alone",
]


@pytest.fixture(params=[1, 2, 3, 7, 2**20])
def block_bytes(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> int:
    size: int = request.param
    monkeypatch.setattr(json_rows_module, "_BLOCK_BYTES", size)
    return size


class TestDocuments:
    @pytest.mark.parametrize("indent", [None, 0, 3])
    @pytest.mark.parametrize("ascii_alone", [True, False])
    def test_an_array_is_read_row_by_row_wherever_it_is_cut(
        self, block_bytes: int, indent: int | None, ascii_alone: bool
    ) -> None:
        text = json.dumps(ROWS, indent=indent, ensure_ascii=ascii_alone)
        assert list(rows_of_document(io.BytesIO(text.encode()))) == ROWS
        assert list(rows_of_document(io.BytesIO(b"\xef\xbb\xbf \n" + text.encode() + b" \n"))) == ROWS

    def test_documents_one_after_the_other_are_rows_too(self, block_bytes: int) -> None:
        text = "".join(json.dumps(row, indent=2) + "\n" for row in ROWS)
        assert list(rows_of_document(io.BytesIO(text.encode()))) == ROWS

    @pytest.mark.parametrize("content", [b"", b" \n", b"[]", b"[ ]\n"])
    def test_there_may_be_no_row(self, block_bytes: int, content: bytes) -> None:
        assert list(rows_of_document(io.BytesIO(content))) == []

    @pytest.mark.parametrize(
        "content",
        [
            *(b"[", b'["a"', b'["a",', b'["a",]', b'["a" "b"]', b'["a"}', b'["a"]x', b'[{"a":}]', b'[{"a":1'),
            *(b"[nul]", b'["\\u12"]', b'["\\ud800"]', b'["\xff"]', b"[NaN]", b'["tab\there"]', b"hello"),
        ],
    )
    def test_what_is_no_json_is_refused(self, block_bytes: int, content: bytes) -> None:
        with pytest.raises(UnsoundRows):
            list(rows_of_document(io.BytesIO(content)))

    def test_an_error_is_found_without_reading_the_rest(self) -> None:
        """Else a broken file of many gigabytes would fill the memory."""
        file = io.BytesIO(b'[{"a": 1}, {"a" 2}, ' + b'{"a": 3}, ' * 1_000_000)
        with pytest.raises(UnsoundRows, match="behind row 1: Expecting ':' delimiter"):
            list(rows_of_document(file))
        assert file.tell() < 3_000_000


class TestLines:
    def test_a_line_without_an_end_is_given_up_in_time(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(json_rows_module, "MOST_ROW_BYTES", 2**20)
        file = io.BytesIO(b'{"prompt": "a"}\n{"prompt": "' + b"x" * 2**22)
        with pytest.raises(UnsoundRows, match="line 2 is longer than 1 MiB"):
            list(rows_of_lines(file))
        assert file.tell() < 2**21

    @pytest.mark.parametrize("line", [b"{'a': 1}", b'{"a": "\\ud800"}'])
    def test_the_line_is_named(self, line: bytes) -> None:
        with pytest.raises(UnsoundRows, match=r"\bline 3\b"):
            list(rows_of_lines(io.BytesIO(b'\xef\xbb\xbf{"a": 1}\n\n' + line)))


class TestCompressed:
    @pytest.mark.parametrize("name", ["a.jsonl.gz", "a.json.gz", "a.csv.gz", "a.CSV.GZ", "a.ndjson.gz"])
    def test_gzip_files_are_unpacked_as_they_are_read(self, tmp_path: Path, name: str) -> None:
        content = "prompt\none two\n" if "csv" in name.lower() else '{"prompt": "one two"}\n'
        (tmp_path / name).write_bytes(gzip.compress(content.encode()))
        assert load(tmp_path / name).prompts == (Prompt("one two", 2, id="1"),)

    def test_several_members_are_one_file(self, tmp_path: Path) -> None:
        """As `cat a.gz b.gz` and parallel compressors leave them."""
        members = (gzip.compress(f'{{"prompt": "row {n}"}}\n'.encode()) for n in range(3))
        (tmp_path / "a.jsonl.gz").write_bytes(b"".join(members))
        assert [prompt.text for prompt in load(tmp_path / "a.jsonl.gz").prompts] == ["row 0", "row 1", "row 2"]

    @pytest.mark.parametrize("damage", [lambda data: data[:-200], lambda data: data[:300] + b"\0" * 40 + data[340:]])
    def test_a_damaged_one_is_refused(self, tmp_path: Path, damage: Any) -> None:
        rows = "".join(json.dumps({"prompt": f"row {n * 7919 % 1000}"}) + "\n" for n in range(3000))
        (tmp_path / "a.jsonl.gz").write_bytes(damage(gzip.compress(rows.encode())))
        with pytest.raises(PromptError, match="the file is not sound JSON"):
            load(tmp_path / "a.jsonl.gz")

    def test_a_plain_file_of_that_name_is_read_as_what_it_is(self, tmp_path: Path) -> None:
        (tmp_path / "a.jsonl.gz").write_text('{"prompt": "plain"}\n')
        assert [prompt.text for prompt in load(tmp_path / "a.jsonl.gz").prompts] == ["plain"]


class TestCsv:
    @pytest.mark.parametrize(
        ("content", "place"),
        [
            ("prompt,n\na,1\nb,2,3\n", "row 2 has 3 cells"),
            ('prompt\na\n"b\nc\n', "line 4"),
            ('prompt\n"a"b\n', "line 2"),
        ],
    )
    def test_a_row_that_does_not_fit_is_named(self, tmp_path: Path, content: str, place: str) -> None:
        """A quote that nobody closes would take all rows behind it into one."""
        (tmp_path / "a.csv").write_text(content)
        with pytest.raises(PromptError, match=f"the file is not sound CSV .{place}"):
            load(tmp_path / "a.csv")


class TestManyPrompts:
    PROMPTS = tuple(
        Prompt(
            f"text {n} 世",
            n + 1,
            "kind" if n % 2 else "",
            str(n),
            system="Be kind." if n % 3 else None,
            earlier=(ChatMessage("user", "a"), ChatMessage("assistant", "b")) if n % 5 == 0 else (),
            custom_id=f"r{n}",
            max_tokens=n + 1 if n % 4 else None,
            body_overrides={"temperature": 0.5, "stop": ["x", None]} if n % 7 == 0 else None,
            endpoint="completions" if n % 11 == 0 else "",
        )
        for n in range(200)
    )

    def collected(self, most_characters: int, prompts: Iterable[Prompt] = PROMPTS) -> PromptSet:
        collector = PromptCollector(most_characters)
        for prompt in prompts:
            collector.add(prompt)
        return PromptSet("x", collector.prompts(), "words", collector.fingerprint, stats=collector.stats)

    @pytest.mark.parametrize("most_characters", [0, 500, 10**9])
    def test_they_are_the_same_on_disk_and_in_memory(self, most_characters: int) -> None:
        found = self.collected(most_characters)
        assert isinstance(found.prompts, tuple) is (most_characters == 10**9)
        assert tuple(found.prompts) == self.PROMPTS
        assert (found.prompts[-1], found.prompts[3:5]) == (
            self.PROMPTS[-1],
            type(found.prompts[3:5])(self.PROMPTS[3:5]),
        )
        with pytest.raises(IndexError):
            found.prompts[200]
        assert found.fingerprint == fingerprint_of(self.PROMPTS)
        whole = PromptSet("x", self.PROMPTS, "words", fingerprint_of(self.PROMPTS))
        assert found.facts() == whole.facts()
        one, other = Sampler(found, 7), Sampler(whole, 7)
        assert [one.draw() for _ in range(450)] == [other.draw() for _ in range(450)]

    def test_what_rows_set_is_counted_for_run_json(self) -> None:
        facts = self.collected(0).facts()
        assert {name: value for name, value in facts.items() if name.startswith(("rows_with", "max_tokens"))} == {
            "rows_with_body_overrides": 29,
            "rows_with_endpoint": 19,
            "rows_with_max_tokens": 150,
            "max_tokens_min": 2,
            "max_tokens_max": 200,
        }

    @pytest.mark.slow
    def test_processes_that_are_forked_read_them_at_the_same_time(self) -> None:
        """A shared position in the file would give each of them pieces of the others' prompts."""
        done = subprocess.run(
            [sys.executable, "-c", _FORKED],
            env={**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parents[2])},
            capture_output=True,
            text=True,
            timeout=60,
            check=True,
        )
        assert done.stdout.split() == ["2010000"] * 4


_FORKED = """
import os
import subprocess
import sys
from tokenswarm.prompts import Prompt, PromptSet, Sampler
from tokenswarm.prompts.stored_prompts import PromptCollector
collector = PromptCollector(0)
for number in range(200):
    collector.add(Prompt(f"text {number}", number + 1))
found = PromptSet("x", collector.prompts(), "words", collector.fingerprint, stats=collector.stats)
first = os.fork()
os.fork()
order = Sampler(found, os.getpid())
os.write(1, b"%d\\n" % sum(order.draw().tokens for _ in range(20_000)))
while True:
    try:
        os.wait()
    except ChildProcessError:
        break
"""


def load(source: Path) -> PromptSet:
    return load_prompts(str(source), tokens_min=1, tokens_max=1000, counter=WORDS)
