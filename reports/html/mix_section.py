"""The sections of a run's page about the requests to each model, each host and of each name."""

from __future__ import annotations

from tokenswarm.reports.html.document import Block, Row, Table, Text
from tokenswarm.reports.html.table_sections import level_key
from tokenswarm.reports.mix_table import KINDS, MIX_NOTE, mix_rows, shown_columns
from tokenswarm.reports.stats.estimates import RunData


def mix_tables(measured: RunData) -> list[Block]:
    """A table each for models, hosts and names; empty where the run has one model and host, and no names."""
    blocks: list[Block] = []
    for kind, of in KINDS:
        if not (found := mix_rows(measured.results.summary.levels, of)):
            continue
        columns = shown_columns(found)
        headings = ["level", kind, *(f"{column.group} {column.head}".strip() for column in columns)]
        rows: list[Row] = [
            [level_key(row.level), row.figures.name, *(column.cell(row.figures) for column in columns)] for row in found
        ]
        blocks.append(Table(f"Requests of each hold by {kind}", headings, rows))
    return [*blocks, Text(MIX_NOTE, style="quiet")] if blocks else []
