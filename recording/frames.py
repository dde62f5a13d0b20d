"""An append-only file of checked frames: what was appended before a process died is readable, whatever it died of, and
damage loses the frames that it hit alone.

A file begins with MAGIC. A frame is its payload's length (4 bytes), the CRC-32 of kind and payload (4), the kind (1),
and the payload, all little-endian. Each frame is one write: SIGKILL between two frames loses neither. There is no
fsync: the kernel keeps what a dead process wrote, and a machine that loses power may lose the last seconds.
"""

from __future__ import annotations

import errno
import fcntl
import mmap
import os
import re
import struct
import zlib
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO, NamedTuple

MAGIC = b"TSWSPL1\n"
_HEAD = struct.Struct("<IIB")
#: A frame holds one request, one report or less; more is damage.
_MOST_BYTES = 64_000_000
#: Where a frame may begin: its length is below 16 MiB, and its kind is one of the nine that are written.
_CANDIDATE = re.compile(rb"(?s)(?=...\x00....[\x01-\x09])")


class FramesBusy(OSError):
    """Another process still writes the file."""


class FrameWriter:
    """Writes a new file. It is locked until it is closed or the process ends, so that a reader knows whether more
    may come."""

    def __init__(self, path: Path) -> None:
        """Raises OSError, also where the file exists."""
        self.path = path
        self._fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_CLOEXEC, 0o600)
        with suppress(OSError):  # a file system without locks
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        self.size = 0
        self._write(MAGIC)

    def append(self, kind: int, payload: bytes) -> None:
        """Append a frame; it survives this process when this returns. Raises OSError, with the file as it was."""
        head = bytes((kind,))
        checksum = zlib.crc32(payload, zlib.crc32(head))
        self._write(_HEAD.pack(len(payload), checksum, kind) + payload)

    def close(self) -> None:
        """Close the file. More than once does no harm."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def _write(self, data: bytes) -> None:
        if (written := os.write(self._fd, data)) != len(data):
            with suppress(OSError):
                os.ftruncate(self._fd, self.size)
            raise OSError(errno.ENOSPC, f"{os.strerror(errno.ENOSPC)} ({written} of {len(data)} bytes written)")
        self.size += len(data)


class FrameReader:
    """Iterates over (kind, payload) of a file's whole frames. torn_bytes, so far: what lies outside of them, because it
    was cut short or is damaged."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.torn_bytes = 0

    def __iter__(self) -> Iterator[tuple[int, bytes]]:
        """Raises OSError, and FramesBusy while the file is still being written."""
        with self.path.open("rb") as file:
            _check_closed(file.fileno(), self.path)
            size = os.fstat(file.fileno()).st_size
            place = min(len(MAGIC), size)
            if file.read(len(MAGIC)) != MAGIC:
                self.torn_bytes += place
            while place < size:
                frame = _frame_at(file, place, size)
                if frame is None:
                    following = _next_frame(file, place, size)
                    self.torn_bytes += following - place
                    place = following
                    continue
                place = frame.end
                yield frame.kind, frame.payload


class _Frame(NamedTuple):
    kind: int
    payload: bytes
    end: int


def _frame_at(file: BinaryIO, place: int, size: int) -> _Frame | None:
    """The whole frame that begins there; None where none does."""
    file.seek(place)
    head = file.read(_HEAD.size)
    if len(head) < _HEAD.size:
        return None
    length, checksum, kind = _HEAD.unpack(head)
    end = place + _HEAD.size + length
    if length > _MOST_BYTES or end > size:
        return None
    payload = file.read(length)
    if zlib.crc32(payload, zlib.crc32(head[-1:])) != checksum:
        return None
    return _Frame(kind, payload, end)


def _next_frame(file: BinaryIO, place: int, size: int) -> int:
    """Where the first whole frame after the damaged one at `place` begins, which is at the file's end if none does."""
    file.seek(place)
    if len(head := file.read(_HEAD.size)) == _HEAD.size:
        length: int = _HEAD.unpack(head)[0]
        end = place + _HEAD.size + length
        if end == size or (end < size and _frame_at(file, end, size) is not None):
            return end
    with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        for match in _CANDIDATE.finditer(content, place + 1):
            if _frame_at(file, match.start(), size) is not None:
                return match.start()
    return size


def _check_closed(fd: int, path: Path) -> None:
    try:
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        raise FramesBusy(errno.EWOULDBLOCK, "a process still writes it", str(path)) from None
    except OSError:  # a file system without locks
        return
