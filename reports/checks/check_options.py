"""The options of what a run is judged by: how they are given, and the frozen record they make."""

from __future__ import annotations

import re
import sys
from argparse import SUPPRESS, Action, ArgumentParser, Namespace
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

from tokenswarm.command_line import OptionAdder, collect_errors
from tokenswarm.reports.checks.conditions import Condition, parse_conditions, parse_pass_conditions, why_without_effect
from tokenswarm.reports.stats.changes import ASSUMED_VARIATION
from tokenswarm.run_folder.reader import ReportError

_PERCENT = re.compile(r"\s*(\d+(?:\.\d+)?)\s*%?\s*", re.ASCII)


@dataclass(frozen=True, slots=True)
class CheckOptions:
    """Under which conditions a run fails, and the files that say so; None writes none. json_on_stdout: whether JSON is
    printed there; prints_summary: whether it is summary.json; opens_page: whether a browser shows the report."""

    conditions: Sequence[Condition]
    junit: Path | None
    markdown: Path | None
    json_on_stdout: bool = False
    prints_summary: bool = False
    opens_page: bool = False

    @property
    def names_goodput(self) -> bool:
        """Whether any condition is about goodput, which takes objectives."""
        return _names_goodput(self.conditions)

    @property
    def output(self) -> TextIO:
        """The stream for what a person reads: standard error where standard output is JSON for a program."""
        return sys.stderr if self.json_on_stdout else sys.stdout

    @classmethod
    def of(cls, options: Namespace, relative: bool = False) -> CheckOptions:
        """Check and convert. Raises ConditionError, ReportError, OptionErrors."""
        with collect_errors() as errors:
            conditions = errors.of(conditions_of, vars(options), relative)
            for condition in conditions or ():
                if reason := why_without_effect(condition, relative):
                    errors.add(ReportError(reason))
            if _names_goodput(conditions or ()) and getattr(options, "slo", None) == "":
                errors.add(
                    ReportError("A condition names goodput, which needs objectives: give --slo, like --slo ttft=500ms.")
                )
            junit = errors.of(output_file, "--junit", options.junit)
            markdown = errors.of(output_file, "--markdown", options.markdown)
            of_locust, prints_summary = (bool(getattr(options, name, False)) for name in ("json", "print_summary"))
            if of_locust and prints_summary:
                errors.add(ReportError("--print-summary and Locust's --json both print JSON: give one of them."))
        opens_page = bool(getattr(options, "open", False))
        return cls(conditions, junit, markdown, of_locust or prints_summary, prints_summary, opens_page)


def _names_goodput(conditions: Sequence[Condition]) -> bool:
    return any(condition.figure and condition.figure.name == "goodput" for condition in conditions)


def conditions_of(options: Mapping[str, Any], relative: bool = False) -> list[Condition]:
    """The conditions that a run's options hold; older runs know no --pass-if. Raises ConditionError, ReportError,
    OptionErrors."""
    failing, passing = (options.get(name) or "" for name in ("fail_if", "pass_if"))
    if not isinstance(failing, str) or not isinstance(passing, str):
        raise ReportError("run.json is not as a run writes it: fail_if and pass_if among its options are text.")
    with collect_errors() as errors:
        conditions = errors.of(parse_conditions, failing, relative), errors.of(parse_pass_conditions, passing)
    return conditions[0] + conditions[1]


class Joined(Action):
    """An option that may be given more than once: what each says, with commas between. Plain storing would let the last
    one silence the others."""

    def __call__(
        self, parser: ArgumentParser, namespace: Namespace, values: Any, option_string: str | None = None
    ) -> None:
        before = getattr(namespace, self.dest)
        setattr(namespace, self.dest, f"{before}, {values}" if before else values)


def add_options(parser: ArgumentParser) -> None:
    """Give Locust's parser (and so its web form) these options."""
    option = OptionAdder(parser)
    option(
        "--fail-if",
        action=Joined,
        default="",
        text='conditions under which the run fails, like "p95(ttft) > 500ms, rate < 100" (output tokens/s of all '
        "users); may be repeated (docs/conditions.md)",
    )
    option(
        "--pass-if",
        action=Joined,
        default="",
        text='conditions that must hold, otherwise the run fails, like "p95(ttft) <= 500ms and p5(user_rate) >= 20"; '
        "may be repeated (docs/conditions.md)",
    )
    option(
        "--junit",
        default="",
        include_in_web_ui=False,
        text="file to write the checks to, as JUnit XML",
    )
    option(
        "--markdown",
        default="",
        include_in_web_ui=False,
        text="file to write the run's table and checks to, as Markdown, such as a CI job's summary",
    )
    option.switch(
        "--print-summary",
        "print summary.json on standard output when a run is over, and all else on standard error; the same as "
        "--json of tokenswarm run",
        include_in_web_ui=False,
    )
    option.switch(
        "--open",
        "open the report in a browser when a run is over; on a machine without a screen a message says that it was not "
        "opened",
        include_in_web_ui=False,
    )


def add_arguments(parser: ArgumentParser, fail_if: str, relative: bool = False) -> None:
    """The same for a subcommand; fail_if: its help. relative: its conditions are about changes, and --pass-if, which is
    not, is only known to be refused."""
    absolute = 'conditions that must hold, otherwise it fails, like "p95(ttft) <= 500ms and p5(user_rate) >= 20"'
    parser.add_argument("--fail-if", action=Joined, default="", metavar="CONDITIONS", help=fail_if)
    parser.add_argument(
        "--pass-if", action=Joined, default="", metavar="CONDITIONS", help=SUPPRESS if relative else absolute
    )
    parser.add_argument("--junit", default="", metavar="FILE", help="write the checks as JUnit XML")
    parser.add_argument("--markdown", default="", metavar="FILE", help="write the tables and the checks as Markdown")


def add_variation(parser: ArgumentParser) -> None:
    """Give `parser` the option of what is assumed where run-to-run variation is not measured."""
    parser.add_argument(
        "--run-variation",
        default=f"{ASSUMED_VARIATION:.0%}",
        metavar="PERCENT",
        help="standard deviation between repeated runs of one server, assumed where there are too few runs to measure "
        "it; for TTFT twice this (default: %(default)s)",
    )


def variation_of(args: Namespace) -> float:
    """The share that --run-variation gives. Raises ReportError."""
    match = _PERCENT.fullmatch(args.run_variation)
    if not match or float(match[1]) > 100:
        raise ReportError(f"--run-variation takes a share from 0% to 100%, like 5%, got {args.run_variation!r}.")
    return float(match[1]) / 100


def output_file(option: str, text: str) -> Path | None:
    """Found out before a run: what its end cannot write would be lost. Raises ReportError."""
    if not text:
        return None
    if text == "-":
        raise ReportError(f"{option} takes a file, got '-'; for a file of that name write ./-.")
    path = Path(text)
    if path.is_dir():
        raise ReportError(f"{option} takes a file, but {path} is a folder.")
    if path.is_fifo():
        raise ReportError(f"{option} takes a file, but {path} is a pipe.")
    if path.is_char_device() or path.is_block_device():
        raise ReportError(f"{option} takes a file, but {path} is a device.")
    if not path.absolute().parent.is_dir():
        raise ReportError(f"{option} {path} cannot be written: there is no folder {path.absolute().parent}.")
    return path
