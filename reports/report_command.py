"""`tokenswarm report RESULTS`: report a run from the folder it left, without new load."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import msgspec

from tokenswarm.command_line import collect_errors
from tokenswarm.command_line.exit_codes import EXIT_NOT_UPLOADED, EXIT_OK
from tokenswarm.metrics.hardware import Hardware, parse_hardware
from tokenswarm.metrics.objectives import DEFAULT_SHARE, ObjectiveError, Objectives
from tokenswarm.recording.hardware_figures import with_hardware
from tokenswarm.reports.charts import draw_charts
from tokenswarm.reports.checks.check_options import CheckOptions, conditions_of, output_file
from tokenswarm.reports.checks.check_options import add_arguments as add_check_arguments
from tokenswarm.reports.checks.check_report import CheckReport, check_lines, check_run
from tokenswarm.reports.checks.run_checks import check_levels, write_files
from tokenswarm.reports.checks.scheduled_times import check_scheduled
from tokenswarm.reports.checks.slo import with_objectives
from tokenswarm.reports.command_errors import ended
from tokenswarm.reports.html.run_page import draw_page
from tokenswarm.reports.other_formats.write_formats import FORMATS, write_formats
from tokenswarm.reports.output import show, terminal_width
from tokenswarm.reports.services.destinations import DESTINATIONS
from tokenswarm.reports.services.export_errors import ExportFailed
from tokenswarm.reports.stats.as_other_tools import COLUMNS, TOOLS, report_as
from tokenswarm.reports.text_table import summary_table
from tokenswarm.run_folder.csv_reader import load_requests
from tokenswarm.run_folder.exports import write_hlog, write_parquet
from tokenswarm.run_folder.reader import ReportError, Results, load_results
from tokenswarm.run_folder.remote_folder import local_folder
from tokenswarm.sanitize import shown


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Give `parser` the arguments of `report`."""
    parser.add_argument(
        "results",
        metavar="RESULTS",
        help="the folder a run left, such as results/20240605-140300-vllm, or the URL of its copy, which is read into "
        "a temporary folder",
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
        "--to",
        nargs=2,
        action="append",
        default=[],
        metavar=("FORMAT", "PLACE"),
        help=f"write each level as another tool's result file ({', '.join(FORMATS)} FILE; of several levels, each has "
        "its name in the file's), or send the run to a service: otlp URL (metrics and spans of OpenTelemetry), mlflow "
        "URL or FOLDER; can be given several times",
    )
    parser.add_argument(
        "--slo", metavar="OBJECTIVES", help="judge by these objectives instead of the run's own, like ttft=500ms"
    )
    parser.add_argument("--slo-share", metavar="SHARE", help="share of the requests that must meet them, like 99%%")
    for option, metavar, text in (
        ("--gpus", "NUMBER", "count by so many GPUs instead of those that the run states"),
        ("--gpu-name", "NAME", "what these GPUs are, like H100"),
        ("--gpu-price", "PRICE", "US dollars for one of them and hour, like 2.5"),
    ):
        parser.add_argument(option, metavar=metavar, default="", help=text)
    add_check_arguments(
        parser, 'conditions that fail, like "p95(ttft) > 500ms, failures > 1%%"; see docs/conditions.md'
    )


def main(args: argparse.Namespace) -> int:
    """Print the table, draw the charts and the page again and print where they are; check the conditions, and write
    the other files that the options name.

    Returns the exit code: 0; 5 where a condition failed, 3 where the run is unreliable; 6 where a service of --to did
    not take the run; 2 with one sentence on the standard error where the folder cannot be reported.
    """
    return ended("report", lambda: _report(args))


def check(args: argparse.Namespace) -> tuple[CheckOptions, Objectives | None]:
    """What the arguments say: the conditions, and the objectives of --slo with the share of --slo-share, None where
    neither is given. Raises ReportError, ConditionError, OptionErrors."""
    with collect_errors() as errors:
        options = errors.of(CheckOptions.of, args)
        objectives = errors.of(_objectives, args)
        errors.of(parse_hardware, args.gpus, args.gpu_name, args.gpu_price)
        errors.of(output_file, "--parquet", args.parquet or "")
        errors.of(output_file, "--hlog", args.hlog or "")
        for name, file in args.to:
            errors.of(_other_format, name, file)
    return options, objectives


