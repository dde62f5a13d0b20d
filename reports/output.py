"""What a command shows on its standard output, where the reader may be gone before the end (`… | head`)."""

from __future__ import annotations

import shutil
import sys
from typing import TextIO

from tokenswarm.sanitize import discard


def terminal_width() -> int:
    """Columns of the terminal, 120 where there is none (a pipe, a file). COLUMNS, where set, comes before both."""
    return shutil.get_terminal_size(fallback=(120, 24)).columns


def show(text: str, stream: TextIO | None = None) -> None:
    """Print text at once, on the standard output where no stream is named.

    Where it cannot be written (a reader that has closed its end of a pipe, a full disk) nothing else ends: what follows
    is not shown, and the command keeps its work and its exit code. A full disk is reported on the standard error; a
    reader that has gone has seen enough."""
    stream = stream or sys.stdout
    if stream is None:  # closed before the process began: `>&-`
        return
    try:
        print(text, file=stream, flush=True)
    except OSError as error:
        discard(stream)
        if not isinstance(error, BrokenPipeError) and stream is not sys.stderr:
            reason = error.strerror or str(error)
            show(
                f"tokenswarm: the output could not be written ({reason}); files and the exit code are not affected",
                sys.stderr,
            )
