"""Traces are read by the names of their columns, whatever tool recorded them; a wrong row is named by its line."""

from __future__ import annotations

import gzip
import hashlib
from pathlib import Path

import numpy as np
import pytest

from tests.prompts.traces import trace_examples as examples
from tokenswarm.prompts.traces.trace_files import read_trace
from tokenswarm.prompts.traces.trace_records import BAD_ROW, WITHOUT_ANSWER, Trace, TraceError, TraceFormat


def read(folder: Path, text: str, name: str = "trace.jsonl", **options: object) -> Trace:
    (file := folder / name).write_bytes(text.encode())
    return read_trace(str(file), **options)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("text", "kind", "times_s", "tokens", "sessions"),
    [
        (examples.MOONCAKE, "mooncake", [0, 1.25, 1.25], [(1100, 40), (1300, 12), (900, 5)], [-1, -1, -1]),
        (examples.BAILIAN, "bailian", [0, 6.7, 7.5], [(40, 9), (64, 20), (33, 2)], [0, 0, 1]),
        (examples.OFFLINE_HASHES, "servegen-offline", [0, 0], [(50, 0), (35, 0)], [-1, -1]),
        (examples.OFFLINE_LENGTHS, "servegen-offline", [0, 0], [(61, 230), (54, 20)], [-1, -1]),
        (examples.AZURE_CODE, "azure", [0, 2.5], [(374, 44), (2015, 9)], [-1, -1]),
        (examples.AZURE_WEEK, "azure", [0, 0.75], [(12, 7), (2015, 9)], [-1, -1]),
        (examples.AZURE_IMAGES, "azure", [0, 0.25], [(900, 31), (80, 3)], [-1, -1]),
        (examples.BURSTGPT_OLD, "burstgpt", [0, 40], [(472, 18), (1087, 230)], [-1, -1]),
        (examples.BURSTGPT_NEW, "burstgpt", [0, 40, 41.5], [(472, 18), (1087, 230), (520, 60)], [0, -1, 0]),
    ],
)
@pytest.mark.parametrize("zipped", [False, True])
def test_every_format_is_known_by_its_first_line(
    tmp_path: Path,
    text: str,
    kind: str,
    times_s: list[float],
    tokens: list[tuple[int, int]],
    sessions: list[int],
    zipped: bool,
) -> None:
    content = gzip.compress(text.encode()) if zipped else text.encode()
    (file := tmp_path / ("trace.csv.gz" if zipped else "trace")).write_bytes(content)
    trace = read_trace(str(file))
    assert trace.format == kind
    assert trace.times_s.tolist() == pytest.approx(times_s)
    assert list(zip(trace.input_tokens.tolist(), trace.output_tokens.tolist(), strict=True)) == tokens
    assert trace.sessions.tolist() == sessions
    assert trace.sha256 == hashlib.sha256(content).hexdigest()
    assert trace.has_times is (kind != "servegen-offline")


def test_rows_of_aiperf_may_hold_texts_and_fields_of_the_body(tmp_path: Path) -> None:
    trace = read(tmp_path, examples.AIPERF)
    assert (trace.format, trace.times_s.tolist(), trace.output_tokens.tolist()) == (
        *("mooncake", [0, 0.5, 0.9005]),
        [30, 8, 0],
    )
    assert trace.input_tokens[0] == 700
    assert trace.sessions.tolist() == [0, 0, -1]
    assert [trace.contents[place].body_overrides for place in range(3)] == [{"temperature": 0.5}, None, {"top_p": 0.9}]
    assert [trace.contents[place].conversation.text for place in range(3)] == ["", "Name a river.", "Why?"]
    assert trace.contents[2].conversation.system == "Be brief."


