"""Charts of how a server answers to its load: TTFT over time as a heat map, and throughput against users or rate."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import numpy as np

from tokenswarm.metrics.intervals import Estimate, Series
from tokenswarm.metrics.level import PROMPT, users_of
from tokenswarm.reports import units
from tokenswarm.reports.html.chart_style import (
    FOOT_IN,
    HEIGHT_IN,
    SMALL_PT,
    canvas,
    legend,
    log_ticks,
    name_axes,
    spoken,
    svg_of,
)
from tokenswarm.reports.html.document import Block, Chart, Charts, Text
from tokenswarm.reports.html.time_charts import TIME_LEFT_IN, Span, mark_times, name_levels, spans_of
from tokenswarm.reports.html.time_series import load_time_series
from tokenswarm.reports.palette import BAD, GREY, INK, PAPER, SERIES
from tokenswarm.reports.search_levels import SloVerdict, slo_verdict
from tokenswarm.reports.stats.estimates import RunData
from tokenswarm.run_folder.reader import ReportError
from tokenswarm.run_folder.schema import LevelSummary, Summary

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

#: Cells of the heat map at most, from left to right and from the lowest to the highest TTFT; shades of a cell.
COLUMNS, ROWS, _SHADES = 48, 22, 8
#: The space for levels' names above the cells, as a share of their height.
_NAMES_SHARE = 0.1
#: The height of the legend's strip and of its text below, and what a figure is higher by.
_STRIP_IN, _STRIP_FOOT_IN, _STRIP_SPACE_IN = 0.14, 0.3, 0.5
#: A time shorter than this is not divided.
_SHORTEST_COLUMN_S = 1.0
#: Of a level by its SLO: name, verdict, marker, its edge's and its own colour.
_LOOKS: tuple[tuple[str, SloVerdict | None, str, str, str], ...] = (
    ("SLO met", "met", "o", SERIES[0], SERIES[0]),
    ("SLO missed", "missed", "X", BAD, BAD),
    ("inconclusive", "inconclusive", "D", GREY, PAPER),
    ("", None, "o", SERIES[0], SERIES[0]),
)
_LIMIT = "highest load that meets the SLO"


def heat_map(measured: RunData) -> list[Block]:
    """TTFT of all ok requests over the time of the run; nothing where there are none. Raises ReportError."""
    requests = measured.requests
    ttft_s = requests.figures["ttft"]
    known = requests.has_latencies & (ttft_s > 0)
    if not known.any():
        return []
    time_edges, ttft_edges, shares = heat_cells(requests.sent_s[known], ttft_s[known])
    first_s, spans = _levels_in_time(measured)
    figure = heat_figure(time_edges, ttft_edges, shares, spans, first_s)
    alt = (
        f"Heat map of TTFT by the time at which requests were sent, from {units.duration(float(ttft_edges[0]))} to "
        f"{units.duration(float(ttft_edges[-1]))}. The table at the top has the percentiles of each level."
    )
    both = " (+: with system prompt)" if len({span.level.system_prompt for span in spans}) > 1 else ""
    text = Text(
        "From left to right: the time of the run; from bottom to top: TTFT. Each column shows the successful requests "
        "sent at that time. The stronger a cell's colour, the larger the share of them that had this TTFT: the strip "
        "below the chart has each colour with its limits. Ramps are included."
        + (
            f" Lines: the beginning and the end of each hold, with the name of its level between them{both}."
            if spans
            else ""
        ),
        style="quiet",
    )
    return [text, Charts([Chart("TTFT over time", svg_of(figure, "heat"), alt)])]


def _levels_in_time(measured: RunData) -> tuple[float, list[Span]]:
    """(Where the axes of the timeline begin, its levels); none where there are no windows to know them by."""
    with suppress(ReportError):  # the timeline says what is missing
        series = load_time_series(measured.results)
        if spans := spans_of(measured.results, series):
            return float(series.middle_s[0]), spans
    return 0.0, []


def heat_cells(sent_s: Series, ttft_s: Series) -> tuple[Series, Series, Series]:
    """(edges of the columns in seconds since the run began, edges of the rows in seconds of TTFT, logarithmic; of each
    column and row the share of the column's requests, 0 to 1; 0 for a column without any)."""
    first, last = float(sent_s.min()), float(sent_s.max())
    columns = max(1, min(COLUMNS, int((last - first) / _SHORTEST_COLUMN_S)))
    time_edges = np.linspace(first, max(last, first + _SHORTEST_COLUMN_S), columns + 1)
    low, high = float(ttft_s.min()), float(ttft_s.max())
    ttft_edges = np.geomspace(low * 0.999, max(high, low * 1.05) * 1.001, ROWS + 1)
    counts, _, _ = np.histogram2d(sent_s, ttft_s, [time_edges, ttft_edges])
    shares: Series = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    return time_edges, ttft_edges, shares


def heat_figure(
    time_edges: Series, ttft_edges: Series, shares: Series, spans: Sequence[Span] = (), first_s: float = 0.0
) -> Figure:
    """spans, first_s: the levels and the beginning of the timeline's axes, which this one is laid as; without levels it
    is as wide as the cells."""
    factor, unit = units.duration_axis(float(ttft_edges[-1]))
    darkest = float(shares.max())
    figure, axes = canvas(
        left_in=TIME_LEFT_IN, height_in=HEIGHT_IN + _STRIP_SPACE_IN, foot_in=FOOT_IN + _STRIP_SPACE_IN
    )
    shades = np.ceil(shares / darkest * _SHADES)
    for number in range(1, _SHADES + 1):
        columns, rows = np.nonzero(shades == number)
        if not len(columns):
            continue
        across = np.column_stack([time_edges[columns], time_edges[columns + 1]])
        up = np.column_stack([ttft_edges[rows], ttft_edges[rows + 1]]) * factor
        _fill(axes, across, up, number / _SHADES)
    axes.set_yscale("log")
    axes.set_xlim(time_edges[0], time_edges[-1])
    low, high = ttft_edges[0] * factor, ttft_edges[-1] * factor
    axes.set_ylim(low, high * (high / low) ** (_NAMES_SHARE if spans else 0.0))
    if spans:
        for edge_s in (edge_s for span in spans for edge_s in (span.hold_began_s, span.hold_ended_s)):
            axes.axvline(edge_s, color=GREY, linewidth=0.7, alpha=0.7, zorder=0.5)
        name_levels(axes, spans, first_s)
    _decimal_ticks(axes, low, high)
    name_axes(axes, mark_times(axes), f"TTFT ({unit}), logarithmic")
    _shade_strip(figure, axes, darkest)
    return figure


def _fill(axes: Axes, across: Series, up: Series, shade: float) -> None:
    """Cells of one shade as one path: a page has hundreds. across, up: of each cell, both edges."""
    from matplotlib.patches import PathPatch
    from matplotlib.path import Path

    corners = np.stack([across[:, [0, 1, 1, 0, 0]], up[:, [0, 0, 1, 1, 0]]], axis=-1)
    codes = np.tile([Path.MOVETO, Path.LINETO, Path.LINETO, Path.LINETO, Path.CLOSEPOLY], len(corners))
    path = Path(corners.reshape(-1, 2), codes.astype(Path.code_type))
    axes.add_artist(PathPatch(path, facecolor=SERIES[0], alpha=shade, linewidth=0))  # limits are set


def _shade_strip(figure: Figure, axes: Axes, darkest: float) -> None:
    """The legend: every shade, with the shares in percent between which it stands. darkest: the share of the last."""
    place, height_in = axes.get_position(), figure.get_figheight()
    strip = figure.add_axes((place.x0, _STRIP_FOOT_IN / height_in, place.width, _STRIP_IN / height_in))
    strip.patch.set_visible(False)
    for spine in strip.spines.values():
        spine.set_visible(False)
    for number in range(_SHADES):
        _fill(strip, np.array([[number, number + 1]]), np.array([[0, 1]]), (number + 1) / _SHADES)
    strip.set_xlim(0, _SHADES)
    strip.set_ylim(0, 1)
    strip.set_yticks([])
    limits = [darkest * 100 * number / _SHADES for number in range(_SHADES + 1)]
    strip.set_xticks(range(_SHADES + 1), [units.tick(round(limit, 1)) for limit in limits])
    strip.tick_params(labelsize=SMALL_PT, colors=GREY, length=0)
    strip.set_title("share of the requests sent at that time (%)", loc="left", fontsize=SMALL_PT, color=GREY, pad=4)


def _decimal_ticks(axes: Axes, low: float, high: float) -> None:
    from matplotlib.ticker import NullFormatter, NullLocator

    ticks = log_ticks(low, high)
    axes.set_yticks(ticks, [units.tick(tick) for tick in ticks])
    axes.yaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_minor_formatter(NullFormatter())


def throughput(measured: RunData, rates: Mapping[int, Estimate | None]) -> list[Block]:
    """Tokens/s of all users against the load, with the highest load that meets the SLO; of a search all its probes.
    Nothing for a single load. rates: by level index."""
    summary = measured.results.summary
    charts = []
    verdicts = {level.index: slo_verdict(summary, level) for level in summary.levels}
    modes = list(dict.fromkeys(level.system_prompt for level in summary.levels))
    for mode in modes:
        levels = sorted((one for one in summary.levels if one.system_prompt == mode), key=lambda one: one.load)
        levels = [level for level in levels if level.hold.token_rate is not None]
        if len({level.load for level in levels}) < 2:
            continue
        title = f"Throughput against {'rate' if levels[0].open_loop else 'users'}"
        title += f", {PROMPT[mode]}" if len(modes) > 1 else ""
        limit = slo_load(summary, mode)
        svg = svg_of(throughput_figure(levels, rates, verdicts, limit), f"throughput{mode}")
        charts.append(Chart(title, svg, _spoken(levels, limit)))
    return [Charts(charts)] if charts else []


def slo_load(summary: Summary, mode: str) -> float | None:
    """The highest load (users, or requests/s) that meets the SLO under a system-prompt mode: of a search, the largest
    that passed. None where none does, and without objectives."""
    if summary.capacity_search is not None:
        return summary.capacity_search.best
    names = [found.level for found in summary.capacity if found.system_prompt == mode]
    loads = [level.load for level in summary.levels if level.system_prompt == mode and level.level in names]
    return max(loads, default=None)


def throughput_figure(
    levels: Sequence[LevelSummary],
    rates: Mapping[int, Estimate | None],
    verdicts: Mapping[int, SloVerdict | None],
    limit: float | None,
) -> Figure:
    """A point a level, by whether it met the SLO where there is one. verdicts: by level index."""
    from matplotlib.ticker import MaxNLocator

    looks = [look for look in _LOOKS if look[1] in verdicts.values()]
    names = [name for name, *_ in looks if name] + [_LIMIT] * (limit is not None)
    figure, axes = canvas(legend_of=names)
    loads = [level.load for level in levels]
    values = [level.hold.token_rate or 0.0 for level in levels]
    axes.plot(loads, values, color=SERIES[0], linewidth=1.0, alpha=0.5, zorder=2)
    for level in levels:
        rate = rates.get(level.index)
        if rate is not None and rate.low is not None and rate.high is not None:
            axes.plot([level.load] * 2, [rate.low, rate.high], color=INK, linewidth=1.2, zorder=3)
    for name, verdict, marker, colour, fill in looks:
        chosen = [place for place, level in enumerate(levels) if verdicts[level.index] == verdict]
        if chosen:
            places = [loads[at] for at in chosen], [values[at] for at in chosen]
            look: dict[str, Any] = {"ls": "none", "marker": marker, "markersize": 6.5, "zorder": 4, "label": name}
            axes.plot(*places, color=fill, markeredgecolor=colour, **look)
    if limit is not None:
        axes.axvline(limit, color=GREY, linewidth=1.2, ls=(0, (4, 3)), zorder=1, label=_LIMIT)
    axes.set_xlim(0, max(loads) * 1.06)
    axes.set_ylim(0, max(values) * 1.15 or 1.0)
    axes.xaxis.set_major_locator(MaxNLocator(6, steps=[1, 2, 5, 10], integer=not levels[0].open_loop))
    axes.xaxis.set_major_formatter(lambda value, _position: units.tick(round(value, 10)))
    axes.tick_params(axis="x", labelsize=SMALL_PT)
    name_axes(axes, "requests/s due" if levels[0].open_loop else "users", "output tokens/s, all users together")
    if axes.get_legend_handles_labels()[1]:
        legend(axes)
    return figure


def _spoken(levels: Sequence[LevelSummary], limit: float | None) -> str:
    points = [f"{units.rate(level.hold.token_rate)} at {users_of(level.name)}" for level in levels]
    within = "" if limit is None else f" The highest load within the SLO is {units.amount(limit)}."
    return f"Output tokens/s of all users by load: {spoken(points)}.{within}"
