"""The top of a run's page: in plain words what was run, whether the results are reliable, and what they are."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Literal

from tokenswarm.metrics.drift import Drift
from tokenswarm.metrics.intervals import FEWEST_FOR_A_MEAN, Estimate
from tokenswarm.metrics.level import PROMPT, level_text, load_name
from tokenswarm.metrics.quantiles import Quantile
from tokenswarm.reports import units
from tokenswarm.reports.capacity_sentence import capacity_sentence
from tokenswarm.reports.checks.check_report import CheckReport, CheckResult, CheckStatus
from tokenswarm.reports.checks.conditions import Figure
from tokenswarm.reports.compare.gate_command import HOLD_OF_A_RATE_S, format_change
from tokenswarm.reports.html.capacity_section import probe_table
from tokenswarm.reports.html.chart_style import spoken
from tokenswarm.reports.html.document import Block, Cell, Details, Row, Table, Text
from tokenswarm.reports.level_names import level_name, with_one_unit
from tokenswarm.reports.markdown import status_words
from tokenswarm.reports.open_loop_table import latency, level_heading, unstable_notes
from tokenswarm.reports.search_levels import SloVerdict, slo_verdict
from tokenswarm.reports.session_table import session_notes
from tokenswarm.reports.system_prompt_note import system_prompt_note
from tokenswarm.reports.text_table import GOOD_NOTE, NOT_COMPLETE, capacity, notes
from tokenswarm.reports.warnings import warnings_of
from tokenswarm.run_folder.reader import Results
from tokenswarm.run_folder.schema import LevelSummary, Summary

RATE = Figure("rate")
#: Conclusions of a search that found a load which passes.
_DECIDED = ("bracket", "no_fail")
#: Of warnings of one kind, those that are not folded.
_MOST_REASONS = 3


def verdict_blocks(
    results: Results,
    checks: CheckReport,
    rates: Mapping[int, Estimate | None],
    drifts: Mapping[int, Drift | None],
) -> list[Block]:
    """rates, drifts: by level index, empty where the CSV files have none."""
    levels = results.summary.levels
    return [
        Text(_what_was_run(results), style="lead"),
        *_reliability(results),
        *_objectives(results),
        *_conditions(checks),
        *_failures(levels),
        *(Text(note, style="bad") for note in unstable_notes(levels)),
        *drift_calls(levels, drifts),
        *probe_table(results.summary.capacity_search),
        headline(results.summary, rates),
        *conditions_table([one for one in checks.check_results if one.status is not CheckStatus.PASS]),
        *(Text(note, style="quiet") for note in filter(None, [system_prompt_note(results)])),
        *(Text(note, style="quiet") for note in _notes(levels, rates)),
    ]


def headline(summary: Summary, rates: Mapping[int, Estimate | None]) -> Table:
    """Each level's figures, intervals below them."""
    levels = summary.levels
    verdicts = [slo_verdict(summary, level) for level in levels]
    slo = ["SLO"] if any(verdict is not None for verdict in verdicts) else []
    headings = [level_heading(levels), *slo, "TTFT p50", "TTFT p95", "tokens/s, all", "tokens/s, one user"]
    suspect = suspect_levels(summary)
    rows: list[Row] = []
    for level, verdict in zip(levels, verdicts, strict=True):
        cells = _cells(level, rates.get(level.index))
        rows.append([_key(level, suspect), *([_met(level, verdict)] if slo else []), *cells])
    return Table(
        "Results by level. Below each figure: its 95 % confidence interval. With ≥ or ≤, there were too few requests "
        f'for its other end; with "{units.SAMPLE_TOO_SMALL}", for both',
        headings,
        rows,
    )


