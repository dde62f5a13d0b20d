"""The section of a run's page that compares requested with actual think times."""

from __future__ import annotations

from tokenswarm.reports import units
from tokenswarm.reports.html.document import Block, Row, Table, Text
from tokenswarm.reports.html.table_sections import level_key
from tokenswarm.reports.stats.estimates import RunData

_HEADINGS = ["level", "requested", "expected mean", "pauses", "drawn, mean", "actual, mean"]
_NOTE = (
    "Of pauses between two requests of a user. Drawn: what was requested of exactly these; pauses that the level's end "
    "cut are not among them, so that it may be below the expected mean. Actual: from the end of a request to the "
    "sending of the next one."
)


def think_times(measured: RunData) -> list[Block]:
    """One row for each level that has a think time; empty where none has."""
    rows: list[Row] = [
        [
            level_key(level),
            found.requested,
            units.duration(found.requested_mean_s),
            units.count(found.pauses),
            units.duration(found.drawn_mean_s),
            units.duration(found.actual_mean_s),
        ]
        for level in measured.results.summary.levels
        if (found := level.think_time) is not None
    ]
    return [Table("Requested and actual think time", _HEADINGS, rows), Text(_NOTE, style="quiet")] if rows else []
