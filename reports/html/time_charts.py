"""The page's charts over the time of the run, all on one axis: minutes since it began, each level's hold shaded."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import ceil
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from tokenswarm.metrics.intervals import Series
from tokenswarm.reports import units
from tokenswarm.reports.html.chart_style import SMALL_PT, canvas, legend, name_axes
from tokenswarm.reports.html.time_series import TimeSeries
from tokenswarm.reports.palette import BAD, DASHES, GREY, LINE, SERIES
from tokenswarm.run_folder.reader import Results
from tokenswarm.run_folder.schema import LevelSummary

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.ticker import Locator

#: Of an axis longer than this, all marks are at whole minutes.
_HOURS_FROM_S = 3600.0
_HEIGHT_IN, TIME_LEFT_IN = 2.8, 0.64
#: A level narrower than this share of the axis has no space for its name.
_NAMED_FROM = 0.07
#: A share of values so many times as high as the others would flatten their line; the fewest values to say so.
_FEW, _FAR, _FEWEST_VALUES = 0.01, 3.0, 50
#: Times in windows.csv are rounded to a millisecond.
_ROUNDING_S = 0.002


@dataclass(frozen=True, slots=True)
class Span:
    """When a level was there: its ramp, its hold from when to when, its drain's end; seconds since the run began."""

    level: LevelSummary
    began_s: float
    hold_began_s: float
    hold_ended_s: float
    ended_s: float


@dataclass(frozen=True, slots=True)
class Line:
    """What is drawn: its name (empty where the chart's own will do), places in seconds since the run began, values; a
    NaN breaks it."""

    name: str
    time_s: Series
    values: Series


def spans_of(results: Results, series: TimeSeries) -> list[Span]:
    """The levels that have windows, in the order of time."""
    planned = {level.index: level for level in results.run.plan}
    spans = []
    for level in results.summary.levels:
        inside = series.level_index == level.index
        if not inside.any():
            continue
        began_s, ended_s = float(series.start_s[inside][0]), float(series.end_s[inside][-1])
        plan = planned.get(level.index)
        ramp_s = plan.ramp_s if plan else 0.0
        length_s = plan.level_time_s if plan and plan.level_time_s is not None else ended_s - began_s
        if plan and (plan.requests is not None or not level.complete):
            length_s = ramp_s + level.hold.seconds
        spans.append(Span(level, began_s, began_s + ramp_s, min(ended_s, began_s + length_s), ended_s))
    return sorted(spans, key=lambda span: span.began_s)


def before_drains(series: TimeSeries, spans: Sequence[Span]) -> Series:
    """The token rate, NaN in windows that reach into a drain, where it falls because nothing new is sent."""
    ends_s = {span.level.index: span.hold_ended_s for span in spans}
    hold_ends_s = np.array([ends_s.get(int(level), np.inf) for level in series.level_index])
    rates: Series = np.where(series.end_s <= hold_ends_s + _ROUNDING_S, series.token_rate, np.nan)
    return rates


def broken(series: TimeSeries, values: Series) -> Line:
    """A line that is broken between levels."""
    edges = np.flatnonzero(series.level_index[1:] != series.level_index[:-1]) + 1
    return Line("", np.insert(series.middle_s, edges, series.start_s[edges]), np.insert(values, edges, np.nan))


def users_line(series: TimeSeries, spans: Sequence[Span], values: Series) -> Line:
    """Users or requests in flight as they were: from nothing at each level's beginning, straight from count to count in
    the ramp. Each later count, made at the end of a window, is a step over the time since the one before. The last
    count of a hold lasts to its end, where they fall: most of a drain is shorter than a window."""
    points: list[tuple[float, float]] = []
    for span in spans:
        inside = series.level_index == span.level.index
        points += _users_points(span, list(zip(series.end_s[inside], values[inside], strict=True)))
    return Line("", np.array([when_s for when_s, _ in points]), np.array([count for _, count in points]))