def drift_calls(levels: Sequence[LevelSummary], drifts: Mapping[int, Drift | None]) -> Iterator[Text]:
    """A paragraph for each level whose token rate fell or rose while it was held."""
    for level in levels:
        drift = drifts.get(level.index)
        if drift is None or drift.course == "steady":
            continue
        fell = drift.course == "falls"
        yield Text(
            f"{level_name(level)}: the token rate of the hold's last fifth was {units.rate(drift.last)} tokens/s "
            f"against {units.rate(drift.first)} in its first: {format_change(RATE, drift.change)}. "
            "The level's figures are means over this change, so a longer hold would give other figures.",
            "The token rate fell within a level." if fell else "The token rate rose within a level.",
            "bad" if fell else "",
        )


def _what_was_run(results: Results) -> str:
    summary, run = results.summary, results.run
    version = f" {run.engine_version}" if run.engine_version else ""
    gateway = f" behind {run.gateway}" if run.gateway else ""
    host = (
        f"{summary.host or 'a host that is not named'}{' (the embedded simulator)' if run.embedded_simulator else ''}"
    )
    runs = []
    for mode in dict.fromkeys(level.system_prompt for level in summary.levels):
        of_mode = [level for level in summary.levels if level.system_prompt == mode]
        names = list(dict.fromkeys(load_name(level.name) for level in of_mode))
        runs.append(level_text(spoken(with_one_unit(names)), mode))
    requests = sum(level.whole.requests for level in summary.levels)
    ramps = ", ramps included" if requests > sum(level.hold.requests for level in summary.levels) else ""
    return (
        f"{summary.engine}{version}{gateway} at {host} under load: "
        f"{'; then '.join(runs)}. {units.counted(requests, 'request')} in all{ramps}."
    )


def _reliability(results: Results) -> Iterator[Block]:
    found = warnings_of(results)
    texts: dict[str, list[str]] = {}
    for notice in found:
        strong, _, rest = notice.partition(":")
        rest = rest.strip()
        texts.setdefault(f"{strong.capitalize()}.", []).append(rest[:1].upper() + rest[1:])
    for strong, reasons in texts.items():
        # One more is as short as the line that it would be hidden behind.
        shown = len(reasons) if len(reasons) <= _MOST_REASONS + 1 else _MOST_REASONS
        yield from (Text(reason, strong, "bad") for reason in reasons[:shown])
        if reasons[shown:]:
            yield Details(
                f"{strong} {units.counted(len(reasons) - shown, 'more reason')}",
                [(strong, reason) for reason in reasons[shown:]],
            )
    if results.summary.validity.verdict == "valid" and results.summary.accounting.complete:
        requests = units.counted(results.summary.accounting.ended, "request")
        yield Text(
            f"No sign of client interference; all {requests} are accounted for.",
            "Valid.",
            "" if found else "good",
        )


def _objectives(results: Results) -> Iterator[Text]:
    summary = results.summary
    if not summary.objectives:
        return
    stated = spoken([units.objective(name, value) for name, value in summary.objectives.items()])
    share = "" if summary.objective_share is None else f" for {units.set_share(summary.objective_share)} of requests"
    if summary.capacity_search:
        style: Literal["good", "note"] = "good" if summary.capacity_search.conclusion in _DECIDED else "note"
        yield Text(f"{capacity_sentence(summary)}. The SLO: {stated}{share}.", "Capacity:", style)
        return
    judged = [level for level in summary.levels if level.meets_objectives is not None]
    met = sum(bool(level.meets_objectives) for level in judged)
    if not judged:
        yield Text(f"{stated}; goodput in the tables counts the requests that met it.", "SLO:")
        return
    word = "SLO met." if met == len(judged) else "SLO met at some levels." if met else "SLO missed."
    reach = "; ".join(capacity(found, summary.levels) for found in summary.capacity)
    yield Text(
        f"{stated}{share}. Highest load that meets it: {reach}.",
        word,
        "good" if met == len(judged) else "note" if met else "bad",
    )


def _conditions(checks: CheckReport) -> Iterator[Text]:
    if not checks.check_results:
        return
    sound = not checks.unreliable and all(result.status is CheckStatus.PASS for result in checks.check_results)
    reasons = "; ".join(reason.text for reason in checks.unreliable)
    number = sum(result.status is CheckStatus.FAIL for result in checks.check_results)
    failed = f"{number} of {len(checks.check_results)} failed by the figures of this run; " if number else ""
    why = f"{failed}the run is {checks.state}, so its conditions do not count: {reasons}" if reasons else ""
    words = why or status_words(checks).replace(" conditions", "")
    yield Text(f"{words}.", "Conditions:", "good" if sound else "bad")


