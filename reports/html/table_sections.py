"""Sections of a run's page that are tables. Each is made of a run and its journals, and is empty where there is nothing
to say. Every function may raise ReportError."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from metrics.stage import PROMPT
from reports import units
from reports.conditions import LATENCIES
from reports.conditions import Figure as Asked
from reports.courses import failure_examples
from reports.drawing import spoken
from reports.drift import FEWEST_WINDOWS
from reports.estimates import Measured
from reports.gate import told_change
from reports.intervals import Estimate
from reports.notices import stage_name
from reports.page import Block, Cell, Row, Table, Text
from reports.results import Distribution, Level, Worker
from reports.self_check import self_check_line
from reports.table import COLUMNS, Column, notes
from reports.verdict import RATE

PERCENTILES = ("count", "mean", "p50", "p90", "p95", "p99", "largest")
_EFFECTS = (Asked("ttft", "p50"), Asked("ttft", "p95"), Asked("tpot", "p50"), RATE)


def drift(measured: Measured) -> list[Block]:
    """The last fifth of each hold against its first."""
    levels = measured.results.summary.levels
    rows: list[Row] = []
    too_short: list[str] = []
    for level in levels:
        found = measured.drift(level)
        if found is None:
            too_short.append(stage_name(level))
            continue
        course = found.course.upper() if found.course == "falls" else found.course
        change = _split(told_change(RATE, found.change))
        rows.append([level_key(level), units.rate(found.first), units.rate(found.last), change, course])
    blocks: list[Block] = []
    if rows:
        headings = ["level", "first fifth, tokens/s", "last fifth, tokens/s", "change", "course"]
        caption = "The token rate of the hold's last fifth against its first; below the change: its 95 % interval"
        blocks.append(Table(caption, headings, rows))
    if too_short:
        which = "every level" if len(too_short) == len(levels) else spoken(too_short)
        text = f"{which}; it takes a hold of {FEWEST_WINDOWS} whole windows of 5 seconds."
        blocks.append(Text(text, "Too short to judge:", "quiet"))
    return blocks


def effects(measured: Measured) -> list[Block]:
    """What the system prompt does to each level that ran both ways."""
    effects = measured.system_prompt_effects(list(_EFFECTS))
    by_level: dict[str, list[str]] = {}
    for effect in effects:
        told = units.UNDEFINED
        if effect.ratio is not None:
            ratio = effect.ratio
            low, high = (None if end is None else end - 1 for end in (ratio.low, ratio.high))
            told = told_change(effect.figure, Estimate(ratio.value - 1, low, high, ratio.count))
        by_level.setdefault(effect.level, []).append(told)
    if not by_level:
        return []
    headings = ["users", "TTFT p50", "TTFT p95", "TPOT p50", "tokens/s, all"]
    rows: list[Row] = [[level, *map(_split, cells)] for level, cells in by_level.items()]
    return [Table("With the system prompt against without; below: the 95 % interval", headings, rows)]


def fairness(measured: Measured) -> list[Block]:
    """How evenly each level served its users."""
    levels = measured.results.summary.levels
    found = [(level, measured.fairness(level)) for level in levels]
    rows: list[Row] = [
        [
            level_key(level),
            units.count(fair.users),
            units.index(fair.jain_token_rate),
            units.ratio(fair.slowest_ttft_ratio),
        ]
        for level, fair in found
        if fair is not None
    ]
    if not rows:
        return []
    headings = ["level", "users", "Jain's index of token rates", "TTFT of the slowest served / the middle user"]
    return [
        Table("1 is even: all users had the same", headings, rows),
        Text(
            "Jain's index: 1 where all users had the same token rate, 1 / users where one had everything.",
            style="quiet",
        ),
    ]


def tokens_per_event(measured: Measured) -> list[Block]:
    """How many tokens came at once."""
    levels = measured.results.summary.levels
    rows: list[Row] = []
    for level in levels:
        requests = measured.requests.of(level)
        tokens, events = (requests.figures[name][requests.ok] for name in ("output_tokens", "output_events"))
        known = ~np.isnan(tokens) & ~np.isnan(events) & (events > 0)
        if known.any():
            each = tokens[known] / events[known]
            mean = float(tokens[known].sum() / events[known].sum())
            rows.append([level_key(level), *map(units.ratio, (mean, float(each.min()), float(each.max())))])
    if not rows:
        return []
    headings = ["level", "mean", "request with the fewest", "request with the most"]
    text = (
        "Where an event holds several tokens, gaps are those between events: a reader sees them, and a count of "
        "events is no count of tokens."
    )
    return [Table("Output tokens of an event with output", headings, rows), Text(text, style="quiet")]


def failures(measured: Measured) -> list[Block]:
    """Failed requests by outcome, with examples."""
    levels = measured.results.summary.levels
    failing = [level for level in levels if level.whole.failures or level.hold.failures]
    if not failing:
        return []
    names = sorted({name for level in failing for name in level.whole.outcomes if name not in ("ok", "cut")})
    rows: list[Row] = [
        [
            level_key(level),
            *(
                Cell(
                    units.count(level.whole.outcomes.get(name, 0)),
                    f"{units.count(level.hold.outcomes.get(name, 0))} in the hold",
                )
                for name in names
            ),
        ]
        for level in failing
    ]
    blocks: list[Block] = [Table("Failed requests by outcome", ["level", *names], rows)]
    by_stage = {level.stage: level for level in levels}
    examples = [
        [
            one.outcome,
            stage_name(by_stage[one.stage]) if one.stage in by_stage else units.UNDEFINED,
            units.clock(one.sent_s),
            units.UNDEFINED if one.status is None else str(one.status),
            one.error or "no text",
        ]
        for one in failure_examples(measured.results)
    ]
    if examples:
        headings = ["outcome", "level", "sent at", "status", "error"]
        blocks.append(Table("Examples: the first of each", headings, examples, of_words=True))
    return blocks


def client(measured: Measured) -> list[Block]:
    """What the client says of itself."""
    levels = measured.results.summary.levels
    blocks: list[Block] = []
    if any(_has(level.hold.client_delay_s) or _has(level.hold.loop_lag_s) for level in levels):
        headings = [
            "level",
            "client delay p50",
            "p99",
            "largest",
            "loop lag p99",
            "TTFT uncertain by, p99",
            "requests timed by",
        ]
        rows: list[Row] = [
            [
                level_key(level),
                units.quantile(delay.p50 if (delay := level.hold.client_delay_s) else None),
                units.quantile(delay.p99 if delay else None),
                units.duration(delay.max if delay else None),
                units.quantile(lag.p99 if (lag := level.hold.loop_lag_s) else None),
                units.quantile(late.p99 if (late := level.hold.ttft_uncertainty_s) else None),
                ", ".join(f"{name} {units.count(number)}" for name, number in level.hold.stamps.items())
                or units.UNDEFINED,
            ]
            for level in levels
        ]
        text = (
            "Client delay: how long after the kernel received them the client read the bytes; what it would add to "
            "its figures without the kernel's times."
        )
        blocks += [Text(text, style="quiet"), Table("How late the client was, in each hold", headings, rows)]
    blocks += _concurrency(levels)
    workers = measured.results.summary.workers
    blocks += _workers([worker for worker in workers if worker.requests is not None])
    checks = [self_check_line(one.worker, one.self_check) for one in workers if one.self_check]
    return [*blocks, *(Text(f"{line}.") for line in checks)]


def _concurrency(levels: Sequence[Level]) -> list[Block]:
    rows: list[Row] = [
        [
            level_key(level),
            units.count(found.requested),
            units.users(found.mean),
            units.users(found.min),
            units.percentage(found.short_share),
        ]
        for level in levels
        if (found := level.concurrency) is not None
    ]
    if not rows:
        return []
    headings = ["level", "users requested", "actual, mean", "fewest in a second", "time below 95 %"]
    return [Table("Requested against actual concurrency, in each hold", headings, rows)]


def _workers(workers: Sequence[Worker]) -> list[Block]:
    if not workers:
        return []
    headings = ["worker", "requests", "CPU, of one core", "in the fullest hold", "loop lag p99", "figures"]
    rows: list[Row] = [
        [
            str(worker.worker),
            units.count(worker.requests or 0),
            units.percentage(worker.cpu_utilization),
            units.percentage(worker.cpu_utilization_hold_max),
            units.duration(worker.loop_lag_p99_s),
            worker.validity.verdict if worker.validity else units.UNDEFINED,
        ]
        for worker in workers
    ]
    return [Table("The workers", headings, rows)]


def all_figures(measured: Measured) -> list[Block]:
    """The table of the terminal, and every latency's percentiles."""
    levels = measured.results.summary.levels
    blocks: list[Block] = [level_table("Each level's hold, as the terminal and the Markdown tell it", COLUMNS, levels)]
    reasoned = any(level.hold.ttfvt_s != level.hold.ttft_s for level in levels)
    for name in LATENCIES if reasoned else (name for name in LATENCIES if name != "ttfvt"):
        rows: list[Row] = [
            [level_key(level), *percentiles(values)]
            for level in levels
            if (values := getattr(level.hold, f"{name}_s")) is not None and values.count
        ]
        if rows:
            told = name.upper() if name != "gap" else "Gaps"
            headings = ["level", *PERCENTILES]
            blocks.append(Table(told, headings, rows))
    blocks += _user_rates(levels)
    if units.NOT_CERTIFIED_NOTE in notes(levels):
        blocks.append(Text(units.NOT_CERTIFIED_NOTE, style="quiet"))
    return blocks


