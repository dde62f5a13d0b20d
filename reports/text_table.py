"""A finished run as plain text for a terminal: what was run, whether the results are reliable, and a row a level."""

from __future__ import annotations

import textwrap
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from tokenswarm.metrics.deviations import text_of
from tokenswarm.metrics.level import PROMPT, level_text
from tokenswarm.metrics.lumps import BURST_OUTPUTS
from tokenswarm.reports import units
from tokenswarm.reports.abandon_lines import abandon_lines
from tokenswarm.reports.cache_notes import cache_notes
from tokenswarm.reports.capacity_sentence import capacity_sentence
from tokenswarm.reports.hardware_table import HARDWARE_COLUMNS, hardware_lines, hardware_note, with_hardware_figures
from tokenswarm.reports.length_notes import length_notes
from tokenswarm.reports.level_names import HIGHEST_TESTED, level_name
from tokenswarm.reports.load_audit_lines import load_lines
from tokenswarm.reports.mix_table import MIX_NOTE, mix_lines
from tokenswarm.reports.open_loop_table import (
    OPEN_BASIS_NOTE,
    OPEN_LOOP_NOTE,
    UNSTABLE,
    latency,
    level_heading,
    open_loop_columns,
    unstable_notes,
)
from tokenswarm.reports.refusal_notes import NO_FAILURES, refusal_notes
from tokenswarm.reports.search_levels import in_load_order
from tokenswarm.reports.self_check_line import self_check_line
from tokenswarm.reports.server_note import server_note
from tokenswarm.reports.session_table import session_lines, session_note, session_notes
from tokenswarm.reports.stats.prompt_reuse import reuse_line
from tokenswarm.reports.system_prompt_note import system_prompt_note
from tokenswarm.reports.text_grid import TextColumn, grid_lines
from tokenswarm.reports.think_time_notes import think_time_notes
from tokenswarm.reports.warnings import warnings_of
from tokenswarm.run_folder.reader import Results
from tokenswarm.run_folder.run_labels import tags_text
from tokenswarm.run_folder.schema import Capacity, Figures, LevelSummary, ServerFigures

NOT_COMPLETE = "!"
NOT_COMPLETE_NOTE = "! not complete: this level was stopped early"
_LATENCIES_NOTE = (
    "Latencies are those of requests that were sent in the hold and ended without error, with 95 % intervals. "
    "tokens/s, all: output tokens received per second in the hold, all users together; one user: the median of the "
    "token rates of single requests, from their first token on."
)
BASIS_NOTE = (
    "Unless a table says otherwise, figures describe each level's hold: the time in which all its users are there. "
    f"The ramp before it, in which users are added, is left out. {_LATENCIES_NOTE}"
)
_SHAPE_BASIS_NOTE = (
    "Unless a table says otherwise, figures describe the level's hold: all the time in which the locustfile's shape "
    f"sets the number of users. {_LATENCIES_NOTE}"
)
#: How the name of a level begins whose users a locustfile's shape sets.
_OF_A_SHAPE = "shape "
GOOD_NOTE = "good: requests that met every objective of the SLO."


@dataclass(frozen=True, slots=True)
class Column:
    """A column of the table: neighbours of one `group` stand under one heading."""

    group: str
    head: str
    cell: Callable[[LevelSummary], str]
    # Left out where the terminal is too narrow for all.
    optional: bool = False
    # Left out where no level has a value.
    if_known: bool = False