def conditions_table(check_results: Sequence[CheckResult]) -> list[Block]:
    """Findings of conditions, a row each; no table of none."""
    if not check_results:
        return []
    headings = ["condition", "result", "level", "figures"]
    rows = [[result.condition, _loud(result.status), result.level, result.text] for result in check_results]
    return [Table("Conditions and their results", headings, rows, of_words=True)]


def _failures(levels: Sequence[LevelSummary]) -> Iterator[Text]:
    failures, requests = (sum(getattr(level.whole, name) for level in levels) for name in ("failures", "requests"))
    if failures:
        share = units.percentage(failures / requests)
        yield Text(
            f"{units.count(failures)} of {units.counted(requests, 'request')} ({share}).", "Failed requests:", "bad"
        )


def _notes(levels: Sequence[LevelSummary], rates: Mapping[int, Estimate | None]) -> Iterator[str]:
    """Those of the terminal's table that are about what the table here shows, and why a rate has no interval."""
    elsewhere = session_notes(levels)  # stand in the section of sessions
    for note in notes(levels):
        if note not in elsewhere and (note != units.NOT_CERTIFIED_NOTE or _any_mark(levels)):
            yield note.removesuffix(f" {GOOD_NOTE}")
    known = [rates.get(level.index) for level in levels]
    if any(rate is not None and rate.count < FEWEST_FOR_A_MEAN for rate in known):
        enough = units.planned_time(HOLD_OF_A_RATE_S)
        yield (
            f'tokens/s, all: where it says "{units.SAMPLE_TOO_SMALL}", the hold is too short for an interval. A hold '
            f"of {enough} has one: set --level-time to {enough} plus the ramp."
        )


def _any_mark(levels: Sequence[LevelSummary]) -> bool:
    return any(
        found is not None and not found.certified
        for level in levels
        for found in (level.hold.ttft_s.p50, level.hold.ttft_s.p95, level.hold.request_token_rate.p50)
    )


def _loud(status: CheckStatus) -> str:
    return status.value if status is CheckStatus.PASS else status.value.upper()


def _key(level: LevelSummary, suspect: Collection[int]) -> Cell:
    below = filter(None, (PROMPT[level.system_prompt], "suspect" if level.index in suspect else ""))
    return Cell(level.name + ("" if level.complete else NOT_COMPLETE), ", ".join(below))


def suspect_levels(summary: Summary) -> set[int]:
    """The indexes of levels that make the run suspect by themselves."""
    return {issue.level for issue in summary.validity.issues if issue.level is not None}


def _cells(level: LevelSummary, rate: Estimate | None) -> list[Cell]:
    hold = level.hold
    interval = (
        units.rate_interval(rate.low, rate.high) if rate is not None and rate.certified else units.SAMPLE_TOO_SMALL
    )
    return [
        _latency(level, hold.ttft_s.p50),
        _latency(level, hold.ttft_s.p95),
        Cell(units.rate(hold.token_rate), interval if hold.token_rate is not None else ""),
        Cell(
            units.rate_quantile(one := hold.request_token_rate.p50),
            _interval(units.rate_interval(one.low, one.high)) if one else "",
        ),
    ]


def _latency(level: LevelSummary, found: Quantile | None) -> Cell:
    return Cell(latency(level, found), _interval(units.interval(found)) if found else "")


def _interval(text: str) -> str:
    return units.SAMPLE_TOO_SMALL if text == units.UNDEFINED else text


def _met(level: LevelSummary, verdict: SloVerdict | None) -> Cell:
    share = level.hold.goodput.fraction if level.hold.goodput else None
    return Cell(verdict or units.UNDEFINED, f"{units.percentage(share)} met it")
