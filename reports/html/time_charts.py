"""The page's charts over the time of the run, all on one axis: minutes since it began, each level's hold shaded."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from reports import units
from reports.courses import Course
from reports.drawing import BAD, DASHES, GREY, LINE, SERIES, SMALL_PT, canvas, legend, name_axes
from reports.intervals import Series
from reports.results import Level, Results

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.ticker import Locator

_HEIGHT_IN, _LEFT_IN = 2.7, 0.55
#: A stage narrower than this share of the axis has no room for its name.
_NAMED_FROM = 0.07
#: Times in windows.csv are rounded to a millisecond.
_ROUNDING_S = 0.002


@dataclass(frozen=True, slots=True)
class Span:
    """When a level was there: its ramp, its hold from when to when, its drain's end; seconds since the run began."""

    level: Level
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


def spans_of(results: Results, course: Course) -> list[Span]:
    """The levels that have windows, in the order of time."""
    planned = {stage.stage: stage for stage in results.run.plan}
    spans = []
    for level in results.summary.levels:
        inside = course.stage == level.stage
        if not inside.any():
            continue
        began_s, ended_s = float(course.start_s[inside][0]), float(course.end_s[inside][-1])
        stage = planned.get(level.stage)
        ramp_s = stage.ramp_s if stage else 0.0
        length_s = stage.level_time_s if stage and stage.level_time_s is not None else ended_s - began_s
        spans.append(Span(level, began_s, began_s + ramp_s, min(ended_s, began_s + length_s), ended_s))
    return spans


def before_drains(course: Course, spans: Sequence[Span]) -> Series:
    """The token rate, NaN in windows that reach into a drain, where it falls because nothing new is sent."""
    ends_s = {span.level.stage: span.hold_ended_s for span in spans}
    hold_ends_s = np.array([ends_s.get(int(stage), np.inf) for stage in course.stage])
    rates: Series = np.where(course.end_s <= hold_ends_s + _ROUNDING_S, course.token_rate, np.nan)
    return rates


def broken(course: Course, values: Series) -> Line:
    """A line that is broken between stages."""
    edges = np.flatnonzero(course.stage[1:] != course.stage[:-1]) + 1
    return Line("", np.insert(course.middle_s, edges, course.start_s[edges]), np.insert(values, edges, np.nan))


def over_time(
    spans: Sequence[Span], lines: Sequence[Line], what: str, failures: Mapping[float, float] | None = None
) -> Figure:
    """Lines over the run's time; failures: seconds since the run began, and how many failed then."""
    figure, axes = canvas(_HEIGHT_IN, _LEFT_IN)
    for number, line in enumerate(lines):
        axes.plot(line.time_s, line.values, color=SERIES[number], ls=DASHES[number], linewidth=1.4, label=line.name)
        alone = _alone(line.values)
        axes.plot(line.time_s[alone], line.values[alone], ls="none", marker="o", markersize=3.5, color=SERIES[number])
    axes.set_ylim(bottom=0)
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
    _shade(axes, spans)
    axes.xaxis.set_major_formatter(lambda value, _position: units.clock(max(value, 0.0)))
    name_axes(axes, "time since the run began (min:s)", what)
    if failures or any(line.name for line in lines):
        legend(axes)
    return figure


def _alone(values: Series) -> NDArray[np.bool_]:
    """Which values have no neighbour that a line could lead to: of a short level, the only window."""
    known = np.pad(~np.isnan(values), 1)
    alone: NDArray[np.bool_] = known[1:-1] & ~known[:-2] & ~known[2:]
    return alone


def _shade(axes: Axes, spans: Sequence[Span]) -> None:
    left, right = spans[0].began_s, spans[-1].ended_s
    axes.set_xlim(left, max(right, left + 1.0))
    axes.xaxis.set_major_locator(_whole_times(right - left))
    both = len({span.level.system_prompt for span in spans}) > 1
    for span in spans:
        axes.axvspan(span.hold_began_s, span.hold_ended_s, color=LINE, alpha=0.45, linewidth=0, zorder=0)
        if (span.hold_ended_s - span.began_s) / (right - left) >= _NAMED_FROM:
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
    low, high = axes.get_ylim()
    axes.set_ylim(low, high * 1.12 if high > 0 else 1.0)  # room for the names


def _whole_times(length_s: float) -> Locator:
    from matplotlib.ticker import MultipleLocator

    steps = (5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14400, 28800, 86400)
    return MultipleLocator(next((step for step in steps if length_s / step <= 6), steps[-1]))
