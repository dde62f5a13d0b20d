"""The section of a run's page about the server's prefix cache."""

from __future__ import annotations

from tokenswarm.reports.cache_notes import HEADINGS, NOTE, cache_cells, with_cache_audit
from tokenswarm.reports.html.document import Block, Row, Table, Text
from tokenswarm.reports.html.table_sections import level_key
from tokenswarm.reports.stats.estimates import RunData


def prefix_cache(measured: RunData) -> list[Block]:
    """Expected and observed hits of each level's hold; empty where it is not known which to expect."""
    rows: list[Row] = [
        [level_key(level), *cache_cells(level)] for level in with_cache_audit(measured.results.summary.levels)
    ]
    return [Table("Prefix-cache hits of each hold", list(HEADINGS), rows), Text(NOTE, style="quiet")] if rows else []
