"""`tokenswarm workload OPTIONS`: the options of a run in, a description of what it would send out. No server."""

from __future__ import annotations

import sys
from argparse import Namespace
from collections.abc import Sequence
from typing import Any

import msgspec

from tokenswarm.client.request_options import ChatOptions
from tokenswarm.client.server_address import base_url, hosts_of
from tokenswarm.client.workload import load_workload
from tokenswarm.command_line import Given, OptionErrors, collect_errors, read_options, sentences_of, variable_warnings
from tokenswarm.command_line.exit_codes import EXIT_UNUSABLE
from tokenswarm.run_control.run_parser import run_parser
from tokenswarm.run_control.run_plan import RunPlan
from tokenswarm.run_control.start_checks import complete_options
from tokenswarm.run_control.stray_words import check_locustfile, check_stray_words
from tokenswarm.sanitize import is_output_lost, report_lost_output
from tokenswarm.workload.describe import describe
from tokenswarm.workload.description import WorkloadDescription
from tokenswarm.workload.description_text import format_description, too_short_lines

_ABOUT = """Usage: tokenswarm workload [--json] [options of a run]

Describes what a run with these options would send, without sending it: lengths, sharing, theoretical prefix-cache hits,
sessions, shares of models and hosts, arrivals, duration, totals. No server is needed. --json prints it
machine-readable. docs/workloads.md has examples.
"""


def run(words: Sequence[str], command: str = "tokenswarm workload") -> int:
    """Describe the workload of these words. command: what messages call this. Returns 0, or 2 with a sentence for each
    error on the standard error, and 2 for input lengths with which a run would not start."""
    parser = _parser()
    if {"-h", "--help"} & set(words):
        return _print(parser.format_help().rstrip())
    parser.prog = command
    for sentence in variable_warnings(parser):
        print(f"{command}: {sentence}", file=sys.stderr)
    try:
        given = read_options(parser, list(words))
        description = _description_of(given)
    except ValueError as error:
        for sentence in sentences_of(error):
            print(f"{command}: {sentence}", file=sys.stderr)
        return EXIT_UNUSABLE
    if given.options.json:
        text = msgspec.json.format(msgspec.json.encode(description), indent=2).decode()
        for sentence in too_short_lines(description):
            print(f"{command}: {sentence}", file=sys.stderr)
    else:
        text = format_description(description)
    return max(_print(text), EXIT_UNUSABLE if any(each.is_sure for each in description.too_short) else 0)


def _parser() -> Any:
    parser = run_parser()
    parser.prog, parser.description, parser.epilog = "tokenswarm workload", _ABOUT, ""
    return parser


def _description_of(given: Given) -> WorkloadDescription:
    """Raises ValueError with all that is wrong."""
    with collect_errors() as errors:
        if given.errors:
            errors.add(OptionErrors(given.errors))
        errors.of(check_locustfile, given)
        errors.of(check_stray_words, given)
        errors.of(complete_options, given)
        plan = errors.of(RunPlan.of, given.options)
        options = errors.of(ChatOptions.of, given.options)
        hosts = errors.of(_hosts_of, given.options)
    return describe(options, load_workload(options), plan, hosts)


def _hosts_of(options: Namespace) -> list[str]:
    """Raises UnusableUrl."""
    return [base_url(each) for each in hosts_of(options.host or "")]


def _print(text: str) -> int:
    try:
        print(text, flush=True)
    except OSError as error:
        report_lost_output(error, sys.stdout)
    return EXIT_UNUSABLE if is_output_lost() else 0
