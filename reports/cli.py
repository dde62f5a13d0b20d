"""`tokenswarm report RESULTS`: tell a run again from the folder it left, without new load."""

from __future__ import annotations

import argparse
import io
import shutil
import sys

from reports.charts import draw_charts
from reports.results import ReportError, load_results
from reports.table import summary_table


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Give `parser` the arguments of `report`."""
    parser.add_argument(
        "results", metavar="RESULTS", help="the folder a run left, such as results/20240605-140300-vllm"
    )


def main(args: argparse.Namespace) -> int:
    """Print the table, draw the charts again and print where they are.

    Returns the exit code: 0, or 2 with one sentence on the standard error where the folder cannot be reported.
    """
    if isinstance(sys.stdout, io.TextIOWrapper):
        # A terminal that cannot show "–" or "≥" shows "?" instead of ending the report.
        sys.stdout.reconfigure(errors="replace")
    try:
        results = load_results(args.results)
        print(summary_table(results, width=_width()))
        charts = draw_charts(results, results.folder)
    except ReportError as error:
        print(f"tokenswarm report: {error}", file=sys.stderr)
        return 2
    print()
    for chart in charts:
        print(f"Chart: {chart}")
    return 0


def _width() -> int:
    # Without a terminal (a pipe, a file) nothing is too narrow; COLUMNS, where set, is obeyed in either case.
    return shutil.get_terminal_size(fallback=(120, 24)).columns
