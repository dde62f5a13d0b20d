"""`tokenswarm gate BASE NEW`: fails where a run is worse than another by more than is allowed, and not by chance.

A condition is broken where the change is beyond its bound and the change's 95 % interval excludes none at all. Where
the change is beyond the bound but the sample too small for that end of the interval, it is undecided, which is no pass.
"""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from collections.abc import Sequence

from reports import intervals, units
from reports.command import ended
from reports.conditions import Condition, Figure
from reports.estimates import Measured
from reports.intervals import Estimate
from reports.judge import check_levels, write_markdown, write_text
from reports.judgement import Finding, Judgement, Verdict, judgement_lines, told_figure
from reports.junit import junit_xml
from reports.likeness import FIELD_NAMES, SUSPECT, check_alike, reasons_to_doubt
from reports.markdown import judgement_markdown, verdict_words
from reports.notices import stage_name
from reports.options import JudgingOptions
from reports.options import add_arguments as add_judging_arguments
from reports.output import show
from reports.results import Level, Results, load_results

#: Shares change by percentage points: a ratio of shares near zero says nothing.
_SHARES = ("failures", "goodput")


def add_arguments(parser: ArgumentParser) -> None:
    """Give `parser` the arguments of `gate`."""
    parser.add_argument("base", metavar="BASE", help="the results folder to compare with")
    parser.add_argument("new", metavar="NEW", help="the results folder that is judged")
    conditions = 'changes that fail, like "ttft_p95 > +5%%, rate < -5%%"; see docs/conditions.md'
    add_judging_arguments(parser, conditions, required=True)
    parser.add_argument(
        "--allow",
        action="append",
        default=[],
        metavar="FIELD",
        help=f"what the runs may differ in ({', '.join(FIELD_NAMES)}), or {SUSPECT}: judge unreliable runs",
    )


def main(args: Namespace) -> int:
    """Print the findings. Returns the exit code: 0 met; 5 broken; 3 in doubt or undecided; 2 with one sentence on the
    standard error where the runs cannot be compared as asked."""
    return ended("gate", lambda: _gate(args))


def _gate(args: Namespace) -> int:
    options = JudgingOptions.of(args, relative=True)
    base, new = load_results(args.base), load_results(args.new)
    check_alike([base, new], args.allow)
    check_levels(options, ((level.level, level.system_prompt) for level, _ in pairs(base, new)))
    judgement = judge_change(options.conditions, base, new, args.allow)
    written = []
    if options.junit:
        written.append(write_text("JUnit", options.junit, junit_xml(judgement, new.run.started_at)))
    if options.markdown:
        heading = f"## Tokenswarm gate: {judgement.subject}, {verdict_words(judgement)}"
        document = "\n".join([heading, "", *judgement_markdown(judgement)]) + "\n"
        written.append(write_markdown(options.markdown, document))
    runs = [f"Base: {base.folder} ({base.summary.engine})", f"New:  {new.folder} ({new.summary.engine})"]
    show("\n\n".join("\n".join(part) for part in (runs, judgement_lines(judgement), written) if part))
    return judgement.exit_code


def judge_change(
    conditions: Sequence[Condition], base: Results, new: Results, allowed: Sequence[str] = ()
) -> Judgement:
    """Hold each condition against each pair of levels. Raises ReportError."""
    measured = Measured(base), Measured(new)
    findings = [
        _finding(condition, condition.figure, pair, measured)
        for condition in conditions
        if condition.figure is not None
        for pair in pairs(base, new)
        if condition.names(pair[1].level, pair[1].system_prompt)
    ]
    doubts = [
        f"{results.folder.name}: {reason}"
        for results in (base, new)
        if SUSPECT not in allowed
        for reason in reasons_to_doubt(results)
    ]
    return Judgement(f"{new.folder.name} against {base.folder.name}", findings, doubts)


def pairs(base: Results, new: Results) -> list[tuple[Level, Level]]:
    """The levels that both runs have, in the new one's order."""
    in_base = {(level.level, level.system_prompt): level for level in base.summary.levels}
    return [
        (in_base[key], level) for level in new.summary.levels if (key := (level.level, level.system_prompt)) in in_base
    ]


def change_of(figure: Figure, base: Estimate, new: Estimate) -> Estimate | None:
    """The change as a share of the base, or in points where the figure is a share itself. None where the base is 0."""
    if figure.name in _SHARES:
        return intervals.difference(new, base)
    ratio = intervals.ratio(new, base)
    if ratio is None:
        return None
    low, high = (None if end is None else end - 1 for end in (ratio.low, ratio.high))
    return Estimate(ratio.value - 1, low, high, ratio.count)


def _finding(
    condition: Condition, figure: Figure, pair: tuple[Level, Level], measured: tuple[Measured, Measured]
) -> Finding:
    estimates = [of.estimate(level, figure) for of, level in zip(measured, pair, strict=True)]
    name = stage_name(pair[1])
    base, new = estimates
    if base is None or new is None:
        missing = " and ".join(side for side, found in zip(("base", "new"), estimates, strict=True) if found is None)
        return Finding(condition.label, name, Verdict.UNDECIDED, f"no such figure in {missing}")
    change = change_of(figure, base, new)
    told = f"{told_figure(figure, base.value)} → {told_figure(figure, new.value)}"
    if change is None:
        return Finding(condition.label, name, Verdict.UNDECIDED, f"{told}: no change can be told of a figure that is 0")
    return Finding(condition.label, name, _verdict(condition, change), f"{told}: {told_change(figure, change)}")


def _verdict(condition: Condition, change: Estimate) -> Verdict:
    if not condition.breaks(change.value):
        return Verdict.MET
    nearer = change.low if condition.comparator.startswith(">") else change.high
    if nearer is None:
        return Verdict.UNDECIDED
    return Verdict.BROKEN if change.excludes(0.0) else Verdict.MET


def told_change(figure: Figure, change: Estimate) -> str:
    """`+7.1 % (+2.0 to +12.4 at 95 %)`, and whether chance may have made it, or the sample is too small to tell."""
    value = f"{units.signed(change.value * 100)} {'points' if figure.name in _SHARES else '%'}"
    of = "whole windows" if figure.name in ("rate", "request_rate") else "requests"
    if change.low is None and change.high is None:
        return f"{value}, not certified with {units.count(change.count)} {of}"
    low, high = ("?" if end is None else units.signed(end * 100) for end in (change.low, change.high))
    chance = "" if change.excludes(0.0) else ": may be chance"
    certainty = "" if change.certified else f"; not certified with {units.count(change.count)} {of}"
    return f"{value} ({low} to {high} at 95 %{chance}{certainty})"
