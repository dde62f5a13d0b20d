"""`tokenswarm recover RESULTS`: complete the folder of a run whose processes were killed."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from metrics.recovery import Recovery, RecoveryError, recover
from reports.charts import draw_charts
from reports.command import ended
from reports.judgement import judge_run
from reports.options import conditions_of
from reports.output import show
from reports.results import ReportError, load_results
from reports.run_page import draw_page
from reports.table import summary_table


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Give `parser` the arguments of `recover`."""
    parser.add_argument(
        "results", metavar="RESULTS", type=Path, help="the folder of the run, such as results/20240605-140300-vllm"
    )
    parser.add_argument(
        "--spool",
        dest="spools",
        metavar="FOLDER",
        type=Path,
        action="append",
        default=[],
        help="a folder with spools of the run's workers, copied from another machine; may be given several times",
    )


def main(args: argparse.Namespace) -> int:
    """Recover, print what was found, and draw the report. Returns the exit code: 0; 2 with one sentence on the standard
    error where the folder cannot be recovered."""
    return ended("recover", lambda: _recover(args))


def _recover(args: argparse.Namespace) -> int:
    try:
        recovery = recover(args.results, args.spools)
    except RecoveryError as error:
        raise ReportError(str(error)) from None
    if recovery.done:
        show(f"{args.results} is complete: its run ended by itself and left no spool.")
        return 0
    show(_found(recovery))
    if not recovery.requests:
        show("No request had ended: there is nothing to report.", sys.stderr)
        return 0
    results = load_results(args.results)
    show(f"\n{summary_table(results)}\n")
    own = conditions_of(results.run.options)
    show(f"Page: {draw_page(results, judge_run(own, results))}")
    for chart in draw_charts(results, args.results):
        show(f"Chart: {chart}")
    return 0


def _found(recovery: Recovery) -> str:
    lines = [
        f"Recovered {recovery.requests:,} requests that had ended, {recovery.from_workers:,} of them from workers' "
        f"spools alone; {recovery.unended:,} were under way."
    ]
    if recovery.torn_bytes:
        lines.append(f"The last {recovery.torn_bytes:,} bytes of a spool were cut short and are not counted.")
    if recovery.missing:
        workers = ", ".join(map(str, recovery.missing))
        lines.append(f"Workers {workers} had requests under way and their spools are missing; give them with --spool.")
    return "\n".join(lines)
