"""Files of a run's folder: whatever fails, they are whole lines, and what could not be written comes later."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from tokenswarm.run_folder.files import RESERVED_BYTES, LineFile, overwrite, reserve, write_whole

Fails = Callable[[int, bytes, int], int]
PWRITE = os.pwrite


def full(*_: object) -> int:
    raise OSError(errno.ENOSPC, "No space left on device")


def torn(fd: int, data: bytes, place: int) -> int:
    """As the last free bytes of a disk take it."""
    return PWRITE(fd, data[:3], place)


@pytest.fixture
def file(tmp_path: Path) -> LineFile:
    return LineFile(tmp_path / "folder.csv", "head\n")


@pytest.mark.parametrize("fails", [full, torn])
def test_lines_that_could_not_be_written_come_with_the_next(
    fails: Fails, file: LineFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    file.append(["first\n"])
    with monkeypatch.context() as patched:
        patched.setattr(os, "pwrite", fails)
        for line in ("second\n", "third\n"):
            with pytest.raises(OSError, match="No space"):
                file.append([line])
    assert (file.path.read_text(), file.pending) == ("head\nfirst\n", 2)
    file.append(["fourth\n"])
    assert (file.path.read_text(), file.pending) == ("head\nfirst\nsecond\nthird\nfourth\n", 0)


@pytest.mark.parametrize("fails", [full, torn])
def test_an_end_that_could_not_be_written_again_is_left_out(
    fails: Fails, file: LineFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    file.append(["first\n", "second\n"])
    with monkeypatch.context() as patched:
        patched.setattr(os, "pwrite", fails)
        with pytest.raises(OSError, match="No space"):
            file.rewrite(11, "changed\nthird\n")
    assert file.path.read_text() == "head\nfirst\n"
    file.rewrite(11, "changed\nthird\n")
    assert file.path.read_text() == "head\nfirst\nchanged\nthird\n"


def test_a_file_that_was_removed_is_put_back_with_all_that_was_in_it(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    file = LineFile(tmp_path / "folder" / "lines.csv", "head\n")
    file.append(["first\n"])
    assert file.is_in_place
    shutil.rmtree(tmp_path / "folder")
    assert not file.is_in_place
    file.append(["second\n"])
    (tmp_path / "folder").mkdir()
    file.put_back()
    file.append(["third\n"])
    assert file.is_in_place
    assert file.path.read_text() == "head\nfirst\nsecond\nthird\n"


def test_a_file_that_cannot_be_written_whole_leaves_the_old_one_and_no_draft(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "run.json"
    write_whole(path, "old")
    monkeypatch.setattr(Path, "replace", full)
    with pytest.raises(OSError, match="No space"):
        write_whole(path, "new")
    assert path.read_text() == "old"
    assert [each.name for each in tmp_path.iterdir()] == ["run.json"]


def limited(fd: int, data: bytes, place: int) -> int:
    """As a disk takes it that has room for the first ten bytes of a file."""
    if place >= 10:
        raise OSError(errno.EFBIG, "File too large")
    return PWRITE(fd, data[: 10 - place], place)


@pytest.mark.parametrize("new", ["new", "as long as the limit allows"[:10]])
def test_a_file_is_overwritten_where_there_is_room_for_the_new_text(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, new: str
) -> None:
    path = tmp_path / "run.json"
    path.write_text("the older text")
    monkeypatch.setattr(os, "pwrite", limited)
    overwrite(path, new)
    assert path.read_text() == new


def test_a_file_that_cannot_be_overwritten_whole_is_as_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "run.json"
    path.write_text("the older text")
    monkeypatch.setattr(os, "pwrite", limited)
    with pytest.raises(OSError, match="File too large"):
        overwrite(path, "a newer text")
    assert path.read_text() == "the older text"


def test_a_reserve_takes_its_room(tmp_path: Path) -> None:
    reserve(tmp_path / "reserve")
    assert (tmp_path / "reserve").stat().st_blocks * 512 >= RESERVED_BYTES
