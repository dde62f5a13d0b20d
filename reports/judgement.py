"""Conditions held against a run: which are met, which are broken, and the exit code that says so. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from metrics.exit_codes import EXIT_CONDITION_BROKEN, EXIT_NOT_TO_BE_BELIEVED
from reports import units
from reports.conditions import LATENCIES, Condition, Figure
from reports.estimates import distribution_of, value_of
from reports.likeness import reasons_to_doubt
from reports.notices import stage_name
from reports.results import Level, Quantile, Results

THE_RUN = "the run"
#: The longest verdict has so many characters.
_WORD = 12


class Verdict(StrEnum):
    """UNDECIDED: the sample is too small, or there are too few runs, to decide; which is no pass."""

    MET = "pass"
    BROKEN = "fail"
    UNDECIDED = "inconclusive"


@dataclass(frozen=True, slots=True)
class Finding:
    """One condition at one level (or of the run): the verdict, and the figures it rests on in words."""

    condition: str
    level: str
    verdict: Verdict
    told: str


@dataclass(frozen=True, slots=True)
class Judgement:
    """All findings about `subject`. doubts: why the figures are not to be believed; then no verdict is a pass."""

    subject: str
    findings: Sequence[Finding]
    doubts: Sequence[str]

    @property
    def exit_code(self) -> int:
        """0: met. 5: broken. 3: the figures are in doubt, or too few to decide a condition by."""
        verdicts = {finding.verdict for finding in self.findings}
        if self.doubts:
            return EXIT_NOT_TO_BE_BELIEVED
        if Verdict.BROKEN in verdicts:
            return EXIT_CONDITION_BROKEN
        return EXIT_NOT_TO_BE_BELIEVED if Verdict.UNDECIDED in verdicts else 0


def judge_run(conditions: Sequence[Condition], results: Results) -> Judgement:
    """Hold each condition against each level that it is said of, on the figures of the hold."""
    findings = [finding for condition in conditions for finding in _findings(condition, results)]
    return Judgement(f"{results.summary.engine}, {results.folder.name}", findings, reasons_to_doubt(results))


def judgement_lines(judgement: Judgement, width: int = 120) -> list[str]:
    """The judgement as a terminal of `width` columns shows it: a line a finding, or two where one does not fit; none
    where nothing was asked and nothing is in doubt."""
    if not judgement.findings:
        return []
    condition = max(len(finding.condition) for finding in judgement.findings)
    level = max(len(finding.level) for finding in judgement.findings)
    lines = ["Conditions:"]
    told_from = 2 + _WORD + 2 + condition + 2 + level + 2
    fits = all(told_from + len(finding.told) <= width for finding in judgement.findings)
    for finding in judgement.findings:
        word = finding.verdict.value if finding.verdict is Verdict.MET else finding.verdict.value.upper()
        head = f"  {word:<{_WORD}}  {finding.condition:<{condition}}  {finding.level:<{level}}"
        lines += [f"{head}  {finding.told}"] if fits else [head.rstrip(), " " * (2 + _WORD + 2) + finding.told]
    lines += [f"  NOT TO BE BELIEVED, so that nothing above is a pass: {doubt}" for doubt in judgement.doubts]
    return lines


def told_figure(figure: Figure, value: float) -> str:
    """A figure's value with its unit."""
    if figure.name in LATENCIES:
        return units.duration(value)
    if figure.name in ("failures", "goodput"):
        return units.percentage(value)
    return f"{units.rate(value)} {'req/s' if figure.name == 'request_rate' else 'tok/s'}"


def _findings(condition: Condition, results: Results) -> list[Finding]:
    if condition.figure is None:
        suspect = results.summary.validity.verdict == "suspect"
        told = "suspect: " + "; ".join(results.summary.validity.reasons) if suspect else "valid"
        return [Finding(condition.label, THE_RUN, Verdict.BROKEN if suspect else Verdict.MET, told)]
    levels = [level for level in results.summary.levels if condition.names(level.level, level.system_prompt)]
    if not levels:
        return [Finding(condition.label, THE_RUN, Verdict.BROKEN, "the run has no such level")]
    return [_finding(condition, condition.figure, level) for level in levels]


def _finding(condition: Condition, figure: Figure, level: Level) -> Finding:
    value, told = _value_told(condition, figure, level)
    if value is None:
        return Finding(
            condition.label, stage_name(level), Verdict.BROKEN, "there is no such figure: nothing to pass with"
        )
    verdict = Verdict.BROKEN if condition.breaks(value) else Verdict.MET
    return Finding(condition.label, stage_name(level), verdict, told)


def _value_told(condition: Condition, figure: Figure, level: Level) -> tuple[float | None, str]:
    """The figure in the condition's own unit, and in words."""
    hold = level.hold
    if figure.name == "failures" and not condition.unit:
        return hold.failures, f"{units.counted(hold.failures, 'failure')} of {units.count(hold.requests)}"
    if figure.name == "goodput" and condition.unit == "req/s":
        rate = hold.goodput.requests_per_s if hold.goodput else None
        return rate, f"{units.rate(rate)} good req/s"
    value = value_of(level, figure)
    if value is None:
        return None, ""
    return value, told_figure(figure, value) + _certainty(level, figure)


def _certainty(level: Level, figure: Figure) -> str:
    values = distribution_of(level, figure) if figure.p is not None else None
    found = getattr(values, figure.function or "", None)
    if not isinstance(found, Quantile):
        return ""
    if not found.certified:
        return f" (not certified at n = {units.count(values.count if values else 0)})"
    if figure.name in LATENCIES:
        return f" ({units.interval(found)} at 95 %)"
    return f" ({units.rate(found.low)}–{units.rate(found.high)} at 95 %)"
