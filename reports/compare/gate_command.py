"""`tokenswarm gate`: fails where runs are worse than others by more than is allowed, and not by chance.

    tokenswarm gate BASE NEW --fail-if "ttft_p95 > +5%"
    tokenswarm gate --base A1 A2 A3 --new B1 B2 B3 --fail-if "ttft_p95 > +5%"

A condition fails where the change is beyond its bound and neither chance within the runs nor what differs from run to
run explains it. With two runs a side or more the variation from run to run is measured. With one it is assumed, and
where only that assumption speaks against a change the condition is inconclusive, which is no pass. So it is where the
sample is too small for the end of the interval that decides.

One gate makes many comparisons. Of those, at most one in twenty gates of equal servers shall fail by chance: each
probability is held against Holm's bound (Scandinavian Journal of Statistics, 1979), and never against more than 2.5 %.
"""

from __future__ import annotations

import shutil
import textwrap
from argparse import ArgumentParser, Namespace
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from tokenswarm.command_line import collect_errors
from tokenswarm.metrics.intervals import FEWEST_FOR_A_MEAN, Estimate
from tokenswarm.metrics.quantiles import fewest_for_interval
from tokenswarm.reports import units
from tokenswarm.reports.checks.check_options import CheckOptions, add_variation, variation_of
from tokenswarm.reports.checks.check_options import add_arguments as add_check_arguments
from tokenswarm.reports.checks.check_report import (
    CheckReport,
    CheckResult,
    CheckStatus,
    Reason,
    check_lines,
    figure_text,
    without_passes,
)
from tokenswarm.reports.checks.conditions import Condition, Figure
from tokenswarm.reports.checks.junit import junit_xml
from tokenswarm.reports.checks.run_checks import check_levels, write_markdown, write_text
from tokenswarm.reports.checks.scheduled_times import check_scheduled
from tokenswarm.reports.command_errors import ended
from tokenswarm.reports.compare.comparability import (
    SUSPECT,
    add_allow,
    allowed_fields,
    check_allowed,
    check_comparable,
    prefix_hit_notices,
    reasons_unreliable,
    state_of,
)
from tokenswarm.reports.compare.comparison_text import variation_assumed
from tokenswarm.reports.html.chart_style import spoken
from tokenswarm.reports.level_names import level_name
from tokenswarm.reports.markdown import check_markdown, escaped, status_words
from tokenswarm.reports.output import show
from tokenswarm.reports.stats.changes import (
    ASSUMED_VARIATION,
    FEWEST_DEGREES,
    Change,
    assumed_variation,
    change_between,
    holm,
)
from tokenswarm.reports.stats.estimates import RunData
from tokenswarm.reports.stats.prompt_reuse import prompt_notices
from tokenswarm.run_folder.latest import without_latest
from tokenswarm.run_folder.reader import ReportError, Results, load_results
from tokenswarm.run_folder.schema import WINDOW_S, LevelSummary

_RATES = ("rate", "request_rate")
#: A hold of this length always has enough complete windows for the interval of a rate.
HOLD_OF_A_RATE_S = (FEWEST_FOR_A_MEAN + 1) * WINDOW_S
#: Shares change by percentage points: a ratio of shares near zero says nothing.
_SHARES = ("failures", "goodput")
#: Of gates between equal servers, so many may fail by chance.
FALSE_ALARMS = 0.05
#: The one-sided probability that belongs to a 95 % interval: no single comparison is judged by a weaker one.
_ALONE = 0.025

Levels = tuple[list[LevelSummary], list[LevelSummary]]


def add_arguments(parser: ArgumentParser) -> None:
    """Give `parser` the arguments of `gate`."""
    parser.add_argument(
        "runs", nargs="*", metavar="FOLDER", help="BASE NEW: one results folder to compare with, one that is judged"
    )
    parser.add_argument("--base", nargs="+", default=[], metavar="FOLDER", help="the runs to compare with, three or so")
    parser.add_argument("--new", nargs="+", default=[], metavar="FOLDER", help="the runs that are judged, three or so")
    conditions = 'changes that fail, like "ttft_p95 > +5%%, rate < -5%%"; see docs/conditions.md'
    add_check_arguments(parser, conditions, relative=True)
    add_allow(parser, f"; {SUSPECT}: judge suspect runs too")
    add_variation(parser)


def main(args: Namespace) -> int:
    """Print the results of the checks. Returns the exit code: 0 passed; 5 failed; 3 unreliable or inconclusive; 2 with
    one sentence on the standard error where the runs cannot be compared."""
    return ended("gate", lambda: _gate(args))


