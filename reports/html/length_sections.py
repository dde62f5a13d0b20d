"""The section of a run's page that compares requested with actual lengths."""

from __future__ import annotations

from collections.abc import Sequence

from tokenswarm.reports import units
from tokenswarm.reports.html.document import Block, Row, Table, Text
from tokenswarm.reports.html.table_sections import level_key
from tokenswarm.reports.stats.estimates import RunData
from tokenswarm.run_folder.length_figures import LengthFigures
from tokenswarm.run_folder.schema import LevelSummary

_HEADINGS = ["level", "requests", "requested, mean", "actual, mean", "equal", "difference p99", "largest"]


def lengths(measured: RunData) -> list[Block]:
    """Input and output lengths of each level's hold; empty where the run requested none."""
    levels = measured.results.summary.levels
    tables = [
        *_table("Input tokens", [(level, level.hold.input_lengths) for level in levels]),
        *_table("Output tokens", [(level, level.hold.output_lengths) for level in levels]),
    ]
    if not tables:
        return []
    text = "Actual lengths are the server's own counts; input tokens include the chat template and the system prompt."
    return [*tables, Text(text, style="quiet")]


def _table(caption: str, found: Sequence[tuple[LevelSummary, LengthFigures | None]]) -> list[Block]:
    rows: list[Row] = [
        [
            level_key(level),
            units.count(each.requests),
            units.amount(each.requested_mean),
            units.amount(each.actual_mean),
            units.percentage(each.equal_share),
            units.count(each.difference_p99),
            units.count(each.difference_max),
        ]
        for level, each in found
        if each is not None
    ]
    return [Table(caption, _HEADINGS, rows)] if rows else []
