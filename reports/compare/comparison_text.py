"""A comparison in words and numbers: its verdict and its tables, for the terminal, Markdown, the page and CSV alike.

Every one of them is made of the same texts, so that a number is the same wherever it stands.
"""

from __future__ import annotations

import csv
import io
import textwrap
from collections.abc import Callable, Sequence
from itertools import groupby, product
from typing import NamedTuple

from metrics.stage import PROMPT
from reports import units
from reports.comparison import TOKEN_RATE, TTFT, Compared, Comparison, Entry, Stage, Standing
from reports.conditions import LATENCIES
from reports.drawing import spoken
from reports.drift import Drift
from reports.intervals import FEWEST_RUNS
from reports.markdown import escaped, table
from sanitize import cell

_DOUBTS_CHARACTERS = 5000
#: What the verdict is about.
LEADING = (TTFT, TOKEN_RATE)

HEADINGS = (
    "users",
    "system prompt",
    "server",
    "figure",
    "95 % interval",
    "runs",
    "against {base}",
    "its interval",
    "which is",
)
CSV_COLUMNS = (
    *(
        "figure",
        "unit",
        "users",
        "system_prompt",
        "server",
        "doubts",
        "runs",
        "value",
        "low",
        "high",
        "smallest",
        "largest",
    ),
    *("count", "base", "change_is", "change", "change_low", "change_high", "standing"),
)


class Saying(NamedTuple):
    """A part of the verdict: what it is about, and of each level or server what is so."""

    heading: str
    told: list[tuple[str, str]]


def title(comparison: Comparison) -> str:
    """Who was compared: `vllm, lmdeploy and mlc`."""
    return spoken([server.name for server in comparison.servers])


def verdict(comparison: Comparison) -> list[Saying]:
    """In plain words: who leads in what at which level, and who carries how many users."""
    modes = dict.fromkeys(stage.system_prompt for stage in comparison.stages)
    sayings = []
    for compared, mode in product(LEADING, modes):
        word = "Highest token rate" if compared.higher_is_better else "Lowest TTFT (median)"
        stages = [stage for stage in comparison.stages if stage.system_prompt == mode]
        told = [(f"{stage.name} users", _leaders_told(comparison, compared, stage)) for stage in stages]
        sayings.append(Saying(f"{word} {PROMPT[mode]}", told))
    return [*sayings, *_drifting(comparison), *_carried(comparison)]


def method_lines(comparison: Comparison) -> list[str]:
    """What the figures rest on."""
    lines = [
        f"Figures are of each level's hold. Ratios are to {comparison.base.name}, shares differ by percentage points. "
        "Intervals are of 95 %; better or worse is said only where the interval of the change excludes that there is "
        "none. Each of these stands alone: of twenty between equals, one is expected to be wrong."
    ]
    if any(len(server.runs) > 1 for server in comparison.servers):
        lines.append(
            "Repeated runs are pooled: the figure is the mean of the runs' own, beside the smallest and the largest. "
            f"From {FEWEST_RUNS} runs on the interval is of what differs from run to run; two have none. In the charts "
            "dots are the smallest and the largest run."
        )
    if comparison.assumes_variation:
        lines.append(
            "Run-to-run variation is assumed where there are too few runs to measure it: runs of one server are taken "
            f"to differ by {units.percentage(comparison.variation)}, in TTFT by twice that (standard deviations; "
            "--run-variation). Three runs of each server measure it."
        )
    return lines


def headings(comparison: Comparison) -> list[str]:
    """The columns of a figure's table; `runs` only where there are repeated ones."""
    return _columns(comparison, [heading.format(base=comparison.base.name) for heading in HEADINGS])


def rows(comparison: Comparison, compared: Compared) -> list[list[str]]:
    """A figure's table, a row a server and stage."""
    return [
        _columns(
            comparison,
            [
                entry.stage.name,
                entry.stage.system_prompt,
                entry.server.name,
                figure_told(entry),
                interval_told(entry),
                _runs_told(entry),
                change_told(entry),
                change_interval_told(entry),
                entry.standing.value,
            ],
        )
        for stage in comparison.stages
        for entry in comparison.of(compared, stage)
    ]


