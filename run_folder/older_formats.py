"""What formats 1 and 2 of a run folder call otherwise, mapped onto the names of schema.py. Pure.

Only names differ: a key that a format lacks has its default in schema.py, a column that it lacks is empty.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

#: The last format with other names.
LAST_OTHER_NAMES = 2

#: What formats 1 and 2 called a column, by its name today.
OLDER_COLUMNS = {"level_index": "stage", "scope": "part", "metric": "concept"}

_OLDER_ACCOUNTING = {"fired": "ended", "balanced": "complete"}


def with_names_of_today(document: Any, format_: int) -> Any:
    """run.json or summary.json, decoded, under the names of schema.py. Values of another kind than expected stay."""
    if format_ > LAST_OTHER_NAMES or not isinstance(document, dict):
        return document
    renamed = dict(document)
    for key in ("plan", "levels"):
        if isinstance(levels := renamed.get(key), list):
            renamed[key] = [_renamed(level, {"stage": "index"}) for level in levels]
    if "books" in renamed:
        renamed["accounting"] = _renamed(renamed.pop("books"), _OLDER_ACCOUNTING)
    return renamed


def column_in_file(name: str, columns: Collection[str]) -> str:
    """What a CSV file with these columns calls the column `name`: the older name where only that one is there."""
    older = OLDER_COLUMNS.get(name)
    return older if older is not None and older in columns and name not in columns else name


def column_today(name: str, columns: Collection[str]) -> str:
    """The inverse of `column_in_file`: what a column of such a file is called today."""
    return next((today for today in OLDER_COLUMNS if name == column_in_file(today, columns)), name)


def _renamed(value: Any, names: dict[str, str]) -> Any:
    return {names.get(key, key): inner for key, inner in value.items()} if isinstance(value, dict) else value
