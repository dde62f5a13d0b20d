"""What a command shows on its standard output, where the reader may be gone before the end (`… | head`)."""

from __future__ import annotations

import shutil
import sys
from typing import TextIO

from tokenswarm.sanitize import discard, report_lost_output


def terminal_width() -> int:
    """Columns of the terminal, 120 where there is none (a pipe, a file). COLUMNS, where set, comes before both."""
    return shutil.get_terminal_size(fallback=(120, 24)).columns


def show(text: str, stream: TextIO | None = None) -> None:
    """Print text at once, on the standard output where no stream is named.

    Where it cannot be written (a reader that has closed its end of a pipe, a full disk) nothing else ends: what follows
    is not shown, and files are written all the same. See `report_lost_output`."""
    stream = stream or sys.stdout
    if stream is None:  # closed before the process began: `>&-`
        return
    try:
        print(text, file=stream, flush=True)
    except OSError as error:
        if stream is sys.stderr:
            discard(stream)
        else:
            report_lost_output(error, stream)
