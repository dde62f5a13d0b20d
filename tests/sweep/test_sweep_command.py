"""`tokenswarm sweep` itself: what it refuses before any run."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from tokenswarm.sweep.manifest import Manifest, SweepRun, write_manifest
from tokenswarm.sweep.option_check import check_words
from tokenswarm.sweep.sweep_command import run


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["--levels=x"], "--levels takes numbers of users"),
        (["--repeats=2"], "unknown option --repeats; did you mean --repeat?"),
        (["--header=X-Key: a secret"], "--header X-Key has a value of its own"),
        (["--proxy=http://me:secret@proxy:3128"], "--proxy has a password"),
        (["stray"], "unexpected argument 'stray'"),
    ],
)
def test_options_of_cells_are_checked_as_a_run_checks_them(words: list[str], expected: str) -> None:
    (error,) = check_words([*words, "--metrics-port=0"], ["--repeat", "--vary"]).errors
    assert expected in error
    assert "secret" not in error


def test_how_long_a_cell_takes_is_known_where_its_plan_says_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TOKENSWARM_PROXY", "http://me:secret@proxy:3128")  # which no manifest keeps
    timed = check_words(["--levels=1,2", "--ramp=0s", "--level-time=10s", "--settle=1s", "--system-prompt=off"], [])
    assert (timed.errors, timed.planned_s) == ([], 22.0)
    assert check_words(["--levels=1", "--requests=5"], []).planned_s is None


def test_what_is_wrong_is_said_before_the_first_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert run(["--vary", "levels=1,x", "--vary", "seed=3,4", "--seeed", "5"]) == 2
    errors = capsys.readouterr().err.splitlines()
    assert [line for line in errors if "cell 3, 4: --levels takes" in line]
    assert [line for line in errors if "unknown option --seeed; did you mean --seed?" in line]
    assert len(errors) == 2
    assert run(["--resume", "results", "--vary", "levels=1,2", "-u", "3"]) == 2
    assert "leave --vary, --users out" in capsys.readouterr().err
    assert run(["nothing.toml", "--vary", "levels"]) == 2
    assert len(capsys.readouterr().err.splitlines()) == 2
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("option", ["--results", "TOKENSWARM_RESULTS"])
def test_a_store_is_no_folder_of_a_sweep(
    option: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TOKENSWARM_RESULTS", "s3://bucket/x")
    words = ["--results", "s3://bucket/x"] if option == "--results" else []
    assert run(["--vary", "levels=1,2", "--dry-run", *words]) == 2
    assert capsys.readouterr().err.startswith(f"tokenswarm sweep: {option} of a sweep takes a folder of this machine")
    assert list(tmp_path.iterdir()) == []


def test_a_sweep_whose_starting_folder_is_gone_is_not_resumed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    gone = str(tmp_path / "gone")
    begun = datetime(2026, 7, 1, tzinfo=UTC)
    runs = [SweepRun(number=1, cell=1, repeat=1, name="", values={}, words=[])]
    write_manifest(
        tmp_path, Manifest(started_at=begun, current_folder=gone, command=[], varied=[], repeat=1, runs=runs)
    )
    assert run(["--resume", str(tmp_path)]) == 2
    assert capsys.readouterr().err.startswith(f"tokenswarm sweep: {gone}, in which the sweep was started")
