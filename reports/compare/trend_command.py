"""`tokenswarm trend`: the figures of one server's runs over time, and which runs departed from a baseline.

tokenswarm trend results/A results/B results/C …
tokenswarm trend results --baseline 5 --html trend.html --fail-if-worse
"""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from collections.abc import Sequence
from pathlib import Path

from tokenswarm.command_line import OptionErrors, collect_errors
from tokenswarm.command_line.exit_codes import EXIT_CONDITION_FAILED, EXIT_OK, EXIT_UNRELIABLE
from tokenswarm.reports.checks.check_options import add_variation, output_file, variation_of
from tokenswarm.reports.checks.run_checks import write_text
from tokenswarm.reports.command_errors import ended
from tokenswarm.reports.compare.comparability import add_allow, allowed_fields, check_allowed
from tokenswarm.reports.compare.trend import Trend, left_out, like_newest
from tokenswarm.reports.compare.trend_page import trend_html
from tokenswarm.reports.compare.trend_text import trend_csv, trend_table
from tokenswarm.reports.output import show, terminal_width
from tokenswarm.run_folder.reader import ReportError, Results, load_results, runs_in


def add_arguments(parser: ArgumentParser) -> None:
    """Give `parser` the arguments of `trend`."""
    parser.add_argument(
        "runs",
        nargs="+",
        metavar="FOLDER",
        help="the results folders, two or more; or one folder that holds "
        "them, of which the runs with the settings of the newest are taken",
    )
    parser.add_argument(
        "--baseline",
        default="",
        metavar="NUMBER",
        help="how many of the oldest reliable runs the others are held against (default: half of them, 5 at most)",
    )
    add_allow(parser)
    add_variation(parser)
    parser.add_argument("--html", default="", metavar="FILE", help="write the trend as a page")
    parser.add_argument(
        "--csv", default="", metavar="FILE", help="write every figure of every run with its interval as CSV"
    )
    parser.add_argument(
        "--fail-if-worse",
        action="store_true",
        help="end with 5 if the newest run is significantly worse than the baseline in any figure, with 3 if it is "
        "unreliable",
    )


def main(args: Namespace) -> int:
    """Print the trend and write the files. Returns the exit code: 0; with --fail-if-worse 5 or 3; 2 with a sentence on
    the standard error for each reason why there is no trend."""
    return ended("trend", lambda: _trend(args))


def _trend(args: Namespace) -> int:
    trend, notices = _trend_of(args)
    table = trend_table(trend, notices, terminal_width())
    written = []
    if args.html:
        written.append(write_text("Page", Path(args.html), trend_html(trend, notices)))
    if args.csv:
        written.append(write_text("CSV", Path(args.csv), trend_csv(trend)))
    show("\n\n".join([table, *(["\n".join(written)] if written else [])]))
    if not args.fail_if_worse:
        return EXIT_OK
    if trend.newest.unreliable:
        return EXIT_UNRELIABLE
    return EXIT_CONDITION_FAILED if trend.worse_now else EXIT_OK


def _trend_of(args: Namespace) -> tuple[Trend, list[str]]:
    """(the trend, what is to be said of runs that are left out). Raises ReportError, OptionErrors."""
    with collect_errors() as errors:
        allowed = allowed_fields(args.allow)
        errors.of(check_allowed, allowed)
        variation, baseline = errors.of(variation_of, args), errors.of(_baseline, args.baseline)
        for option in ("html", "csv"):
            errors.of(output_file, f"--{option}", getattr(args, option))
        found = errors.of(_found, args.runs, allowed)
    runs, notices = found
    try:
        return Trend(runs, baseline, allowed, variation), notices
    except ReportError as error:
        raise OptionErrors([str(error), *notices]) from None


def _found(folders: Sequence[str], allowed: Sequence[str]) -> tuple[list[Results], list[str]]:
    """The runs, and a sentence for each that is left out. Raises ReportError, OptionErrors."""
    inside = runs_in(Path(folders[0])) if len(folders) == 1 else []
    if not inside and len(folders) == 1 and Path(folders[0]).is_dir() and not (Path(folders[0]) / "run.json").exists():
        raise ReportError(
            f"{folders[0]} holds no runs; give the results folder of the runs (the one of --results), or two "
            "results folders or more."
        )
    if not inside:
        with collect_errors() as errors:
            found = [errors.of(load_results, folder) for folder in folders]
        return [results for results in found if results is not None], []
    readable, notices = [], []
    for folder in inside:
        try:
            readable.append(load_results(folder))
        except ReportError as error:
            notices.append(f"{folder.name} is left out: {error}")
    if not readable:
        raise ReportError(f"No run in {folders[0]} can be read: {notices[0]}")
    kept, others = like_newest(readable, allowed)
    return kept, [*notices, *([left_out(others)] if others else [])]


def _baseline(text: str) -> int | None:
    """Raises ReportError."""
    if not text:
        return None
    if not text.isdecimal() or not int(text):
        raise ReportError(f"--baseline takes a number of runs, like 5, got {text!r}.")
    return int(text)
