"""`tokenswarm runs`: which runs are listed with which figures, and that names and tags change nothing else."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from tests.reports.folders import Course, write_folder
from tokenswarm.reports.compare.comparison import RunComparison
from tokenswarm.reports.run_list import parse_since
from tokenswarm.reports.runs_command import run
from tokenswarm.run_folder.reader import ReportError, load_results

FORMATS = Path(__file__).resolve().parents[1] / "run_folder"
Listed = Callable[..., list[dict[str, Any]]]


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    results = tmp_path_factory.mktemp("results")
    write_folder(
        results / "20260701-120000-a",
        (Course(10, token_rate=900), Course(50, token_rate=3000, ttft_s=0.4)),
        1,
        summary={"engine": "a"},
        run={"engine": "a", "started_at": "2026-07-01T12:00:00Z", "name": "base", "tags": {"gpu": "H100", "k": "1"}},
    )
    suspect = {"validity": {"verdict": "suspect", "reasons": ["the client lagged"]}}
    write_folder(
        results / "20260702-120000-b",
        (Course(10),),
        2,
        summary={"engine": "b"} | suspect,
        run={"engine": "b", "started_at": "2026-07-02T12:00:00Z", "tags": {"gpu": "A100"}} | suspect,
    )
    return results


@pytest.fixture
def results(written: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(written, tmp_path / "results"))


@pytest.fixture
def listed(results: Path, capsys: pytest.CaptureFixture[str]) -> Listed:
    def list_runs(*words: str) -> list[dict[str, Any]]:
        assert run([str(results), *words, "--json"]) == 0
        found: list[dict[str, Any]] = json.loads(capsys.readouterr().out)
        return found

    return list_runs


def test_a_run_is_listed_with_the_figures_of_its_level_with_the_most_tokens(listed: Listed, results: Path) -> None:
    newest, oldest = listed()
    level = load_results(results / "20260701-120000-a").summary.levels[1]
    assert level.hold.ttft_s.p50 is not None
    assert oldest["headline"]["level"] == "50"
    assert oldest["headline"]["token_rate"] == level.hold.token_rate
    assert oldest["headline"]["ttft_p50_s"] == level.hold.ttft_s.p50.value
    assert (oldest["name"], oldest["tags"], oldest["engine"]) == ("base", {"gpu": "H100", "k": "1"}, "a")
    assert (newest["folder"], newest["validity"]) == ("20260702-120000-b", "suspect")


@pytest.mark.parametrize(
    ("words", "engines"),
    [
        (("--tag", "gpu=H100"), ["a"]),
        (("--tag", "gpu=H100", "--tag", "k=2"), []),
        (("--engine", "b"), ["b"]),
        (("--engine", "b", "--engine", "a"), ["b", "a"]),
        (("--verdict", "suspect"), ["b"]),
        (("--verdict", "finished"), ["b", "a"]),
        (("--since", "2026-07-02"), ["b"]),
        (("--since", "2026-07-02T13:00Z"), []),
        (("--since", "36500d"), ["b", "a"]),
    ],
    ids=str,
)
def test_filters(listed: Listed, words: tuple[str, ...], engines: list[str]) -> None:
    assert [each["engine"] for each in listed(*words)] == engines


def test_a_sweep_beside_the_runs_is_named(results: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (results / "sweep-20260703").mkdir()
    (results / "sweep-20260703" / "sweep.json").write_text("{}")
    assert run([str(results)]) == 0
    assert f"tokenswarm runs {results / 'sweep-20260703'}" in capsys.readouterr().out


def test_times_before_now_and_dates_of_this_machine() -> None:
    now = datetime(2026, 7, 8, 12, tzinfo=UTC)
    assert parse_since("7d", now) == datetime(2026, 7, 1, 12, tzinfo=UTC)
    assert parse_since("90m", now) == datetime(2026, 7, 8, 10, 30, tzinfo=UTC)
    assert parse_since("2026-07-01", now) == datetime(2026, 7, 1).astimezone()
    for text in ("yesterday", "7", "7days", "2026-13-01"):
        with pytest.raises(ReportError, match="--since takes a date"):
            parse_since(text, now)


def test_the_table_keeps_within_the_terminal(
    results: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "110")
    assert run([str(results)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= 110
    (row,) = [line for line in lines if "20260701-120000-a" in line]
    assert row.endswith("gpu=H100 k=1")
    assert "base" in row


@pytest.mark.parametrize("older", ["format_1", "format_2", "20260701-120000-a"])
def test_a_name_and_tags_change_nothing_else(results: Path, older: str, capsys: pytest.CaptureFixture[str]) -> None:
    folder = results / older
    if older.startswith("format"):
        shutil.copytree(FORMATS / older, folder)
    before = {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}
    assert run(["name", str(folder), "new name"]) == 0
    assert run(["tag", str(folder), "gpu=B200", "team=x=y"]) == 0
    document = json.loads((folder / "run.json").read_text())
    was = json.loads(before["run.json"])
    assert document == was | {"name": "new name", "tags": was.get("tags", {}) | {"gpu": "B200", "team": "x=y"}}
    after = {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}
    assert [name for name in before | after if before.get(name) != after.get(name)] == ["run.json"]
    assert load_results(folder).run.name == "new name"
    assert run(["name", str(folder), "--remove"]) == 0
    assert run(["tag", str(folder), "--remove", "gpu", "--remove", "team"]) == 0
    assert load_results(folder).run.tags == {key: value for key, value in was.get("tags", {}).items() if key != "gpu"}
    assert load_results(folder).run.name == ""


def test_a_comparison_calls_a_run_by_its_name(results: Path) -> None:
    folders = sorted(results.iterdir())
    assert run(["name", str(folders[1]), "other"]) == 0
    servers = RunComparison([load_results(folder) for folder in folders], allowed=["levels"]).servers
    assert [server.label for server in servers] == ["base", "other"]


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["name", "RUN"], "give either a NAME or --remove"),
        (["name", "RUN", "a\nb"], "one line of text"),
        (["tag", "RUN", "gpu"], "takes KEY=VALUE"),
        (["nam", "RUN", "first"], "unknown word 'nam'; did you mean name?"),
        (["tag", "RUN", "gpu="], "a value of 1 to"),
        (["tag", "RUN", "gpu=a", "gpu=b"], "has two values"),
        (["tag", "RUN", "--remove", "colour"], "has no tag colour"),
        (["tag", "RUN"], "give KEY=VALUE or --remove KEY"),
        (["tag", "RESULTS", "a=b"], "is not a results folder, but"),
        (["RESULTS", "--tag", "x"], "takes KEY=VALUE"),
        (["RUN"], "is the folder of one run"),
        (["RESULTS/none"], "does not exist"),
    ],
    ids=str,
)
def test_what_cannot_be_done_is_one_sentence(
    results: Path, capsys: pytest.CaptureFixture[str], words: list[str], expected: str
) -> None:
    folder = results / "20260701-120000-a"
    before = (folder / "run.json").read_bytes()
    assert run([word.replace("RUN", str(folder)).replace("RESULTS", str(results)) for word in words]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert expected in line
    assert (folder / "run.json").read_bytes() == before


def test_a_folder_without_runs_is_said_to_have_none(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run([str(tmp_path)]) == 0
    assert f"No run in {tmp_path}; give the results folder of the runs" in capsys.readouterr().out


def test_a_run_that_has_not_ended_is_not_named(results: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = results / "20260701-120000-a" / "run.json"
    document = json.loads(file.read_text()) | {"status": "running"}
    file.write_text(json.dumps(document))
    assert run(["name", str(file.parent), "x"]) == 2
    assert "has not ended" in capsys.readouterr().err
    file.write_text(json.dumps(document | {"status": "finished", "format": 99}))
    assert run(["name", str(file.parent), "x"]) == 2
    assert "has format 99" in capsys.readouterr().err
