"""Runs of a sweep in order, interrupted and resumed, with runs that are played: each cell has its runs once."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest

from tokenswarm.command_line.exit_codes import EXIT_INTERRUPTED
from tokenswarm.sweep.cell_process import check_none_runs, run_folders
from tokenswarm.sweep.manifest import (
    APART,
    Manifest,
    RunState,
    SweepRun,
    locked,
    read_manifest,
    set_apart,
    write_manifest,
)
from tokenswarm.sweep.sweep_plan import Axis, SweepPlan, order_of
from tokenswarm.sweep.sweep_runner import RunOutcome, exit_code_of, run_sweep

NOW = datetime(2026, 7, 1, 12, tzinfo=UTC)
FINISHED = Path(__file__).resolve().parents[1] / "run_folder" / "format_2"
CELLS = SweepPlan(axes=(Axis("levels", ("10", "50")), Axis("input-tokens", ("1", "2", "3")))).cells()
Play = Callable[[SweepRun], RunOutcome]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    runs = [
        SweepRun(
            number=place,
            cell=number,
            repeat=time,
            name=CELLS[number - 1].name,
            values=CELLS[number - 1].texts,
            words=[],
        )
        for place, (number, time) in enumerate(order_of(CELLS, 2), start=1)
    ]
    varied = ["levels", "input-tokens"]
    write_manifest(
        tmp_path, Manifest(started_at=NOW, current_folder="/", command=[], varied=varied, repeat=2, runs=runs)
    )
    return tmp_path


def player(folder: Path, played: list[int], how: dict[int, RunOutcome]) -> Play:
    """A run that leaves a folder as a run does; how: the outcomes of other ones, by how many were played before."""

    def play(run: SweepRun) -> RunOutcome:
        assert read_manifest(folder).runs[run.number - 1].state is RunState.RUNNING
        place = len(list(folder.rglob("run.json")))
        outcome = how.get(len(played), RunOutcome(0, f"2026070{place // 10}-{place:02}", "finished"))
        if outcome.folder is not None:
            shutil.copytree(FINISHED, folder / outcome.folder)
            file = folder / outcome.folder / "run.json"
            file.write_text(json.dumps(json.loads(file.read_text()) | {"status": outcome.status}))
        played.append(run.number)
        return outcome

    return play


def go(folder: Path, play: Play, *, resume: bool = False, stop_on_failure: bool = False) -> Manifest:
    manifest = read_manifest(folder)
    if resume:
        manifest = set_apart(folder, manifest, run_folders(folder))
    return run_sweep(manifest, play, lambda each: write_manifest(folder, each), lambda: NOW, stop_on_failure)


def test_a_sweep_that_is_interrupted_and_resumed_has_each_run_once(folder: Path) -> None:
    played: list[int] = []
    cut = RunOutcome(EXIT_INTERRUPTED, "cut", "interrupted", interrupted=True)
    manifest = go(folder, player(folder, played, {4: cut}))
    assert played == [1, 2, 3, 4, 5]
    assert manifest.runs[4].state is RunState.INTERRUPTED
    assert exit_code_of(manifest.runs) == EXIT_INTERRUPTED
    manifest = go(folder, player(folder, played, {}), resume=True)
    assert played == [1, 2, 3, 4, 5, *range(5, 13)]
    assert [(run.cell, run.repeat) for run in manifest.runs] == [
        (cell, time) for time in (1, 2) for cell in range(1, 7)
    ]
    assert {run.state for run in manifest.runs} == {RunState.FINISHED}
    assert sorted(run.folder or "" for run in manifest.runs) == run_folders(folder)
    assert len(set(run_folders(folder))) == 12
    assert manifest.runs[4].kept_apart == [f"{APART}/cut"]
    assert (folder / APART / "cut" / "run.json").is_file()
    assert read_manifest(folder) == manifest
    assert exit_code_of(manifest.runs) == 0


def test_a_sweep_that_was_killed_keeps_the_folder_of_its_run_apart(folder: Path) -> None:
    def killed(run: SweepRun) -> RunOutcome:
        shutil.copytree(FINISHED, folder / "20260701-killed")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        go(folder, killed)
    played: list[int] = []
    manifest = go(folder, player(folder, played, {}), resume=True)
    assert played == list(range(1, 13))
    assert manifest.runs[0].kept_apart == [f"{APART}/20260701-killed"]
    assert "20260701-killed" not in run_folders(folder)


def test_a_run_that_fails_stops_the_others_only_if_that_is_wanted(folder: Path) -> None:
    played: list[int] = []
    failures = {1: RunOutcome(3, "bad", "failed")}
    manifest = go(folder, player(folder, played, failures), stop_on_failure=True)
    assert (played, manifest.runs[1].state) == ([1, 2], RunState.FAILED)
    played.clear()
    others = {0: RunOutcome(2, None, None), 1: RunOutcome(1, "x", "finished")}
    manifest = go(folder, player(folder, played, others), resume=True)
    assert played == list(range(2, 13))
    assert [run.state for run in manifest.runs[1:3]] == [RunState.FAILED, RunState.FINISHED]
    assert (manifest.count(RunState.FINISHED), exit_code_of(manifest.runs)) == (11, 2)
    assert manifest.runs[1].kept_apart == [f"{APART}/bad"]


def test_the_exit_code_is_the_worst() -> None:
    def worst(*codes: int | None) -> int:
        run = SweepRun(number=1, cell=1, repeat=1, name="", values={}, words=[])
        return exit_code_of([SweepRun(**{**_fields(run), "exit_code": code}) for code in codes])

    assert [worst(0, 1), worst(1, 5), worst(5, 4), worst(4, 3), worst(3, 2), worst(0, None), worst(0, 17), worst()] == [
        *(1, 5, 4, 3, 2, 4, 17, 0)
    ]


def test_a_run_that_a_signal_killed_is_as_one_that_was_stopped() -> None:
    killed, ended = (
        SweepRun(number=number, cell=number, repeat=1, name="", values={}, words=[], exit_code=code)
        for number, code in ((1, -9), (2, 0))
    )
    assert exit_code_of([killed, ended]) == EXIT_INTERRUPTED


def _fields(run: SweepRun) -> dict[str, object]:
    return {name: getattr(run, name) for name in run.__struct_fields__}


def test_two_processes_do_not_run_one_sweep(folder: Path) -> None:
    with locked(folder), pytest.raises(ValueError, match="by another process"), locked(folder):
        pass


#: A sweep whose run prints a line and then waits for the end of its input.
_SWEEP = """
import sys
from pathlib import Path
from tokenswarm.sweep import cell_process
from tokenswarm.sweep.manifest import locked
run = [sys.executable, "-c", "import sys; print('begun', flush=True); sys.stdin.read()"]
cell_process.command_of_run = lambda words: run
with locked(Path(sys.argv[1])) as lock:
    cell_process.CellProcesses(Path(sys.argv[1]), lock).run([])
