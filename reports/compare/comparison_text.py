"""A comparison in words and numbers: its verdict and its tables, for the terminal, Markdown, the page and CSV.

Every one of them is made of the same texts, so that a number is the same wherever it stands.
"""

from __future__ import annotations

import csv
import io
import textwrap
from collections.abc import Callable, Sequence
from itertools import groupby, product
from typing import NamedTuple

from tokenswarm.metrics.drift import Drift
from tokenswarm.metrics.intervals import FEWEST_RUNS, Estimate
from tokenswarm.metrics.level import PROMPT, users_of
from tokenswarm.reports import units
from tokenswarm.reports.capacity_sentence import capacity_sentence
from tokenswarm.reports.checks.conditions import TIMES
from tokenswarm.reports.compare.comparison import (
    TOKEN_RATE,
    TTFT,
    Compared,
    ComparedLevel,
    Entry,
    RunComparison,
    SloCapacity,
    Standing,
)
from tokenswarm.reports.html.chart_style import spoken
from tokenswarm.reports.level_names import HIGHEST_TESTED, with_one_unit
from tokenswarm.reports.markdown import escaped, table
from tokenswarm.reports.text_grid import TextColumn, grid_lines
from tokenswarm.sanitize import cell

_REASONS_CHARACTERS = 5000
#: What the verdict is about.
LEADING = (TTFT, TOKEN_RATE)
NOT_AVAILABLE = "not available"

HEADINGS = (
    "users",
    "system prompt",
    "server",
    "figure",
    "95 % interval",
    "runs",
    "against {base}",
    "its interval",
    "result",
)
CSV_COLUMNS = (
    *(
        "figure",
        "unit",
        "users",
        "system_prompt",
        "server",
        "unreliable_because",
        "runs",
        "value",
        "low",
        "high",
        "smallest",
        "largest",
    ),
    *("count", "base", "change_is", "change", "change_low", "change_high", "standing"),
)


class VerdictSection(NamedTuple):
    """A part of the verdict: what it is about, and of each level or server what is so."""

    heading: str
    lines: list[tuple[str, str]]


def title(comparison: RunComparison) -> str:
    """Who was compared: `vllm, lmdeploy and mlc`."""
    return spoken([server.name for server in comparison.servers])


def verdict(comparison: RunComparison) -> list[VerdictSection]:
    """In plain words: the SLO capacity of each server, and who leads in what at which level. Servers are called by
    their labels: which of them are unreliable is said above."""
    modes = dict.fromkeys(level.system_prompt for level in comparison.levels)
    searches = _searches(comparison)
    capacity = searches or _capacity_sections(comparison)  # a search says more
    sections = []
    for compared, mode in product(LEADING, modes):
        word = "Highest token rate" if compared.higher_is_better else "Lowest TTFT (median)"
        levels = [level for level in comparison.levels if level.system_prompt == mode]
        sections.append(_leading(comparison, compared, levels, f"{word} {PROMPT[mode]}"))
    sections += _drifting(comparison)
    return [*capacity, *sections] if searches or comparison.objectives else [*sections, *capacity]


def method_lines(comparison: RunComparison) -> list[str]:
    """What the figures rest on."""
    lines = [
        f"All figures describe each level's hold. Changes are relative to {comparison.base.label}: ×1.05 is 5 % "
        'higher; shares change in percentage points. A server is called better or worse only where "no change" (×1.00, '
        "or 0 points) lies outside the 95 % interval of the change. A result is inconclusive where that interval has "
        "an open end or there is none, as there are too few requests, and where only the assumed variation between "
        'runs widens it to "no change". All others are no significant difference. Each row is judged on its own: of 20 '
        "rows between equal servers, about one is expected to be called better or worse by chance."
    ]
    if any(len(server.runs) > 1 for server in comparison.servers):
        lines.append(
            "Repeated runs are pooled: a figure is their mean, shown with the smallest and the largest run. "
            f"With {FEWEST_RUNS} runs or more, the interval covers the variation from run to run; with two there is no "
            "interval. Dots in the charts: the smallest and the largest run."
        )
    if comparison.assumes_variation:
        lines.append(f"{variation_assumed(comparison.variation)} Make three runs of each server to measure it.")
    return lines