def test_hash_ids_are_of_blocks_of_the_format(tmp_path: Path) -> None:
    assert [list(ids) for ids in read(tmp_path, examples.MOONCAKE).hash_ids] == [[0, 1, 2], [0, 1, 7], [9]]
    assert read(tmp_path, examples.MOONCAKE).block_tokens == 512
    assert read(tmp_path, examples.BAILIAN).block_tokens == 16
    assert read(tmp_path, examples.OFFLINE_HASHES).block_tokens == 16
    assert read(tmp_path, examples.OFFLINE_LENGTHS).block_tokens == 0


def test_what_came_is_shown_in_part(tmp_path: Path) -> None:
    with pytest.raises(TraceError) as caught:
        read(tmp_path, examples.MOONCAKE.replace("1300", f'"{"x" * 9000}"'))
    assert len(str(caught.value)) < 400


def test_requests_that_failed_are_left_out_and_counted(tmp_path: Path) -> None:
    trace = read(tmp_path, examples.BURSTGPT_OLD, "burst.csv")
    assert (trace.rows, len(trace.times_s), dict(trace.skipped)) == (3, 2, {WITHOUT_ANSWER: 1})


def test_columns_are_found_by_their_names(tmp_path: Path) -> None:
    text = "Response tokens,Log Type,Timestamp,Request tokens\n18,API log,5,472\n"
    assert (read(tmp_path, text).input_tokens[0], read(tmp_path, text).output_tokens[0]) == (472, 18)


def test_sessions_of_bailian_are_trees(tmp_path: Path) -> None:
    def row(chat: int, parent: int, time_s: int) -> str:
        return (
            f'{{"chat_id": {chat}, "parent_chat_id": {parent}, "timestamp": {time_s}, "input_length": 20, '
            '"output_length": 1, "type": "text", "turn": 1, "hash_ids": [1, 2]}\n'
        )

    # 3 follows 2 and 2 follows 1, though 3 stands first; 4 and 5 follow each other; 7's parent is not there.
    rows = [(3, 2, 0), (2, 1, 1), (1, -1, 2), (4, 5, 3), (5, 4, 4), (6, 1, 5), (7, 99, 6), (8, 7, 7), (9, 9, 8)]
    sessions = read(tmp_path, "".join(row(*each) for each in rows)).sessions.tolist()
    assert sessions[0] == sessions[1] == sessions[2] == sessions[5]
    assert sessions[3] == sessions[4]
    assert sessions[6] == sessions[7]
    assert len(set(sessions)) == 4


@pytest.mark.parametrize(
    ("text", "line", "clause"),
    [
        (examples.MOONCAKE + "{oops\n", 4, "expected a JSON object"),
        (examples.MOONCAKE + "\n[1]\n", 5, "expected a JSON object, got list"),
        (examples.MOONCAKE.replace("1250", "-1", 1), 2, "expected timestamp to be a number of at least 0, got -1"),
        (examples.MOONCAKE.replace("1300", "0"), 2, "expected input_length to be a whole number from 1 to"),
        (examples.MOONCAKE.replace("1300", '"x"'), 2, "got 'x'"),
        (examples.MOONCAKE.replace("1300", "1e999"), 2, "expected"),
        (examples.MOONCAKE.replace("1300", "1024"), 2, "expected at most 2 hash ids of 512 tokens"),
        (
            examples.MOONCAKE.replace("7]", "2]"),
            2,
            "expected 76 tokens in the block with hash id 2",
        ),
        (examples.MOONCAKE.replace("[9]", '["9"]'), 3, "expected hash_ids to be a list of whole numbers"),
        (examples.MOONCAKE.replace("[9]", f"[{2**70}]"), 3, "expected"),
        (examples.MOONCAKE.replace('"input_length": 900', '"text_input": "Hi"'), 3, "beside text_input"),
        (
            examples.AIPERF.replace('"text_input": "Name', '"input_length": 9, "text_input": "Name'),
            2,
            "expected one of",
        ),
        (examples.AIPERF.replace('"text_input": "Name a river."', '"payload": {}'), 2, "'payload'"),
        (examples.AIPERF.replace('"timestamp": 500', '"delay": 500'), 2, "'delay', which is not replayed"),
        (examples.AIPERF.replace('"Name a river."', '" "'), 2, "expected texts in text_input, got ' '"),
        (examples.AIPERF.replace('"assistant"', '"tool"'), 3, "expected messages of system, user and assistant"),
        (examples.AIPERF.replace('{"temperature": 0.5}', '"hot"'), 1, "expected extra to be a JSON object"),
        (examples.BAILIAN.replace('"chat_id": 6', '"chat_id": 5'), 2, "expected a chat_id of its own, got 5"),
        (examples.BAILIAN.replace('"chat_id": 6, ', ""), 2, "expected chat_id to be a whole number, got None"),
        (examples.AZURE_WEEK + "yesterday,1,2\n", 4, "expected TIMESTAMP to be like"),
        (examples.AZURE_WEEK + "2024-05-10 00:00:09,1\n", 4, "expected 3 cells, as the first line has, got 2"),
        (examples.BURSTGPT_NEW.replace("1087", "many"), 3, "expected Request tokens to be a whole number"),
    ],
)
def test_a_wrong_row_is_named_by_its_line_or_left_out(tmp_path: Path, text: str, line: int, clause: str) -> None:
    with pytest.raises(TraceError) as caught:
        read(tmp_path, text)
    sentence = str(caught.value)
    assert sentence.startswith(f"--trace {tmp_path}/trace.jsonl: line {line}: ")
    assert clause in sentence
    assert sentence.endswith("Give --trace-skip-bad to leave such rows out.")
    trace = read(tmp_path, text, skip_bad=True)
    assert trace.skipped[BAD_ROW] == 1
    assert len(trace.times_s) == trace.rows - 1


