"""What tables say of each model and each host, where a run's requests went to several, and of each name."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

from tokenswarm.reports import units
from tokenswarm.reports.level_names import level_name
from tokenswarm.reports.text_grid import TextColumn, grid_lines
from tokenswarm.run_folder.mix_figures import MemberFigures
from tokenswarm.run_folder.schema import LevelSummary

#: What a run may have several of: as a heading, and of each level.
KINDS: tuple[tuple[str, Callable[[LevelSummary], Sequence[MemberFigures]]], ...] = (
    ("model", lambda level: level.hold.models),
    ("host", lambda level: level.hold.hosts),
    ("name", lambda level: level.hold.names),
)
MIX_NOTE = "Each model, host and name has its own requests of the hold; together they are all of the hold's requests."
#: Characters of a name in a terminal.
_NAME_CHARACTERS = 40


class MixColumn(NamedTuple):
    """A column of figures. optional: left out where the terminal is too narrow for all."""

    group: str
    head: str
    cell: Callable[[MemberFigures], str]
    optional: bool = False


COLUMNS = (
    MixColumn("share", "requested", lambda found: units.percentage(found.requested_share)),
    MixColumn("share", "actual", lambda found: units.percentage(found.share)),
    MixColumn("requests", "sent", lambda found: units.count(found.requests)),
    MixColumn("requests", "failed", lambda found: units.count(found.failures)),
    MixColumn("TTFT", "p50", lambda found: units.quantile(found.ttft_s.p50)),
    MixColumn("TTFT", "p95", lambda found: units.quantile(found.ttft_s.p95), optional=True),
    MixColumn("TTFT", "p99", lambda found: units.quantile(found.ttft_s.p99)),
    MixColumn("tokens/s", "all", lambda found: units.rate(found.token_rate)),
    MixColumn("tokens/s", "one user", lambda found: units.rate_quantile(found.request_token_rate.p50)),
    MixColumn("TPOT", "p50", lambda found: units.quantile(found.tpot_s.p50), optional=True),
)


class MixRow(NamedTuple):
    """The figures of one model, host or name in one level."""

    level: LevelSummary
    figures: MemberFigures


def mix_rows(levels: Sequence[LevelSummary], of: Callable[[LevelSummary], Sequence[MemberFigures]]) -> list[MixRow]:
    """Of all levels, in order."""
    return [MixRow(level, figures) for level in levels for figures in of(level)]


def shown_columns(rows: Sequence[MixRow]) -> list[MixColumn]:
    """Those of which a row has a value: hosts may have no requested share."""
    return [column for column in COLUMNS if any(column.cell(row.figures) != units.UNDEFINED for row in rows)]


def mix_lines(levels: Sequence[LevelSummary], width: int) -> Iterator[list[str]]:
    """A table each for models and hosts, where there are several, and for names, in lines `width` wide where
    possible."""
    for kind, of in KINDS:
        if rows := mix_rows(levels, of):
            yield _table(kind, rows, width)


def _table(kind: str, rows: Sequence[MixRow], width: int) -> list[str]:
    columns = shown_columns(rows)
    needed = [column for column in columns if not column.optional]
    keys = [
        TextColumn("level", [level_name(row.level) for row in rows], left=True),
        TextColumn(kind, [_short(row.figures.name) for row in rows], left=True),
    ]
    lines: list[str] = []
    for chosen, gap in ((columns, 2), (needed, 2), (needed, 1)):
        figures = [TextColumn(each.head, [each.cell(row.figures) for row in rows], each.group) for each in chosen]
        lines = grid_lines([*keys, *figures], gap)
        if len(lines[0]) <= width:
            break
    return lines


def _short(name: str) -> str:
    """Adapters of one base have the same beginning: the end of a long name says more."""
    return name if len(name) <= _NAME_CHARACTERS else f"…{name[1 - _NAME_CHARACTERS :]}"