def variation_assumed(variation: float) -> str:
    """What stands for the variation from run to run where too few runs measure it. variation: as a share."""
    return (
        "With so few runs, the variation between repeated runs of one server cannot be measured. The intervals of the "
        f"changes assume that runs of one server differ by a standard deviation of {units.set_share(variation)} "
        f"({units.set_share(2 * variation)} for TTFT; set it with --run-variation)."
    )


def headings(comparison: RunComparison) -> list[str]:
    """The columns of a figure's table; `runs` only where there are repeated ones."""
    return _columns(comparison, [heading.format(base=comparison.base.label) for heading in HEADINGS])


def rows(comparison: RunComparison, compared: Compared) -> list[list[str]]:
    """A figure's table, a row a server and level."""
    return [
        _columns(
            comparison,
            [
                entry.level.name,
                entry.level.system_prompt,
                entry.server.name,
                entry_text(entry),
                interval_text(entry),
                _runs_text(entry),
                change_text(entry),
                change_interval_text(entry),
                entry.standing.value,
            ],
        )
        for level in comparison.levels
        for entry in comparison.of(compared, level)
    ]


def entry_text(entry: Entry) -> str:
    """The figure with its unit; a dash where there is none."""
    return teller(entry.compared)(entry.pooled.estimate.value) if entry.pooled else units.UNDEFINED


def interval_text(entry: Entry) -> str:
    """Its interval, an end left open where the sample is too small for it."""
    return units.UNDEFINED if entry.pooled is None else ends_text(entry.compared, entry.pooled.estimate)


def ends_text(compared: Compared, estimate: Estimate) -> str:
    """The interval of a figure, an end left open where the sample is too small for it."""
    format_value = teller(compared)
    low, high = (None if end is None else format_value(end) for end in compared.known_ends(estimate))
    return units.open_span(low, high)


def change_text(entry: Entry) -> str:
    """`×1.24`, of a share `+1.2 points`; a dash where there is none."""
    return units.UNDEFINED if entry.change is None else value_of_change(entry.compared, entry.change)


def change_interval_text(entry: Entry) -> str:
    """`1.20–1.29`, of a share `+0.8 to +1.6`; an end left open where the sample is too small for it."""
    return units.UNDEFINED if entry.change is None else ends_of_change(entry.compared, entry.change)


def value_of_change(compared: Compared, change: Estimate) -> str:
    """A change: `×1.24`, of a share `+1.2 points`."""
    return f"{_points(change.value)} points" if compared.share else f"×{units.rate(change.value)}"


def ends_of_change(compared: Compared, change: Estimate) -> str:
    """The interval of a change: `1.20–1.29`, of a share `+0.8 to +1.6`; an end left open where it is not known."""
    format_value = _points if compared.share else units.rate
    low, high = (None if end is None else format_value(end) for end in (change.low, change.high))
    if compared.share and low is not None and high is not None:
        return f"{low} to {high}"
    return units.open_span(low, high)


def _points(difference: float) -> str:
    return units.signed(difference * 100)


def comparison_table(comparison: RunComparison, width: int = 120) -> str:
    """The whole comparison for a terminal, in lines of at most `width` characters but for the tables."""
    width = max(width, 60)
    parts = [
        [f"Comparison of {title(comparison)}"],
        _notices(comparison, width),
        *([*wrapped(_heading(section), width), *_said(section, width)] for section in verdict(comparison)),
        *(
            [compared.name, *aligned(headings(comparison), rows(comparison, compared))]
            for compared in comparison.compared
        ),
        [line for text in method_lines(comparison) for line in wrapped(text, width)],
    ]
    return "\n\n".join("\n".join(part) for part in parts if part)


def _notices(comparison: RunComparison, width: int) -> list[str]:
    """What is wrong with all of it, then of each server in a line, with the reasons by run below."""
    lines = [line for text in comparison.notices for line in wrapped(f"!!! {text}", width)]
    for notices in comparison.server_notices:
        lines += wrapped(f"!!! {notices.line}", width)
        for runs, reasons in notices.by_run:
            for reason in f"{runs}: {reasons}".split("\n"):
                lines += [f"    {line}" for line in wrapped(reason, width - 4)]
    return lines


