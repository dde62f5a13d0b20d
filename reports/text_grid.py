"""The one writer of tables in plain text: columns side by side, neighbours of one group under one heading."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby


@dataclass(frozen=True, slots=True)
class TextColumn:
    """A column: its head, a cell for each row. left: aligned to the left, as words are; numbers are to the right."""

    head: str
    cells: Sequence[str]
    group: str = ""
    left: bool = False


def grid_lines(columns: Sequence[TextColumn], gap: int = 2) -> list[str]:
    """Lines of one length: the groups' headings where there are any, the columns' heads, and the rows."""
    space = " " * gap
    has_groups = any(column.group for column in columns)
    blocks: list[list[str]] = []
    for group, grouped in groupby(columns, key=lambda column: column.group):
        members = list(grouped)
        lines = [space.join(row) for row in zip(*(_aligned(column) for column in members), strict=True)]
        heading = f" {group} ".center(len(lines[0]), "-") if group and len(members) > 1 else group
        width = max(len(heading), len(lines[0]))
        blocks.append([text.rjust(width) for text in ((heading, *lines) if has_groups else lines)])
    return [space.join(row) for row in zip(*blocks, strict=True)]


def _aligned(column: TextColumn) -> list[str]:
    width = max(len(text) for text in (column.head, *column.cells))
    return [text.ljust(width) if column.left else text.rjust(width) for text in (column.head, *column.cells)]
