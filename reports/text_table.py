"""A finished run as plain text for a terminal: what was run, whether to believe it, and a row a level."""

from __future__ import annotations

import textwrap
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import groupby

from metrics.stage import PROMPT
from reports import units
from reports.notices import notices, stage_name
from reports.prompt_reuse import reuse_line
from reports.results import Capacity, Figures, Level, Results, ServerFigures
from reports.self_check import self_check_line

NOT_COMPLETE = "!"
NOT_COMPLETE_NOTE = "! not complete: this level was cut short"
BASIS_NOTE = (
    "Figures are of each level's hold, its ramp left out. Latencies are of the ok requests sent in it, intervals at "
    "95 %; tokens/s counts tokens that arrived in it; one user: the median of the requests' own rates."
)


@dataclass(frozen=True, slots=True)
class Column:
    """A column of the table: neighbours of one `group` stand under one heading."""

    group: str
    head: str
    cell: Callable[[Level], str]
    # Left out where the terminal is too narrow for all.
    optional: bool = False


COLUMNS = (
    Column("", "users", lambda level: level.name + ("" if level.complete else NOT_COMPLETE)),
    Column("system", "prompt", lambda level: level.system_prompt),
    Column("requests", "sent", lambda level: units.count(level.hold.requests)),
    Column("requests", "failed", lambda level: units.count(level.hold.failures)),
    Column("TTFT", "p50", lambda level: units.quantile(level.hold.ttft_s.p50)),
    Column("TTFT", "p50 interval", lambda level: units.interval(level.hold.ttft_s.p50), optional=True),
    Column("TTFT", "p95", lambda level: units.quantile(level.hold.ttft_s.p95)),
    Column("TTFT", "p99", lambda level: units.quantile(level.hold.ttft_s.p99)),
    Column("tokens/s", "all", lambda level: units.rate(level.hold.token_rate)),
    Column("tokens/s", "one user", lambda level: units.rate_quantile(level.hold.request_token_rate.p50)),
    Column("TPOT", "p50", lambda level: units.quantile(level.hold.tpot_s.p50)),
    Column("good", "req/s", lambda level: units.rate(good.requests_per_s if (good := level.hold.goodput) else None)),
    Column("good", "share", lambda level: units.percentage(good.fraction if (good := level.hold.goodput) else None)),
)


def _server(level: Level) -> ServerFigures:
    return level.hold.server or ServerFigures()


#: The server's own word, where it gave any.
SERVER_COLUMNS = (
    *COLUMNS[:2],
    Column("requests", "running", lambda level: units.rate(_server(level).requests_running_mean)),
    Column("requests", "waiting", lambda level: units.rate(_server(level).requests_waiting_mean)),
    Column("KV", "cache", lambda level: units.percentage(_server(level).kv_cache_utilization_mean)),
    Column("prefix", "hits", lambda level: units.percentage(_server(level).prefix_cache_hit_ratio)),
    Column("GPU", "busy", lambda level: units.percentage(_server(level).gpu_utilization_mean)),
    Column("", "tokens/s", lambda level: units.rate(_server(level).output_token_rate)),
    Column("mean TTFT", "server", lambda level: units.duration(_server(level).ttft_s_mean)),
    Column("mean TTFT", "client", lambda level: units.duration(level.hold.ttft_s.mean)),
    Column("mean TTFT", "network and gateway", lambda level: units.duration(level.hold.network_and_gateway_s)),
)
SERVER_NOTE = (
    "By the server's own metrics, in each level's hold; network and gateway: the client's mean TTFT less the server's, "
    "a dash where the server's is larger: the two means are not of the very same requests."
)
# These two say which level a row is of, and so lead every block of a table that had to be broken.
KEYS = 2


