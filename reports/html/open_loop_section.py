"""The section of a page about an open loop."""

from __future__ import annotations

from tokenswarm.reports.html.document import Block, Row, Table, Text
from tokenswarm.reports.html.table_sections import level_key
from tokenswarm.reports.open_loop_table import OPEN_LOOP_NOTE, open_loop_columns
from tokenswarm.reports.stats.estimates import RunData


def open_loop(measured: RunData) -> list[Block]:
    """Rates, requests in flight, lag, and times from when requests were due."""
    levels = [level for level in measured.results.summary.levels if level.open_loop is not None]
    columns = open_loop_columns(levels)
    headings = ["level", *(f"{column.group} {column.head}".strip() for column in columns)]
    rows: list[Row] = [[level_key(level), *(column.cell(level) for column in columns)] for level in levels]
    return [
        Table("Rates, requests in flight and times from schedule in each hold", headings, rows),
        Text(OPEN_LOOP_NOTE, style="quiet"),
    ]
