"""The page's charts of levels: TTFT and token rate as bars, and latency distributions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from tokenswarm.metrics.intervals import Estimate, Series
from tokenswarm.reports import units
from tokenswarm.reports.html.chart_style import SMALL_PT, canvas, legend, legend_size, log_ticks, name_axes
from tokenswarm.reports.level_bars import (
    Bar,
    bound_keys,
    draw_rate,
    draw_ttft,
    mode_keys,
    names_of,
    plot_height_in,
    side_by_side,
)
from tokenswarm.reports.palette import DASHES, GREY, INK, PAPER, SERIES
from tokenswarm.run_folder.schema import LevelSummary

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_BAR_IN, _HEAD_IN, _FOOT_IN = 0.36, 0.32, 0.7
_LETTER_IN = 0.09
_SLIM_BAR_IN, _FEW_BARS = 0.27, 6
#: Points of a distribution's line: all that a phone's width can show.
_POINTS = 160


def ttft_chart(levels: Sequence[LevelSummary], bound_s: float | None = None) -> Figure:
    """TTFT of each level as a bar. bound_s: the SLO's, None without one."""
    bars = side_by_side(levels)
    figure, axes = _bar_canvas(bars, bound_keys(bars, bound_s))
    name_axes(axes, "", draw_ttft(axes, bars, bound_s, SMALL_PT - 1), _left_in(bars))
    return figure


def rate_chart(levels: Sequence[LevelSummary], rates: Mapping[int, Estimate | None]) -> Figure:
    """The token rate of each level as a bar. rates: with its interval, by level index."""
    bars = side_by_side(levels)
    figure, axes = _bar_canvas(bars)
    name_axes(axes, "", draw_rate(axes, bars, rates, SMALL_PT - 1), _left_in(bars))
    return figure


def _bar_canvas(bars: Sequence[Bar], more_keys: Sequence[Any] = ()) -> tuple[Figure, Axes]:
    plot_in = plot_height_in(bars, _BAR_IN if len(bars) <= _FEW_BARS else _SLIM_BAR_IN)
    modes = mode_keys(bars)
    keys = [*(modes if len(modes) > 1 else []), *more_keys]
    names = [key.get_label() for key in keys]
    figure, axes = canvas(_HEAD_IN + _FOOT_IN + plot_in, _left_in(bars), _FOOT_IN, names)
    if keys:
        axes.legend(
            handles=keys,
            loc="upper center",
            bbox_to_anchor=(0.4, -0.3 / plot_in),
            ncols=legend_size(names)[0],
            frameon=False,
            borderpad=0,
            labelspacing=0.3,
            fontsize=SMALL_PT,
            labelcolor=INK,
        )
    return figure, axes


def _left_in(bars: Sequence[Bar]) -> float:
    """Space for the names of the bars."""
    return 0.1 + _LETTER_IN * max(map(len, names_of(bars).values()))


def spread(curves: Mapping[str, tuple[Series, Series]], what: str, in_buckets: bool = False) -> Figure:
    """Cumulative distributions: of each level's name the values in seconds, ascending, and the share (0 to 1) of all
    that is at most each. in_buckets: known at these values alone."""
    factor, unit = units.duration_axis(max(float(values[-1]) for values, _ in curves.values()))
    figure, axes = canvas(legend_of=list(curves))
    for number, (name, (values, shares)) in enumerate(curves.items()):
        axes.plot(
            values * factor,
            shares * 100,
            color=SERIES[number % len(SERIES)],
            ls=DASHES[(number + number // len(SERIES)) % len(DASHES)],
            linewidth=1.6,
            label=name,
            drawstyle="default" if in_buckets else "steps-post",
            marker="." if in_buckets else "",
        )
    high = max(float(values[-1]) for values, _ in curves.values())
    low = min((float(values[values > 0][0]) for values, _ in curves.values() if (values > 0).any()), default=high)
    if high > 8 * low:
        _log_axis(axes, low * factor, high * factor)
    else:
        axes.xaxis.set_major_formatter(lambda value, _position: units.tick(value))
    axes.set_ylim(0, 101)
    axes.set_yticks([0, 25, 50, 75, 95])
    name_axes(axes, f"{what} ({unit})" + (", logarithmic" if high > 8 * low else ""), "cumulative %")
    legend(axes)
    return figure


def _log_axis(axes: Axes, low: float, high: float) -> None:
    from matplotlib.ticker import NullFormatter, NullLocator

    axes.set_xscale("log")
    ticks = log_ticks(low, high)
    axes.set_xticks(ticks, [units.tick(tick) for tick in ticks])
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_minor_formatter(NullFormatter())


def distribution_line(values: Series) -> tuple[Series, Series]:
    """(values in ascending order, the share that is at most each), no more than can be seen."""
    ascending = np.sort(values)
    n = len(ascending)
    ranks = np.unique(np.rint(np.linspace(0, n - 1, min(n, _POINTS))).astype(np.int64))
    return ascending[ranks], (ranks + 1) / n


def thinned_line(values: Series, shares: Series) -> tuple[Series, Series]:
    """A cumulative distribution at no more values than can be seen, its first and last among them."""
    if len(values) <= _POINTS:
        return values, shares
    chosen = np.unique(np.searchsorted(shares, np.linspace(shares[0], shares[-1], _POINTS), side="left"))
    return values[chosen], shares[chosen]


def rate_against(points: Mapping[str, tuple[Series, Series]], x: str, y: str) -> Figure:
    """Points of each level, in shapes of their own."""
    figure, axes = canvas(legend_of=list(points))
    for number, (name, (across, up)) in enumerate(points.items()):
        axes.plot(
            across,
            up,
            ls="none",
            marker="osD^vP"[number % 6],
            markersize=4.5,
            color=SERIES[number % len(SERIES)],
            markeredgecolor=PAPER,
            markeredgewidth=0.4,
            label=name,
        )
    axes.set_ylim(bottom=0)
    axes.set_xlim(left=0)
    axes.xaxis.set_major_formatter(lambda value, _position: units.tick(value))
    axes.xaxis.label.set_color(GREY)
    name_axes(axes, x, y)
    legend(axes)
    return figure
