"""The section of a page about requested and measured load."""

from __future__ import annotations

from tokenswarm.reports.html.document import Block, Row, Table, Text
from tokenswarm.reports.html.table_sections import level_key
from tokenswarm.reports.load_audit_lines import HEADINGS, NOTES, levels_sent_late, load_cells
from tokenswarm.reports.stats.estimates import RunData


def load_audit(measured: RunData) -> list[Block]:
    """A row for each level whose load was measured, with the columns of a closed or of an open loop."""
    blocks: list[Block] = []
    late = levels_sent_late(measured.results)
    for unit, headings in HEADINGS.items():
        rows: list[Row] = [
            [level_key(level), *load_cells(level, level.load_audit, late=level.index in late)]
            for level in measured.results.summary.levels
            if level.load_audit is not None and level.load_audit.unit == unit
        ]
        if rows:
            what = {"users": "users", "requests/s": "request rate", "sessions/s": "session rate"}[unit]
            blocks.append(Table(f"Requested and measured {what} of each hold", list(headings), rows))
            if note := NOTES.get(unit):
                blocks.append(Text(note, style="quiet"))
    return blocks
