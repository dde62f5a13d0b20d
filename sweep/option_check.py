"""The options of a sweep's cells as a run checks them: what the process of `check_cells` does."""

from __future__ import annotations

import sys
from argparse import ArgumentParser
from collections.abc import Sequence

import msgspec

from tokenswarm.command_line import Given, OptionErrors, collect_errors, read_options, sentences_of
from tokenswarm.metrics.level import planned_length_s
from tokenswarm.run_control.run_parser import run_parser
from tokenswarm.run_control.run_plan import RunPlan
from tokenswarm.run_control.start_checks import check_command_line, complete_options
from tokenswarm.run_control.stray_words import check_stray_words
from tokenswarm.sweep.cell_checks import CellCheck, CheckRequest
from tokenswarm.sweep.sweep_plan import SweepError


def check_words(words: Sequence[str], own: Sequence[str]) -> CellCheck:
    """As a run with these options checks them before it begins. Never ends the process."""
    parser = run_parser()
    parser.prog = "tokenswarm sweep"
    _know(parser, own)
    try:
        with collect_errors() as errors:
            given = read_options(parser, ["--headless", *words])
            if given.errors:
                errors.add(OptionErrors(given.errors))
            errors.of(_check_proxy, given)
            errors.of(check_stray_words, given)
            errors.of(complete_options, given)
            errors.of(_check_headers, given)
            errors.of(check_command_line, given)
        plan = RunPlan.of(given.options)
    except ValueError as error:
        return CellCheck(list(dict.fromkeys(sentences_of(error))))
    levels = plan.levels
    is_open = any(level.ends_with_requests or level.probe for level in levels)
    return CellCheck([], None if is_open else planned_length_s(levels, plan.load.settle_s))


def _know(parser: ArgumentParser, own: Sequence[str]) -> None:
    """No cell has these: an unknown option may be a misspelled one of them."""
    for flag in own:
        if flag not in parser._option_string_actions:
            parser.add_argument(flag, dest=f"sweep_{flag.strip('-').replace('-', '_')}")


def _check_proxy(given: Given) -> None:
    """Raises SweepError for a password on the command line, which would be kept in the manifest."""
    if "@" in given.options.proxy and given.sources.get("proxy") == "--proxy":
        raise SweepError(
            "--proxy has a password, and a sweep's manifest keeps its options: set the variable TOKENSWARM_PROXY."
        )


def _check_headers(given: Given) -> None:
    """The same of values of headers. As `complete_options` leaves them, one with a value of its own has no colon any
    more."""
    secret = [entry for entry in given.options.header if ":" not in entry]
    if secret and given.sources.get("header") == "--header":
        raise SweepError(
            f"--header {secret[0]} has a value of its own, and a sweep's manifest keeps its options: name a variable "
            f"(--header '{secret[0]}: $VARIABLE'), or use --header-file."
        )


def _main() -> None:
    request = msgspec.json.decode(sys.stdin.buffer.read(), type=CheckRequest)
    known: dict[tuple[str, ...], CellCheck] = {}
    found = []
    for words in request.cells:
        if tuple(words) not in known:
            known[tuple(words)] = check_words(words, request.own)
        found.append(known[tuple(words)])
    sys.stdout.buffer.write(msgspec.json.encode(found))


if __name__ == "__main__":
    _main()
