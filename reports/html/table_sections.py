"""Sections of a run's page that are tables. Each is made of a run and its journals, and is empty where there is nothing
to say. Every function may raise ReportError."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from tokenswarm.metrics.drift import FEWEST_WINDOWS
from tokenswarm.metrics.intervals import Estimate
from tokenswarm.metrics.level import PROMPT, users_of
from tokenswarm.metrics.quantiles import fewest_for_interval
from tokenswarm.reports import units
from tokenswarm.reports.checks.conditions import TIMES, Figure
from tokenswarm.reports.compare.gate_command import as_change, change_in_words
from tokenswarm.reports.html.chart_style import spoken
from tokenswarm.reports.html.document import Block, Cell, Row, Table, Tables, Text
from tokenswarm.reports.html.verdict import RATE, suspect_levels
from tokenswarm.reports.level_names import level_name
from tokenswarm.reports.open_loop_table import level_heading
from tokenswarm.reports.refusal_notes import NO_FAILURES, refusal_notes
from tokenswarm.reports.self_check_line import self_check_line
from tokenswarm.reports.stats.estimates import RunData
from tokenswarm.reports.stats.failures import failure_examples
from tokenswarm.reports.system_prompt_note import system_prompt_note
from tokenswarm.reports.text_table import COLUMNS, GOOD_NOTE, Column, notes
from tokenswarm.run_folder.distribution import Distribution
from tokenswarm.run_folder.schema import WINDOW_S, IssueKind, LevelSummary, Validity, WorkerSummary

_CLIENT_NOTE = (
    "Client delay is about receiving: how long received bytes waited in the kernel until the client read them. Where "
    "the timestamps are the kernel's, this delay is not in the latencies, with one exception: where a first token was "
    "read together with later ones, only the last has a timestamp, and TTFT may be too high by up to the TTFT "
    "uncertainty. Event-loop lag is about sending: how much later than planned the client's timers ran. Users that "
    "send late put less load on the server."
)
_WORKERS_NOTE = (
    "Limits of the whole run: of the worker's event-loop lag, of its timing error in the self-check before the run "
    "(--self-check) if there was one, and of late reads if the kernel gives no receive times. Each level has limits of "
    "its own for late reads and late sends: "
)
_EFFECTS_NOTE = (
    f'Where it says "{units.SAMPLE_TOO_SMALL}", there were too few requests for an interval, or for tokens/s too few '
    'complete windows of 5 seconds. Where it says "at least" or "at most", there were too few for the other end. '
    "Longer levels have more: set "
    "--level-time, or --run-time if the run has --users."
)
#: Reasons of a level that are its client's: what it read or sent late.
_LATE_IN_A_LEVEL = frozenset(
    {
        *(IssueKind.UNCERTAIN_TTFT, IssueKind.SEND_LAG, IssueKind.CLIENT_DELAY, IssueKind.UNKNOWN_CLIENT_DELAY),
        *(IssueKind.LATE_LOOP, IssueKind.ARRIVAL_GAPS),
    }
)
PERCENTILES = ("count", "mean", "p50", "p90", "p95", "p99", "largest")
_EFFECTS = (Figure("ttft", "p50"), Figure("ttft", "p95"), Figure("tpot", "p50"), RATE)


def drift(measured: RunData) -> list[Block]:
    """The last fifth of each hold against its first."""
    levels = measured.results.summary.levels
    rows: list[Row] = []
    too_short: list[str] = []
    for level in levels:
        found = measured.drift(level)
        if found is None:
            too_short.append(level_name(level))
            continue
        course = found.course.upper() if found.course == "falls" else found.course
        change = _change(RATE, found.change)
        rows.append([level_key(level), units.rate(found.first), units.rate(found.last), change, course])
    blocks: list[Block] = []
    if rows:
        headings = ["level", "first fifth, tokens/s", "last fifth, tokens/s", "change", "trend"]
        caption = (
            "Token rate in the first and the last fifth of the hold. Below the change: its 95 % confidence interval"
        )
        blocks.append(Table(caption, headings, rows))
    if too_short:
        enough = units.planned_time((FEWEST_WINDOWS + 1) * WINDOW_S)
        which = "all levels" if len(too_short) == len(levels) else spoken(too_short)
        text = (
            f"{which}. The trend compares the first and the last fifth of a hold, which takes a hold of "
            f"{enough} or more: set --level-time to {enough} plus the ramp."
        )
        blocks.append(Text(text, "Not available:", "quiet"))
    return blocks


def effects(measured: RunData) -> list[Block]:
    """Effect of the system prompt to each level that ran both ways."""
    effects = measured.system_prompt_effects(list(_EFFECTS))
    by_level: dict[str, list[Cell]] = {}
    for effect in effects:
        ratio = effect.ratio
        cell = Cell(units.UNDEFINED) if ratio is None else _change(effect.figure, as_change(effect.figure, ratio))
        by_level.setdefault(effect.level, []).append(cell)
    if not by_level:
        return []
    headings = [
        level_heading(measured.results.summary.levels),
        *("TTFT p50", "TTFT p95", "TPOT p50", "tokens/s, all"),
    ]
    rows: list[Row] = [[level, *cells] for level, cells in by_level.items()]
    caption = "Change with the system prompt, compared with levels without it. Below: its 95 % confidence interval"
    blocks: list[Block] = [Table(caption, headings, rows)]
    if note := system_prompt_note(measured.results):
        blocks.append(Text(note, style="quiet"))
    summary = measured.results.summary
    suspect = suspect_levels(summary)
    named = [level_name(level) for level in summary.levels if level.index in suspect and level.level in by_level]
    if named:
        blocks.append(Text(f"Suspect (see the top): {spoken(named)}.", style="quiet"))
    if any(effect.ratio is not None and None in (effect.ratio.low, effect.ratio.high) for effect in effects):
        blocks.append(Text(_EFFECTS_NOTE, style="quiet"))
    return blocks


def fairness(measured: RunData) -> list[Block]:
    """How evenly each level served its users."""
    levels = measured.results.summary.levels
    found = [(level, measured.fairness(level)) for level in levels]
    rows: list[Row] = [
        [
            level_key(level),
            units.count(fair.users),
            units.index(fair.jain_token_rate),
            units.two_decimals(fair.slowest_ttft_ratio),
        ]
        for level, fair in found
        if fair is not None
    ]
    if not rows:
        return []
    headings = ["level", "users", "Jain's index of token rates", "mean TTFT, slowest / median user"]
    text = (
        "Jain's index is a measure of fairness: 1 when all users got the same token rate, 1 / number of users when one "
        "of them got everything. The last column: the mean TTFT of the slowest user divided by that of the median user."
    )
    return [Table("Fairness by level, in the hold", headings, rows), Text(text, style="quiet")]


def tokens_per_event(measured: RunData) -> list[Block]:
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
            rows.append([level_key(level), *map(units.two_decimals, (mean, float(each.min()), float(each.max())))])
    if not rows:
        return []
    headings = ["level", "mean", "request with the lowest mean", "request with the highest mean"]
    text = (
        "An event is one message of the stream. Gaps are the times between events: where an event holds several "
        "tokens, a gap is longer than the time per token."
    )
    return [Table("Output tokens per event, by level", headings, rows), Text(text, style="quiet")]


def failures(measured: RunData) -> list[Block]:
    """Failed requests by outcome, with examples."""
    levels = measured.results.summary.levels
    failing = [level for level in levels if level.whole.failures or level.hold.failures]
    refused: list[Block] = [Text(note) for note in refusal_notes(levels)]
    if not failing:
        return refused
    names = sorted({name for level in failing for name in level.whole.outcomes if name not in NO_FAILURES})
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
    blocks: list[Block] = [*refused, Table("By outcome", ["level", *names], rows)]
    by_index = {level.index: level for level in levels}
    examples = [
        [
            one.outcome,
            level_name(by_index[one.level_index]) if one.level_index in by_index else units.UNDEFINED,
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


def client(measured: RunData) -> list[Block]:
    """Client health: the client's own delays and load."""
    levels = measured.results.summary.levels
    blocks: list[Block] = []
    if any(_has(level.hold.client_delay_s) or _has(level.hold.loop_lag_s) for level in levels):
        headings = [
            "level",
            "client delay p50",
            "p99",
            "largest",
            "event-loop lag p99",
            "TTFT uncertainty p99",
            "requests by timestamp source",
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
        blocks += [Table("Delays of the client in each hold", headings, rows), Text(_CLIENT_NOTE, style="quiet")]
    blocks += _concurrency([level for level in levels if level.load_audit is None])  # else in a section of its own
    workers = measured.results.summary.workers
    late_in = {issue.level for issue in measured.results.summary.validity.issues if issue.kind in _LATE_IN_A_LEVEL}
    late_levels = [level_name(level) for level in levels if level.index in late_in]
    blocks += _workers([worker for worker in workers if worker.requests is not None], late_levels)
    checks = [self_check_line(one.worker, one.self_check) for one in workers if one.self_check]
    return [*blocks, *(Text(f"{line}.") for line in checks)]


def _concurrency(levels: Sequence[LevelSummary]) -> list[Block]:
    rows: list[Row] = [
        [
            level_key(level),
            units.count(found.requested),
            units.users_of(found.mean, found.requested),
            units.users_of(found.min, found.requested),
            units.percentage(found.short_share),
        ]
        for level in levels
        if (found := level.concurrency) is not None
    ]
    if not rows:
        return []
    headings = [
        "level",
        "users requested",
        "actual, mean",
        "in the second with the fewest",
        "time below 95 % of the requested users",
    ]
    return [Table("Requested and actual users in each hold", headings, rows)]


def _workers(workers: Sequence[WorkerSummary], late_levels: Sequence[str]) -> list[Block]:
    """late_levels: in which the load generator was too slow, whichever worker it was."""
    if not workers:
        return []
    headings = [
        *("worker", "requests", "CPU of one core", "CPU in the busiest hold", "event-loop lag p99"),
        "limits of the whole run",
    ]
    rows: list[Row] = [
        [
            str(worker.worker),
            units.count(worker.requests or 0),
            units.percentage(worker.cpu_utilization),
            units.percentage(worker.cpu_utilization_hold_max),
            units.duration(worker.loop_lag_p99_s),
            units.UNDEFINED if worker.validity is None else _limits(worker.validity),
        ]
        for worker in workers
    ]
    if late_levels:
        of_levels = f"one was exceeded at {spoken(late_levels)} (see the reasons at the top)."
    else:
        of_levels = "none was exceeded in this run."
    return [Table("Workers", headings, rows), Text(f"{_WORKERS_NOTE}{of_levels}", style="quiet")]


def _limits(found: Validity) -> str:
    return "kept" if found.verdict == "valid" else "EXCEEDED"


def all_figures(measured: RunData) -> list[Block]:
    """The table of the terminal, and every latency's percentiles."""
    levels = measured.results.summary.levels
    blocks: list[Block] = [level_table("All figures by level, in the hold", COLUMNS, levels)]
    if any(level.hold.goodput for level in levels):
        blocks.append(Text(f"{GOOD_NOTE[:1].upper()}{GOOD_NOTE[1:]}", style="quiet"))
    reasoned = any(level.hold.ttfvt_s != level.hold.ttft_s for level in levels)
    tables: list[Table] = []
    for name in TIMES if reasoned else (name for name in TIMES if name != "ttfvt"):
        rows: list[Row] = [
            [level_key(level), *percentiles(values)]
            for level in levels
            if (values := getattr(level.hold, f"{name}_s")) is not None and values.count
        ]
        if rows:
            text = "Gaps" if name == "gap" else name.upper().replace("_SCHEDULED", " from schedule")
            headings = ["level", *PERCENTILES]
            tables.append(Table(text, headings, rows))
    tables += _user_rates(levels)
    blocks += [Tables(tables)] if tables else []
    if units.NOT_CERTIFIED_NOTE in notes(levels):
        slow = spoken([f"{fewest_for_interval(p)} for p{p * 100:g}" for p in (0.01, 0.05, 0.1)])
        blocks.append(
            Text(f"{units.NOT_CERTIFIED_NOTE} The minimum for tokens/s of one user is {slow}.", style="quiet")
        )
    return blocks


def _user_rates(levels: Sequence[LevelSummary]) -> list[Table]:
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
    return [Table("Tokens/s of one user", headings, rows)] if rows else []


def level_key(level: LevelSummary) -> Cell:
    """What a row is called by."""
    return Cell(users_of(level.name), PROMPT[level.system_prompt])


def percentiles(values: Distribution) -> list[str]:
    """Cells under PERCENTILES."""
    return [
        units.count(values.count),
        units.duration(values.mean),
        *(units.quantile(found) for found in (values.p50, values.p90, values.p95, values.p99)),
        units.duration(values.max),
    ]


def level_table(caption: str, columns: Sequence[Column], levels: Sequence[LevelSummary]) -> Table:
    """Columns of the terminal's table, a row a level; that of the system prompt only where levels differ in it."""
    if len({level.system_prompt for level in levels}) == 1:
        columns = [column for column in columns if column.group != "system"]
    headings = [
        level_heading(levels) if column.head == "users" else f"{column.group} {column.head}".strip()
        for column in columns
    ]
    return Table(caption, headings, [[column.cell(level) for column in columns] for level in levels])


def _change(figure: Figure, change: Estimate) -> Cell:
    """A change; below it its interval, or why there is none."""
    text = change_in_words(figure, change)
    return Cell(text.value, text.note)


def _has(values: Distribution | None) -> bool:
    return values is not None and values.count > 0
