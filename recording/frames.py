"""An append-only file of checked frames: what was appended before a process died is readable, whatever it died of.

A file begins with MAGIC. A frame is its payload's length (4 bytes), the CRC-32 of kind and payload (4), the kind (1),
and the payload, all little-endian. Each frame is one write: SIGKILL between two frames loses neither. There is no
fsync: the kernel keeps what a dead process wrote, and a machine that loses power may lose the last seconds.
"""

from __future__ import annotations

import errno
import fcntl
import os
import struct
import zlib
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

MAGIC = b"TSWSPL1\n"
_HEAD = struct.Struct("<IIB")
#: A frame holds one request, one report or less; more is damage.
_MOST_BYTES = 64_000_000


class FramesBusy(OSError):
    """Another process still writes the file."""


class FrameWriter:
    """Writes a new file. It is locked until it is closed or the process ends, so that a reader can tell whether more
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
    """Iterates over (kind, payload) of a file's whole frames. torn_bytes, once iterated: what lies behind the last
    whole frame, 0 where the file ends with one."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.torn_bytes = 0

    def __iter__(self) -> Iterator[tuple[int, bytes]]:
        """Raises OSError, and FramesBusy while the file is still being written."""
        with self.path.open("rb") as file:
            _check_closed(file.fileno(), self.path)
            size = os.fstat(file.fileno()).st_size
            place = len(MAGIC) if file.read(len(MAGIC)) == MAGIC else 0
            while place:
                head = file.read(_HEAD.size)
                if len(head) < _HEAD.size:
                    break
                length, checksum, kind = _HEAD.unpack(head)
                if length > min(_MOST_BYTES, size - place):
                    break
                payload = file.read(length)
                if len(payload) < length or zlib.crc32(payload, zlib.crc32(head[-1:])) != checksum:
                    break
                place += _HEAD.size + length
                yield kind, payload
            self.torn_bytes = size - place


def _check_closed(fd: int, path: Path) -> None:
    try:
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        raise FramesBusy(errno.EWOULDBLOCK, "a process still writes it", str(path)) from None
    except OSError:  # a file system without locks
        return
