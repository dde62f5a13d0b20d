"""How files of traces are opened."""

from __future__ import annotations

import csv
import hashlib
import io
from pathlib import Path
from typing import Any, BinaryIO

from tokenswarm.prompts.json_rows import MOST_ROW_BYTES


def csv_reader(content: BinaryIO) -> Any:
    """Python's reader of CSV; bytes that are no UTF-8 become marks that no number has."""
    csv.field_size_limit(MOST_ROW_BYTES)
    return csv.reader(io.TextIOWrapper(content, "utf-8-sig", errors="replace", newline=""))


def digest_of(file: Path) -> str:
    """SHA-256, hexadecimal. Raises OSError."""
    with file.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()
