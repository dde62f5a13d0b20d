"""The section of a run's page about its sessions of several turns."""

from __future__ import annotations

from collections.abc import Sequence

from tokenswarm.reports import units
from tokenswarm.reports.html.document import Block, Row, Table, Text
from tokenswarm.reports.html.table_sections import level_key
from tokenswarm.reports.session_table import (
    JOIN_COLUMNS,
    DepthColumn,
    SessionColumn,
    TurnColumn,
    depth_rows,
    session_columns,
    session_note,
    session_notes,
    tokens_name,
    turn_columns,
    turn_name,
    with_sessions,
)
from tokenswarm.reports.stats.estimates import RunData


def sessions(measured: RunData) -> list[Block]:
    """The sessions of each level, and their requests by turn and by uncached input tokens; empty where there are
    none."""
    levels = measured.results.summary.levels
    if not (found := with_sessions(levels)):
        return []
    of_sessions = session_columns(levels)
    rows: list[Row] = [
        [level_key(level), *(column.cell(each) or "0" for column in of_sessions)] for level, each in found
    ]
    blocks: list[Block] = [Table("Sessions of each level", _headings("level", of_sessions), rows)]
    columns = turn_columns(levels)
    by_turn: list[Row] = [
        [level_key(level), turn_name(turn), *(column.cell(turn) for column in columns)]
        for level, each in found
        for turn in each.turns
    ]
    if by_turn:
        blocks.append(Table("Requests of each hold by turn", ["level", *_headings("turn", columns)], by_turn))
    by_depth: list[Row] = [[level_key(level), *cells] for level, cells in depth_rows(levels)]
    if by_depth:
        headings = ["level", *_headings("depth", columns), *_headings("", JOIN_COLUMNS)[1:]]
        blocks.append(Table("Requests of each hold by depth of the agent", headings, by_depth))
    by_tokens: list[Row] = [
        [
            level_key(level),
            tokens_name(group),
            units.count(group.requests),
            *map(units.quantile, (group.ttft_s.p50, group.ttft_s.p95)),
        ]
        for level, each in found
        for group in each.uncached
    ]
    if by_tokens:
        headings = ["level", "uncached input tokens", "ok requests", "TTFT p50", "TTFT p95"]
        blocks.append(Table("TTFT of each hold by uncached input tokens", headings, by_tokens))
    return [*blocks, *(Text(note) for note in session_notes(levels)), Text(session_note(levels), style="quiet")]


def _headings(first: str, columns: Sequence[SessionColumn] | Sequence[TurnColumn] | Sequence[DepthColumn]) -> list[str]:
    return [first, *(f"{column.group} {column.head}".strip() for column in columns)]