def check(args: Namespace) -> tuple[CheckOptions, tuple[list[str], list[str]], float, list[str]]:
    """What the arguments say: the conditions, the folders of either side, the assumed variation, the fields that may
    differ. Raises ReportError, ConditionError, OptionErrors."""
    with collect_errors() as errors:
        sides = errors.of(_sides, args)
        errors.of(_check_conditions_given, args)
        options = errors.of(CheckOptions.of, Namespace(**{**vars(args), "pass_if": ""}), relative=True)
        variation = errors.of(variation_of, args)
        allowed = allowed_fields(args.allow)
        errors.of(check_allowed, allowed)
    return options, sides, variation, allowed


def _gate(args: Namespace) -> int:
    options, sides, variation, allowed = check(args)
    with collect_errors() as errors:
        base, new = ([errors.of(load_results, folder) for folder in folders] for folders in sides)
        if readable := [results for results in (*base, *new) if results is not None]:
            all_read = len(readable) == len(base) + len(new)
            errors.of(check_comparable, readable, allowed, not all_read or bool(shared_levels(base, new)))
    check_levels(options, ((levels[0].level, levels[0].system_prompt) for _, levels in shared_levels(base, new)))
    open_loop = all(level.open_loop for results in (*base, *new) for level in results.summary.levels)
    check_scheduled(options.conditions, (), open_loop=open_loop)
    checks = check_change(options.conditions, base, new, allowed, variation)
    notes = _notes(base, new, variation)
    written = []
    if options.junit:
        written.append(write_text("JUnit", options.junit, junit_xml(checks, new[0].run.started_at)))
    if options.markdown:
        heading = f"## Tokenswarm gate: {checks.subject}, {status_words(checks)}"
        lines = [heading, "", *check_markdown(checks), *(escaped(note) + "  " for note in notes)]
        written.append(write_markdown(options.markdown, "\n".join(lines) + "\n"))
    runs = [*_named("Base:", base), *_named("New: ", new)]
    width = shutil.get_terminal_size(fallback=(120, 24)).columns
    wrapped = [line for note in notes for line in textwrap.wrap(note, width, break_on_hyphens=False)]
    show("\n\n".join("\n".join(part) for part in (runs, check_lines(checks, width), wrapped, written) if part))
    return checks.exit_code


def _check_conditions_given(args: Namespace) -> None:
    """Raises ReportError."""
    if args.pass_if:
        raise ReportError(
            "gate takes no --pass-if: give the change for the worse that fails, like --fail-if 'ttft_p95 > +5%'."
        )
    if not args.fail_if:
        raise ReportError("--fail-if is missing: give the change that fails, like --fail-if 'ttft_p95 > +5%'.")


def _sides(args: Namespace) -> tuple[list[str], list[str]]:
    """The folders of either side. Raises ReportError."""
    if args.base or args.new:
        if args.runs or not (args.base and args.new):
            raise ReportError("Give the runs as BASE NEW, or all of them as --base FOLDER … --new FOLDER …")
        sides = without_latest(args.base), without_latest(args.new)
    elif len(args.runs) == 2:
        sides = [args.runs[0]], [args.runs[1]]
    else:
        raise ReportError(
            f"Expected two results folders, BASE and NEW, got {len(args.runs)}; several runs a side are given as "
            "--base FOLDER … --new FOLDER …"
        )
    return sides


def _named(head: str, runs: Sequence[Results]) -> list[str]:
    return [f"{head if run is runs[0] else ' ' * len(head)} {run.folder} ({run.summary.engine})" for run in runs]


def _notes(base: Sequence[Results], new: Sequence[Results], variation: float) -> list[str]:
    """Notes to the results of the checks."""
    notes = []
    if len(base) + len(new) - 2 < FEWEST_DEGREES and variation:
        notes.append(
            f"{variation_assumed(variation)} Make three runs of each side to measure it: --base A1 A2 A3 --new B1 B2 "
            "B3."
        )
    notes += [notice for run in new for notice in prefix_hit_notices(base[0], run)]
    return [*notes, *(f"{run.folder.name}: {notice}" for run in (*base, *new) for notice in prompt_notices(run))]


