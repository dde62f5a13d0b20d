"""`tokenswarm compare A B C …`: runs of several servers side by side, and who leads in what."""

from __future__ import annotations

import shutil
from argparse import ArgumentParser, Namespace
from collections.abc import Sequence
from pathlib import Path

from tokenswarm.command_line import collect_errors
from tokenswarm.metrics.objectives import ObjectiveError, Objectives
from tokenswarm.reports.checks.check_options import add_variation, output_file, variation_of
from tokenswarm.reports.checks.run_checks import write_markdown, write_text
from tokenswarm.reports.checks.scheduled_times import check_scheduled
from tokenswarm.reports.command_errors import ended
from tokenswarm.reports.compare.comparability import SUSPECT, add_allow, allowed_fields, check_allowed
from tokenswarm.reports.compare.comparison import RunComparison, check_labels
from tokenswarm.reports.compare.comparison_charts import draw_comparison
from tokenswarm.reports.compare.comparison_page import comparison_html
from tokenswarm.reports.compare.comparison_text import comparison_csv, comparison_markdown, comparison_table
from tokenswarm.reports.compare.pareto_charts import draw_pareto
from tokenswarm.reports.output import show
from tokenswarm.run_folder.latest import without_latest
from tokenswarm.run_folder.reader import ReportError, Results, load_results, runs_in
from tokenswarm.run_folder.remote_folder import local_folder


def add_arguments(parser: ArgumentParser) -> None:
    """Give `parser` the arguments of `compare`."""
    parser.add_argument(
        "results", nargs="+", metavar="RESULTS", help="the results folders, two at least, or URLs of copies"
    )
    parser.add_argument(
        "--label",
        action="append",
        default=[],
        metavar="NAME",
        help="what to call the server of a run: once for each folder, in their order; runs of one name are pooled",
    )
    parser.add_argument(
        "--base", metavar="NAME", help="the server that the others are compared with; without it, the first run's"
    )
    add_allow(parser)
    parser.add_argument(
        "--slo", default="", help="the SLO by which all runs are judged, like ttft=500ms; without it, the runs' own"
    )
    parser.add_argument("--slo-share", default="95%", metavar="SHARE", help="share of the requests that must meet them")
    add_variation(parser)
    parser.add_argument("--html", metavar="FILE", help="write the comparison as a page")
    parser.add_argument("--png", metavar="FOLDER", help="write the charts ttft.png, token_rate.png and pareto.png")
    parser.add_argument("--markdown", metavar="FILE", help="write the comparison as Markdown")
    parser.add_argument("--csv", metavar="FILE", help="write every figure with its interval as CSV")


def main(args: Namespace) -> int:
    """Print the comparison and write the files. Returns the exit code: 0; 2 with a sentence on the standard
    error for each reason why the runs cannot be compared."""
    return ended("compare", lambda: _compare(args))


def _compare(args: Namespace) -> int:
    comparison = _comparison(args)
    table = comparison_table(comparison, shutil.get_terminal_size(fallback=(120, 24)).columns)
    written = []
    if args.html:
        written.append(write_text("Page", Path(args.html), comparison_html(comparison)))
    if args.markdown:
        written.append(write_markdown(Path(args.markdown), comparison_markdown(comparison)))
    if args.csv:
        written.append(write_text("CSV", Path(args.csv), comparison_csv(comparison)))
    if args.png:
        drawn = [*draw_comparison(comparison, Path(args.png)), *draw_pareto(comparison, Path(args.png))]
        written += [f"Chart: {chart}" for chart in drawn]
    show("\n\n".join([table, *(["\n".join(written)] if written else [])]))
    return 0


def _comparison(args: Namespace) -> RunComparison:
    """Raises ReportError, OptionErrors with all that is wrong with the arguments and the runs."""
    args.results = without_latest(args.results)
    with collect_errors() as errors:
        allowed = allowed_fields(args.allow)
        if len(args.results) < 2 and not runs_in(Path(args.results[0])):
            errors.add(ReportError(f"compare takes two results folders or more, got {args.results[0]} alone."))
        if SUSPECT in allowed:
            errors.add(ReportError(f"--allow {SUSPECT} is for gate: compare shows suspect runs, and marks them."))
        errors.of(check_labels, args.label, len(args.results))
        for option in ("html", "markdown", "csv"):
            errors.of(output_file, f"--{option}", getattr(args, option) or "")
        objectives, variation = errors.of(_objectives, args), errors.of(variation_of, args)
        found = [errors.of(_results_of, place) for place in args.results]
        readable = [results for results in found if results is not None]
        if objectives is not None and readable:
            open_loop = all(level.open_loop for results in readable for level in results.summary.levels)
            errors.of(check_scheduled, (), objectives.bounds, open_loop=open_loop)
        if len(readable) > 1:
            labels, base = _labels(args, found)
            comparison = errors.of(RunComparison, readable, labels, base, allowed, objectives, variation or 0.0)
        else:
            errors.of(check_allowed, allowed)
    return comparison


def _results_of(place: str) -> Results:
    """Raises ReportError."""
    return load_results(local_folder(place))


def _labels(args: Namespace, found: Sequence[Results | None]) -> tuple[list[str], str | None]:
    """The labels of the folders that could be read, and the base's. Where it is not clear which label is whose, each
    folder is a server of its own, so that the other errors are found all the same."""
    if args.label and len(args.label) != len(found):
        return [str(results.folder) for results in found if results is not None], None
    return [label for label, results in zip(args.label, found, strict=False) if results is not None], args.base


def _objectives(args: Namespace) -> Objectives | None:
    """Raises ReportError."""
    try:
        return Objectives.parse(args.slo, args.slo_share) if args.slo else None
    except ObjectiveError as error:
        raise ReportError(str(error)) from error
