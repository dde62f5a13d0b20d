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
from collections.abc import Sequence
from dataclasses import dataclass

from reports import units
from reports.changes import ASSUMED_VARIATION, FEWEST_DEGREES, Change, assumed_variation, change_between
from reports.command import ended
from reports.conditions import Condition, Figure
from reports.drawing import spoken
from reports.estimates import Measured
from reports.intervals import Estimate
from reports.judge import check_levels, write_markdown, write_text
from reports.judgement import Finding, Judgement, Verdict, judgement_lines, told_figure
from reports.junit import junit_xml
from reports.likeness import FIELD_NAMES, SUSPECT, check_alike, prefix_hit_notices, reasons_to_doubt
from reports.markdown import escaped, judgement_markdown, verdict_words
from reports.notices import stage_name
from reports.options import JudgingOptions, add_variation, variation_of
from reports.options import add_arguments as add_judging_arguments
from reports.output import show
from reports.prompt_reuse import prompt_notices
from reports.results import Level, ReportError, Results, load_results

#: Shares change by percentage points: a ratio of shares near zero says nothing.
_SHARES = ("failures", "goodput")
#: Of gates between equal servers, so many may fail by chance.
FALSE_ALARMS = 0.05
#: The one-sided probability that belongs to a 95 % interval: no single comparison is judged by a weaker one.
_ALONE = 0.025

Levels = tuple[list[Level], list[Level]]


def add_arguments(parser: ArgumentParser) -> None:
    """Give `parser` the arguments of `gate`."""
    parser.add_argument(
        "runs", nargs="*", metavar="FOLDER", help="BASE NEW: one results folder to compare with, one that is judged"
    )
    parser.add_argument("--base", nargs="+", default=[], metavar="FOLDER", help="the runs to compare with, three or so")
    parser.add_argument("--new", nargs="+", default=[], metavar="FOLDER", help="the runs that are judged, three or so")
    conditions = 'changes that fail, like "ttft_p95 > +5%%, rate < -5%%"; see docs/conditions.md'
    add_judging_arguments(parser, conditions, required=True)
    parser.add_argument(
        "--allow",
        action="append",
        default=[],
        metavar="FIELD",
        help=f"what the runs may differ in ({', '.join(FIELD_NAMES)}), or {SUSPECT}: judge unreliable runs",
    )
    add_variation(parser)


def main(args: Namespace) -> int:
    """Print the findings. Returns the exit code: 0 passed; 5 failed; 3 in doubt or inconclusive; 2 with one sentence on
    the standard error where the runs cannot be compared as asked."""
    return ended("gate", lambda: _gate(args))


def _gate(args: Namespace) -> int:
    options = JudgingOptions.of(args, relative=True)
    base, new = ([load_results(folder) for folder in folders] for folders in _sides(args))
    variation = variation_of(args)
    check_alike([*base, *new], args.allow)
    check_levels(options, ((levels[0].level, levels[0].system_prompt) for _, levels in shared_levels(base, new)))
    judgement = judge_change(options.conditions, base, new, args.allow, variation)
    notes = _notes(base, new, variation)
    written = []
    if options.junit:
        written.append(write_text("JUnit", options.junit, junit_xml(judgement, new[0].run.started_at)))
    if options.markdown:
        heading = f"## Tokenswarm gate: {judgement.subject}, {verdict_words(judgement)}"
        lines = [heading, "", *judgement_markdown(judgement), *(escaped(note) + "  " for note in notes)]
        written.append(write_markdown(options.markdown, "\n".join(lines) + "\n"))
    runs = [*_named("Base:", base), *_named("New: ", new)]
    width = shutil.get_terminal_size(fallback=(120, 24)).columns
    wrapped = [line for note in notes for line in textwrap.wrap(note, width, break_on_hyphens=False)]
    show("\n\n".join("\n".join(part) for part in (runs, judgement_lines(judgement, width), wrapped, written) if part))
    return judgement.exit_code


def _sides(args: Namespace) -> tuple[list[str], list[str]]:
    """The folders of either side. Raises ReportError."""
    if args.base or args.new:
        if args.runs or not (args.base and args.new):
            raise ReportError("Give the runs as BASE NEW, or all of them as --base FOLDER … --new FOLDER …")
        sides = list(args.base), list(args.new)
    elif len(args.runs) == 2:
        sides = [args.runs[0]], [args.runs[1]]
    else:
        raise ReportError(
            f"Expected two results folders, BASE and NEW, got {len(args.runs)}; several runs a side are given as "
            "--base FOLDER … --new FOLDER …"
        )
    for side in sides:
        if twice := [folder for folder in side if side.count(folder) > 1]:
            raise ReportError(f"{twice[0]} is given twice: a run repeated says nothing of how runs differ.")
    return sides


def _named(head: str, runs: Sequence[Results]) -> list[str]:
    return [f"{head if run is runs[0] else ' ' * len(head)} {run.folder} ({run.summary.engine})" for run in runs]


def _notes(base: Sequence[Results], new: Sequence[Results], variation: float) -> list[str]:
    """What is to be known beside the findings."""
    notes = []
    if len(base) + len(new) - 2 < FEWEST_DEGREES and variation:
        notes.append(
            f"Run-to-run variation is assumed, not measured: runs of one server are taken to differ by "
            f"{units.percentage(variation)}, in TTFT by twice that (standard deviations; --run-variation). Three runs "
            "a side measure it: --base A1 A2 A3 --new B1 B2 B3."
        )
    notes += [notice for run in new for notice in prefix_hit_notices(base[0], run)]
    return [*notes, *(f"{run.folder.name}: {notice}" for run in (*base, *new) for notice in prompt_notices(run))]


