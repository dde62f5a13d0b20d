"""`tokenswarm compare A B C …`: runs of several servers side by side, and who leads in what."""

from __future__ import annotations

import shutil
from argparse import ArgumentParser, Namespace
from pathlib import Path

from metrics.objectives import ObjectiveError, Objectives
from reports.command import ended
from reports.comparison import Comparison
from reports.comparison_charts import draw_comparison
from reports.comparison_page import comparison_html
from reports.comparison_text import comparison_csv, comparison_markdown, comparison_table
from reports.judge import write_markdown, write_text
from reports.likeness import FIELD_NAMES, SUSPECT
from reports.options import add_variation, variation_of
from reports.output import show
from reports.results import ReportError, load_results


def add_arguments(parser: ArgumentParser) -> None:
    """Give `parser` the arguments of `compare`."""
    parser.add_argument("results", nargs="+", metavar="RESULTS", help="the results folders, two at least")
    parser.add_argument(
        "--label",
        action="append",
        default=[],
        metavar="NAME",
        help="what to call the server of a run: once for each folder, in their order; runs of one name are pooled",
    )
    parser.add_argument("--base", metavar="NAME", help="the server that ratios are to; without it, the first run's")
    parser.add_argument(
        "--allow",
        action="append",
        default=[],
        metavar="FIELD",
        help=f"what the runs may differ in ({', '.join(FIELD_NAMES)})",
    )
    parser.add_argument(
        "--slo", default="", help="hold these objectives against every run, like ttft=500ms; without it, the runs' own"
    )
    parser.add_argument("--slo-share", default="95%", metavar="SHARE", help="share of the requests that must meet them")
    add_variation(parser)
    parser.add_argument("--html", metavar="FILE", help="write the comparison as a page")
    parser.add_argument("--png", metavar="FOLDER", help="write the charts ttft.png and token_rate.png")
    parser.add_argument("--markdown", metavar="FILE", help="write the comparison as Markdown")
    parser.add_argument("--csv", metavar="FILE", help="write every figure with its interval as CSV")


def main(args: Namespace) -> int:
    """Print the comparison and write what is asked for. Returns the exit code: 0; 2 with one sentence on the standard
    error where the runs cannot be compared as asked."""
    return ended("compare", lambda: _compare(args))


def _compare(args: Namespace) -> int:
    if len(args.results) < 2:
        raise ReportError(f"It takes two results folders or more to compare, got {args.results[0]} alone.")
    if SUSPECT in args.allow:
        raise ReportError(f"--allow {SUSPECT} is of gate: here such runs are compared all the same, and marked.")
    comparison = Comparison(
        [load_results(folder) for folder in args.results],
        args.label,
        args.base,
        args.allow,
        _objectives(args),
        variation_of(args),
    )
    table = comparison_table(comparison, shutil.get_terminal_size(fallback=(120, 24)).columns)
    written = []
    if args.html:
        written.append(write_text("Page", Path(args.html), comparison_html(comparison)))
    if args.markdown:
        written.append(write_markdown(Path(args.markdown), comparison_markdown(comparison)))
    if args.csv:
        written.append(write_text("CSV", Path(args.csv), comparison_csv(comparison)))
    if args.png:
        written += [f"Chart: {chart}" for chart in draw_comparison(comparison, Path(args.png))]
    show("\n\n".join([table, *(["\n".join(written)] if written else [])]))
    return 0


def _objectives(args: Namespace) -> Objectives | None:
    """Raises ReportError."""
    try:
        return Objectives.parse(args.slo, args.slo_share) if args.slo else None
    except ObjectiveError as error:
        raise ReportError(str(error)) from error
