"""A file of checked frames: whatever is cut off or damaged, the whole frames before and after it are read."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tokenswarm.recording.frames import MAGIC, FrameReader, FramesBusy, FrameWriter

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


@pytest.mark.slow
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
def test_a_damaged_byte_loses_the_frame_that_it_is_in(
    tmp_path_factory: pytest.TempPathFactory, place: int, flip: int
) -> None:
    path = tmp_path_factory.mktemp("frames") / "frames"
    damaged = bytearray(written(path))
    damaged[place] ^= flip
    path.write_bytes(damaged)
    reader = FrameReader(path)
    ends = (8, 22, 31, 340)
    lost = next(number for number, end in enumerate(ends) if place < end)
    assert list(reader) == [frame for number, frame in enumerate(FRAMES, start=1) if number != lost]
    assert reader.torn_bytes == ends[lost] - (ends[lost - 1] if lost else 0)


@pytest.mark.parametrize("filled", [b"\0", b"\xff", b"\x01"])
@pytest.mark.parametrize("lost", [(1, 1), (1, 2), (3, 5), (1, 8), (7, 8)])
def test_a_hole_loses_the_frames_that_it_covers(tmp_path: Path, filled: bytes, lost: tuple[int, int]) -> None:
    """From the middle of one frame to the middle of another, as a damaged sector lies."""
    frames = [(1 + number % 9, bytes([number + 20]) * 50) for number in range(8)]
    damaged = bytearray(written(tmp_path / "frames", frames))
    first, last = (len(MAGIC) + 59 * (number - 1) + 20 for number in lost)
    damaged[first : last + 20] = filled * (last + 20 - first)
    (tmp_path / "frames").write_bytes(damaged)
    reader = FrameReader(tmp_path / "frames")
    assert list(reader) == [*frames[: lost[0] - 1], *frames[lost[1] :]]
    assert reader.torn_bytes == 59 * (lost[1] - lost[0] + 1)


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
