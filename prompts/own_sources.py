"""Prompts that code of a user's own makes, by the name that --prompts takes."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from tokenswarm.prompts.file_rows import PromptTable, Row
from tokenswarm.prompts.prompt_records import PromptError
from tokenswarm.sanitize import full_stop

#: Makes the rows: texts, or rows as a JSONL file has them. The same seed gives the same rows.
MakeRows = Callable[[int], Iterable[str | Mapping[str, Any]]]

_NAME = re.compile(r"[a-z][a-z0-9_-]{0,39}", re.ASCII)
_TAKEN = ("sample", "dolly")
#: A function that makes rows for ever would fill the memory.
_MOST_ROWS = 1_000_000
#: The column of a row that is a text.
_TEXT = "prompt"
_sources: dict[str, MakeRows] = {}


def register_prompts(name: str) -> Callable[[MakeRows], MakeRows]:
    """Have --prompts take this name for the rows that the decorated function makes of --seed. It is called while a run
    is prepared, on each of its processes: it must make the same rows of the same seed, and may not rely on anything
    else. A row is a text, or a mapping with the columns of a JSONL file (docs/prompts.md). Raises PromptError."""
    if not _NAME.fullmatch(name) or name in _TAKEN:
        raise PromptError(
            f"register_prompts takes a name of up to 40 small letters, digits, dashes and underscores, other than "
            f"{' and '.join(_TAKEN)}, got {name!r}."
        )

    def register(make: MakeRows) -> MakeRows:
        _sources[name] = make
        return make

    return register


def is_own_source(name: str) -> bool:
    """Whether code has registered this name."""
    return name in _sources


def named_sources() -> list[str]:
    """The names that --prompts takes, those of code last."""
    return [*_TAKEN, *_sources]


def own_table(name: str, seed: int) -> PromptTable:
    """The rows that the function of this name makes. Raises PromptError."""
    try:
        rows = list(_rows(name, _sources[name](seed)))
    except PromptError:
        raise
    except Exception as error:  # code of a user's own
        reason = f"prompts from {name!r}: its function raised {type(error).__name__}: {error}"
        raise PromptError(full_stop(reason)) from error
    columns = dict.fromkeys(column for row in rows for column in row)
    return PromptTable(tuple(columns), lambda wanted: [{key: row.get(key) for key in wanted} for row in rows])


def _rows(name: str, made: Iterable[object]) -> Iterator[Row]:
    for number, row in enumerate(made, start=1):
        if number > _MOST_ROWS:
            raise PromptError(
                f"prompts from {name!r}: its function makes more than {_MOST_ROWS:,} rows; have it end after as many "
                "as a run needs, which are sent again where they do not suffice."
            )
        yield _row(name, number, row)


def _row(name: str, number: int, row: object) -> Row:
    if isinstance(row, str):
        return {_TEXT: row}
    if isinstance(row, Mapping) and all(isinstance(key, str) for key in row):
        return dict(row)
    raise PromptError(f"prompts from {name!r}: row {number} is a text or a mapping, got {type(row).__name__}.")
