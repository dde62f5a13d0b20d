"""Folders with files that are missing or cut short."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path

import pytest

from tokenswarm.recording.recovery import RecoveryError, recover
from tokenswarm.reports import report_command
from tokenswarm.reports.warnings import warnings_of
from tokenswarm.run_folder.completeness import RUN_LOG, count_rows, readable_journals, requests_missing
from tokenswarm.run_folder.reader import ReportError, load_results

Write = Callable[..., Path]


@pytest.mark.parametrize(
    ("text", "rows"),
    [
        ("", 0),
        ("id,error\n", 0),
        ("id,error\n1,\n2,\n", 2),
        ('id,error\n1,"two\nlines"\n2,"a ""quoted"" one\n"\n', 2),
        ("id,error\n1,\n2,cut sho", 1),
        ('id,error\n1,\n2,"cut\n', 1),
    ],
)
def test_rows_are_lines_outside_quotes_that_were_written_to_their_end(tmp_path: Path, text: str, rows: int) -> None:
    (tmp_path / "rows.csv").write_text(text)
    assert count_rows(tmp_path / "rows.csv") == rows


def test_a_quotation_that_reaches_over_a_block_hides_its_line_ends(tmp_path: Path) -> None:
    (tmp_path / "rows.csv").write_text("error\n" + ('"' + "x" * 700_000 + "\n" + 'y"\n') * 4)
    assert count_rows(tmp_path / "rows.csv") == 4


@pytest.mark.parametrize(
    ("there", "expected"),
    [
        ((), "no CSV file is left"),
        (("windows.csv",), "windows.csv is readable"),
        (
            ("requests.csv", "windows.csv", "histograms.csv"),
            "requests.csv, windows.csv and histograms.csv are readable",
        ),
    ],
)
def test_what_is_readable_is_named(tmp_path: Path, there: tuple[str, ...], expected: str) -> None:
    for name in there:
        (tmp_path / name).touch()
    assert readable_journals(tmp_path) == expected


def test_a_whole_folder_is_complete(write_run: Write) -> None:
    folder = write_run()
    results = load_results(folder)
    assert results.requests_missing is None
    assert warnings_of(results) == []
    assert recover(folder).done


@pytest.mark.parametrize(
    ("rows", "expected"), [(None, "requests.csv is missing (2,560 rows were recorded)"), (100, "100 of the 2,560 rows")]
)
def test_requests_that_are_missing_are_reported_and_cannot_be_recovered(
    write_run: Write, rows: int | None, expected: str
) -> None:
    folder = write_run()
    requests = folder / "requests.csv"
    if rows is None:
        requests.unlink()
    else:
        requests.write_text("\n".join(requests.read_text().splitlines()[: rows + 1]) + "\n")
    (warning,) = warnings_of(load_results(folder))
    assert warning.startswith("FILES INCOMPLETE: ")
    assert expected in warning
    with pytest.raises(RecoveryError, match="there is no spool to rebuild it from") as caught:
        recover(folder)
    assert expected in str(caught.value)


@pytest.mark.parametrize("name", ["windows.csv", "histograms.csv"])
def test_a_file_that_is_missing_is_reported_and_cannot_be_recovered(write_run: Write, name: str) -> None:
    folder = write_run()
    (folder / name).unlink()
    (warning,) = warnings_of(load_results(folder))
    assert name in warning and "requests.csv" not in warning
    with pytest.raises(RecoveryError, match=name):
        recover(folder)


@pytest.mark.parametrize("option", [["--slo", "ttft=500ms"], ["--as", "vllm"], ["--parquet", "x"], ["--hlog", "x"]])
@pytest.mark.parametrize("rows", [None, 0, 100])
def test_what_needs_every_request_is_refused_where_some_are_missing(
    write_run: Write, tmp_path: Path, option: list[str], rows: int | None, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = write_run()
    requests = folder / "requests.csv"
    lines = requests.read_text().splitlines()
    requests.unlink()
    if rows is not None:
        requests.write_text("".join(f"{line}\n" for line in lines[: rows + 1]))
    value = str(tmp_path / "export") if option[1] == "x" else option[1]
    parser = argparse.ArgumentParser()
    report_command.add_arguments(parser)
    assert report_command.main(parser.parse_args([str(folder), option[0], value])) == 2
    assert option[0] in capsys.readouterr().err
    assert not (tmp_path / "export").exists()


def test_a_summary_that_is_missing_cannot_be_recovered_without_a_spool(write_run: Write) -> None:
    folder = write_run()
    (folder / "summary.json").unlink()
    with pytest.raises(RecoveryError) as caught:
        recover(folder)
    assert str(caught.value).startswith(f"{folder}/summary.json is missing")
    assert "requests.csv, windows.csv and histograms.csv are readable" in str(caught.value)


def test_report_says_whether_a_summary_that_is_missing_can_be_rebuilt(write_run: Write) -> None:
    folder = write_run()
    (folder / "summary.json").unlink()
    with pytest.raises(ReportError) as caught:
        load_results(folder)
    assert "tokenswarm recover" not in str(caught.value)
    (folder / "spool").mkdir()
    (folder / "spool" / RUN_LOG).write_bytes(b"")
    with pytest.raises(ReportError, match=f"tokenswarm recover {folder}"):
        load_results(folder)


def test_a_run_json_that_was_cut_is_named_as_damaged(write_run: Write) -> None:
    folder = write_run()
    (folder / "run.json").write_text((folder / "run.json").read_text()[:100])
    with pytest.raises(RecoveryError, match=r"run\.json is damaged"):
        recover(folder)


def test_what_is_no_run_s_folder_is_named_as_report_names_it(write_run: Write) -> None:
    folder = write_run()
    for path in (folder / "nowhere", folder / "run.json", folder.parent):
        with pytest.raises(ReportError) as reported:
            load_results(path)
        with pytest.raises(ReportError) as recovered:
            recover(path)
        assert str(recovered.value) == str(reported.value)


def test_a_file_of_something_else_is_not_counted(tmp_path: Path) -> None:
    (tmp_path / "requests.csv").write_bytes(bytes(range(128, 256)) + b"\n" * 8)
    found = requests_missing(tmp_path, 12)
    assert found is not None and found.startswith("requests.csv cannot be read")
    (tmp_path / "requests.csv").write_bytes(b"id,outcome\n1,ok\n")
    assert requests_missing(tmp_path, 1) is None
    (tmp_path / "requests.csv").write_bytes(b"")
    assert requests_missing(tmp_path, 12) == "requests.csv has 0 of the 12 rows recorded"