def check_change(
    conditions: Sequence[Condition],
    base: Sequence[Results],
    new: Sequence[Results],
    allowed: Sequence[str] = (),
    variation: float = ASSUMED_VARIATION,
) -> CheckReport:
    """Hold each condition against each level that all runs have. Raises ReportError."""
    measured = [RunData(run) for run in base], [RunData(run) for run in new]
    check_results = check_measured(conditions, *measured, variation)
    reasons = [
        Reason(state_of([results]), f"{results.folder.name}: {text}")
        for results in (*base, *new)
        for text in reasons_unreliable(results)
    ]
    unreliable, judged_anyway = ([], reasons) if SUSPECT in allowed else (reasons, [])
    names = (spoken([results.folder.name for results in runs]) for runs in (new, base))
    judged = without_passes(check_results) if unreliable else check_results
    decided = any(result.status in (CheckStatus.PASS, CheckStatus.FAIL) for result in check_results)
    remedy = _remedy(base, new, decided) if unreliable else ""
    return CheckReport(" against ".join(names), judged, unreliable, (), judged_anyway, remedy)


def _remedy(base: Sequence[Results], new: Sequence[Results], decided: bool) -> str:
    """What to do where figures are unreliable. decided: whether a condition would pass or fail if they were judged."""
    again = [sentence for side, runs in (("base", base), ("new", new)) for sentence in _runs_to_repeat(side, runs)]
    if not again and decided:
        return f"To judge these figures all the same, add --allow {SUSPECT}."
    return " ".join(again)


def _runs_to_repeat(side: str, runs: Sequence[Results]) -> Iterator[str]:
    """A sentence for each state of runs of a side that says no more than that they have to be repeated."""
    by_state: dict[str, list[str]] = {}
    for run in runs:
        if reasons_unreliable(run) and (state := state_of([run])) != SUSPECT:
            by_state.setdefault(state, []).append(run.folder.name)
    for state, names in by_state.items():
        which = f"The {side} run{'s' if len(names) > 1 else ''} {spoken(names)}"
        again = "them" if len(names) > 1 else "it"
        if state == "failed":
            yield f"{which} failed: fix the cause and run {again} again."
        else:
            yield f"{which} {'are' if len(names) > 1 else 'is'} {state}: run {again} again."


def check_measured(
    conditions: Sequence[Condition],
    base: Sequence[RunData],
    new: Sequence[RunData],
    variation: float = ASSUMED_VARIATION,
) -> list[CheckResult]:
    """A result for each condition and level that it is said of. Raises ReportError."""
    sides = [run.results for run in base], [run.results for run in new]
    held = [
        _held(condition, condition.figure, levels, (base, new), variation)
        for condition in conditions
        if condition.figure is not None
        for levels in shared_levels(*sides)
        if condition.names(levels[1][0].level, levels[1][0].system_prompt)
    ]
    proven = _proven(held)
    return [_check_result(one, place in proven, len(held)) for place, one in enumerate(held)]


def shared_levels(base: Sequence[Results], new: Sequence[Results]) -> list[Levels]:
    """The levels that all runs have, in the first new one's order: of each, every base run's and every new run's."""
    by_key = [
        [{(level.level, level.system_prompt): level for level in run.summary.levels} for run in runs]
        for runs in (base, new)
    ]
    return [
        ([levels[key] for levels in by_key[0]], [levels[key] for levels in by_key[1]])
        for key in by_key[1][0]
        if all(key in levels for levels in (*by_key[0], *by_key[1]))
    ]


@dataclass(frozen=True, slots=True)
class _Held:
    """A condition beside the change at a level. change: None where it is not defined, and `text` says why."""

    condition: Condition
    figure: Figure
    level: str
    text: str
    change: Change | None = None

    @property
    def is_beyond(self) -> bool:
        """Whether the change is beyond the condition's bound."""
        return self.change is not None and self.condition.breaks(as_change(self.figure, self.change.estimate).value)

    @property
    def chance(self) -> float:
        """How probable a change so far in the direction that the condition forbids is between equals."""
        assert self.change is not None
        none = 0.0 if self.figure.name in _SHARES else 1.0
        value = self.change.estimate.value
        worse = value > none if self.condition.comparator.startswith(">") else value < none
        return 1.0 if not worse or self.change.chance is None else self.change.chance


def _held(
    condition: Condition,
    figure: Figure,
    levels: Levels,
    measured: tuple[Sequence[RunData], Sequence[RunData]],
    variation: float,
) -> _Held:
    name = level_name(levels[1][0])
    sides = [
        [run.estimate(level, figure) for run, level in zip(runs, of_side, strict=True)]
        for runs, of_side in zip(measured, levels, strict=True)
    ]
    known = [[estimate for estimate in side if estimate is not None] for side in sides]
    missing = [word for word, side, found in zip(("base", "new"), sides, known, strict=True) if len(found) < len(side)]
    if missing:
        return _Held(condition, figure, name, f"no such figure in {' and '.join(missing)}")
    base, new = known
    text = " → ".join(figure_text(figure, sum(run.value for run in side) / len(side)) for side in known)
    assumed = assumed_variation(figure, variation)
    change = change_between(base, new, share=figure.name in _SHARES, variation=assumed)
    if change is None:
        return _Held(condition, figure, name, f"{text}: no change is defined of a figure that is 0")
    return _Held(
        condition, figure, name, f"{text}: {format_change(figure, as_change(figure, change.estimate))}", change
    )


