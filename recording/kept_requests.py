"""Requests and responses that a run keeps (--record): one JSON object a line, in files that are followed by others.

Headers are never kept, and known secrets are cut out of all that is. Each process that sends load writes files of its
own; of those the newest stay, so that a long run does not fill the disk.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from contextlib import suppress
from enum import StrEnum
from pathlib import Path
from typing import Any

import msgspec

from tokenswarm.sanitize import server_text

#: Name of the folder of kept requests within a run's.
RECORDS_FOLDER = "records"
_FILE_BYTES = 64 * 2**20
_MOST_FILES = 16


class RecordMode(StrEnum):
    """What is kept of each request: nothing; its messages and the answer's text; the whole bodies of request and
    response; or the request and each read of the response with its time."""

    OFF = "off"
    TEXT = "text"
    BODIES = "bodies"
    EVENTS = "events"


class RecordPlan(msgspec.Struct, frozen=True):
    """What a run keeps, and the folder for it on the machine of its master."""

    mode: RecordMode = RecordMode.OFF
    folder: str = ""


#: Of a run that keeps nothing.
NO_RECORD = RecordPlan()


class KeptRequests:
    """Writes one process's files. A write that fails ends them: on_error is called once, with the reason."""

    def __init__(
        self,
        mode: RecordMode,
        folder: Path,
        worker: int,
        on_error: Callable[[str], None],
        file_bytes: int = _FILE_BYTES,
        most_files: int = _MOST_FILES,
    ) -> None:
        """file_bytes: size of a file after which another follows; most_files: older ones are deleted. Raises
        OSError."""
        self.mode = mode
        self._folder, self._worker, self._on_error = folder, worker, on_error
        self._file_bytes, self._most_files = file_bytes, most_files
        self._number = 0
        self._size = 0
        folder.mkdir(parents=True, exist_ok=True)
        self._file: Any = self._path(0).open("wb")

    def write(self, document: Mapping[str, Any]) -> None:
        """Append a request; it is in the file when this returns."""
        if self._file is None:
            return
        # ASCII alone: what is cut out or written out then leaves the line JSON.
        text = json.dumps(document, separators=(",", ":"))
        line = server_text(text, len(text), lines=True).encode() + b"\n"
        try:
            if self._size and self._size + len(line) > self._file_bytes:
                self._rotate()
            self._file.write(line)
            self._file.flush()
            self._size += len(line)
        except OSError as error:
            self.close()
            self._on_error(
                f"requests are no longer kept, as {self._folder} cannot be written: {error.strerror or error}"
            )

    def close(self) -> None:
        """Keep no more."""
        file, self._file = self._file, None
        if file is not None:
            with suppress(OSError):
                file.close()

    def _rotate(self) -> None:
        self._file.close()
        self._number += 1
        self._size = 0
        self._file = self._path(self._number).open("wb")
        if self._number >= self._most_files:
            self._path(self._number - self._most_files).unlink(missing_ok=True)

    def _path(self, number: int) -> Path:
        return self._folder / f"worker-{self._worker}.{number:06d}.jsonl"
