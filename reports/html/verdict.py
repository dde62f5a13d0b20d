"""The top of a run's page: in plain words what was run, whether to believe it, and what came of it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from metrics.stage import PROMPT
from reports import units
from reports.conditions import Figure
from reports.drawing import spoken
from reports.drift import Drift
from reports.gate import told_change
from reports.intervals import Estimate
from reports.judgement import Finding, Judgement, Verdict
from reports.markdown import verdict_words
from reports.notices import notices, stage_name
from reports.page import Block, Cell, Table, Text
from reports.results import Level, Quantile, Results
from reports.table import NOT_COMPLETE, capacity, notes

RATE = Figure("rate")


def verdict_blocks(
    results: Results,
    judgement: Judgement,
    rates: Mapping[int, Estimate | None],
    drifts: Mapping[int, Drift | None],
) -> list[Block]:
    """rates, drifts: by stage, empty where the journals do not tell."""
    levels = results.summary.levels
    return [
        Text(_what_was_run(results), style="lead"),
        *_whether_to_believe(results),
        *_objectives(results),
        *_conditions(judgement),
        *_failures(levels),
        *drift_calls(levels, drifts),
        headline(levels, rates),
        *conditions_table([one for one in judgement.findings if one.verdict is not Verdict.MET]),
        *(Text(note, style="quiet") for note in notes(levels) if note != units.NOT_CERTIFIED_NOTE or _any_mark(levels)),
    ]


def headline(levels: Sequence[Level], rates: Mapping[int, Estimate | None]) -> Table:
    """Each level's figures, intervals below them."""
    with_objectives = any(level.meets_objectives is not None for level in levels)
    headings = ["users", "TTFT p50", "TTFT p95", "tokens/s, all", "tokens/s, one user"]
    rows = [[*_cells(level, rates.get(level.stage)), *([_met(level)] if with_objectives else [])] for level in levels]
    return Table(
        "The levels: below each figure its 95 % interval",
        [*headings, "objectives"] if with_objectives else headings,
        rows,
    )


def drift_calls(levels: Sequence[Level], drifts: Mapping[int, Drift | None]) -> Iterator[Text]:
    """A paragraph for each level whose token rate fell or rose while it was held."""
    for level in levels:
        drift = drifts.get(level.stage)
        if drift is None or drift.course == "steady":
            continue
        fell = drift.course == "falls"
        yield Text(
            f"{stage_name(level)}: the token rate of the hold's last fifth was {units.rate(drift.last)} tokens/s "
            f"against {units.rate(drift.first)} in its first: {told_change(RATE, drift.change)}. "
            "The level's figures are means over that change; a longer hold would give others.",
            "The token rate fell within a level." if fell else "The token rate rose within a level.",
            "bad" if fell else "",
        )


def _what_was_run(results: Results) -> str:
    summary, run = results.summary, results.run
    version = f" {run.engine_version}" if run.engine_version else ""
    gateway = f" behind {run.gateway}" if run.gateway else ""
    runs = []
    for mode in dict.fromkeys(level.system_prompt for level in summary.levels):
        names = list(dict.fromkeys(level.name for level in summary.levels if level.system_prompt == mode))
        runs.append(f"{spoken(names)} users {PROMPT[mode]}")
    requests = sum(level.whole.requests for level in summary.levels)
    return (
        f"{summary.engine}{version}{gateway}, serving {summary.model or 'a model that is not named'} at "
        f"{summary.host or 'a host that is not named'}, was asked by {'; then by '.join(runs)}: "
        f"{units.counted(requests, 'request')}."
    )


def _whether_to_believe(results: Results) -> Iterator[Text]:
    found = notices(results)
    for notice in found:
        strong, _, rest = notice.partition(":")
        rest = rest.strip()
        yield Text(rest[:1].upper() + rest[1:], f"{strong.capitalize()}.", "bad")
    if results.summary.validity.verdict == "valid" and results.summary.books.balanced:
        fired = units.counted(results.summary.books.fired, "request")
        yield Text(
            f"Nothing was found by which the client could have reached into these figures, and all {fired} that were "
            "sent are in them.",
            "Valid.",
            "" if found else "good",
        )


def _objectives(results: Results) -> Iterator[Text]:
    summary = results.summary
    if not summary.objectives:
        return
    stated = spoken([units.objective(name, value) for name, value in summary.objectives.items()])
    share = "" if summary.objective_share is None else f" by {units.set_share(summary.objective_share)} of the requests"
    judged = [level for level in summary.levels if level.meets_objectives is not None]
    met = sum(bool(level.meets_objectives) for level in judged)
    if not judged:
        yield Text(f"{stated}; goodput in the tables counts the requests that met them.", "Objectives:")
        return
    word = (
        "Objectives met." if met == len(judged) else "Objectives met at some levels." if met else "Objectives missed."
    )
    reach = "; ".join(map(capacity, summary.capacity))
    yield Text(f"{stated}{share}: {reach}.", word, "good" if met == len(judged) else "note" if met else "bad")


def _conditions(judgement: Judgement) -> Iterator[Text]:
    if not judgement.findings:
        return
    sound = not judgement.doubts and all(finding.verdict is Verdict.MET for finding in judgement.findings)
    doubts = f", so that none is a pass: {'; '.join(judgement.doubts)}" if judgement.doubts else ""
    yield Text(f"{verdict_words(judgement)}{doubts}.", "Conditions:", "good" if sound else "bad")


def conditions_table(findings: Sequence[Finding]) -> list[Block]:
    """Findings of conditions, a row each; no table of none."""
    if not findings:
        return []
    headings = ["condition", "result", "level", "figures"]
    rows = [[finding.condition, _loud(finding.verdict), finding.level, finding.told] for finding in findings]
    return [Table("Conditions, and what the run showed", headings, rows, of_words=True)]


def _failures(levels: Sequence[Level]) -> Iterator[Text]:
    failures, requests = (sum(getattr(level.whole, name) for level in levels) for name in ("failures", "requests"))
    if failures:
        share = units.percentage(failures / requests)
        yield Text(
            f"{units.count(failures)} of {units.counted(requests, 'request')} ({share}).", "Requests failed:", "bad"
        )


def _any_mark(levels: Sequence[Level]) -> bool:
    return any(
        found is not None and not found.certified
        for level in levels
        for found in (level.hold.ttft_s.p50, level.hold.ttft_s.p95, level.hold.request_token_rate.p50)
    )


def _loud(verdict: Verdict) -> str:
    return verdict.value if verdict is Verdict.MET else verdict.value.upper()


def _cells(level: Level, rate: Estimate | None) -> list[Cell]:
    hold = level.hold
    interval = units.rate_interval(rate.low, rate.high) if rate is not None and rate.certified else "no interval"
    return [
        Cell(level.name + ("" if level.complete else NOT_COMPLETE), PROMPT[level.system_prompt]),
        _latency(hold.ttft_s.p50),
        _latency(hold.ttft_s.p95),
        Cell(units.rate(hold.token_rate), interval if hold.token_rate is not None else ""),
        Cell(
            units.rate_quantile(one := hold.request_token_rate.p50),
            units.rate_interval(one.low, one.high) if one else "",
        ),
    ]


def _latency(found: Quantile | None) -> Cell:
    return Cell(units.quantile(found), units.interval(found) if found else "")


def _met(level: Level) -> Cell:
    share = level.hold.goodput.fraction if level.hold.goodput else None
    return Cell("met" if level.meets_objectives else "missed", f"{units.percentage(share)} good")