COLUMNS = (
    Column("", "users", lambda level: level.name + ("" if level.complete else NOT_COMPLETE)),
    Column("system", "prompt", lambda level: level.system_prompt),
    Column("requests", "sent", lambda level: units.count(level.hold.requests)),
    Column("requests", "failed", lambda level: units.count(level.hold.failures)),
    Column("TTFT", "p50", lambda level: latency(level, level.hold.ttft_s.p50)),
    Column("TTFT", "p50 interval", lambda level: units.interval(level.hold.ttft_s.p50), optional=True),
    Column("TTFT", "p95", lambda level: latency(level, level.hold.ttft_s.p95)),
    Column("TTFT", "p99", lambda level: latency(level, level.hold.ttft_s.p99)),
    Column("tokens/s", "all", lambda level: units.rate(level.hold.token_rate)),
    Column("tokens/s", "one user", lambda level: units.rate_quantile(level.hold.request_token_rate.p50)),
    Column("TPOT", "p50", lambda level: latency(level, level.hold.tpot_s.p50)),
    Column(
        "good",
        "req/s",
        lambda level: units.rate(good.requests_per_s if (good := level.hold.goodput) else None),
        if_known=True,
    ),
    Column(
        "good",
        "share",
        lambda level: units.percentage(good.fraction if (good := level.hold.goodput) else None),
        if_known=True,
    ),
)


def _server(level: LevelSummary) -> ServerFigures:
    return level.hold.server or ServerFigures()


#: The server's own word, where it gave any.
SERVER_COLUMNS = (
    *COLUMNS[:2],
    Column("requests", "running", lambda level: units.rate(_server(level).requests_running_mean)),
    Column("requests", "waiting", lambda level: units.rate(_server(level).requests_waiting_mean)),
    Column("KV", "cache", lambda level: units.percentage(_server(level).kv_cache_utilization_mean), if_known=True),
    Column("prefix", "hits", lambda level: units.percentage(_server(level).prefix_cache_hit_ratio), if_known=True),
    Column("GPU", "busy", lambda level: units.percentage(_server(level).gpu_utilization_mean), if_known=True),
    Column("", "tokens/s", lambda level: units.rate(_server(level).output_token_rate)),
    Column("mean TTFT", "server", lambda level: units.duration(_server(level).ttft_s_mean)),
    Column("mean TTFT", "client", lambda level: units.duration(level.hold.ttft_s.mean)),
    Column("mean TTFT", "outside server", lambda level: units.duration(level.hold.outside_server_s)),
)
# These two say which level a row is of, and so lead every block of a table that had to be broken.
KEYS = 2


def summary_table(results: Results, width: int = 120) -> str:
    """The whole report, in lines of at most `width` characters (60 at least) unless a word is longer; no line end last.

    Columns that do not fit go into a second block below the first, and those without any value are then left out.
    """
    width = max(width, 60)
    results = in_load_order(results)
    levels = results.summary.levels
    parts = [
        [line for text in header_lines(results) for line in _wrapped(text, width)],
        [line for text in warnings_of(results) for line in _wrapped(f"!!! {text}", width, "    ")],
        *_blocks(COLUMNS, levels, width),
        *_by_member(levels, width),
        *_of_sessions(levels, width),
        *_of_the_open_loop(levels, width),
        *_of_the_server(results, width),
        *_of_the_hardware(levels, width),
        [line for text in load_lines(results) for line in _wrapped(text, width, "    ")],
        [line for text in abandon_lines(levels) for line in _wrapped(text, width, "    ")],
        [line for text in notes(levels) for line in _wrapped(text, width)],
        [line for text in _failures(levels) for line in _wrapped(text, width, "    ")],
    ]
    return "\n\n".join("\n".join(part) for part in parts if part)


def _of_the_open_loop(levels: Sequence[LevelSummary], width: int) -> list[list[str]]:
    if all(level.open_loop is None for level in levels):
        return []
    columns = [*COLUMNS[:KEYS], *(Column(*column) for column in open_loop_columns(levels))]
    return [*_blocks(columns, levels, width), _wrapped(OPEN_LOOP_NOTE, width)]


def _by_member(levels: Sequence[LevelSummary], width: int) -> list[list[str]]:
    tables = list(mix_lines(levels, width))
    return [*tables, _wrapped(MIX_NOTE, width)] if tables else []