@pytest.mark.parametrize(
    ("text", "options", "clause"),
    [
        ("", {}, "the file is empty"),
        ("a,b\n1,2\n", {}, "begins with 'a,b'; if it is one, say which with --trace-format"),
        ('{"prompt": "Hi"}\n', {}, "expected a trace of Mooncake"),
        (examples.AZURE_WEEK, {"wanted": TraceFormat.BURSTGPT}, "line 1: expected columns"),
        (examples.AZURE_WEEK.splitlines()[0] + "\n", {}, "it holds no request to replay"),
        (examples.MOONCAKE.replace("1", "x"), {"skip_bad": True, "wanted": TraceFormat.MOONCAKE}, "2 wrong"),
    ],
)
def test_a_file_that_holds_no_trace_is_refused(
    tmp_path: Path, text: str, options: dict[str, object], clause: str
) -> None:
    if clause == "2 wrong":
        text = "".join(text.splitlines(keepends=True)[:2])
    with pytest.raises(TraceError, match=clause):
        read(tmp_path, text, **options)


@pytest.mark.parametrize("kind", ["mooncake", "bailian", "servegen-offline"])
@pytest.mark.parametrize("skip_bad", [False, True])
def test_leaving_rows_out_is_no_advice_before_a_row_was_read(tmp_path: Path, kind: str, skip_bad: bool) -> None:
    with pytest.raises(TraceError) as caught:
        read(tmp_path, examples.AZURE_WEEK, "trace.csv", wanted=TraceFormat(kind), skip_bad=skip_bad)
    sentence = str(caught.value)
    assert "--trace-skip-bad" not in sentence
    if not skip_bad:
        assert "line 1: expected a JSON object" in sentence
        assert sentence.endswith(" If the file has another format, say which with --trace-format.")


def _bytes(kind: str) -> bytes:
    return {
        "binary": np.random.Generator(np.random.PCG64(3)).bytes(5000),
        "returns": b"2024,7\r,9\r\r\n",
        "mac": b"a,b\r1,2\r3,4\r",
        "nul": b"a,b\0,c\n",
        "quote": b'a,"b\n' + b"1,2\n" * 20,
    }[kind]


