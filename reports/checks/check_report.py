"""Conditions held against a run: which are met, which are broken, and the exit code that says so. Pure."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

from tokenswarm.command_line.exit_codes import EXIT_CONDITION_FAILED, EXIT_UNRELIABLE
from tokenswarm.metrics.quantiles import Quantile, fewest_for_interval
from tokenswarm.reports import units
from tokenswarm.reports.checks.conditions import TIMES, Condition, Figure
from tokenswarm.reports.compare.comparability import reasons_unreliable, state_of
from tokenswarm.reports.level_names import level_name
from tokenswarm.reports.stats.estimates import distribution_of, value_of
from tokenswarm.run_folder.reader import Results
from tokenswarm.run_folder.schema import LevelSummary

THE_RUN = "the run"
#: What latencies of an unstable level are.
UNSTABLE_TEXT = "UNSTABLE level: more requests arrived than were answered, and latencies describe its length"
#: The longest status has so many characters.
_WORD = 12


class CheckStatus(StrEnum):
    """INCONCLUSIVE: the sample is too small, or there are too few runs, to decide. UNKNOWN: the figure was not
    measured. UNRELIABLE: it is within its condition in a run whose figures are unreliable. None of them is a pass."""

    PASS = "pass"  # noqa: S105
    FAIL = "fail"
    INCONCLUSIVE = "inconclusive"
    UNRELIABLE = "unreliable"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class CheckResult:
    """One condition at one level (or of the run): the status, and the figures it rests on in words."""

    condition: str
    level: str
    status: CheckStatus
    text: str


@dataclass(frozen=True, slots=True)
class Reason:
    """Why the figures of a run are unreliable. state: what that run is called, such as suspect or failed."""

    state: str
    text: str


@dataclass(frozen=True, slots=True)
class CheckReport:
    """The results of all checks on `subject`. unreliable: why the figures are; then no status is a pass. unstable:
    levels in which more requests arrived than were answered. allowed: why the figures are unreliable where they are
    judged all the same. remedy: what to do where the figures are unreliable."""

    subject: str
    check_results: Sequence[CheckResult]
    unreliable: Sequence[Reason]
    unstable: Sequence[str] = ()
    allowed: Sequence[Reason] = ()
    remedy: str = ""

    @property
    def state(self) -> str:
        """What the runs with unreliable figures are called: suspect, failed; "" where there are none."""
        return " or ".join(dict.fromkeys(reason.state for reason in (*self.unreliable, *self.allowed)))

    @property
    def exit_code(self) -> int:
        """0: all passed. 5: one failed. 3: the results are unreliable, or a condition is inconclusive or unknown."""
        statuses = {result.status for result in self.check_results}
        if self.unreliable:
            return EXIT_UNRELIABLE
        if CheckStatus.FAIL in statuses:
            return EXIT_CONDITION_FAILED
        return EXIT_UNRELIABLE if statuses - {CheckStatus.PASS} else 0

    @property
    def unreliable_because(self) -> str:
        """Why the exit code is 3, in a few words; "" for another."""
        if self.exit_code != EXIT_UNRELIABLE:
            return ""
        if self.unreliable:
            return f"the run is {self.state}, so its conditions do not count{self._failed_all_the_same()}"
        statuses = {result.status for result in self.check_results} - {CheckStatus.PASS}
        return f"a condition is {' and another '.join(sorted(statuses))}"

    def _failed_all_the_same(self) -> str:
        failed = sum(result.status is CheckStatus.FAIL for result in self.check_results)
        return f"; by its figures, {failed} of {len(self.check_results)} failed" if failed else ""


def check_run(conditions: Sequence[Condition], results: Results) -> CheckReport:
    """Hold each condition against each level that it is said of, on the figures of the hold."""
    check_results = [result for condition in conditions for result in _check_results(condition, results)]
    unreliable = [Reason(state_of([results]), text) for text in reasons_unreliable(results)]
    return CheckReport(
        f"{results.summary.engine}, {results.folder.name}",
        without_passes(check_results) if unreliable else check_results,
        unreliable,
        [level_name(level) for level in results.summary.levels if level.is_unstable],
    )


def without_passes(check_results: Sequence[CheckResult]) -> list[CheckResult]:
    """The results of an unreliable run: what would be a pass is unreliable."""
    return [
        replace(result, status=CheckStatus.UNRELIABLE) if result.status is CheckStatus.PASS else result
        for result in check_results
    ]


def check_lines(checks: CheckReport, width: int = 120) -> list[str]:
    """The checks as a terminal of `width` columns shows it: a line a result, or two where one does not fit; none
    without conditions."""
    if not checks.check_results:
        return []
    condition = max(len(result.condition) for result in checks.check_results)
    level = max(len(result.level) for result in checks.check_results)
    lines = ["Conditions:"]
    text_from = 2 + _WORD + 2 + condition + 2 + level + 2
    fits = all(text_from + len(result.text) <= width for result in checks.check_results)
    for result in checks.check_results:
        word = result.status.value if result.status is CheckStatus.PASS else result.status.value.upper()
        head = f"  {word:<{_WORD}}  {result.condition:<{condition}}  {result.level:<{level}}"
        lines += [f"{head}  {result.text}"] if fits else [head.rstrip(), *_wrapped(result.text, width, 2 + _WORD + 2)]
    for reason in checks.unreliable:
        lines += _wrapped(
            f"These results do not count, as the run is {reason.state.upper()}: {reason.text.rstrip('.')}.", width, 2
        )
    if checks.unreliable and checks.remedy:
        lines += _wrapped(checks.remedy, width, 2)
    for reason in checks.allowed:
        lines += _wrapped(f"Judged although the run is {reason.state.upper()}: {reason.text.rstrip('.')}.", width, 2)
    return lines


def _wrapped(text: str, width: int, indent: int) -> list[str]:
    space = " " * indent
    return textwrap.wrap(
        text,
        max(width, 60),
        initial_indent=space,
        subsequent_indent=space,
        break_long_words=False,
        break_on_hyphens=False,
    )


def figure_text(figure: Figure, value: float) -> str:
    """A figure's value with its unit."""
    if figure.name in TIMES:
        return units.duration(value)
    if figure.name in ("failures", "goodput"):
        return units.percentage(value)
    return f"{units.rate(value)} {'req/s' if figure.name == 'request_rate' else 'tok/s'}"


