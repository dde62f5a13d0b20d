"""The page's charts of levels: TTFT and token rate as bars, and how latencies are spread."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from metrics.stage import PROMPT
from reports import units
from reports.charts import HATCHES, side_by_side
from reports.drawing import DASHES, GREY, INK, LINE, PAPER, SERIES, SMALL_PT, canvas, legend, name_axes
from reports.intervals import Estimate, Series
from reports.results import Level
from reports.table import NOT_COMPLETE

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

BAR = 0.36
_BAR_IN, _HEAD_IN, _FOOT_IN = 0.34, 0.28, 0.55
_LETTER_IN = 0.075
_COLOURS = {"off": SERIES[0], "on": SERIES[1]}
#: Points of a distribution's line: all that a phone's width can show.
_POINTS = 160


def ttft_bars(levels: Sequence[Level]) -> Figure:
    """A bar a level: the median with its interval; a diamond at p95."""
    tops = [
        max([q.high or q.value for q in (level.hold.ttft_s.p50, level.hold.ttft_s.p95) if q] or [0.0])
        for level in levels
    ]
    factor, unit = units.duration_axis(max(tops))
    figure, axes = _bar_canvas(levels, f"TTFT ({unit}): bar p50 with its 95 % interval, diamond p95")
    top = 0.0
    for bar in side_by_side(levels):
        p50, p95 = bar.level.hold.ttft_s.p50, bar.level.hold.ttft_s.p95
        if p50 is None:
            _told(axes, 0.0, bar.x, "no ok request")
            continue
        _bar(axes, bar.x, p50.value * factor, bar.level.system_prompt)
        _whisker(axes, bar.x, p50.value * factor, p50.low * factor, None if p50.high is None else p50.high * factor)
        end = max(p50.value, p50.high or 0.0)
        text = units.quantile(p50)
        if p95 is not None:
            axes.plot(
                p95.value * factor,
                bar.x,
                marker="D",
                markersize=5,
                color=PAPER,
                markeredgecolor=INK,
                ls="none",
                markeredgewidth=1.2,
            )
            end, text = max(end, p95.value), f"{text}, p95 {units.quantile(p95)}"
        _told(axes, end * factor, bar.x, text)
        top = max(top, end * factor)
    _from_zero(axes, top, 1.75)
    return figure


def rate_bars(levels: Sequence[Level], rates: Mapping[int, Estimate | None]) -> Figure:
    """A bar a level: output tokens a second of all users, with its interval where there is one."""
    figure, axes = _bar_canvas(levels, "output tokens/s, all users together, with the 95 % interval")
    top = 0.0
    for bar in side_by_side(levels):
        value, estimate = bar.level.hold.token_rate, rates.get(bar.level.stage)
        if value is None:
            _told(axes, 0.0, bar.x, "no value")
            continue
        _bar(axes, bar.x, value, bar.level.system_prompt)
        end = value
        if estimate is not None and estimate.low is not None:
            _whisker(axes, bar.x, value, estimate.low, estimate.high)
            end = max(value, estimate.high or 0.0)
        _told(axes, end, bar.x, units.rate(value))
        top = max(top, end)
    _from_zero(axes, top, 1.25)
    return figure


def _bar_canvas(levels: Sequence[Level], what: str) -> tuple[Figure, Axes]:
    from matplotlib.patches import Patch

    bars = side_by_side(levels)
    names = {bar.group: f"{bar.level.name}{'' if bar.level.complete else NOT_COMPLETE} users" for bar in bars}
    height_in = _HEAD_IN + _FOOT_IN + _BAR_IN * (len(bars) + 0.6 * len(names))
    figure, axes = canvas(height_in, 0.1 + _LETTER_IN * max(map(len, names.values())), _FOOT_IN)
    axes.set_yticks(list(names), list(names.values()), parse_math=False)
    axes.set_ylim(len(names) - 0.5, -0.5)
    axes.xaxis.set_major_formatter(lambda value, _position: units.tick(value))
    axes.grid(visible=False, axis="y")
    axes.grid(visible=True, axis="x", color=LINE, linewidth=0.8)
    axes.tick_params(axis="y", labelcolor=INK)
    name_axes(axes, "", what)
    modes = [mode for mode in PROMPT if any(level.system_prompt == mode for level in levels)]
    keys = [
        Patch(facecolor=_COLOURS[mode], hatch=HATCHES[mode], edgecolor=PAPER, linewidth=0, label=PROMPT[mode])
        for mode in modes
    ]
    if len(keys) > 1:
        axes.legend(
            handles=keys,
            loc="upper center",
            bbox_to_anchor=(0.4, -0.3 / (height_in - _HEAD_IN - _FOOT_IN)),
            ncols=2,
            frameon=False,
            fontsize=SMALL_PT,
            labelcolor=INK,
        )
    return figure, axes


def _from_zero(axes: Axes, top: float, room: float) -> None:
    """An axis that has its numbers up to `top`, and room for what is written beside the bars."""
    from matplotlib.ticker import MaxNLocator

    axes.set_xlim(0, (top or 1.0) * room)
    if not top:
        axes.set_xticks([])  # no bar: numbers would be of nothing
        return
    axes.set_xticks([tick for tick in MaxNLocator(4, steps=[1, 2, 2.5, 5, 10]).tick_values(0, top) if tick <= top])


def _bar(axes: Axes, y: float, width: float, mode: str) -> None:
    axes.barh(y, width, BAR * 0.92, color=_COLOURS[mode], hatch=HATCHES[mode], edgecolor=PAPER, linewidth=0)


def _whisker(axes: Axes, y: float, value: float, low: float, high: float | None) -> None:
    """Only its lower half where the upper end is unknown, and none where both are."""
    if low <= 0 and high is None:
        return
    below, above = max(value - low, 0.0), max((value if high is None else high) - value, 0.0)
    axes.errorbar(value, y, xerr=[[below], [above]], fmt="none", ecolor=INK, elinewidth=1.2, capsize=3, capthick=1.2)


def _told(axes: Axes, x: float, y: float, text: str) -> None:
    axes.annotate(
        text,
        (x, y),
        xytext=(7, 0),
        textcoords="offset points",
        ha="left",
        va="center",
        fontsize=SMALL_PT,
        color=INK,
        parse_math=False,
    )


def spread(curves: Mapping[str, tuple[Series, Series]], what: str, in_buckets: bool = False) -> Figure:
    """Cumulative distributions: of each level's name the values in seconds, ascending, and the share (0 to 1) of all
    that is at most each. in_buckets: known at these values alone."""
    factor, unit = units.duration_axis(max(float(values[-1]) for values, _ in curves.values()))
    figure, axes = canvas()
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
    name_axes(axes, f"{what} ({unit})" + (", logarithmic" if high > 8 * low else ""), "% at most this")
    legend(axes)
    return figure


def _log_axis(axes: Axes, low: float, high: float) -> None:
    from matplotlib.ticker import NullFormatter, NullLocator

    axes.set_xscale("log")
    decades = range(int(np.floor(np.log10(low))), int(np.ceil(np.log10(high))) + 1)
    steps = (1, 2, 5) if high / low < 300 else (1,)
    ticks = [tick for decade in decades for step in steps if low <= (tick := step * 10.0**decade) <= high]
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
    figure, axes = canvas()
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