@pytest.mark.parametrize("kind", ["binary", "returns", "mac", "nul", "quote"])
@pytest.mark.parametrize("wanted", [*TraceFormat])
def test_what_is_no_csv_file_is_refused_in_plain_words(tmp_path: Path, kind: str, wanted: TraceFormat) -> None:
    file = tmp_path / "chunk-3-trace.csv"
    (tmp_path / "chunk-3-dataset.json").write_text(examples.SERVEGEN_LENGTHS)
    for begin in (b"", examples.AZURE_WEEK.encode(), examples.SERVEGEN_WINDOWS.encode()):
        file.write_bytes(begin + _bytes(kind))
        with pytest.raises(TraceError) as caught:
            read_trace(str(file), wanted)
        assert "new-line" not in str(caught.value)
        assert "universal" not in str(caught.value)
        assert str(caught.value).startswith(f"--trace {file}: ")


@pytest.mark.parametrize("wanted", [TraceFormat.AUTO, TraceFormat.AZURE])
def test_lines_may_end_as_on_an_old_mac(tmp_path: Path, wanted: TraceFormat) -> None:
    text = examples.AZURE_WEEK.replace("\n", "\r")
    assert read(tmp_path, text, "trace.csv", wanted=wanted).input_tokens.tolist() == [12, 2015]