def _check_results(condition: Condition, results: Results) -> list[CheckResult]:
    if condition.figure is None:
        validity = results.summary.validity
        sound = validity.verdict == "valid"
        text = validity.verdict if sound else f"{validity.verdict}: {'; '.join(validity.reasons)}"
        return [CheckResult(condition.label, THE_RUN, CheckStatus.PASS if sound else CheckStatus.FAIL, text)]
    levels = [level for level in results.summary.levels if condition.names(level.level, level.system_prompt)]
    if not levels:
        return [CheckResult(condition.label, THE_RUN, CheckStatus.FAIL, "the run has no such level")]
    return [_check_result(condition, condition.figure, level) for level in levels]


def _check_result(condition: Condition, figure: Figure, level: LevelSummary) -> CheckResult:
    value, text = _value_text(condition, figure, level)
    if value is None:
        return CheckResult(condition.label, level_name(level), CheckStatus.UNKNOWN, _why_unknown(figure, level))
    status = CheckStatus.FAIL if condition.breaks(value) else CheckStatus.PASS
    return CheckResult(condition.label, level_name(level), status, text)


def _why_unknown(figure: Figure, level: LevelSummary) -> str:
    hold = level.hold
    if not hold.requests:
        return "not measured: no request was sent in the hold"
    if not hold.outcomes.get("ok") and figure.name != "goodput":
        return f"not measured: none of {units.counted(hold.requests, 'request')} was ok"
    return "not measured"


def _value_text(condition: Condition, figure: Figure, level: LevelSummary) -> tuple[float | None, str]:
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
    mark = f"; {UNSTABLE_TEXT}" if figure.name in TIMES and level.is_unstable else ""
    return value, figure_text(figure, value) + _certainty(level, figure) + mark


def _too_few(requests: int, figure: Figure) -> str:
    needed = fewest_for_interval(figure.p or 0.5)
    sample = units.counted(requests, "request")
    if requests < needed:
        return f"{sample}; {figure.function} needs at least {needed}"
    return f"{sample} count as fewer than {needed}, as the latencies of requests that follow one another are similar"


def _certainty(level: LevelSummary, figure: Figure) -> str:
    values = distribution_of(level, figure) if figure.p is not None else None
    found = getattr(values, figure.function or "", None)
    if not isinstance(found, Quantile):
        return ""
    if not found.certified:
        return f" (no 95 % interval: {_too_few(values.count if values else 0, figure)})"
    if found.low is None:
        return ""
    if figure.name in TIMES:
        return f" ({units.interval(found)} at 95 %)"
    return f" ({units.rate(found.low)}–{units.rate(found.high)} at 95 %)"
