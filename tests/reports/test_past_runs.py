"""Past runs: what is listed, and that no other file is served."""

from __future__ import annotations

import fcntl
import json
import os
from pathlib import Path

import pytest

from tokenswarm.reports.past_runs import PastRun, RunIndex
from tokenswarm.run_folder.completeness import RUN_LOG

FINISHED = Path(__file__).resolve().parents[1] / "run_folder" / "format_2"
RUN = json.loads((FINISHED / "run.json").read_text())
SUMMARY = json.loads((FINISHED / "summary.json").read_text())


@pytest.fixture
def results(tmp_path: Path) -> Path:
    folder = tmp_path / "results"
    for name, changes in {"20260701-a": {}, "20260702-b": {"status": "running", "validity": None}}.items():
        (folder / name).mkdir(parents=True)
        (folder / name / "run.json").write_text(json.dumps(RUN | changes))
    (folder / "20260701-a" / "requests.csv").write_text("id\n")
    (folder / "20260701-a" / "charts").mkdir()
    (folder / "20260701-a" / "charts" / "ttft.png").write_bytes(b"")
    (folder / "20260701-a" / "summary.json").write_text(json.dumps(SUMMARY))
    (folder / "other").mkdir()
    (folder / "other" / "notes.txt").write_text("none of ours")
    (tmp_path / "secret.csv").write_text("mine")
    (folder / "20260701-a" / "elsewhere.csv").symlink_to(tmp_path / "secret.csv")
    return folder


def test_a_failed_run_of_an_earlier_version_has_failed(results: Path) -> None:
    folder = results / "20260701-a"
    for name, document in (("run.json", RUN), ("summary.json", SUMMARY)):
        (folder / name).write_text(
            json.dumps(document | {"status": "failed", "validity": {"verdict": "suspect", "reasons": ["why"]}})
        )
    _, run = RunIndex().runs(results, running="20260702-b")
    assert (run.status, run.validity) == ("failed", "failed")


def test_runs_are_listed_newest_first_with_the_files_that_they_have(results: Path) -> None:
    newer, older = RunIndex().runs(results, running="20260702-b")
    assert (newer.folder, newer.status, newer.validity, newer.note) == ("20260702-b", "running", None, "")
    assert (older.folder, older.status, older.validity) == ("20260701-a", "finished", "valid")
    assert older.files == ["requests.csv", "summary.json"]
    assert older.levels == list(dict.fromkeys(level["level"] for level in RUN["plan"]))
    assert [run.comparable for run in (newer, older)] == [False, True]


def test_a_file_that_came_since_is_listed(results: Path) -> None:
    shelf = RunIndex()
    shelf.runs(results)
    (results / "20260701-a" / "report.html").write_text("")
    assert shelf.runs(results)[1].files == ["report.html", "requests.csv", "summary.json"]


def of(results: Path, folder: str = "20260701-a", name: str = "results") -> PastRun:
    (found,) = (run for run in RunIndex().runs(results, name=name) if run.folder == folder)
    return found


@pytest.mark.parametrize("file", ["run.json", "summary.json"])
@pytest.mark.parametrize(
    "content", [None, "", "{", '{"format": 3', "[]", "{}", '{"format": 99, "levels": []}', "\0", "pipe"]
)
def test_a_damaged_folder_is_listed_as_such_with_the_file_and_is_not_compared(
    results: Path, file: str, content: str | None
) -> None:
    path = results / "20260701-a" / file
    path.unlink()
    if content == "pipe":
        os.mkfifo(path)
    elif content is not None:
        path.write_text(content)
    run = of(results, name="/data/my runs")
    assert (run.status, run.validity, run.comparable, run.recover) == ("damaged", None, False, "")
    assert file in run.note
    assert str(results) not in run.note
    assert run.engine == ("" if file == "run.json" else "vllm")
    assert len(RunIndex().runs(results)) == 2  # the others are listed all the same
    assert (run.files == []) is not (results / "20260701-a" / "run.json").is_file()


def test_a_damaged_folder_with_a_spool_names_the_command_that_completes_it(results: Path) -> None:
    folder = results / "20260701-a"
    (folder / "summary.json").write_text("{")
    (folder / "spool").mkdir()
    (folder / "spool" / RUN_LOG).write_bytes(b"")
    assert of(results, name="/data/my runs/").recover == "tokenswarm recover '/data/my runs/20260701-a'"


def test_a_folder_that_was_completed_since_is_damaged_no_more(results: Path) -> None:
    summary = results / "20260701-a" / "summary.json"
    summary.write_text("{")
    index = RunIndex()
    assert index.runs(results)[1].status == "damaged"
    summary.write_text(json.dumps(SUMMARY))
    os.utime(summary, ns=(1, 1))
    assert index.runs(results)[1].status == "finished"


def test_a_run_before_whose_first_level_it_ended_is_not_compared(results: Path) -> None:
    (results / "20260701-a" / "summary.json").write_text(json.dumps(SUMMARY | {"levels": []}))
    run = of(results)
    assert (run.status, run.comparable) == ("finished", False)
    assert run.note


@pytest.mark.parametrize("spool", ["spool", "elsewhere"])
def test_a_run_that_did_not_end_is_of_another_process_or_was_killed(results: Path, tmp_path: Path, spool: str) -> None:
    folder = results / "20260702-b"
    assert (of(results, folder.name).status, of(results, folder.name).recover) == ("not ended", "")
    place = folder / spool if spool == "spool" else tmp_path / spool
    document = json.loads((folder / "run.json").read_text())
    (folder / "run.json").write_text(
        json.dumps(document | {"spool_folder": "spool" if spool == "spool" else str(place)})
    )
    place.mkdir()
    with (place / RUN_LOG).open("wb") as file:
        fcntl.flock(file.fileno(), fcntl.LOCK_EX)  # as its process does
        busy = of(results, folder.name)
    killed = of(results, folder.name)
    assert (busy.status, busy.recover) == ("running", "")
    assert (killed.status, killed.recover) == ("not ended", "tokenswarm recover results/20260702-b")
    assert not busy.comparable
    assert not killed.comparable


def test_files_of_a_run_are_found(results: Path) -> None:
    assert RunIndex().file(results, "20260701-a", "charts/ttft.png") is not None


@pytest.mark.parametrize(
    ("run", "name"),
    [
        ("20260701-a", "../../secret.csv"),
        ("20260701-a", "elsewhere.csv"),
        ("20260701-a", "nothing.csv"),
        ("20260701-a/charts", "ttft.png"),
        ("..", "secret.csv"),
        (".", "20260701-a/requests.csv"),
        ("20260701-a", "charts"),
        ("20260701-a", "charts/../requests.csv"),
        ("../results/20260701-a", "requests.csv"),
        ("20260701-a", "requests.csv\0"),
        ("20260701-a", "x" * 5_000),
        ("x" * 5_000, "requests.csv"),
        ("other", "notes.txt"),
        ("20260701-a", "circle/requests.csv"),
    ],
    ids=lambda text: text[:30].replace("\0", "NUL"),
)
def test_nothing_else_is(results: Path, run: str, name: str) -> None:
    circle = results / "20260701-a" / "circle"
    circle.symlink_to(circle)
    assert RunIndex().file(results, run, name) is None


def test_a_link_to_a_run_elsewhere_is_not_listed(results: Path, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    (results / "20260701-a").rename(elsewhere)
    (results / "20260701-a").symlink_to(elsewhere)
    assert [run.folder for run in RunIndex().runs(results)] == ["20260702-b"]
    assert RunIndex().file(results, "20260701-a", "requests.csv") is None