"""


def test_a_run_whose_sweep_was_killed_keeps_another_from_being_started(folder: Path) -> None:
    command = [sys.executable, "-P", "-c", _SWEEP, str(folder)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as sweep:
        assert sweep.stdin is not None
        assert sweep.stdout is not None
        assert sweep.stdout.readline() == "begun\n"
        sweep.kill()
        sweep.wait()
        with pytest.raises(ValueError, match="by another process"), locked(folder):
            pass
        sweep.stdin.close()
        assert sweep.stdout.read() == ""  # the run has ended
    with locked(folder):
        pass


def test_a_run_that_goes_on_without_its_sweep_is_waited_for(folder: Path) -> None:
    shutil.copytree(FINISHED, folder / "20260701-a")
    check_none_runs(folder)
    file = folder / "20260701-a" / "run.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"status": "running"}))
    check_none_runs(folder)  # nobody has its spool open: it was killed


@pytest.mark.parametrize(
    ("text", "expected"), [("{", "is not as a sweep writes it"), ('{"format": 2}', "is not as|has format 2")]
)
def test_a_manifest_that_cannot_be_read_is_one_sentence(folder: Path, text: str, expected: str) -> None:
    (folder / "sweep.json").write_text(text)
    with pytest.raises(ValueError, match=expected):
        read_manifest(folder)
    with pytest.raises(ValueError, match="is not the folder of a sweep"):
        read_manifest(folder / "nothing")