def comparison_markdown(comparison: RunComparison) -> str:
    """The same for a pull request or a CI job's summary."""
    parts = [f"## Tokenswarm: {escaped(title(comparison))}", ""]
    parts += [f"> **{escaped(notice)}**  " for notice in comparison.notices]
    for notices in comparison.server_notices:
        reasons = [f"{runs}: {text}".replace("\n", " ") for runs, text in notices.by_run]
        parts += [f"> **{escaped(notices.line)}**  ", *(f"> {escaped(reason)}  " for reason in reasons)]
    parts += [""] if comparison.head_notices else []
    for section in verdict(comparison):
        parts += [
            f"- {escaped(_heading(section))}",
            *(f"  - {escaped(where)}: {escaped(text)}" for where, text in section.lines),
        ]
    for compared in comparison.compared:
        cells = [[escaped(cell) for cell in row] for row in rows(comparison, compared)]
        parts += ["", f"### {compared.name}", "", *table([escaped(text) for text in headings(comparison)], cells)]
    parts += ["", *(escaped(line) + "  " for line in method_lines(comparison))]
    return "\n".join(parts) + "\n"


def comparison_csv(comparison: RunComparison) -> str:
    """A row a figure, level and server: seconds, tokens a second, shares from 0 to 1, unrounded; empty where there is
    no figure or its interval has no such end."""
    out = io.StringIO()
    writer = csv.DictWriter(out, CSV_COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(_csv_row(comparison, entry) for entry in comparison.entries)
    return out.getvalue()


def _heading(section: VerdictSection) -> str:
    return section.heading + (":" if section.lines else ".")


def _said(section: VerdictSection, width: int) -> list[str]:
    longest = max((len(where) for where, _ in section.lines), default=0)
    return [
        line
        for where, text in section.lines
        for line in textwrap.wrap(
            f"  {where:<{longest}}  {text}", width, subsequent_indent=" " * (longest + 4), break_on_hyphens=False
        )
    ]


def _leading(
    comparison: RunComparison, compared: Compared, levels: Sequence[ComparedLevel], heading: str
) -> VerdictSection:
    """Who leads at each level; one sentence where no level has a leader."""
    found = [(level, *comparison.leaders(compared, level)) for level in levels]
    if any(len(best) == 1 or behind for _, best, behind in found):
        text = [(users_of(level.name), _leaders_text(comparison, compared, *leaders)) for level, *leaders in found]
        return VerdictSection(heading, text)
    reasons: dict[str, list[str]] = {}
    for level, best, _ in found:
        reasons.setdefault(_tie_text(comparison, compared, best), []).append(level.name)
    text_of = [f"{reason} at {_loads_text(names)}" for reason, names in reasons.items()]
    return VerdictSection(f"{heading}, no level decided: {'; '.join(text_of)}", [])


def _leaders_text(comparison: RunComparison, compared: Compared, best: list[Entry], behind: list[Entry]) -> str:
    if not best:
        return NOT_AVAILABLE
    # In one order at all levels, so that they can be read in a column.
    ordered = sorted(best, key=lambda entry: comparison.servers.index(entry.server))
    text = spoken([f"{entry.server.label} ({entry_text(entry)})" for entry in ordered])
    text += f": {_tie_text(comparison, compared, best)}" if len(best) > 1 else ""
    return f"{text}; next {behind[0].server.label} ({entry_text(behind[0])})" if behind else text


def _tie_text(comparison: RunComparison, compared: Compared, best: Sequence[Entry]) -> str:
    """Why none of these leads."""
    if not best:
        return NOT_AVAILABLE
    first, *others = best
    few = any(comparison.standing(compared, one.pooled, first.pooled) is Standing.INCONCLUSIVE for one in others)
    return (Standing.INCONCLUSIVE if few else Standing.TIED).value


def _loads_text(names: Sequence[str]) -> str:
    """`1, 2 and 4 users`."""
    *others, last = with_one_unit(names)
    return spoken([*others, users_of(last)])


def _drifting(comparison: RunComparison) -> list[VerdictSection]:
    text = [(server.label, _drift_text(level, drift)) for server, level, drift in comparison.drifting]
    return (
        [VerdictSection("Token rates that changed within a level (last fifth of the hold against the first)", text)]
        if text
        else []
    )


def _drift_text(level: ComparedLevel, drift: Drift) -> str:
    change = drift.change
    ends = " to ".join(_points(end) for end in (change.low, change.high) if end is not None)
    first, last = (units.rate(value) for value in (drift.first, drift.last))
    return f"{level}: {drift.course} from {first} to {last} tok/s, {_points(change.value)} % ({ends})"


def _up_to(comparison: RunComparison, capacity: SloCapacity) -> str:
    if capacity.level is None:
        return "not even the smallest level"
    largest = max(level.load for level in comparison.levels if level.system_prompt == capacity.system_prompt)
    more = HIGHEST_TESTED if capacity.level.load == largest else ""
    return f"up to {users_of(capacity.level.name)}{more}"


def _searches(comparison: RunComparison) -> list[VerdictSection]:
    """What each run's search for the capacity found; empty where none searched."""
    runs = [(server.label, run.results) for server in comparison.servers for run in server.runs]
    found = [(name, sentence) for name, results in runs if (sentence := capacity_sentence(results.summary))]
    return [VerdictSection("Capacity, as the search of each run found it", found)] if found else []


def _capacity_sections(comparison: RunComparison) -> list[VerdictSection]:
    if comparison.objectives is None:
        return [VerdictSection("SLO capacity: not available, as the runs have no common SLO. Set --slo", [])]
    bounds = " and ".join(units.objective(name, bound) for name, bound in comparison.objectives.bounds.items())
    share = units.set_share(comparison.objectives.share)
    return [
        VerdictSection(
            f"SLO capacity {PROMPT[mode]} ({share} of the requests within {bounds})",
            [
                (
                    capacity.server.label,
                    _up_to(comparison, capacity),
                )
                for capacity in found
            ],
        )
        for mode, found in groupby(comparison.capacities, key=lambda capacity: capacity.system_prompt)
    ]


def teller(compared: Compared) -> Callable[[float], str]:
    """What makes text with its unit of a figure's values."""
    if compared.share:
        return units.percentage
    return units.duration if compared.figure.name in TIMES else lambda value: f"{units.rate(value)} tok/s"


def spread_text(entry: Entry) -> str:
    """The smallest and the largest of repeated runs; a dash where there are none."""
    if entry.pooled is None or len(entry.server.levels(entry.level)) < 2:
        return units.UNDEFINED
    format_value = teller(entry.compared)
    return units.span(format_value(entry.pooled.smallest), format_value(entry.pooled.largest))


def _runs_text(entry: Entry) -> str:
    number, spread = len(entry.server.levels(entry.level)), spread_text(entry)
    return str(number) if spread == units.UNDEFINED else f"{number}: {spread}"


def _columns(comparison: RunComparison, cells: Sequence[str]) -> list[str]:
    repeated = any(len(server.runs) > 1 for server in comparison.servers)
    return [cell for cell, heading in zip(cells, HEADINGS, strict=True) if repeated or heading != "runs"]


def _csv_row(comparison: RunComparison, entry: Entry) -> dict[str, object]:
    row: dict[str, object] = {
        "figure": str(entry.compared.figure),
        "unit": "share" if entry.compared.share else "s" if entry.compared.figure.name in TIMES else "tok/s",
        "users": entry.level.level,
        "system_prompt": entry.level.system_prompt,
        "server": cell(entry.server.label),
        "unreliable_because": cell("; ".join(entry.server.unreliable), _REASONS_CHARACTERS),
        "runs": len(entry.server.levels(entry.level)),
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


def aligned(heads: Sequence[str], lines: Sequence[Sequence[str]]) -> list[str]:
    """A table's lines, all columns to the left."""
    columns = [TextColumn(head, cells, left=True) for head, *cells in zip(heads, *lines, strict=True)]
    return [line.rstrip() for line in grid_lines(columns)]


def wrapped(text: str, width: int) -> list[str]:
    """A paragraph in lines of at most `width` characters, all but the first indented."""
    return textwrap.wrap(text, width, subsequent_indent="    ", break_long_words=False, break_on_hyphens=False)
