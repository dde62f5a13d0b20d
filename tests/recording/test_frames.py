"""A file of checked frames: whatever is cut off or damaged, the whole frames before it are read."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from metrics.frames import MAGIC, FrameReader, FramesBusy, FrameWriter

FRAMES = [(1, b"first"), (2, b""), (3, b"x" * 300)]


def written(path: Path, frames: list[tuple[int, bytes]] = FRAMES) -> bytes:
    writer = FrameWriter(path)
    for kind, payload in frames:
        writer.append(kind, payload)
    writer.close()
    return path.read_bytes()


def test_frames_come_back_as_they_were_appended(tmp_path: Path) -> None:
    written(tmp_path / "frames")
    reader = FrameReader(tmp_path / "frames")
    assert list(reader) == FRAMES
    assert reader.torn_bytes == 0


def test_cut_anywhere_the_whole_frames_before_are_read_and_the_rest_is_counted(tmp_path: Path) -> None:
    whole = written(tmp_path / "frames")
    ends = [len(MAGIC)]
    for _, payload in FRAMES:
        ends.append(ends[-1] + 9 + len(payload))
    for length in range(len(whole) + 1):
        (tmp_path / "cut").write_bytes(whole[:length])
        reader = FrameReader(tmp_path / "cut")
        number = sum(end <= length for end in ends[1:])
        assert list(reader) == FRAMES[:number]
        known = ends[number] if length >= len(MAGIC) else 0
        assert reader.torn_bytes == length - known


@given(place=st.integers(0, 335), flip=st.integers(1, 255))
def test_a_damaged_byte_ends_the_reading_where_it_is(
    tmp_path_factory: pytest.TempPathFactory, place: int, flip: int
) -> None:
    path = tmp_path_factory.mktemp("frames") / "frames"
    damaged = bytearray(written(path))
    damaged[place] ^= flip
    path.write_bytes(damaged)
    reader = FrameReader(path)
    read = list(reader)
    assert read == FRAMES[: len(read)]
    assert len(read) < len(FRAMES)
    assert reader.torn_bytes > 0


def test_a_file_that_is_being_written_is_not_read(tmp_path: Path) -> None:
    writer = FrameWriter(tmp_path / "frames")
    with pytest.raises(FramesBusy):
        list(FrameReader(tmp_path / "frames"))
    writer.close()
    assert list(FrameReader(tmp_path / "frames")) == []


def test_a_write_that_is_cut_short_leaves_the_frames_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    writer = FrameWriter(tmp_path / "frames")
    writer.append(*FRAMES[0])
    write = os.write
    with monkeypatch.context() as patched:
        patched.setattr(os, "write", lambda fd, data: write(fd, data[:5]))
        with pytest.raises(OSError) as raised:  # noqa: PT011
            writer.append(*FRAMES[2])
    assert raised.value.errno == errno.ENOSPC
    writer.append(*FRAMES[1])
    writer.close()
    reader = FrameReader(tmp_path / "frames")
    assert list(reader) == FRAMES[:2]
    assert reader.torn_bytes == 0
