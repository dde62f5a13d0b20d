"""A pipe that nobody reads."""

from __future__ import annotations

import os


def full_pipe() -> tuple[int, int, int]:
    """(its ends for reading and writing, how many bytes are in it): whoever writes to it has to wait."""
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    held_bytes = 0
    try:
        while True:
            held_bytes += os.write(writer, b"x" * 4096)
    except BlockingIOError:
        os.set_blocking(writer, True)
    return reader, writer, held_bytes