def figure_told(entry: Entry) -> str:
    """The figure with its unit; a dash where there is none."""
    return _teller(entry.compared)(entry.pooled.estimate.value) if entry.pooled else units.UNDEFINED


def interval_told(entry: Entry) -> str:
    """Its interval, an end left open where the sample is too small for it."""
    if entry.pooled is None:
        return units.UNDEFINED
    tell, estimate = _teller(entry.compared), entry.pooled.estimate
    low, high = (None if end is None else tell(max(end, 0.0)) for end in (estimate.low, estimate.high))
    bounds_anything = not entry.compared.share and (estimate.low or 0.0) <= 0.0  # 0 bounds any time and any rate
    return units.open_span(None if bounds_anything else low, high)


def change_told(entry: Entry) -> str:
    """`×1.24`, of a share `+1.2 points`; a dash where there is none to tell."""
    if entry.change is None:
        return units.UNDEFINED
    value = entry.change.value
    return f"{_points(value)} points" if entry.compared.share else f"×{units.rate(value)}"


def change_interval_told(entry: Entry) -> str:
    """`1.20–1.29`, of a share `+0.8 to +1.6`; an end left open where the sample is too small for it."""
    if entry.change is None:
        return units.UNDEFINED
    tell = _points if entry.compared.share else units.rate
    low, high = (None if end is None else tell(end) for end in (entry.change.low, entry.change.high))
    if entry.compared.share and low is not None and high is not None:
        return f"{low} to {high}"
    return units.open_span(low, high)


def _points(difference: float) -> str:
    return units.signed(difference * 100)


def comparison_table(comparison: Comparison, width: int = 120) -> str:
    """The whole comparison for a terminal, in lines of at most `width` characters but for the tables."""
    width = max(width, 60)
    parts = [
        [f"Comparison of {title(comparison)}"],
        [line for text in comparison.notices for line in _wrapped(f"!!! {text}", width)],
        *([_heading(saying), *_said(saying, width)] for saying in verdict(comparison)),
        *(
            [compared.name, *_aligned(headings(comparison), rows(comparison, compared))]
            for compared in comparison.compared
        ),
        [line for text in method_lines(comparison) for line in _wrapped(text, width)],
    ]
    return "\n\n".join("\n".join(part) for part in parts if part)


def comparison_markdown(comparison: Comparison) -> str:
    """The same for a pull request or a CI job's summary."""
    parts = [f"## Tokenswarm: {escaped(title(comparison))}", ""]
    parts += [f"> **{escaped(notice)}**  " for notice in comparison.notices]
    parts += [""] if comparison.notices else []
    for saying in verdict(comparison):
        parts += [
            f"- {escaped(_heading(saying))}",
            *(f"  - {escaped(where)}: {escaped(told)}" for where, told in saying.told),
        ]
    for compared in comparison.compared:
        cells = [[escaped(cell) for cell in row] for row in rows(comparison, compared)]
        parts += ["", f"### {compared.name}", "", *table([escaped(text) for text in headings(comparison)], cells)]
    parts += ["", *(escaped(line) + "  " for line in method_lines(comparison))]
    return "\n".join(parts) + "\n"


