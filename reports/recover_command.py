"""`tokenswarm recover RESULTS`: complete the folder of a run whose processes were killed."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from tokenswarm.recording.recovery import Recovery, RecoveryError, recover
from tokenswarm.reports import units
from tokenswarm.reports.charts import draw_charts
from tokenswarm.reports.checks.check_options import conditions_of
from tokenswarm.reports.checks.check_report import check_run
from tokenswarm.reports.command_errors import ended
from tokenswarm.reports.html.run_page import draw_page
from tokenswarm.reports.output import show
from tokenswarm.reports.text_table import summary_table
from tokenswarm.run_folder.latest import followed
from tokenswarm.run_folder.reader import ReportError, load_results
from tokenswarm.run_folder.schema import Status


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
    args.results = followed(args.results)
    try:
        recovery = recover(args.results, args.spools)
    except RecoveryError as error:
        raise ReportError(str(error)) from None
    if recovery.done:
        show(f"{args.results} is complete: {_how_it_ended(args.results)}, and there is no spool.")
        return 0
    show(_found(recovery))
    if not recovery.requests:
        show("No request had ended: there is nothing to report.", sys.stderr)
        return 0
    results = load_results(args.results)
    show(f"\n{summary_table(results)}\n")
    own = conditions_of(results.run.options)
    show(f"Page: {draw_page(results, check_run(own, results))}")
    for chart in draw_charts(results, args.results):
        show(f"Chart: {chart}")
    return 0


def _how_it_ended(folder: Path) -> str:
    recovered = load_results(folder).status == Status.RECOVERED
    return "it was recovered before" if recovered else "its run ended by itself"


def _found(recovery: Recovery) -> str:
    ended = units.counted(recovery.requests, "request")
    alone = (
        f", {units.count(recovery.from_workers)} of them from workers' spools alone" if recovery.from_workers else ""
    )
    lines = [f"Recovered {ended} that had ended{alone}; {units.count(recovery.unended)} were in flight."]
    if recovery.torn_bytes:
        lost = f"; {units.counted(recovery.lost, 'request')} that had ended are lost with them" if recovery.lost else ""
        lines.append(f"{units.counted(recovery.torn_bytes, 'byte')} of the spools were cut short or damaged{lost}.")
    if recovery.missing:
        workers = ", ".join(map(str, recovery.missing))
        lines.append(f"Workers {workers} had requests in flight and their spools are missing; give them with --spool.")
    return "\n".join(lines)
