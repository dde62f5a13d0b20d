"""The link to the newest run: where it leads, and that nothing takes it for a run of its own."""

from __future__ import annotations

import errno
import json
import shutil
from pathlib import Path

import pytest

from tokenswarm.reports.past_runs import RunIndex
from tokenswarm.run_folder.latest import followed, point_latest_at, without_latest
from tokenswarm.run_folder.reader import load_results, runs_in

FINISHED = Path(__file__).parent / "format_2"


@pytest.fixture
def results(tmp_path: Path) -> Path:
    for name in ("20260701-a", "20260702-b"):
        shutil.copytree(FINISHED, tmp_path / name)
    return tmp_path


def test_it_leads_to_the_newest_run_and_moves_with_the_results(results: Path) -> None:
    assert point_latest_at(results / "20260701-a") == ""
    assert point_latest_at(results / "20260702-b") == ""
    moved = results.with_name("moved")
    results.rename(moved)
    assert followed(moved / "latest") == moved / "20260702-b"
    assert load_results(moved / "latest").folder.name == "20260702-b"
    assert sorted(path.name for path in moved.iterdir()) == ["20260701-a", "20260702-b", "latest"]


def test_no_list_has_a_run_twice(results: Path) -> None:
    point_latest_at(results / "20260701-a")
    assert [run.folder for run in RunIndex().runs(results)] == ["20260702-b", "20260701-a"]
    assert [path.name for path in runs_in(results)] == ["20260702-b", "20260701-a"]
    named = [str(path) for path in sorted(results.iterdir())]
    assert without_latest(named) == named[:2]
    assert without_latest(named[1:]) == named[1:]  # it leads to one that is not named


def test_what_is_called_latest_already_stays(results: Path) -> None:
    (results / "latest").mkdir()
    assert "stays as it is" in point_latest_at(results / "20260701-a")
    shutil.copy(FINISHED / "run.json", results / "latest")
    assert "latest" in [run.folder for run in RunIndex().runs(results)]


def test_where_there_are_no_links_one_sentence_says_so(results: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(Path, "symlink_to", refuse)
    assert point_latest_at(results / "20260701-a").endswith("no link can be made there (Operation not permitted).")
    assert sorted(path.name for path in results.iterdir()) == ["20260701-a", "20260702-b"]


def test_a_run_that_is_gone_is_named_by_its_folder(results: Path) -> None:
    point_latest_at(results / "20260701-a")
    shutil.rmtree(results / "20260701-a")
    with pytest.raises(ValueError, match="There is no folder .*20260701-a"):
        load_results(results / "latest")
    assert json.loads((results / "20260702-b" / "run.json").read_text())


def test_a_run_named_as_lists_name_it_is_found_under_results(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copytree(FINISHED, tmp_path / "results" / "20260701-a")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match=r"did you mean results/20260701-a\?"):
        load_results(Path("20260701-a"))
