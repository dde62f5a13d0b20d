"""The section of a page about requested and measured load."""

from __future__ import annotations

from tokenswarm.reports.html.document import Block, Row, Table, Text
from tokenswarm.reports.html.table_sections import level_key
from tokenswarm.reports.load_audit_lines import HEADINGS, NOTE, load_cells
from tokenswarm.reports.stats.estimates import RunData


def load_audit(measured: RunData) -> list[Block]:
    """A row for each level whose load was measured."""
    levels = measured.results.summary.levels
    rows: list[Row] = [
        [level_key(level), *load_cells(level.load_audit)] for level in levels if level.load_audit is not None
    ]
    return [Table("Requested and measured load of each hold", list(HEADINGS), rows), Text(NOTE, style="quiet")]
