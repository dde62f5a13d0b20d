"""The truth server's log: a CSV row a request, the columns being the fields of `Served`."""

from __future__ import annotations

import csv
from collections.abc import Iterable
from dataclasses import astuple, fields
from pathlib import Path

from benchmarks.records import Served

_TEXTS = {"request_id", "outcome"}


def write_server_log(path: Path, served: Iterable[Served]) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        rows = csv.writer(file, lineterminator="\n")
        rows.writerow(field.name for field in fields(Served))
        rows.writerows(map(astuple, served))


def read_server_log(path: Path) -> list[Served]:
    """Raises OSError, and ValueError for a file that is no such log."""
    with path.open(newline="", encoding="utf-8") as file:
        return [
            Served(**{name: text if name in _TEXTS else int(text) for name, text in row.items()})  # type: ignore[arg-type]
            for row in csv.DictReader(file)
        ]
