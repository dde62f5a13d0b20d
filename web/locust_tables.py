"""The figures inside Locust's own pages: rows of its extended table, and a section of its report."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from html import escape
from typing import Any

from tokenswarm.metrics.level import level_text
from tokenswarm.run_folder.schema import Validity
from tokenswarm.web.live_view import LevelRow

#: Key of our tab and table in Locust's page.
KEY = "tokens"
_COLUMNS = (
    ("requests", "Requests", 1),
    ("failures", "Failures", 1),
    ("token_rate", "Tokens/s", 1.0),
    ("ttft_p50_s", "TTFT p50 (ms)", 1000.0),
    ("ttft_p95_s", "TTFT p95 (ms)", 1000.0),
    ("ttft_p99_s", "TTFT p99 (ms)", 1000.0),
    ("tpot_p50_s", "TPOT p50 (ms)", 1000.0),
    ("gap_p99_s", "Gap p99 (ms)", 1000.0),
    ("e2e_p95_s", "E2E p95 (ms)", 1000.0),
)
_OPEN_LOOP_COLUMNS = (
    ("offered_rate", "Offered requests/s", 1.0),
    ("sent_rate", "Sent requests/s", 1.0),
    ("completed_rate", "Completed requests/s", 1.0),
    ("in_flight_mean", "In flight (mean)", 1.0),
)
_Column = tuple[str, str, float]


def extended_table(*, open_loop: bool) -> dict[str, Any]:
    """The table's columns, as Locust's page takes them. open_loop: with its rates."""
    columns = [{"key": key, "title": title} for key, title, _ in _columns(open_loop)]
    return {"key": KEY, "structure": [{"key": "name", "title": "Level"}, *columns]}


def _columns(open_loop: bool) -> tuple[_Column, ...]:
    return (*_COLUMNS, *_OPEN_LOOP_COLUMNS) if open_loop else _COLUMNS


def extended_rows(levels: Sequence[LevelRow]) -> list[dict[str, Any]]:
    """A row for each level that has begun. The page sorts by name, so a name begins with the level's number."""
    keys = ["name", *(key for key, _, _ in _columns(_is_open_loop(levels)))]
    return [dict(zip(keys, (_rounded(cell) for cell in cells))) for cells in _cells(levels)]


def _rounded(cell: Any) -> Any:
    """To one decimal. The page's own rounding would show a missing value as 0."""
    return round(cell, 1) if isinstance(cell, float) else cell


def report_section(levels: Sequence[LevelRow], facts: str, validity: Validity) -> str:
    """A section for the end of Locust's report; "" where no level has begun. validity: the run's."""
    rows = list(_cells(levels))
    if not rows:
        return ""
    headings = ["Level", *(heading for _, heading, _ in _columns(_is_open_loop(levels)))]
    head = "".join(f"<th scope='col'>{escape(heading)}</th>" for heading in headings)
    body = "".join(
        f"<tr><th scope='row'>{escape(str(name))}</th>" + "".join(f"<td>{_text(cell)}</td>" for cell in cells) + "</tr>"
        for name, *cells in rows
    )
    label = validity.verdict.capitalize()
    warnings = "".join(f"<p role='note'><strong>{label}:</strong> {escape(reason)}</p>" for reason in validity.reasons)
    return (
        f"<section id='tokenswarm'><style>{_STYLE}</style><h2>Tokens, level by level</h2><p>{escape(facts)}</p>"
        f"{warnings}<div><table><caption>Latencies are of requests sent in a level's hold; its ramp is left out."
        f"</caption><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div></section>"
    )


def _cells(levels: Sequence[LevelRow]) -> Iterator[list[Any]]:
    for number, level in enumerate(levels, start=1):
        if level.state == "planned":
            continue
        name = f"{number:02d}: {level_text(level.name, level.system_prompt)}"
        values = [(getattr(level, key), factor) for key, _, factor in _COLUMNS]
        if level.open_loop is not None:
            values += [(getattr(level.open_loop, key), factor) for key, _, factor in _OPEN_LOOP_COLUMNS]
        yield [name, *(None if value is None else value * factor for value, factor in values)]


def _is_open_loop(levels: Sequence[LevelRow]) -> bool:
    return any(level.open_loop is not None for level in levels)


def _text(value: float | None) -> str:
    if value is None:
        return "–"
    return f"{value:,}" if isinstance(value, int) else f"{value:,.1f}"


_STYLE = (
    "#tokenswarm{font-family:Roboto,Helvetica,Arial,sans-serif;max-width:1200px;margin:2rem auto;padding:0 24px;"
    "color:CanvasText}#tokenswarm div{overflow-x:auto}#tokenswarm table{border-collapse:collapse;width:100%;"
    "font-size:.875rem;font-variant-numeric:tabular-nums}"
    "#tokenswarm caption{text-align:left;padding:.5rem 0;opacity:.8}"
    "#tokenswarm th,#tokenswarm td{padding:.5rem .75rem;text-align:right;border-bottom:1px solid rgba(128,128,128,.4);"
    "white-space:nowrap}#tokenswarm th:first-child{text-align:left}"
)
