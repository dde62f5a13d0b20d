"""The section of a run's page about its figures by GPU, dollar and joule."""

from __future__ import annotations

from tokenswarm.reports import units
from tokenswarm.reports.hardware_table import HARDWARE_COLUMNS, hardware_lines, hardware_note, with_hardware_figures
from tokenswarm.reports.html.document import Block, Row, Table, Text
from tokenswarm.reports.html.table_sections import level_key
from tokenswarm.reports.stats.estimates import RunData


def by_hardware(measured: RunData) -> list[Block]:
    """A table with a row a level, of the figures that any level has; empty without."""
    summary = measured.results.summary
    if not with_hardware_figures(summary.levels):
        return []
    columns = [
        column for column in HARDWARE_COLUMNS if any(column.cell(level) != units.UNDEFINED for level in summary.levels)
    ]
    rows: list[Row] = [[level_key(level), *(column.cell(level) for column in columns)] for level in summary.levels]
    headings = ["level", *(f"{column.group} {column.head}" for column in columns)]
    return [
        *(Text(f"{line}.") for line in hardware_lines(summary)),
        Table("Output tokens of each hold by hardware", headings, rows),
        Text(hardware_note(summary.levels), style="quiet"),
    ]