def comparison_csv(comparison: Comparison) -> str:
    """A row a figure, stage and server: seconds, tokens a second, shares from 0 to 1, unrounded; empty where there is
    no figure or its interval has no such end."""
    out = io.StringIO()
    writer = csv.DictWriter(out, CSV_COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(_csv_row(comparison, entry) for entry in comparison.entries)
    return out.getvalue()


def _heading(saying: Saying) -> str:
    return saying.heading + (":" if saying.told else ".")


def _said(saying: Saying, width: int) -> list[str]:
    longest = max((len(where) for where, _ in saying.told), default=0)
    return [
        line
        for where, told in saying.told
        for line in textwrap.wrap(
            f"  {where:<{longest}}  {told}", width, subsequent_indent=" " * (longest + 4), break_on_hyphens=False
        )
    ]


def _leaders_told(comparison: Comparison, compared: Compared, stage: Stage) -> str:
    best, behind = comparison.leaders(compared, stage)
    if not best:
        return "no server has a figure"
    told = spoken([f"{entry.server.name} ({figure_told(entry)})" for entry in best])
    if len(best) > 1:
        first = best[0].pooled
        few = any(comparison.standing(compared, other.pooled, first) is Standing.UNDECIDED for other in best[1:])
        told += ", not told apart" + (": too few to tell" if few else "")
    return f"{told}; next {behind[0].server.name} ({figure_told(behind[0])})" if behind else told


def _drifting(comparison: Comparison) -> list[Saying]:
    told = [(server.name, _drift_told(stage, drift)) for server, stage, drift in comparison.drifting]
    return (
        [Saying("Token rates that changed while a level was held (its last fifth against its first)", told)]
        if told
        else []
    )


def _drift_told(stage: Stage, drift: Drift) -> str:
    change = drift.change
    ends = " to ".join(_points(end) for end in (change.low, change.high) if end is not None)
    first, last = (units.rate(value) for value in (drift.first, drift.last))
    return f"{stage}: {drift.course} from {first} to {last} tok/s, {_points(change.value)} % ({ends})"


def _carried(comparison: Comparison) -> list[Saying]:
    if comparison.objectives is None:
        return [
            Saying("Users carried: not told, for there are no objectives to hold the servers against; give --slo", [])
        ]
    bounds = " and ".join(units.objective(name, bound) for name, bound in comparison.objectives.bounds.items())
    share = units.set_share(comparison.objectives.share)
    return [
        Saying(
            f"Users carried {PROMPT[mode]} ({share} of the requests within {bounds})",
            [
                (
                    carried.server.name,
                    f"up to {carried.stage.name} users" if carried.stage else "not even the smallest level",
                )
                for carried in found
            ],
        )
        for mode, found in groupby(comparison.carried, key=lambda carried: carried.system_prompt)
    ]


def _teller(compared: Compared) -> Callable[[float], str]:
    if compared.share:
        return units.percentage
    return units.duration if compared.figure.name in LATENCIES else lambda value: f"{units.rate(value)} tok/s"


def spread_told(entry: Entry) -> str:
    """The smallest and the largest of repeated runs; a dash where there are none."""
    if entry.pooled is None or len(entry.server.levels(entry.stage)) < 2:
        return units.UNDEFINED
    tell = _teller(entry.compared)
    return units.span(tell(entry.pooled.smallest), tell(entry.pooled.largest))


def _runs_told(entry: Entry) -> str:
    number, spread = len(entry.server.levels(entry.stage)), spread_told(entry)
    return str(number) if spread == units.UNDEFINED else f"{number}: {spread}"


def _columns(comparison: Comparison, cells: Sequence[str]) -> list[str]:
    repeated = any(len(server.runs) > 1 for server in comparison.servers)
    return [cell for cell, heading in zip(cells, HEADINGS, strict=True) if repeated or heading != "runs"]


def _csv_row(comparison: Comparison, entry: Entry) -> dict[str, object]:
    row: dict[str, object] = {
        "figure": str(entry.compared.figure),
        "unit": "share" if entry.compared.share else "s" if entry.compared.figure.name in LATENCIES else "tok/s",
        "users": entry.stage.level,
        "system_prompt": entry.stage.system_prompt,
        "server": cell(entry.server.label),
        "doubts": cell("; ".join(entry.server.doubts), _DOUBTS_CHARACTERS),
        "runs": len(entry.server.levels(entry.stage)),
        "base": cell(comparison.base.label),
        "change_is": "difference" if entry.compared.share else "ratio",
        "standing": entry.standing.value,
    }
    if entry.pooled:
        estimate = entry.pooled.estimate
        row |= {"value": estimate.value, "low": estimate.low, "high": estimate.high, "count": estimate.count}
        row |= {"smallest": entry.pooled.smallest, "largest": entry.pooled.largest}
    if entry.change:
        row |= {"change": entry.change.value, "change_low": entry.change.low, "change_high": entry.change.high}
    return row


def _aligned(heads: Sequence[str], lines: Sequence[Sequence[str]]) -> list[str]:
    widths = [max(len(row[place]) for row in (heads, *lines)) for place in range(len(heads))]
    return [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in (heads, *lines)
    ]


def _wrapped(text: str, width: int) -> list[str]:
    return textwrap.wrap(text, width, subsequent_indent="    ", break_long_words=False, break_on_hyphens=False)