def _of_sessions(levels: Sequence[LevelSummary], width: int) -> list[list[str]]:
    tables = list(session_lines(levels))
    return [*tables, _wrapped(session_note(levels), width)] if tables else []


def _of_the_server(results: Results, width: int) -> list[list[str]]:
    levels = results.summary.levels
    if all(level.hold.server is None for level in levels):
        return []
    return [*_blocks(SERVER_COLUMNS, levels, width), _wrapped(server_note(results), width)]


def _of_the_hardware(levels: Sequence[LevelSummary], width: int) -> list[list[str]]:
    if not with_hardware_figures(levels):
        return []
    columns = [*COLUMNS[:KEYS], *(Column(*column, if_known=True) for column in HARDWARE_COLUMNS)]
    return [*_blocks(columns, levels, width), _wrapped(hardware_note(levels), width)]


def header_lines(results: Results) -> list[str]:
    """What was run, how it ended and whether the results are reliable, a line each."""
    summary, accounting = results.summary, results.summary.accounting
    embedded = " (the embedded simulator)" if results.run.embedded_simulator else ""
    labels = " ".join(filter(None, (results.run.name, f"({tags_text(results.run.tags)})" if results.run.tags else "")))
    lines = [
        *([f"Name: {labels}"] if labels else []),
        f"Engine {summary.engine}, model {summary.model or units.UNDEFINED}, "
        f"host {summary.host or units.UNDEFINED}{embedded}",
        f"Run of {units.moment(results.run.started_at)}: {_loud(results.status, 'finished')}",
        f"Verdict: {_loud(summary.validity.verdict, 'valid')} ({units.counted(accounting.ended, 'request')} in the "
        + ("whole run, all accounted for)" if accounting.complete else "whole run, NOT ALL ACCOUNTED FOR)")
        + ("; FILES INCOMPLETE" if results.files_missing else ""),
    ]
    if warm_ups := summary.warm_ups:
        requests, failures = (sum(getattr(each, name) for each in warm_ups) for name in ("requests", "failures"))
        lines.append(
            f"Warm-up before each level: {units.counted(requests, 'request')}, {units.count(failures)} failed; not "
            "included in the results"
        )
    if note := system_prompt_note(results):
        lines.append(note)
    if reuse := reuse_line(results):
        lines.append(reuse)
    lines += [
        self_check_line(worker.worker, worker.self_check) for worker in summary.workers if worker.self_check is not None
    ]
    if summary.objectives:
        stated = ", ".join(units.objective(name, value) for name, value in summary.objectives.items())
        lines.append(f"SLO: {stated}")
    if summary.capacity_search:
        lines.append(f"Capacity: {capacity_sentence(summary)}")
    elif summary.capacity and summary.objective_share is not None:
        lines.append(
            f"Highest load that meets the SLO for {units.set_share(summary.objective_share)} of requests: "
            + "; ".join(capacity(found, summary.levels) for found in summary.capacity)
        )
    return [*lines, *hardware_lines(summary)]


def capacity(found: Capacity, levels: Sequence[LevelSummary]) -> str:
    """How far the objectives are met: `50 users without system prompt (the highest load tested; …)`."""
    if found.users is None:
        return f"none of the loads tested {PROMPT[found.system_prompt]}"
    of_mode = [level for level in levels if level.system_prompt == found.system_prompt]
    is_largest = found.level == max(of_mode, key=lambda level: level.load).level
    note = HIGHEST_TESTED if is_largest else ""
    return f"{level_text(found.level or units.UNDEFINED, found.system_prompt)}{note}"


def _loud(word: str, harmless: str) -> str:
    return word if word == harmless else word.upper()