def test_a_cell_without_an_end_is_refused_in_plain_words(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(TraceError, match="expected a trace of Mooncake.* got a file that begins with 'xxx"):
        read(tmp_path, "x" * 200_000 + ",b\n", "trace.csv")
    monkeypatch.setattr("tokenswarm.prompts.traces.trace_input.MOST_ROW_BYTES", 1000)
    expected = r"trace.csv: it cannot be read as CSV: a cell has no end, as in a binary file; give a trace of Mooncake"
    for skip_bad in (False, True):
        with pytest.raises(TraceError, match=expected):
            read(tmp_path, examples.AZURE_WEEK + "x" * 2000 + "\n", "trace.csv", skip_bad=skip_bad)


def test_a_file_that_is_missing_or_damaged_is_refused(tmp_path: Path) -> None:
    with pytest.raises(TraceError, match="--trace /nowhere: the file does not exist"):
        read_trace("/nowhere")
    (file := tmp_path / "cut.gz").write_bytes(gzip.compress(examples.MOONCAKE.encode() * 50)[:-20])
    with pytest.raises(TraceError, match="it cannot be unpacked"):
        read_trace(str(file))


def test_requests_of_servegen_follow_from_its_windows(tmp_path: Path) -> None:
    trace = read_trace(str(examples.servegen_client(tmp_path)), seed=4)
    assert (trace.format, trace.rows, trace.span_s) == ("servegen", 3, 1200.0)
    # As many as the rate says in each window, from the first that is not idle on.
    assert [int(np.sum((trace.times_s >= begin) & (trace.times_s < begin + 600))) for begin in (0, 600)] == [12, 6]
    assert set(trace.input_tokens.tolist()) == {120, 300}
    assert set(trace.output_tokens.tolist()) == {40}
    again, other = (read_trace(trace.path, seed=seed) for seed in (4, 5))
    assert again.times_s.tolist() == trace.times_s.tolist()
    assert other.times_s.tolist() != trace.times_s.tolist()


def test_gaps_and_lengths_of_servegen_have_their_distributions(tmp_path: Path) -> None:
    lengths = '{"0": {"input_tokens": "{10: 0.2, 20: 0.8}", "output_tokens": "{1: 1e-1, 2: 9e-1}"}}'
    trace = read_trace(str(examples.servegen_client(tmp_path, "0,50,2.2,Gamma,0.2,0.1\n", lengths)))
    gaps = np.diff(trace.times_s)
    assert len(gaps) == 29_999
    assert gaps.std() / gaps.mean() == pytest.approx(0.2**-0.5, rel=0.05)
    assert (trace.input_tokens == 20).mean() == pytest.approx(0.8, abs=0.02)
    assert (trace.output_tokens == 2).mean() == pytest.approx(0.9, abs=0.02)


@pytest.mark.parametrize(
    ("windows", "lengths", "clause"),
    [
        ("0,1,1,Gamma\n", examples.SERVEGEN_LENGTHS, "begins with '0,1,1,Gamma'"),
        ("0,0,0,,0,0\n600,1,1,Pareto,1,1\n", examples.SERVEGEN_LENGTHS, "line 2: expected Gamma or Weibull"),
        ("0,0,0,,0,0\n", examples.SERVEGEN_LENGTHS, "all of its 1 windows are idle"),
        ("21600,1,1,Gamma,1,1\n", examples.SERVEGEN_LENGTHS, "line 1: expected lengths for the second 21600"),
        ("0,1,1,Gamma,1,1\n", '{"0": {"input_tokens": "__import__(1)", "output_tokens": "{}"}}', "second 0: expected"),
        ("0,1,1,Gamma,1,1\n", '{"0": {"input_tokens": "{1: x}", "output_tokens": "{}"}}', "got '1: x'"),
        ("0,1,1,Gamma,1,1\n", "[]", "chunk-3-dataset.json: expected JSON"),
    ],
)
def test_what_is_wrong_with_files_of_servegen(tmp_path: Path, windows: str, lengths: str, clause: str) -> None:
    with pytest.raises(TraceError, match=clause.replace("(", r"\(")):
        read_trace(str(examples.servegen_client(tmp_path, windows, lengths)))


def test_only_the_windows_that_are_replayed_are_drawn(tmp_path: Path) -> None:
    file = str(examples.servegen_client(tmp_path))
    whole, part = read_trace(file, seed=4), read_trace(file, seed=4, window_s=(650, 700))
    assert part.times_s.tolist() == [time_s for time_s in whole.times_s.tolist() if time_s >= 600]
    assert (part.span_s, part.sha256, part.rows) == (whole.span_s, whole.sha256, whole.rows)
    many = "".join(f"{600 * number},9000,1,Gamma,1,1\n" for number in range(4))
    busy = str(examples.servegen_client(tmp_path, many))
    with pytest.raises(TraceError, match="its windows have 21,600,000 requests, .* --trace-window"):
        read_trace(busy)


def test_clients_of_a_folder_are_sent_together(tmp_path: Path) -> None:
    (folder := tmp_path / "m-large").mkdir()
    alone = read_trace(str(examples.servegen_client(folder)), seed=4)
    (folder / "chunk-4-trace.csv").write_text("1200,0.05,1,Gamma,1,1\n0,0,0,,0,0\n")
    (folder / "chunk-4-dataset.json").write_text(examples.SERVEGEN_LENGTHS.replace("40:", "41:"))
    both = read_trace(str(folder), seed=4)
    assert (both.rows, both.span_s, len(both.times_s)) == (5, 1200.0, 18 + 30)
    first = both.output_tokens == 40
    assert both.times_s[first].tolist() == alone.times_s.tolist()
    assert set(both.output_tokens[~first].tolist()) == {41}
    assert both.times_s[~first].min() >= 600
    assert both.times_s.tolist() == sorted(both.times_s.tolist())
    (folder / "chunk-4-trace.csv").write_text("0,0,0,,0,0\n1200,x,1,Gamma,1,1\n")
    with pytest.raises(TraceError, match=f"--trace {folder}: chunk-4-trace.csv: line 2: expected the rate"):
        read_trace(str(folder))
    assert dict(read_trace(str(folder), skip_bad=True).skipped) == {BAD_ROW: 1}
    (empty := tmp_path / "empty").mkdir()
    with pytest.raises(TraceError, match="expected a folder with files like chunk-1-trace.csv, found none"):
        read_trace(str(empty))
    with pytest.raises(TraceError, match="is a folder"):
        read_trace(str(folder), TraceFormat.AZURE)


def test_servegen_needs_both_files(tmp_path: Path) -> None:
    (file := tmp_path / "windows.csv").write_text(examples.SERVEGEN_WINDOWS)
    with pytest.raises(TraceError, match="expected the two files of a ServeGen client side by side"):
        read_trace(str(file))
