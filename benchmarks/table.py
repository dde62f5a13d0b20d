"""The rows as plain text. Undefined is a dash, never a zero."""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Sequence

from benchmarks.figures import LATE_MS, BurstRow, ClientRow, Spread, StallRow
from benchmarks.records import ReadingCost
from tokenswarm.reports.text_grid import TextColumn, grid_lines

UNDEFINED = "–"
SERVER_LATE = "*"
WIDTH = 156

NOTES = (
    "TTFT and gap errors: what the client reported − what the server did, absolute, request by request; gap: the "
    "longest between two tokens of an answer. CPU: of what a longer run took more. Sent again: TCP segments / "
    "tokens. Other load: cores kept busy by anything else.",
    f"{SERVER_LATE} the server was late: 1 % of its requests or more had a token written over {LATE_MS:g} ms late.",
)


def number(value: float | None) -> str:
    """Three digits or so: `0.012`, `3.45`, `67.8`, `1,234`."""
    if value is None:
        return UNDEFINED
    decimals = 3 if abs(value) < 1 else 2 if abs(value) < 10 else 1 if abs(value) < 100 else 0
    return f"{value:,.{decimals}f}"


def _whole(value: float | None) -> str:
    return UNDEFINED if value is None else f"{value:,.0f}"


def _ttft(row: ClientRow, of: Callable[[Spread], float]) -> float | None:
    return of(row.accuracy.ttft_error_ms) if row.accuracy and row.accuracy.ttft_error_ms else None


def _gap(row: ClientRow, of: Callable[[Spread], float]) -> float | None:
    return of(row.accuracy.gap_error_ms) if row.accuracy and row.accuracy.gap_error_ms else None


Cell = Callable[[ClientRow], str]
COLUMNS: tuple[tuple[str, str, Cell], ...] = (
    ("", "users", lambda row: f"{row.users:,}"),
    ("", "client", lambda row: row.client),
    ("tokens/s", "", lambda row: _whole(row.tokens_per_s)),
    ("TTFT error ms", "p50", lambda row: number(_ttft(row, lambda spread: spread.median))),
    ("TTFT error ms", "p99", lambda row: number(_ttft(row, lambda spread: spread.p99))),
    ("TTFT error ms", "max", lambda row: number(_ttft(row, lambda spread: spread.max))),
    ("gap error ms", "p50", lambda row: number(_gap(row, lambda spread: spread.median))),
    ("gap error ms", "p99", lambda row: number(_gap(row, lambda spread: spread.p99))),
    ("tokens", "lost", lambda row: _whole(row.accuracy.lost if row.accuracy else None)),
    ("tokens", "doubled", lambda row: _whole(row.accuracy.doubled if row.accuracy else None)),
    ("requests", "", lambda row: _whole(row.accuracy.requests if row.accuracy else None)),
    ("failed", "", lambda row: _whole(row.accuracy.failed if row.accuracy else None)),
    ("CPU µs", "/token", lambda row: number(row.us_per_token)),
    ("reads", "/token", lambda row: number(row.reads_per_token)),
    ("memory MB", "peak", lambda row: _whole(row.peak_mb)),
    ("memory MB", "/1,000 users", lambda row: _whole(row.mb_per_1000_users)),
    ("server late ms", "p99", lambda row: number(row.late_p99_ms) + (SERVER_LATE if row.server_late else "")),
    ("server late ms", "max", lambda row: number(row.late_max_ms)),
    ("sent", "again %", lambda row: number(row.sent_again_percent)),
    ("other", "load", lambda row: number(row.other_load)),
)
_LEFT_ALIGNED = "client"


def table(rows: Sequence[ClientRow]) -> str:
    """The whole table with its notes, a row's own note on a line of its own below it."""
    columns = [
        TextColumn(head, [cell(row) for row in rows], group, left=head == _LEFT_ALIGNED)
        for group, head, cell in COLUMNS
    ]
    lines = [line.rstrip() for line in grid_lines(columns)]
    text = lines[:2]
    for row, line in zip(rows, lines[2:], strict=True):
        ran = row.tokens_per_s is not None or row.accuracy is not None
        text.append(line if ran or not row.note else f"{row.users:>5,}  {row.client}: {row.note}")
        if ran and row.note:
            text.append(f"       {row.client}: {row.note}")
    notes = [line for note in NOTES for line in textwrap.wrap(note, WIDTH)]
    return "\n".join([*text, "", *notes])


def bursts_table(rows: Sequence[BurstRow]) -> str:
    """Requests that are sent together: Tokenswarm alone."""

    def error(of: Callable[[Spread], float | None]) -> list[str]:
        return [number(of(row.ttft_error_ms) if row.ttft_error_ms else None) for row in rows]

    columns = [
        TextColumn("together", [f"{row.requests:,}" for row in rows], "requests"),
        TextColumn("case", [row.case for row in rows], left=True),
        TextColumn("of", [_whole(row.ttft_error_ms.count if row.ttft_error_ms else None) for row in rows]),
        TextColumn("p50", error(lambda spread: spread.median), "TTFT error ms"),
        TextColumn("p99", error(lambda spread: spread.p99), "TTFT error ms"),
        TextColumn("max", error(lambda spread: spread.max), "TTFT error ms"),
        TextColumn("within ms", [number(row.sent_within_ms) for row in rows], "sent"),
        TextColumn("late ms", [number(row.late_p99_ms) for row in rows], "server"),
        TextColumn("load", [number(row.other_load) for row in rows], "other"),
        TextColumn("verdict", [row.verdict + (f" ({row.note})" if row.note else "") for row in rows], left=True),
    ]
    return "\n".join(line.rstrip() for line in grid_lines(columns))


def stalls_table(rows: Sequence[StallRow]) -> str:
    """A client that stands still now and then, by its source of timestamps."""

    def error(spreads: Sequence[Spread | None], of: Callable[[Spread], float | None]) -> list[str]:
        return [number(of(spread) if spread else None) for spread in spreads]

    ttft, gap = [row.ttft_error_ms for row in rows], [row.gap_error_ms for row in rows]
    columns = [
        TextColumn("users", [f"{row.users:,}" for row in rows]),
        TextColumn("--stamps", [row.case for row in rows], left=True),
        TextColumn("requests", [_whole(spread.count if spread else None) for spread in ttft]),
        TextColumn("p50", error(ttft, lambda spread: spread.median), "TTFT error ms"),
        TextColumn("p99", error(ttft, lambda spread: spread.p99), "TTFT error ms"),
        TextColumn("max", error(ttft, lambda spread: spread.max), "TTFT error ms"),
        TextColumn("p50", error(gap, lambda spread: spread.median), "gap error ms"),
        TextColumn("p99", error(gap, lambda spread: spread.p99), "gap error ms"),
        TextColumn("max", error(gap, lambda spread: spread.max), "gap error ms"),
        TextColumn("late ms", [number(row.late_p99_ms) for row in rows], "server"),
        TextColumn("verdict", [row.verdict + (f" ({row.note})" if row.note else "") for row in rows], left=True),
    ]
    return "\n".join(line.rstrip() for line in grid_lines(columns))


def parsing_table(comparisons: Sequence[ReadingCost]) -> str:
    """What reading an event costs, ours and sseclient-py's, from the same bytes in the same minute."""
    lines = ["reading an event, µs  events a read    ours  sseclient-py  ratio"]
    lines += [
        f"{of.what:<20}  {of.events_a_read:>13}  {number(of.ours_us):>6}  {number(of.theirs_us):>12}  {of.ratio:>5.2f}"
        for of in comparisons
    ]
    return "\n".join(lines)
