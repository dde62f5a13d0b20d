"""A disk that fills up during a run, simulated: what ends the load, and what space the end of the folder is written
with. Whole runs on a full disk: tests/runs/test_full_disks.py."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gevent
import pytest

import tokenswarm.recording.journal
from tests.run_control.recording_bench import (
    Bench,
    MakeLevel,
    MakeTimeline,
    rows_of,
    told_of,
)
from tokenswarm.recording.frames import FrameWriter
from tokenswarm.run_folder.files import LineFile

Full = Callable[[], bool]


@pytest.fixture
def answer(timeline: MakeTimeline) -> Any:
    """A request of the third second of a run that began at 1,000 s."""
    return timeline([1003.1, 1003.2], sent_s=1003.0)


def fill(monkeypatch: pytest.MonkeyPatch, full: Full, *writers: tuple[Any, str], only: str = "*") -> None:
    """From now on, these fail while the disk is full. only: a pattern of the names of the files to which they do."""
    for owner, name in writers:
        write = getattr(owner, name)

        def write_if_free(*arguments: Any, write: Any = write, **named: Any) -> Any:
            if full() and _path_of(arguments[0]).match(only):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            return write(*arguments, **named)

        monkeypatch.setattr(owner, name, write_if_free)


def _path_of(written: Any) -> Path:
    return written if isinstance(written, Path) else written.path


JOURNAL = ((LineFile, "_write_at"), (tokenswarm.recording.journal, "write_whole"))
SPOOLS = ((FrameWriter, "_write"),)


@pytest.mark.parametrize("only", ["requests.csv", "run.spool", "worker-*.spool"])
def test_the_load_ends_where_any_file_of_the_run_cannot_be_written(
    only: str,
    bench: Bench,
    answer: Any,
    a_level: MakeLevel,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    bench.begin(a_level())
    controller = bench.recording.controller
    assert controller.defect is None
    before = len(bench.greenlets.spawned)
    fill(monkeypatch, lambda: True, *JOURNAL, *SPOOLS, only=only)
    bench.fire(answer)
    bench.greenlets.tick(2)
    assert controller.defect is not None
    assert "cannot be written: No space left on device" in controller.defect
    ended: list[str] = []
    monkeypatch.setattr(bench.recording._endings.__class__, "stop", lambda _: ended.append("stopped"))
    for greenlet in bench.greenlets.spawned[before:]:
        greenlet()
    gevent.sleep(0)
    assert ended == ["stopped"]


@pytest.mark.parametrize("needed", [(".reserve",), (".reserve", "spool")], ids=["its reserve", "its spool's too"])
def test_the_end_of_a_folder_is_written_with_space_that_was_kept_for_it(
    needed: tuple[str, ...], bench: Bench, answer: Any, a_level: MakeLevel, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench.begin(a_level())
    folder = bench.folder
    fill(monkeypatch, lambda: any((folder / name).exists() for name in needed), *JOURNAL, *SPOOLS)
    bench.fire(answer)
    bench.greenlets.tick(2)
    bench.stop()
    assert told_of(folder, "run.json")["status"] == told_of(folder, "summary.json")["status"] == "failed"
    assert told_of(folder, "summary.json")["accounting"]["complete"] is True
    assert len(rows_of(folder, "requests.csv")) == 1


def test_where_no_space_is_enough_the_run_is_still_marked_as_failed(
    bench: Bench, answer: Any, a_level: MakeLevel, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    bench.begin(a_level())
    folder = bench.folder
    fill(monkeypatch, lambda: True, *JOURNAL, *SPOOLS)
    bench.fire(answer)
    bench.greenlets.tick(2)
    bench.stop()
    assert told_of(folder, "run.json")["status"] == "failed"
    assert not (folder / "summary.json").exists()
    assert "holds what was written before: No space left on device" in caplog.text


def test_a_folder_that_was_removed_is_named_as_such(
    bench: Bench, answer: Any, a_level: MakeLevel, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench.begin(a_level())
    folder, controller = bench.folder, bench.recording.controller
    (folder / "requests.csv").unlink()
    bench.greenlets.tick(2)
    assert controller.defect == f"the results folder {folder} was removed during the run"
    bench.stop()
    assert told_of(folder, "run.json")["status"] == "failed"