def summary_table(results: Results, width: int = 120) -> str:
    """The whole report, in lines of at most `width` characters (60 at least) unless a word is longer; no line end last.

    Columns that do not fit go into a second block below the first, and those without any value are then left out.
    """
    width = max(width, 60)
    levels = results.summary.levels
    parts = [
        [line for text in header_lines(results) for line in _wrapped(text, width)],
        [line for text in notices(results) for line in _wrapped(f"!!! {text}", width, "    ")],
        *_blocks(COLUMNS, levels, width),
        *_of_the_server(levels, width),
        [line for text in notes(levels) for line in _wrapped(text, width)],
        [line for text in _failures(levels) for line in _wrapped(text, width, "    ")],
    ]
    return "\n\n".join("\n".join(part) for part in parts if part)


def _of_the_server(levels: Sequence[Level], width: int) -> list[list[str]]:
    if all(level.hold.server is None for level in levels):
        return []
    return [*_blocks(SERVER_COLUMNS, levels, width), _wrapped(SERVER_NOTE, width)]


def header_lines(results: Results) -> list[str]:
    """What was run, how it ended and whether to believe it, a line each."""
    summary, books = results.summary, results.summary.books
    lines = [
        f"Engine {summary.engine}, model {summary.model or units.UNDEFINED}, host {summary.host or units.UNDEFINED}",
        f"Run of {units.moment(results.run.started_at)}: {_loud(results.status, 'finished')}",
        f"Verdict: {_loud(summary.validity.verdict, 'valid')}; books: "
        + (f"balanced, {units.counted(books.fired, 'request')}" if books.balanced else "NOT BALANCED"),
    ]
    if reuse := reuse_line(results):
        lines.append(reuse)
    lines += [
        self_check_line(worker.worker, worker.self_check) for worker in summary.workers if worker.self_check is not None
    ]
    if summary.objectives:
        stated = ", ".join(units.objective(name, value) for name, value in summary.objectives.items())
        lines.append(f"Objectives of a good request: {stated}")
    if summary.capacity and summary.objective_share is not None:
        lines.append(
            f"Levels at which {units.set_share(summary.objective_share)} of the requests were good: "
            + "; ".join(map(capacity, summary.capacity))
        )
    return lines


def capacity(found: Capacity) -> str:
    """How far the objectives are met: `up to 50 users without system prompt`."""
    if found.users is None:
        return f"none {PROMPT[found.system_prompt]}"
    return f"up to {found.level} users {PROMPT[found.system_prompt]}"


def _loud(word: str, harmless: str) -> str:
    return word if word == harmless else word.upper()


def notes(levels: Sequence[Level]) -> list[str]:
    """What the figures rest on, and what the marks beside them mean."""
    cells = [column.cell(level) for level in levels for column in COLUMNS]
    found = [BASIS_NOTE]
    if any(cell.endswith(units.NOT_CERTIFIED) for cell in cells):
        found.append(units.NOT_CERTIFIED_NOTE)
    if not all(level.complete for level in levels):
        found.append(NOT_COMPLETE_NOTE)
    return found + _missing_users(levels) + _in_one_arrival(levels) + _retries(levels) + _token_sources(levels)


def _in_one_arrival(levels: Sequence[Level]) -> list[str]:
    """Where TPOT is not available, as an answer's tokens did not come one after the other."""
    found = []
    for level in levels:
        hold = level.hold
        if not hold.requests_without_tpot:
            continue
        gapless = hold.gap_s is not None and not hold.gap_s.count
        missing = "TPOT, tokens/s of one user and gaps are" if gapless else "TPOT and tokens/s of one user are"
        found.append(
            f"{stage_name(level)}: {missing} not available for {units.count(hold.requests_without_tpot)} of "
            f"{units.counted(hold.outcomes.get('ok', 0), 'ok request')}: most of their tokens came in one arrival."
        )
    return found


def _missing_users(levels: Sequence[Level]) -> list[str]:
    """Requested against actual users, of the levels where they differ."""
    return [
        f"Fewer users than requested ({stage_name(level)}): {units.users(found.mean)} on average, "
        f"{units.users(found.min)} at the fewest; below 95 % for {units.percentage(found.short_share)} of the hold."
        for level in levels
        if (found := level.concurrency) is not None and found.short_share
    ]


def _retries(levels: Sequence[Level]) -> list[str]:
    if not (retries := sum(level.whole.retries for level in levels)):
        return []
    return [
        f"{units.counted(retries, 'request')} sent again on a new connection: the server had closed the kept one "
        "before it could have read them. TTFT counts from the first time."
    ]


