"""A trend as one HTML page: which runs departed from the baseline, a chart and a table of each series."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from tokenswarm.metrics.intervals import Estimate
from tokenswarm.reports import units
from tokenswarm.reports.checks.conditions import TIMES
from tokenswarm.reports.compare.comparison import Compared
from tokenswarm.reports.compare.trend import Trend, TrendResult, TrendSeries
from tokenswarm.reports.compare.trend_text import (
    HEADINGS,
    baseline_text,
    departed_names,
    name_of,
    notes,
    rows,
    series_name,
    verdict_lines,
)
from tokenswarm.reports.html.chart_style import canvas, legend, name_axes, svg_of
from tokenswarm.reports.html.document import Block, Chart, Charts, Page, Section, Table, Text, html_of
from tokenswarm.reports.palette import BAD, GOOD, GREY, INK, LINE, PAPER, SERIES

if TYPE_CHECKING:
    from matplotlib.axes import Axes

#: Of each result: colour and marker, so that neither is needed alone.
_LOOKS = {
    TrendResult.BASELINE: (GREY, "s"),
    TrendResult.UNCHANGED: (SERIES[0], "o"),
    TrendResult.POSSIBLE: (SERIES[1], "D"),
    TrendResult.INCONCLUSIVE: (SERIES[0], "d"),
    TrendResult.BETTER: (GOOD, "^"),
    TrendResult.WORSE: (BAD, "X"),
}
_MOST_DATES = 6


def trend_html(trend: Trend, notices: Sequence[str]) -> str:
    """The whole document, self-contained."""
    departed = any(series.departed for series in trend.series)
    verdict: list[Block] = [Text(line, style="lead" if not departed else "bad") for line in verdict_lines(trend)]
    sections = [
        Section("", [*(Text(notice, style="bad") for notice in notices), *verdict]),
        Section(
            "Figures over time", [Charts([_chart(trend, series, place) for place, series in enumerate(trend.series)])]
        ),
        Section("How to read these figures", [Text(line) for line in notes(trend)]),
        Section("The runs", [_runs(trend)]),
    ]
    first, last = (units.moment(run.results.run.started_at) for run in (trend.runs[0], trend.runs[-1]))
    subtitle = [f"{units.counted(len(trend.runs), 'run')}, {first} to {last}"]
    engine = trend.newest.results.summary.engine
    return html_of(Page(f"Trend of {engine}", subtitle, sections, "Drawn by tokenswarm trend."))


def _chart(trend: Trend, series: TrendSeries, number: int) -> Chart:
    figure, axes = canvas(height_in=2.9, foot_in=0.8)
    name_axes(axes, "run, by the day on which it began", _draw(axes, series))
    legend(axes)
    title = series_name(series)
    alt = (
        f"{title}, run by run, with 95 % intervals. Baseline: {baseline_text(trend, series)}. {departed_names(series)}"
    )
    table = Table(f"{title}: every run", HEADINGS, rows(series))
    return Chart(title, svg_of(figure, f"trend{number}"), alt, f"Baseline: {baseline_text(trend, series)}", table)


def _draw(axes: Axes, series: TrendSeries) -> str:
    """The runs from left to right, and the baseline behind them. Returns the axis' unit."""
    factor, unit = _axis(series)
    base = series.baseline.estimate
    axes.axhline(base.value * factor, color=GREY, linewidth=1.0, ls=(0, (4, 3)), zorder=1)
    if base.low is not None and base.high is not None:
        axes.axhspan(max(base.low, 0.0) * factor, base.high * factor, color=LINE, alpha=0.6, linewidth=0, zorder=0)
    axes.plot(
        range(len(series.points)),
        [point.estimate.value * factor for point in series.points],
        color=SERIES[0],
        linewidth=0.8,
        alpha=0.5,
        zorder=2,
    )
    for result, (colour, marker) in _LOOKS.items():
        chosen = [place for place, point in enumerate(series.points) if point.result is result]
        for place in chosen:
            _interval(axes, series.points[place].estimate, place, factor, colour)
        if chosen:
            values = [series.points[place].estimate.value * factor for place in chosen]
            look: dict[str, Any] = {
                "ls": "none",
                "color": colour,
                "marker": marker,
                "markersize": 6.5,
                "markeredgecolor": PAPER,
            }
            axes.plot(chosen, values, zorder=4, label=result.value.partition(" (")[0].partition(",")[0], **look)
    axes.set_ylim(*_limits(series, factor))
    axes.set_xlim(-0.5, len(series.points) - 0.5)
    step = -(-len(series.points) // _MOST_DATES)
    places = range(0, len(series.points), step)
    axes.set_xticks(places, [f"{series.points[at].run.results.run.started_at:%m-%d}" for at in places])
    axes.tick_params(axis="x", labelcolor=INK)
    return unit


def _interval(axes: Axes, estimate: Estimate, place: int, factor: float, colour: str) -> None:
    """As far as its ends are known."""
    ends = [estimate.value if end is None else max(end, 0.0) for end in (estimate.low, estimate.high)]
    axes.plot([place, place], [end * factor for end in ends], color=colour, linewidth=1.4, zorder=3)


def _top(series: TrendSeries) -> float:
    estimates = [series.baseline.estimate, *(point.estimate for point in series.points)]
    return max(max(one.value, one.high or 0.0) for one in estimates)


def _limits(series: TrendSeries, factor: float) -> tuple[float, float]:
    """From 0, but where all is far above it only as far as something is drawn: a change is small beside the value."""
    estimates = [series.baseline.estimate, *(point.estimate for point in series.points)]
    low, high = min(one.value if one.low is None else one.low for one in estimates), _top(series)
    space = 0.25 * (high - low)
    if low - space < high / 3:
        return 0.0, high * factor * 1.1 or 1.0
    return (low - space) * factor, (high + space) * factor


def _axis(series: TrendSeries) -> tuple[float, str]:
    """(what values are multiplied by on the axis, the unit that makes)."""
    compared: Compared = series.compared
    if compared.share:
        return 100.0, "%"
    return units.duration_axis(_top(series)) if compared.figure.name in TIMES else (1.0, "tokens/s")


def _runs(trend: Trend) -> Table:
    lines = [
        [
            name_of(run),
            units.moment(run.results.run.started_at),
            run.results.summary.engine,
            run.results.run.engine_version or units.UNDEFINED,
            run.results.summary.host or units.UNDEFINED,
            run.results.summary.validity.verdict,
        ]
        for run in trend.runs
    ]
    return Table(
        "The runs, oldest first", ["run", "started", "engine", "version", "host", "verdict"], lines, of_words=True
    )