def _proven(held: Sequence[_Held]) -> set[int]:
    """The places of the changes for the worse that chance does not explain, all comparisons of the gate together."""
    judged = [place for place, one in enumerate(held) if one.change is not None]
    return {judged[at] for at in holm([held[place].chance for place in judged], FALSE_ALARMS, _ALONE)}


def _check_result(held: _Held, proven: bool, comparisons: int) -> CheckResult:
    status, more = _status(held, proven, comparisons)
    return CheckResult(held.condition.label, held.level, status, held.text + more)


def _status(held: _Held, proven: bool, comparisons: int) -> tuple[CheckStatus, str]:
    """The status, and what is to be said of it besides the figures."""
    change = held.change
    if change is not None and not held.is_beyond:
        is_unknown = change.estimate.low is None and change.estimate.high is None
        return (
            CheckStatus.PASS,
            "; within the bound, but the sample is too small to exclude a larger change" if is_unknown else "",
        )
    if change is None or change.chance is None:
        return CheckStatus.INCONCLUSIVE, ""
    if proven:
        return CheckStatus.FAIL, ""
    if change.assumed and change.chance_within is not None and change.chance_within <= _ALONE:
        return (
            CheckStatus.INCONCLUSIVE,
            "; more than chance within the runs explains, but runs of one server may differ so much",
        )
    alone = change.chance <= _ALONE
    return CheckStatus.PASS, f"; may be chance, as one of {comparisons} comparisons" if alone else ""


def as_change(figure: Figure, change: Estimate) -> Estimate:
    """A ratio as the share by which it is above 1; a difference of shares as it is."""
    if figure.name in _SHARES:
        return change
    low, high = (None if end is None else end - 1 for end in (change.low, change.high))
    return Estimate(change.value - 1, low, high, change.count)


class ChangeText(NamedTuple):
    """A change in words. value: `+7.1 %`; note: its 95 % interval, and whether chance may have made it, or that the
    sample is too small for one, as short as a cell is; sentence: both, with the size of the sample and what to do."""

    value: str
    note: str
    sentence: str


def change_in_words(figure: Figure, change: Estimate) -> ChangeText:
    """A share by which a figure changed, or points by which a share did."""
    value = f"{units.signed(change.value * 100)} {'points' if figure.name in _SHARES else '%'}"
    noun = f"complete {WINDOW_S:g}-second window" if figure.name in _RATES else "request"
    sample = units.counted(change.count, noun)
    if change.low is None and change.high is None:
        note = f"{units.SAMPLE_TOO_SMALL}: {sample}{_needed(figure, change.count)}"
        return ChangeText(value, units.SAMPLE_TOO_SMALL, f"{value}, {note}")
    chance = "" if change.excludes(0.0) else "; may be chance"
    low, high = (None if end is None else units.signed(end * 100) for end in (change.low, change.high))
    if low is None or high is None:
        known, other = (f"at most {high}", "lower") if low is None else (f"at least {low}", "upper")
        are = "is" if change.count == 1 else "are"
        note = f"{known}; {sample} {are} too few for its {other} end{chance}"
        return ChangeText(value, f"{known}{chance}", f"{value} (95 % interval: {note})")
    note = f"{low} to {high}{chance}"
    return ChangeText(value, note, f"{value} (95 % interval {note})")


def format_change(figure: Figure, change: Estimate) -> str:
    """`+7.1 % (95 % interval +2.0 to +12.4)`, and whether chance may have made it, or the sample is too small."""
    return change_in_words(figure, change).sentence


def _needed(figure: Figure, sample: int) -> str:
    """How large a sample the interval of a figure needs, and what to do; "" where the reason is another one."""
    if figure.name in _RATES:
        enough = units.planned_time(HOLD_OF_A_RATE_S)
        return f"; make the hold {enough} or longer" if sample < FEWEST_FOR_A_MEAN else ""
    if figure.p is None:
        return ""
    fewest, longer = (
        fewest_for_interval(figure.p),
        "measure for longer (--level-time, or --run-time if the run has --users)",
    )
    if sample < fewest:
        needs = f"{figure.function} needs at least {fewest}"
        return f"; {needs}, and many more where successive latencies are similar: {longer}"
    return f", which count as fewer than {fewest}, as successive latencies are similar: {longer}"
