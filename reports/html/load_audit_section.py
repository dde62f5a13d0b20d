"""The section of a page about requested and measured load."""

from __future__ import annotations

from tokenswarm.reports.html.document import Block, Row, Table, Text
from tokenswarm.reports.html.table_sections import level_key
from tokenswarm.reports.load_audit_lines import HEADINGS, NOTES, load_cells
from tokenswarm.reports.stats.estimates import RunData


def load_audit(measured: RunData) -> list[Block]:
    """A row for each level whose load was measured, with the columns of a closed or of an open loop."""
    blocks: list[Block] = []
    for unit, headings in HEADINGS.items():
        rows: list[Row] = [
            [level_key(level), *load_cells(level.load_audit)]
            for level in measured.results.summary.levels
            if level.load_audit is not None and level.load_audit.unit == unit
        ]
        if rows:
            what = {"users": "users", "requests/s": "request rate", "sessions/s": "session rate"}[unit]
            table = Table(f"Requested and measured {what} of each hold", list(headings), rows)
            blocks += [table, Text(NOTES[unit], style="quiet")]
    return blocks
