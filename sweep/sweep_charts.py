"""A sweep's charts: token rate and TTFT over the option with the most values that are numbers, a line for each
combination of the others."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

from tokenswarm.metrics.intervals import Pooled
from tokenswarm.metrics.level import PROMPT
from tokenswarm.reports import units
from tokenswarm.reports.checks.conditions import TIMES
from tokenswarm.reports.compare.comparison import TOKEN_RATE, TTFT, Compared
from tokenswarm.reports.html.chart_style import canvas, legend, name_axes, svg_of
from tokenswarm.reports.html.document import Chart
from tokenswarm.reports.palette import DASHES, PAPER, SERIES
from tokenswarm.sweep.cell_figures import CellRow
from tokenswarm.sweep.manifest import Manifest
from tokenswarm.sweep.sweep_table import names_levels

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_MARKERS = "osD^vP"
_MOST_LINES = 12
#: A load over so many times its smallest value is shown on a logarithmic axis.
_LOG_FROM = 8
_LEVEL = "level"
#: What is on the axis of an option whose name does not say it.
_AXES = {_LEVEL: "users or requests/s", "levels": "users (levels)", "rate": "requests/s (rate)"}
_MOST_LABEL = 34


class ChartPoint(NamedTuple):
    """A row in a chart: where it stands, its figure, and the ends of the line through it (None where there is none)."""

    x: float
    y: float
    low: float | None
    high: float | None


def sweep_charts(manifest: Manifest, rows: Sequence[CellRow]) -> list[Chart]:
    """The charts; none where no option has two numbers, or where there are more lines than can be distinguished."""
    across = _across(manifest, rows)
    charts = []
    for compared, title in ((TOKEN_RATE, "Token rate of all users"), (TTFT, "TTFT, median")):
        lines = _lines(manifest, rows, compared, across) if across else {}
        if not 0 < len(lines) <= _MOST_LINES or all(len(points) < 2 for points in lines.values()):
            continue
        figure = _figure(lines, compared, across)
        charts.append(Chart(title, svg_of(figure, compared.figure.name), _alt(title, lines, compared, across)))
    return charts


def _across(manifest: Manifest, rows: Sequence[CellRow]) -> str:
    """The option on the horizontal axis; `level` for the cells' own levels; "" for none."""
    numbers = {option: {_number(row.values.get(option, "")) for row in rows} for option in manifest.varied}
    if names_levels(rows):
        numbers[_LEVEL] = {row.level.load for row in rows if row.level}
    usable = {option: values for option, values in numbers.items() if None not in values and len(values) > 1}
    # Of equals the last one, which changes fastest.
    return max(reversed(usable), key=lambda option: len(usable[option]), default="")


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None


def _lines(manifest: Manifest, rows: Sequence[CellRow], compared: Compared, across: str) -> dict[str, list[ChartPoint]]:
    """The points of each line, from the left to the right, by its label."""
    found: dict[str, list[ChartPoint]] = {}
    modes = {row.level.system_prompt for row in rows if row.level}
    for row in rows:
        entry = row.entries.get(compared)
        x = row.level.load if across == _LEVEL and row.level else _number(row.values.get(across, ""))
        if entry is None or entry.pooled is None or x is None or row.level is None:
            continue
        parts = [
            f"{option} {row.values[option]}" for option in manifest.varied if option != across and option in row.values
        ]
        if names_levels(rows) and across != _LEVEL:
            parts.append(row.level.name)
        if len(modes) > 1:
            parts.append(PROMPT[row.level.system_prompt])
        found.setdefault(", ".join(parts), []).append(_point(x, entry.pooled))
    return {label: sorted(points) for label, points in found.items()}


def _point(x: float, pooled: Pooled) -> ChartPoint:
    """With its interval; of two runs, which have none, the smaller and the larger."""
    estimate = pooled.estimate
    if (estimate.low is None or estimate.high is None) and len(pooled.runs) > 1:
        return ChartPoint(x, estimate.value, pooled.smallest, pooled.largest)
    return ChartPoint(x, estimate.value, estimate.low, estimate.high)


def _figure(lines: Mapping[str, Sequence[ChartPoint]], compared: Compared, across: str) -> Figure:
    is_time = compared.figure.name in TIMES
    factor, unit = (
        units.duration_axis(max(point.y for points in lines.values() for point in points)) if is_time else (1.0, "")
    )
    figure, axes = canvas(legend_of=[_short(label) for label in lines])
    for number, (label, points) in enumerate(lines.items()):
        colour = SERIES[number % len(SERIES)]
        for point in points:
            if point.low is not None and point.high is not None:
                axes.vlines(point.x, point.low * factor, point.high * factor, color=colour, linewidth=1.2)
        axes.plot(
            [point.x for point in points],
            [point.y * factor for point in points],
            color=colour,
            ls=DASHES[(number + number // len(SERIES)) % len(DASHES)],
            marker=_MARKERS[number % len(_MARKERS)],
            markersize=5,
            markeredgecolor=PAPER,
            markeredgewidth=0.5,
            linewidth=1.6,
            label=_short(label),
        )
    is_log = _horizontal(axes, sorted({point.x for points in lines.values() for point in points}))
    axes.set_ylim(bottom=0)
    name = _AXES.get(across, across)
    name_axes(axes, f"{name}, logarithmic" if is_log else name, unit or "tokens/s")
    if any(lines):
        legend(axes)
    return figure


def _short(label: str) -> str:
    return label if len(label) <= _MOST_LABEL else f"{label[: _MOST_LABEL - 1]}…"


def _horizontal(axes: Axes, values: Sequence[float]) -> bool:
    """A tick at each value that was run. Returns whether the axis is logarithmic, as where they lie far apart."""
    from matplotlib.ticker import NullLocator

    is_log = values[0] > 0 and values[-1] >= _LOG_FROM * values[0]
    if is_log:
        axes.set_xscale("log")
    axes.set_xticks(values, [units.tick(value) for value in values])
    axes.xaxis.set_minor_locator(NullLocator())
    return is_log


def _alt(title: str, lines: Mapping[str, Sequence[ChartPoint]], compared: Compared, across: str) -> str:
    """The chart in words."""
    shown = units.duration if compared.figure.name in TIMES else units.rate
    each = [
        f"{label or 'all cells'}: " + ", ".join(f"{shown(point.y)} at {units.tick(point.x)}" for point in points)
        for label, points in lines.items()
    ]
    return f"{title} over {across}. {'; '.join(each)}."
