"""A trend as one HTML page: which runs departed from the baseline, a chart and a table of each series."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal

from tokenswarm.reports import units
from tokenswarm.reports.checks.conditions import TIMES
from tokenswarm.reports.compare.comparison import Compared
from tokenswarm.reports.compare.trend import Trend, TrendPoint, TrendResult, TrendSeries
from tokenswarm.reports.compare.trend_text import (
    HEADINGS,
    baseline_text,
    departed_names,
    name_of,
    notes,
    rows,
    series_name,
    unreliable_line,
    verdict_lines,
)
from tokenswarm.reports.html.chart_style import OPEN_NOTE, canvas, legend, name_axes, svg_of, whisker
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
#: Names of runs that fit below a chart: days or times, and days with times.
_MOST_DATES, _MOST_TIMES = 6, 3
#: Around the marker of a run whose figures are unreliable.
_RING: dict[str, Any] = {
    "ls": "none",
    "marker": "o",
    "markersize": 12,
    "color": "none",
    "markeredgecolor": BAD,
    "markeredgewidth": 1.2,
    "zorder": 5,
    "clip_on": False,
}
_UNRELIABLE = "unreliable run"
_UNRELIABLE_NOTE = "Hollow, in a ring: the run's figures are unreliable."


def trend_html(trend: Trend, notices: Sequence[str]) -> str:
    """The whole document, self-contained."""
    departed = any(series.departed for series in trend.series)
    style: Literal["bad", "note", "lead"] = "bad" if departed else "note" if trend.undecided else "lead"
    verdict: list[Block] = [Text(line, style=style) for line in verdict_lines(trend)]
    warnings = [text for text in (*notices, unreliable_line(trend)) if text]
    sections = [
        Section("", [*(Text(text, style="bad") for text in warnings), *verdict]),
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
    figure, axes = canvas(height_in=2.9, legend_of=_legend_names(series))
    unit = draw_series(axes, series)
    name_axes(axes, f"run, by {label_runs(axes, series)}", unit)
    legend(axes)
    title = series_name(series)
    alt = (
        f"{title}, run by run, with 95 % intervals. Baseline: {baseline_text(trend, series)}. {departed_names(series)}"
    )
    table = Table(f"{title}: every run", HEADINGS, rows(series))
    note = f"Baseline: {baseline_text(trend, series)}."
    if any(point.run.unreliable for point in series.points):
        note += f" {_UNRELIABLE_NOTE}"
    if any(len(_known(series, point)) == 1 for point in series.points):
        note += f" {OPEN_NOTE}"
    return Chart(title, svg_of(figure, f"trend{number}"), alt, note, table)


def _legend_names(series: TrendSeries) -> list[str]:
    found = {point.result for point in series.points}
    unreliable = any(point.run.unreliable for point in series.points)
    return [_short(result) for result in _LOOKS if result in found] + [_UNRELIABLE] * unreliable


def _short(result: TrendResult) -> str:
    return result.value.partition(" (")[0].partition(",")[0]


def draw_series(axes: Axes, series: TrendSeries) -> str:
    """The runs from left to right, and the baseline behind them. Returns the axis' unit."""
    factor, unit = _axis(series)
    base = series.baseline.estimate
    axes.axhline(base.value * factor, color=GREY, linewidth=1.0, ls=(0, (4, 3)), zorder=1)
    low_end, high_end = series.compared.known_ends(base)
    if low_end is not None and high_end is not None:
        axes.axhspan(low_end * factor, high_end * factor, color=LINE, alpha=0.6, linewidth=0, zorder=0)
    axes.plot(
        range(len(series.points)),
        [point.estimate.value * factor for point in series.points],
        color=SERIES[0],
        linewidth=0.8,
        alpha=0.5,
        zorder=2,
    )
    _markers(axes, series, factor)
    axes.set_ylim(*_limits(series, factor))
    axes.set_xlim(-0.5, len(series.points) - 0.5)
    return unit


def _markers(axes: Axes, series: TrendSeries, factor: float) -> None:
    """Each run with its interval, each result in its own look; unreliable runs are hollow, in a ring."""
    for result, (colour, marker) in _LOOKS.items():
        chosen = [(place, point) for place, point in enumerate(series.points) if point.result is result]
        for place, point in chosen:
            low, high = (None if end is None else end * factor for end in series.compared.known_ends(point.estimate))
            whisker(axes, place, point.estimate.value * factor, (low, high), colour, 1.4)
        look: dict[str, Any] = {"ls": "none", "marker": marker, "markersize": 6.5, "zorder": 4, "clip_on": False}
        values = [(place, point.estimate.value * factor) for place, point in chosen if not point.run.unreliable]
        if chosen:
            axes.plot([], [], label=_short(result), color=colour, **look)
        axes.plot(*_columns(values), color=colour, markeredgecolor=PAPER, **look)
        values = [(place, point.estimate.value * factor) for place, point in chosen if point.run.unreliable]
        axes.plot(*_columns(values), color=PAPER, markeredgecolor=colour, markeredgewidth=1.4, **look)
        axes.plot(*_columns(values), **_RING)
    if any(point.run.unreliable for point in series.points):
        axes.plot([], [], label=_UNRELIABLE, **_RING)


def _columns(points: Sequence[tuple[int, float]]) -> tuple[list[int], list[float]]:
    return [x for x, _ in points], [y for _, y in points]


def label_runs(axes: Axes, series: TrendSeries) -> str:
    """Name the runs by their days, by their times where all began on one day, by both where days repeat. Returns what
    the names are."""
    began = [units.utc(point.run.results.run.started_at) for point in series.points]
    days = {when.date() for when in began}
    if len(days) == len(began):
        form, words, most = "%m-%d", "the day on which it began (UTC)", _MOST_DATES
    elif len(days) > 1:
        form, words, most = "%m-%d %H:%M", "the time at which it began (UTC)", _MOST_TIMES
    else:
        to_minutes = len({f"{when:%H:%M}" for when in began}) == len(began)
        form, most = "%H:%M" if to_minutes else "%H:%M:%S", _MOST_DATES
        words = f"the time at which it began ({began[0]:%Y-%m-%d}, UTC)"
    places = range(0, len(began), -(-len(began) // most))
    axes.set_xticks(places, [f"{began[at]:{form}}" for at in places])
    axes.tick_params(axis="x", labelcolor=INK)
    return words


def _known(series: TrendSeries, point: TrendPoint) -> list[float]:
    """The known ends of its interval."""
    return [end for end in series.compared.known_ends(point.estimate) if end is not None]


def _top(series: TrendSeries) -> float:
    estimates = [series.baseline.estimate, *(point.estimate for point in series.points)]
    return max(max(one.value, one.high or 0.0) for one in estimates)


def _limits(series: TrendSeries, factor: float) -> tuple[float, float]:
    """From 0, but where all is far above it only as far as something is drawn: a change is small beside the value."""
    estimates = [series.baseline.estimate, *(point.estimate for point in series.points)]
    ends = [end for one in estimates for end in (one.value, *series.compared.known_ends(one)) if end is not None]
    low, high = min(ends), max(ends)
    space = 0.25 * (high - low) or 0.1 * high
    if low - space <= high / 3:  # nothing but zeros too
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