def _users_points(span: Span, at_ends: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """Of a level: (when, how many). at_ends: at the end of each window."""
    until_s = span.hold_ended_s + _ROUNDING_S
    before = [point for point in at_ends if point[0] <= until_s]
    if not before:  # the level is shorter than a window
        return [(span.began_s, 0.0), *at_ends]
    in_hold = [count for end_s, count in before if end_s >= span.hold_began_s]
    corner = [(span.hold_began_s, in_hold[0])] if in_hold else []
    last = (max(span.hold_ended_s, before[-1][0]), before[-1][1])
    points = [(span.began_s, 0.0)]
    for when_s, count in (*sorted([*corner, *before]), last, *at_ends[len(before) :]):
        if when_s > span.hold_began_s:
            points.append((points[-1][0], count))
        points.append((when_s, count))
    return points


def sampled_line(name: str, time_s: Series, values: Series, spans: Sequence[Span]) -> Line:
    """What was sampled now and then. It stays as it is from the last sample of a hold to the hold's end; in the drain,
    it is from each sample on as in the next one. So a fall is not drawn as long as a pause of the sampling."""
    points: list[tuple[float, float]] = []
    for when_s, value in zip(time_s.tolist(), values.tolist(), strict=True):
        span = next((span for span in spans if span.hold_ended_s < when_s <= span.ended_s), None)
        if span is not None and points and points[-1][0] >= span.began_s:
            falls_s = max(points[-1][0], span.hold_ended_s)
            points += [(falls_s, points[-1][1]), (falls_s, value)]
        points.append((when_s, value))
    return Line(name, np.array([when_s for when_s, _ in points]), np.array([value for _, value in points]))


def axis_end(lines: Sequence[Series]) -> float | None:
    """Where an axis ends that a few far higher values would flatten all others on; None where all of them fit."""
    known = [np.sort(values[~np.isnan(values)]) for values in lines]
    known = [values for values in known if len(values)]
    if not known:
        return None
    highest = max(float(values[-1]) for values in known)
    few = [ceil(len(values) * _FEW) if len(values) >= _FEWEST_VALUES else 0 for values in known]
    usual = max(float(values[-1 - number]) for values, number in zip(known, few, strict=True))
    return usual * _FAR / 2 if highest > _FAR * usual > 0 else None


def over_time(
    spans: Sequence[Span],
    lines: Sequence[Line],
    what: str,
    failures: Mapping[float, float] | None = None,
    end: float | None = None,
) -> Figure:
    """Lines over the run's time; failures: seconds since the run began, and how many failed then; end: of the axis,
    values beyond which are marked there."""
    names = [line.name for line in lines if line.name] + ["requests failed"] * bool(failures)
    figure, axes = canvas(_HEIGHT_IN, TIME_LEFT_IN, legend_of=names)
    for number, line in enumerate(lines):
        axes.plot(line.time_s, line.values, color=SERIES[number], ls=DASHES[number], linewidth=1.4, label=line.name)
        alone = _alone(line.values)
        axes.plot(line.time_s[alone], line.values[alone], ls="none", marker="o", markersize=3.5, color=SERIES[number])
    axes.set_ylim(0, end)
    if end is not None:
        _mark_beyond(axes, lines, end)
    if failures:
        axes.plot(
            list(failures),
            [0.03] * len(failures),
            ls="none",
            marker="x",
            color=BAD,
            markersize=6,
            clip_on=False,
            markeredgewidth=1.6,
            transform=axes.get_xaxis_transform(),
            label="requests failed",
        )
    _shade(axes, spans, min((float(line.time_s[0]) for line in lines if len(line.time_s)), default=np.inf))
    name_axes(axes, mark_times(axes), what)
    if failures or any(line.name for line in lines):
        legend(axes)
    return figure


def _mark_beyond(axes: Axes, lines: Sequence[Line], end: float) -> None:
    for number, line in enumerate(lines):
        beyond = line.time_s[line.values > end]
        look: dict[str, Any] = {"ls": "none", "marker": "^", "markersize": 5, "color": SERIES[number]}
        axes.plot(beyond, [0.97] * len(beyond), transform=axes.get_xaxis_transform(), **look)


def _alone(values: Series) -> NDArray[np.bool_]:
    """Which values have no neighbour that a line could lead to: of a short level, the only window."""
    known = np.pad(~np.isnan(values), 1)
    alone: NDArray[np.bool_] = known[1:-1] & ~known[:-2] & ~known[2:]
    return alone


def _shade(axes: Axes, spans: Sequence[Span], first_s: float) -> None:
    """first_s: of the lines, which a warm-up begins."""
    for span in spans:
        axes.axvspan(span.hold_began_s, span.hold_ended_s, color=LINE, alpha=0.45, linewidth=0, zorder=0)
    name_levels(axes, spans, first_s)
    low, high = axes.get_ylim()
    axes.set_ylim(low, high * 1.12 if high > 0 else 1.0)  # space for the names


def name_levels(axes: Axes, spans: Sequence[Span], first_s: float) -> None:
    """Lay the axis from first_s, or from the first level where that is earlier, to the last level's end, and write each
    level's name at the top, over its hold."""
    left, right = min(spans[0].began_s, first_s), spans[-1].ended_s
    axes.set_xlim(left, max(right, left + 1.0))
    both = len({span.level.system_prompt for span in spans}) > 1
    for span in spans:
        if (span.hold_ended_s - span.began_s) / max(right - left, 1.0) >= _NAMED_FROM:
            name = span.level.level + (" +" if both and span.level.system_prompt == "on" else "")
            axes.annotate(
                name,
                ((span.hold_began_s + span.hold_ended_s) / 2, 1),
                xycoords=axes.get_xaxis_transform(),
                xytext=(0, -2),
                textcoords="offset points",
                ha="center",
                va="top",
                fontsize=SMALL_PT - 1,
                color=GREY,
                parse_math=False,
            )


def mark_times(axes: Axes) -> str:
    """Mark seconds since the run began on the horizontal axis, from its limits. Returns the name of the axis."""
    left, right = axes.get_xlim()
    is_long = right - left > _HOURS_FROM_S
    text_of = units.hours if is_long else units.clock
    axes.xaxis.set_major_locator(whole_times(right - left))
    axes.xaxis.set_major_formatter(lambda value, _position: text_of(max(value, 0.0)))
    return f"time since the run began ({'h:min' if is_long else 'min:s'})"


def whole_times(length_s: float) -> Locator:
    """The marks of an axis of so many seconds, at whole numbers of seconds, minutes or hours."""
    from matplotlib.ticker import MultipleLocator

    steps = (5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14400, 28800, 86400)
    return MultipleLocator(next((step for step in steps if length_s / step <= 6), steps[-1]))
