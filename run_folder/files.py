"""Files of a run's folder. A write that fails leaves whole lines, or the old file: what was recorded stays readable."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

#: Kept free from the beginning of a run, so that its end can be written on a disk that has filled up.
RESERVED_BYTES = 1_000_000
_CHUNK_BYTES = 1_000_000


class LineFile:
    """A text file to which lines are appended, and whose end may be written again. It is whole lines at any time; those
    that could not be written are kept and written with the next."""

    def __init__(self, path: Path, first_line: str) -> None:
        """Raises OSError."""
        self.path = path
        self.size = 0
        self._fd = _open(path)
        self._pending: list[str] = []
        self.append([first_line])

    def append(self, lines: Iterable[str]) -> None:
        """Append lines; they are in the file when this returns. Raises OSError, and keeps them."""
        self._pending += lines
        self.flush()

    def flush(self) -> None:
        """Append what could not be appended before. Raises OSError."""
        if self._pending:
            self._write_at(self.size, "".join(self._pending).encode())
            self._pending = []

    @property
    def pending(self) -> int:
        """Lines that could not be written yet."""
        return len(self._pending)

    def rewrite(self, place: int, text: str) -> None:
        """Replace all behind that place, which is one between two lines. Raises OSError; the file then ends there."""
        os.ftruncate(self._fd, place)
        self.size = place
        self._write_at(place, text.encode())

    @property
    def is_in_place(self) -> bool:
        """Whether the file is still where it was made."""
        try:
            return os.path.samestat(os.fstat(self._fd), self.path.stat())
        except OSError:
            return False

    def put_back(self) -> None:
        """Make the file again where it was removed, with all that was in it. Raises OSError."""
        copy = _open(self.path)
        place = 0
        while place < self.size and (data := os.pread(self._fd, min(_CHUNK_BYTES, self.size - place), place)):
            os.pwrite(copy, data, place)
            place += len(data)
        os.close(self._fd)
        self._fd = copy

    def close(self) -> None:
        """Close the file. More than once does no harm."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def _write_at(self, place: int, data: bytes) -> None:
        try:
            written = os.pwrite(self._fd, data, place)
            if written != len(data):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(self.path))
        except OSError:
            with suppress(OSError):
                os.ftruncate(self._fd, place)
            raise
        self.size = place + len(data)


def write_whole(path: Path, text: str) -> None:
    """A reader finds the old file or the new one, never half of one. Raises OSError."""
    draft = path.with_name(path.name + ".tmp")
    try:
        draft.write_text(text, encoding="utf-8", newline="")
        draft.replace(path)
    except OSError:
        with suppress(OSError):
            draft.unlink(missing_ok=True)
        raise


def overwrite(path: Path, text: str) -> None:
    """Write into the file that there is, where no new one can be made. Raises OSError where that fails, too; the file
    is then as it was."""
    new = text.encode()
    fd = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    try:
        old = os.pread(fd, os.fstat(fd).st_size, 0)
        written = 0
        try:
            while written < len(new):
                written += os.pwrite(fd, new[written:], written)
            os.ftruncate(fd, len(new))
        except OSError:
            os.pwrite(fd, old[:written], 0)
            with suppress(OSError):
                os.ftruncate(fd, len(old))
            raise
    finally:
        os.close(fd)


def reserve(path: Path) -> None:
    """Make a file that takes RESERVED_BYTES of the disk. Raises OSError where it does not have them."""
    fd = _open(path)
    try:
        os.posix_fallocate(fd, 0, RESERVED_BYTES)
    finally:
        os.close(fd)


def _open(path: Path) -> int:
    return os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o666)
