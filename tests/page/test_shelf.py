"""Past runs: what is listed, and that no other file is served."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from page.runs import RunShelf

RUN = {
    "started_at": "2026-07-01T12:00:00+00:00",
    "status": "finished",
    "engine": "vllm",
    "model": "llama",
    "host": "http://gpu:8000",
    "shape": "ladder",
    "plan": [{"level": "10", "system_prompt": "off"}, {"level": "10", "system_prompt": "on"}],
    "validity": {"verdict": "valid", "reasons": []},
}


@pytest.fixture
def results(tmp_path: Path) -> Path:
    folder = tmp_path / "results"
    for name, changes in {"20260701-a": {}, "20260702-b": {"status": "running", "validity": None}}.items():
        (folder / name).mkdir(parents=True)
        (folder / name / "run.json").write_text(json.dumps(RUN | changes))
    (folder / "20260701-a" / "requests.csv").write_text("id\n")
    (folder / "20260701-a" / "charts").mkdir()
    (folder / "20260701-a" / "charts" / "ttft.png").write_bytes(b"")
    (folder / "broken").mkdir()
    (folder / "broken" / "run.json").write_text("{")
    (tmp_path / "secret.csv").write_text("mine")
    (folder / "20260701-a" / "elsewhere.csv").symlink_to(tmp_path / "secret.csv")
    return folder


def test_runs_are_listed_newest_first_with_the_files_that_they_have(results: Path) -> None:
    newer, older = RunShelf().runs(results)
    assert (newer.folder, newer.status, newer.validity) == ("20260702-b", "running", None)
    assert (older.folder, older.validity, older.files) == ("20260701-a", "valid", ["requests.csv"])
    assert older.levels == ["10"]


def test_a_file_that_came_since_is_listed(results: Path) -> None:
    shelf = RunShelf()
    shelf.runs(results)
    (results / "20260701-a" / "report.html").write_text("")
    assert shelf.runs(results)[1].files == ["report.html", "requests.csv"]


def test_files_of_a_run_are_found(results: Path) -> None:
    assert RunShelf().file(results, "20260701-a", "charts/ttft.png") is not None


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
    ],
)
def test_nothing_else_is(results: Path, run: str, name: str) -> None:
    assert RunShelf().file(results, run, name) is None