def notes(levels: Sequence[LevelSummary]) -> list[str]:
    """What the figures rest on, and what the marks beside them mean."""
    cells = [column.cell(level) for level in levels for column in COLUMNS]
    of_a_shape = any(level.level.startswith(_OF_A_SHAPE) for level in levels)
    closed = _SHAPE_BASIS_NOTE if of_a_shape else BASIS_NOTE
    basis = OPEN_BASIS_NOTE if any(level.open_loop for level in levels) else closed
    found = [f"{basis} {GOOD_NOTE}" if any(level.hold.goodput for level in levels) else basis]
    if any(cell.endswith(units.NOT_CERTIFIED) for cell in cells):
        found.append(units.NOT_CERTIFIED_NOTE)
    if not all(level.complete for level in levels):
        found.append(NOT_COMPLETE_NOTE)
    return (
        found
        + _missing_users(levels)
        + _cut_requests(levels)
        + unstable_notes(levels)
        + think_time_notes(levels)
        + session_notes(levels)
        + refusal_notes(levels)
        + [
            note
            for notes_of in (
                length_notes,
                cache_notes,
                _in_one_arrival,
                _tokens_per_event,
                _deviations,
                _retries,
                _token_sources,
            )
            for note in notes_of(levels)
        ]
    )


def _in_one_arrival(levels: Sequence[LevelSummary]) -> list[str]:
    """Where TPOT is not available, as an answer's tokens did not come one after the other."""
    found = []
    for level in levels:
        hold = level.hold
        if not hold.requests_without_tpot:
            continue
        gapless = hold.gap_s is not None and not hold.gap_s.count
        missing = "TPOT, tokens/s of one user and gaps are" if gapless else "TPOT and tokens/s of one user are"
        found.append(
            f"{level_name(level)}: {missing} not available for {units.count(hold.requests_without_tpot)} of "
            f"{units.counted(hold.outcomes.get('ok', 0), 'ok request')}: most of their tokens came in one arrival."
        )
    return found


def _tokens_per_event(levels: Sequence[LevelSummary]) -> list[str]:
    """Where events hold several tokens, so that gaps are not those between tokens."""
    several = [
        f"{units.amount(level.hold.tokens_per_event)} ({level_name(level)})"
        for level in levels
        if (level.hold.tokens_per_event or 0.0) >= BURST_OUTPUTS
    ]
    return [f"Tokens per event with output: {', '.join(several)}. Gaps are between events."] if several else []


def _deviations(levels: Sequence[LevelSummary]) -> list[str]:
    """How many responses differed from their protocol, and were read all the same."""
    counts: Counter[str] = Counter()
    for level in levels:
        counts.update(level.whole.deviations)
    return [
        f"{units.counted(number, 'response')} of the whole levels {text_of(name)}: read all the same."
        for name, number in sorted(counts.items())
    ]


def _missing_users(levels: Sequence[LevelSummary]) -> list[str]:
    """Requested against actual users, of the levels where they differ."""
    return [
        f"Fewer users than requested ({level_name(level)}): {units.users_of(found.mean, found.requested)} of "
        f"{found.requested:,} on average, {units.users_of(found.min, found.requested)} in the second with "
        f"the fewest. For {units.percentage(found.short_share)} of the hold, fewer than 95 % of them were there."
        for level in levels
        if (found := level.concurrency) is not None and found.short_share
    ]


def _cut_requests(levels: Sequence[LevelSummary]) -> list[str]:
    """Of the whole levels: requests that the end of the run or the drain timeout cut."""
    found = [(level, number) for level in levels if (number := level.whole.outcomes.get("cut", 0))]
    if not found:
        return []
    where = ", ".join(f"{units.count(number)} at {level_name(level)}" for level, number in found)
    total = units.counted(sum(number for _, number in found), "request")
    return [
        f"{total} cancelled at the end of the run or by --drain-timeout ({where}): not in the latencies, and not "
        "counted as failed."
    ]


def _retries(levels: Sequence[LevelSummary]) -> list[str]:
    if not (retries := sum(level.whole.retries for level in levels)):
        return []
    return [
        f"{units.counted(retries, 'request')} sent again on a new connection: the server had closed the kept one "
        "before it could have read them. TTFT counts from the first time."
    ]


