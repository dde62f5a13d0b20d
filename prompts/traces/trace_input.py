"""How files of traces are opened."""

from __future__ import annotations

import csv
import hashlib
import io
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from tokenswarm.prompts.json_rows import MOST_ROW_BYTES


def csv_rows(content: BinaryIO) -> Iterator[tuple[int, list[str]]]:
    """The cells of each line that is not blank, with its number; bytes that are no UTF-8 become marks that no number
    has. A row ends with its line: a quotation mark that is never closed would take the rows behind it. Raises
    csv.Error."""
    csv.field_size_limit(MOST_ROW_BYTES)
    for number, line in enumerate(io.TextIOWrapper(content, "utf-8-sig", errors="replace", newline=""), 1):
        for cells in csv.reader([line]):
            if cells:
                yield number, cells


def digest_of(file: Path) -> str:
    """SHA-256, hexadecimal. Raises OSError."""
    with file.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()
