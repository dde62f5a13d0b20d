"""What a command shows on its standard output, where the reader may be gone before the end (`… | head`)."""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from typing import TextIO


def show(text: str, stream: TextIO | None = None) -> None:
    """Print text at once, on the standard output where no stream is named. A reader that has closed its end of a pipe
    ends nothing: what follows is not shown, and the command keeps its work and its exit code."""
    stream = stream or sys.stdout
    try:
        print(text, file=stream, flush=True)
    except BrokenPipeError:
        discard(stream)


def discard(stream: TextIO) -> None:
    """Send what the stream still holds, and everything after it, to nowhere: the interpreter's own last flush would
    fail too, and change the exit code."""
    with suppress(OSError, ValueError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, stream.fileno())
        os.close(nowhere)