def _token_sources(levels: Sequence[LevelSummary]) -> list[str]:
    sources: Counter[str] = Counter()
    for level in levels:
        sources.update(level.hold.output_tokens_sources)
    used = {source: number for source, number in sources.items() if number}
    if len(used) > 1:
        text = ", ".join(f"{source} {units.count(number)}" for source, number in used.items())
        return [f"Output tokens were not counted one way throughout; requests by source: {text}."]
    if "events" in used:
        return ["Output tokens are output events: the server gave no count, and an event may hold several tokens."]
    return []


def _failures(levels: Sequence[LevelSummary]) -> list[str]:
    failing = [level for level in levels if level.whole.failures or level.hold.failures]
    if not failing:
        return []
    return ["Failures by outcome, in the hold / in the whole level:"] + [
        f"  {level_name(level)}: {_outcomes(level)}" for level in failing
    ]


def _outcomes(level: LevelSummary) -> str:
    held, whole = _failed(level.hold), _failed(level.whole)
    names = sorted({**whole, **held}, key=lambda name: (-whole.get(name, 0), name))
    return ", ".join(f"{name} {units.count(held.get(name, 0))} / {units.count(whole.get(name, 0))}" for name in names)


def _failed(figures: Figures) -> dict[str, int]:
    return {name: number for name, number in figures.outcomes.items() if number and name not in NO_FAILURES}


def _blocks(columns: Sequence[Column], levels: Sequence[LevelSummary], width: int) -> list[list[str]]:
    columns = known_columns(columns, levels)
    columns[0] = replace(columns[0], head=level_heading(levels))
    needed = [column for column in columns if not column.optional]
    valued = columns_with_values(needed, levels)
    for chosen, gap in ((columns, 2), (needed, 2), (needed, 1), (valued, 2), (valued, 1)):
        block = _block(chosen, levels, gap)
        if len(block[0]) <= width:
            return [block]
    return _broken(valued, levels, width)


def known_columns(columns: Sequence[Column], levels: Sequence[LevelSummary]) -> list[Column]:
    """Without those that are left out where no level has a value."""
    known = columns_with_values(columns, levels)
    return [column for column in columns if column in known or not column.if_known]


def columns_with_values(columns: Sequence[Column], levels: Sequence[LevelSummary]) -> list[Column]:
    """Those of which at least one level has a value."""
    return [column for column in columns if any(column.cell(level) != units.UNDEFINED for level in levels)]


def _broken(columns: Sequence[Column], levels: Sequence[LevelSummary], width: int) -> list[list[str]]:
    keys, rest = list(columns[:KEYS]), list(columns[KEYS:])
    blocks = []
    while rest:
        take = len(rest)
        while take > 1 and len(_block(keys + rest[:take], levels, 2)[0]) > width:
            take -= 1
        blocks.append(_block(keys + rest[:take], levels, 2))
        rest = rest[take:]
    return blocks


def _block(columns: Sequence[Column], levels: Sequence[LevelSummary], gap: int) -> list[str]:
    """Lines of one length, one row for each level."""
    return grid_lines([TextColumn(column.head, _cells(column, levels), column.group) for column in columns], gap)


def _cells(column: Column, levels: Sequence[LevelSummary]) -> list[str]:
    """A column's cells, marks standing out so that the digits stay in line."""
    cells = [column.cell(level) for level in levels]
    marks = (units.NOT_CERTIFIED, NOT_COMPLETE, UNSTABLE)
    if any(cell.endswith(marks) for cell in cells):
        cells = [cell if cell.endswith(marks) else f"{cell} " for cell in cells]
    return cells


def _wrapped(text: str, width: int, indent: str = "") -> list[str]:
    # A server's address or a model's path stays in one piece, whatever its length: broken, it could not be copied.
    return textwrap.wrap(text, width, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False)