def _user_rates(levels: Sequence[Level]) -> list[Block]:
    """The token rates of single requests, from their slow end; empty for folders too old to hold it."""
    rows: list[Row] = [
        [
            level_key(level),
            units.count(rates.count),
            units.rate(rates.mean),
            units.rate(rates.min),
            *(units.rate_quantile(found) for found in (rates.p1, rates.p5, rates.p10, rates.p50)),
        ]
        for level in levels
        if (rates := level.hold.request_token_rate).count and rates.p5 is not None
    ]
    headings = ["level", "count", "mean", "slowest", "p1", "p5", "p10", "p50"]
    return [Table("Tokens/s of one user, the slow end first", headings, rows)] if rows else []


def level_key(level: Level) -> Cell:
    """What a row is called by."""
    return Cell(f"{level.name} users", PROMPT[level.system_prompt])


def percentiles(values: Distribution) -> list[str]:
    """Cells under PERCENTILES."""
    return [
        units.count(values.count),
        units.duration(values.mean),
        *(units.quantile(found) for found in (values.p50, values.p90, values.p95, values.p99)),
        units.duration(values.max),
    ]


def level_table(caption: str, columns: Sequence[Column], levels: Sequence[Level]) -> Table:
    """Columns of the terminal's table, a row a level."""
    headings = [f"{column.group} {column.head}".strip() for column in columns]
    return Table(caption, headings, [[column.cell(level) for column in columns] for level in levels])


def _split(told: str) -> Cell:
    """A change as gate tells it; below it its interval, or why there is none."""
    value, bracket, rest = told.partition(" (")
    if not bracket:
        value, _, rest = told.partition(", ")
    return Cell(value, rest.removesuffix(")").replace(" at 95 %", ""))


def _has(values: Distribution | None) -> bool:
    return values is not None and values.count > 0