def _token_sources(levels: Sequence[Level]) -> list[str]:
    sources: Counter[str] = Counter()
    for level in levels:
        sources.update(level.hold.output_tokens_sources)
    used = {source: number for source, number in sources.items() if number}
    if len(used) > 1:
        told = ", ".join(f"{source} {units.count(number)}" for source, number in used.items())
        return [f"Output tokens were not counted one way throughout; requests by source: {told}."]
    if "events" in used:
        return ["Output tokens are output events: the server gave no count, and an event may hold several tokens."]
    return []


def _failures(levels: Sequence[Level]) -> list[str]:
    failing = [level for level in levels if level.whole.failures or level.hold.failures]
    if not failing:
        return []
    return ["Failures by outcome, in the hold / in the whole level:"] + [
        f"  {stage_name(level)}: {_outcomes(level)}" for level in failing
    ]


def _outcomes(level: Level) -> str:
    held, whole = _failed(level.hold), _failed(level.whole)
    names = sorted({**whole, **held}, key=lambda name: (-whole.get(name, 0), name))
    return ", ".join(f"{name} {units.count(held.get(name, 0))} / {units.count(whole.get(name, 0))}" for name in names)


def _failed(figures: Figures) -> dict[str, int]:
    return {name: number for name, number in figures.outcomes.items() if number and name not in ("ok", "cut")}


def _blocks(columns: Sequence[Column], levels: Sequence[Level], width: int) -> list[list[str]]:
    needed = [column for column in columns if not column.optional]
    valued = columns_with_values(needed, levels)
    for chosen, gap in ((columns, 2), (needed, 2), (needed, 1), (valued, 2), (valued, 1)):
        block = _block(chosen, levels, gap)
        if len(block[0]) <= width:
            return [block]
    return _broken(valued, levels, width)


def columns_with_values(columns: Sequence[Column], levels: Sequence[Level]) -> list[Column]:
    """Those of which at least one level has a value."""
    return [column for column in columns if any(column.cell(level) != units.UNDEFINED for level in levels)]


def _broken(columns: Sequence[Column], levels: Sequence[Level], width: int) -> list[list[str]]:
    keys, rest = list(columns[:KEYS]), list(columns[KEYS:])
    blocks = []
    while rest:
        take = len(rest)
        while take > 1 and len(_block(keys + rest[:take], levels, 2)[0]) > width:
            take -= 1
        blocks.append(_block(keys + rest[:take], levels, 2))
        rest = rest[take:]
    return blocks


def _block(columns: Sequence[Column], levels: Sequence[Level], gap: int) -> list[str]:
    """Lines of one length: the groups' headings, the columns', and a row a level."""
    space = " " * gap
    texts: list[list[str]] = []
    for group, grouped in groupby(columns, key=lambda column: column.group):
        members = list(grouped)
        lines = [space.join(row) for row in zip(*(_aligned(column, levels) for column in members), strict=True)]
        heading = group if len(members) == 1 else f" {group} ".center(len(lines[0]), "-")
        width = max(len(heading), len(lines[0]))
        texts.append([text.rjust(width) for text in (heading, *lines)])
    return [space.join(row) for row in zip(*texts, strict=True)]


def _aligned(column: Column, levels: Sequence[Level]) -> list[str]:
    """A column's head and cells, right-aligned, marks standing out so that the digits stay in line."""
    cells = [column.cell(level) for level in levels]
    marks = (units.NOT_CERTIFIED, NOT_COMPLETE)
    if any(cell.endswith(marks) for cell in cells):
        cells = [cell if cell.endswith(marks) else f"{cell} " for cell in cells]
    width = max(len(text) for text in (column.head, *cells))
    return [text.rjust(width) for text in (column.head, *cells)]


def _wrapped(text: str, width: int, indent: str = "") -> list[str]:
    # A server's address or a model's path stays in one piece, whatever its length: broken, it could not be copied.
    return textwrap.wrap(text, width, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False)