def judge_change(
    conditions: Sequence[Condition],
    base: Sequence[Results],
    new: Sequence[Results],
    allowed: Sequence[str] = (),
    variation: float = ASSUMED_VARIATION,
) -> Judgement:
    """Hold each condition against each level that all runs have. Raises ReportError."""
    measured = [Measured(run) for run in base], [Measured(run) for run in new]
    findings = judge_measured(conditions, *measured, variation)
    doubts = [
        f"{results.folder.name}: {reason}"
        for results in (*base, *new)
        if SUSPECT not in allowed
        for reason in reasons_to_doubt(results)
    ]
    names = (spoken([results.folder.name for results in runs]) for runs in (new, base))
    return Judgement(" against ".join(names), findings, doubts)


def judge_measured(
    conditions: Sequence[Condition],
    base: Sequence[Measured],
    new: Sequence[Measured],
    variation: float = ASSUMED_VARIATION,
) -> list[Finding]:
    """A finding for each condition and level that it is said of. Raises ReportError."""
    sides = [run.results for run in base], [run.results for run in new]
    held = [
        _held(condition, condition.figure, levels, (base, new), variation)
        for condition in conditions
        if condition.figure is not None
        for levels in shared_levels(*sides)
        if condition.names(levels[1][0].level, levels[1][0].system_prompt)
    ]
    proven = _proven(held)
    return [_finding(one, place in proven, len(held)) for place, one in enumerate(held)]


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
    """A condition beside the change at a level. change: None where there is none to tell, and `told` is why."""

    condition: Condition
    figure: Figure
    level: str
    told: str
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
    measured: tuple[Sequence[Measured], Sequence[Measured]],
    variation: float,
) -> _Held:
    name = stage_name(levels[1][0])
    sides = [
        [run.estimate(level, figure) for run, level in zip(runs, of_side, strict=True)]
        for runs, of_side in zip(measured, levels, strict=True)
    ]
    known = [[estimate for estimate in side if estimate is not None] for side in sides]
    missing = [word for word, side, found in zip(("base", "new"), sides, known, strict=True) if len(found) < len(side)]
    if missing:
        return _Held(condition, figure, name, f"no such figure in {' and '.join(missing)}")
    base, new = known
    told = " → ".join(told_figure(figure, sum(run.value for run in side) / len(side)) for side in known)
    assumed = assumed_variation(figure, variation)
    change = change_between(base, new, share=figure.name in _SHARES, variation=assumed)
    if change is None:
        return _Held(condition, figure, name, f"{told}: no change can be told of a figure that is 0")
    return _Held(condition, figure, name, f"{told}: {told_change(figure, as_change(figure, change.estimate))}", change)


def _proven(held: Sequence[_Held]) -> set[int]:
    """The places of the changes for the worse that chance does not explain, all comparisons of the gate together."""
    ranked = sorted((one.chance, place) for place, one in enumerate(held) if one.change is not None)
    found: set[int] = set()
    for rank, (chance, place) in enumerate(ranked):
        if chance > min(_ALONE, FALSE_ALARMS / (len(ranked) - rank)):
            break
        found.add(place)
    return found


def _finding(held: _Held, proven: bool, comparisons: int) -> Finding:
    verdict, more = _verdict(held, proven, comparisons)
    return Finding(held.condition.label, held.level, verdict, held.told + more)


def _verdict(held: _Held, proven: bool, comparisons: int) -> tuple[Verdict, str]:
    """The verdict, and what is to be said of it besides the figures."""
    change = held.change
    if change is not None and not held.is_beyond:
        return Verdict.MET, ""
    if change is None or change.chance is None:
        return Verdict.UNDECIDED, ""
    if proven:
        return Verdict.BROKEN, ""
    if change.assumed and change.chance_within is not None and change.chance_within <= _ALONE:
        return (
            Verdict.UNDECIDED,
            "; more than chance within the runs explains, but runs of one server may differ so much",
        )
    alone = change.chance <= _ALONE
    return Verdict.MET, f"; may be chance, as one of {comparisons} comparisons" if alone else ""


def as_change(figure: Figure, change: Estimate) -> Estimate:
    """A ratio as the share by which it is above 1; a difference of shares as it is."""
    if figure.name in _SHARES:
        return change
    low, high = (None if end is None else end - 1 for end in (change.low, change.high))
    return Estimate(change.value - 1, low, high, change.count)


def told_change(figure: Figure, change: Estimate) -> str:
    """`+7.1 % (+2.0 to +12.4 at 95 %)`, and whether chance may have made it, or the sample is too small to tell."""
    value = f"{units.signed(change.value * 100)} {'points' if figure.name in _SHARES else '%'}"
    noun = "whole window" if figure.name in ("rate", "request_rate") else "request"
    sample = units.counted(change.count, noun)
    if change.low is None and change.high is None:
        return f"{value}, not certified with {sample}"
    low, high = ("?" if end is None else units.signed(end * 100) for end in (change.low, change.high))
    chance = "" if change.excludes(0.0) else ": may be chance"
    certainty = "" if change.certified else f"; not certified with {sample}"
    return f"{value} ({low} to {high} at 95 %{chance}{certainty})"
