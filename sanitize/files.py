"""Files that the user names, read with a bound: no device, pipe or giant can fill the memory or wait for ever."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_KINDS = (
    (stat.S_ISDIR, "a folder"),
    (stat.S_ISFIFO, "a pipe"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
    (stat.S_ISSOCK, "a socket"),
)


class UnusableFile(ValueError):
    """A file that cannot be read; the text is the predicate of a sentence: `is a device; give a regular file`."""


#: A JSON string, also one that is not closed. Possessive: no text makes the search slow.
_STRING = re.compile(rb'"(?:[^"\\]|\\.)*+"?')


class MissingFile(UnusableFile):
    """There is no such file."""


def check_file(path: Path, most_bytes: int) -> None:
    """Whether it is a regular file of at most so many bytes, without opening it. Raises UnusableFile, MissingFile."""
    try:
        about = path.stat()
    except (FileNotFoundError, NotADirectoryError):
        raise MissingFile("does not exist; give a file that does") from None
    except (OSError, ValueError) as error:  # a NUL in its name is a ValueError
        raise UnusableFile(f"cannot be read: {_reason(error)}") from None
    _check(about, most_bytes)


def is_nested_deeper(file: Iterable[bytes], most: int, by_line: bool) -> bool:
    """Whether brackets in the lines of a JSON file, or of any one line where it has a document in each, are nested
    deeper than `most`. Parsers recurse: some end the whole process. Raises OSError."""
    import numpy as np  # half of what a command without figures would import

    depth = 0
    for line in file:
        if by_line:
            depth = 0
            if line.count(b"[") + line.count(b"{") <= most:
                continue
        signs = _signs()[np.frombuffer(_STRING.sub(b"", line), dtype=np.uint8)]
        depths = depth + np.cumsum(signs, dtype=np.int64)
        if depths.max(initial=0) > most:
            return True
        depth = max(0, int(depths[-1])) if len(depths) else depth
    return False


@cache
def _signs() -> NDArray[np.int8]:
    """Of each byte, whether it opens (1) or closes (-1) a level of nesting."""
    import numpy as np

    signs = np.zeros(256, dtype=np.int8)
    signs[list(b"[{")], signs[list(b"]}")] = 1, -1
    return signs


def read_file(path: Path, most_bytes: int) -> bytes:
    """The content of a regular file of at most so many bytes. Raises UnusableFile, MissingFile."""
    check_file(path, most_bytes)
    try:
        # Without waiting: between the check and this, a pipe may have taken its place.
        descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
        with os.fdopen(descriptor, "rb") as file:
            _check(os.fstat(descriptor), most_bytes)
            content = file.read(most_bytes + 1)
    except OSError as error:
        raise UnusableFile(f"cannot be read: {_reason(error)}") from None
    if len(content) > most_bytes:  # it has grown, or its file system does not know its size
        raise UnusableFile(_too_large(most_bytes))
    return content


def read_text(path: Path, most_bytes: int) -> str:
    """The same as text in UTF-8, without the byte order mark that an editor may have left. Raises UnusableFile,
    MissingFile."""
    try:
        return read_file(path, most_bytes).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise UnusableFile(f"is not UTF-8 (byte {error.start} cannot be decoded); save it as UTF-8") from None


def _check(about: os.stat_result, most_bytes: int) -> None:
    for is_kind, name in _KINDS:
        if is_kind(about.st_mode):
            raise UnusableFile(f"is {name}; give a regular file")
    if about.st_size > most_bytes:
        raise UnusableFile(_too_large(most_bytes))


def _too_large(most_bytes: int) -> str:
    return f"is larger than {most_bytes / 2**20:g} MiB, the most that is read; give a smaller file"


def _reason(error: Exception) -> str:
    return (error.strerror if isinstance(error, OSError) else None) or str(error)