def _report(args: argparse.Namespace) -> int:
    options, objectives = check(args)
    hardware = parse_hardware(args.gpus, args.gpu_name, args.gpu_price)
    results = load_results(local_folder(args.results))
    if hardware is not None:
        results = _with_hardware(results, hardware)
    open_loop = any(level.open_loop is not None for level in results.summary.levels)
    check_scheduled(options.conditions, objectives.bounds if objectives else (), open_loop=open_loop)
    for option in ("slo", "as_tool", "parquet", "hlog", "to"):
        if getattr(args, option):
            results.need_requests(f"--{option.removesuffix('_tool')}")
    if objectives is not None:
        share = objectives.share if args.slo_share else results.summary.objective_share or DEFAULT_SHARE
        results = with_objectives(results, replace(objectives, share=share))
    if options.names_goodput and not results.summary.objectives:
        raise ReportError(
            "A condition names goodput, and the run had no objectives: give --slo, like --slo ttft=500ms."
        )
    check_levels(options, ((level.level, level.system_prompt) for level in results.summary.levels))
    if args.as_tool:
        show(report_as(args.as_tool, load_requests(results, COLUMNS), results))
        return 0
    checks = check_run(options.conditions, results)
    shown = [[summary_table(results, width=terminal_width())], check_lines(checks, terminal_width())]
    try:
        shown.append(_write(args, options, results, checks))
    finally:  # the figures are shown even where a file cannot be written
        show("\n\n".join("\n".join(part) for part in shown if part))
    exported = _export(args.to, results)
    return (checks.exit_code if options.conditions else EXIT_OK) or exported


def _export(places: Sequence[Sequence[str]], results: Results) -> int:
    """Send the run to each service. Returns the exit code of a report that had no other error."""
    code = EXIT_OK
    for name, place in places:
        if name not in DESTINATIONS:
            continue
        try:
            show(f"Exported to {name}: {DESTINATIONS[name].export(results, place)}")
        except ExportFailed as error:
            print(f"tokenswarm report: --to {name}: {error}", file=sys.stderr)
            code = EXIT_NOT_UPLOADED
    return code


def _with_hardware(results: Results, hardware: Hardware) -> Results:
    levels = with_hardware(results.summary.levels, hardware)
    return msgspec.structs.replace(
        results, summary=msgspec.structs.replace(results.summary, levels=levels, hardware=hardware)
    )


def _other_format(name: str, file: str) -> None:
    """Raises ReportError, OptionError."""
    if name in DESTINATIONS:
        DESTINATIONS[name].check(file)
        return
    if name not in FORMATS:
        raise ReportError(
            f"--to takes {', '.join(FORMATS)} and a file, like --to vllm result.json, or {', '.join(DESTINATIONS)} and "
            f"a URL, like --to otlp http://collector:4318; it was {shown(name)}."
        )
    output_file("--to", file)


def _objectives(args: argparse.Namespace) -> Objectives | None:
    """Raises ReportError."""
    try:
        objectives = Objectives.parse(args.slo or "", args.slo_share or f"{DEFAULT_SHARE:.10g}")
    except ObjectiveError as error:
        raise ReportError(str(error)) from error
    if objectives.bounds:
        return objectives
    if args.slo_share:
        raise ReportError("--slo-share needs --slo, like --slo ttft=500ms.")
    return None


def _write(args: argparse.Namespace, options: CheckOptions, results: Results, checks: CheckReport) -> list[str]:
    """Every file. Returns a line for each that says where it is. Raises ReportError."""
    # The page keeps the run's own conditions unless others are given.
    own = options.conditions or conditions_of(results.run.options)
    page, charts = draw_page(results, check_run(own, results)), draw_charts(results, results.folder)
    written = [f"Page: {page}", *(f"Chart: {chart}" for chart in charts), *write_files(options, results, checks)]
    for kind, file, write in (("Parquet", args.parquet, write_parquet), ("HdrHistogram log", args.hlog, write_hlog)):
        if file:
            write(results, Path(file))
            written.append(f"{kind}: {file}")
    for name, file in args.to:
        if name in FORMATS:
            written += [f"Result for {name}: {path}" for path in write_formats(results, name, Path(file))]
    return written
