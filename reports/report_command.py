"""`tokenswarm report RESULTS`: tell a run again from the folder it left, without new load."""

from __future__ import annotations

import argparse
import shutil
from pathlib import Path

from metrics.objectives import DEFAULT_SHARE, ObjectiveError, Objectives
from reports.charts import draw_charts
from reports.command import ended
from reports.exports import write_hlog, write_parquet
from reports.journals import load_requests
from reports.judge import check_levels, write_files
from reports.judgement import Judgement, judge_run, judgement_lines
from reports.options import JudgingOptions, conditions_of
from reports.options import add_arguments as add_judging_arguments
from reports.others import COLUMNS, TOOLS, report_as
from reports.output import show
from reports.results import ReportError, Results, load_results
from reports.run_page import draw_page
from reports.slo import with_objectives
from reports.table import summary_table


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Give `parser` the arguments of `report`."""
    parser.add_argument(
        "results", metavar="RESULTS", help="the folder a run left, such as results/20240605-140300-vllm"
    )
    parser.add_argument(
        "--as",
        dest="as_tool",
        choices=list(TOOLS),
        metavar="TOOL",
        help=f"print the figures as another tool would count them ({', '.join(TOOLS)}), and nothing else",
    )
    parser.add_argument("--parquet", metavar="FILE", help="write the requests as Parquet")
    parser.add_argument("--hlog", metavar="FILE", help="write the latencies as an HdrHistogram log")
    parser.add_argument(
        "--slo", metavar="OBJECTIVES", help="judge by these objectives instead of the run's own, like ttft=500ms"
    )
    parser.add_argument("--slo-share", metavar="SHARE", help="share of the requests that must meet them, like 99%%")
    add_judging_arguments(
        parser, 'conditions that fail, like "p95(ttft) > 500ms, failures > 1%%"; see docs/conditions.md'
    )


def main(args: argparse.Namespace) -> int:
    """Print the table, draw the charts and the page again and print where they are; judge, and write what else is
    asked for.

    Returns the exit code: 0; 5 where a condition is broken, 3 where the run is not to be believed; 2 with one sentence
    on the standard error where the folder cannot be reported.
    """
    return ended("report", lambda: _report(args))


def _report(args: argparse.Namespace) -> int:
    options = JudgingOptions.of(args)
    results = _judged_by(args, load_results(args.results))
    if options.names_goodput and not results.summary.objectives:
        raise ReportError(
            "A condition names goodput, and the run had no objectives: give --slo, like --slo ttft=500ms."
        )
    check_levels(options, ((level.level, level.system_prompt) for level in results.summary.levels))
    if args.as_tool:
        show(report_as(args.as_tool, load_requests(results, COLUMNS), results))
        return 0
    judgement = judge_run(options.conditions, results)
    shown = [[summary_table(results, width=_width())], judgement_lines(judgement, _width())]
    try:
        shown.append(_write(args, options, results, judgement))
    finally:  # the figures are shown even where a file cannot be written
        show("\n\n".join("\n".join(part) for part in shown if part))
    return judgement.exit_code if options.conditions else 0


def _judged_by(args: argparse.Namespace, results: Results) -> Results:
    """Held against --slo where it is given, else against the run's own objectives. Raises ReportError."""
    share = args.slo_share or f"{results.summary.objective_share or DEFAULT_SHARE:.10g}"
    try:
        objectives = Objectives.parse(args.slo or "", share)
    except ObjectiveError as error:
        raise ReportError(str(error)) from error
    if not objectives.bounds:
        if args.slo_share:
            raise ReportError("--slo-share needs --slo, like --slo ttft=500ms.")
        return results
    return with_objectives(results, objectives)


def _write(args: argparse.Namespace, options: JudgingOptions, results: Results, judgement: Judgement) -> list[str]:
    """Every file. Returns a line for each that says where it is. Raises ReportError."""
    # The page keeps the run's own conditions unless others are given.
    own = options.conditions or conditions_of(results.run.options)
    page, charts = draw_page(results, judge_run(own, results)), draw_charts(results, results.folder)
    written = [f"Page: {page}", *(f"Chart: {chart}" for chart in charts), *write_files(options, results, judgement)]
    for kind, file, write in (("Parquet", args.parquet, write_parquet), ("HdrHistogram log", args.hlog, write_hlog)):
        if file:
            write(results, Path(file))
            written.append(f"{kind}: {file}")
    return written


def _width() -> int:
    # Without a terminal (a pipe, a file) nothing is too narrow; COLUMNS, where set, is obeyed in either case.
    return shutil.get_terminal_size(fallback=(120, 24)).columns
