"""The section of a run's page about requests that users left before the end."""

from __future__ import annotations

from tokenswarm.reports.abandon_lines import HEADINGS, NOTE, abandon_cells, with_abandonment
from tokenswarm.reports.html.document import Block, Row, Table, Text
from tokenswarm.reports.html.table_sections import level_key
from tokenswarm.reports.stats.estimates import RunData


def abandonment(measured: RunData) -> list[Block]:
    """Requested and measured share of each level, and what the server went on to do; empty where users leave none."""
    found = with_abandonment(measured.results.summary.levels)
    if not found:
        return []
    rows: list[Row] = [[level_key(level), *abandon_cells(each)] for level, each in found]
    reasons = sorted({each.waste_note for _, each in found if each.waste is None})
    unknown = [Text(f"What the server went on to do is not known of every level: {'; '.join(reasons)}.")]
    return [
        Table("Abandoned requests of each hold", list(HEADINGS), rows),
        *(unknown if reasons else []),
        Text(NOTE, style="quiet"),
    ]
