"""What the simulator prints while it serves: a line is written at once or not at all, as answers must not wait for
whoever reads the output (`… | sleep 1000`)."""

import os
import select
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any, TextIO

#: Of one text: a pipe that takes anything takes so much at once, whatever the characters.
_MOST_CHARACTERS = 1000


class UnblockedStream:
    """A text stream of which each text is written at once, or dropped where that would have to wait."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        if is_writable(self._stream):
            try:
                self._stream.write(text[:_MOST_CHARACTERS])
                self._stream.flush()
            except OSError:
                discard(self._stream)
        return len(text)

    def flush(self) -> None:
        """Nothing is held back."""

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


@contextmanager
def unblocked_errors() -> Iterator[None]:
    """Messages on the standard error never wait, until the context ends."""
    errors = sys.stderr
    if errors is not None:  # it was closed before the process began: `2>&-`
        sys.stderr = UnblockedStream(errors)
    try:
        yield
    finally:
        sys.stderr = errors


def is_writable(stream: TextIO) -> bool:
    """Whether a line can be written without waiting. What is no file always can."""
    try:
        return bool(select.select([], [stream.fileno()], [], 0)[1])
    except (OSError, ValueError):
        return True


def discard(stream: TextIO) -> None:
    """Send what the stream still holds to the null device: its flush at the end would change the exit code."""
    with suppress(OSError, ValueError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, stream.fileno())
        os.close(nowhere)
