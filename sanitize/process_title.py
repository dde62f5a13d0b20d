"""What other users of this machine see of this process: the arguments that `ps` shows."""

from __future__ import annotations

import ctypes
from contextlib import suppress
from pathlib import Path

#: Of /proc/PID/stat, counted behind the process's name: where the arguments begin and end in memory.
_ARGUMENTS_BEGIN, _ARGUMENTS_END = 45, 46


def overwrite_argument(text: str, secret: str) -> None:
    """Overwrite `secret`, which ends the argument `text`, where the system keeps this process's arguments. Processes
    that are forked later have them overwritten too. Does nothing where the system does not say where they are (other
    than Linux)."""
    whole, hidden = text.encode(errors="surrogateescape"), secret.encode(errors="surrogateescape")
    if not hidden:
        return
    with suppress(OSError, ValueError, IndexError):
        numbers = Path("/proc/self/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
        begin, end = int(numbers[_ARGUMENTS_BEGIN]), int(numbers[_ARGUMENTS_END])
        if not 0 < begin < end:
            return
        arguments = ctypes.string_at(begin, end - begin)
        at = arguments.find(whole)
        while at >= 0:
            ctypes.memset(begin + at + len(whole) - len(hidden), ord("x"), len(hidden))
            at = arguments.find(whole, at + len(whole))
