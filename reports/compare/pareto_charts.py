"""Charts of a comparison's Pareto planes: a box of intervals for each server and level, as PNG and inside a page."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from tokenswarm.metrics.intervals import Pooled
from tokenswarm.metrics.level import PROMPT, users_of
from tokenswarm.reports import units
from tokenswarm.reports.compare.comparison import USER_RATE, RunComparison
from tokenswarm.reports.compare.comparison_charts import (
    DPI,
    LEFT,
    PANEL_IN,
    RIGHT,
    WIDTH_IN,
    head_lines,
    legend_size,
    modes_of,
    write_lines,
)
from tokenswarm.reports.compare.pareto import PLANES, ParetoPlane, ParetoPoint, pareto_points, per_gpu
from tokenswarm.reports.html.chart_style import SMALL_PT, canvas, legend, name_axes, spoken, style, svg_of
from tokenswarm.reports.html.document import Chart, Table
from tokenswarm.reports.palette import GREY, INK, LINE, PAPER, SERIES
from tokenswarm.run_folder.reader import ReportError

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

FILE = "pareto.png"
NOTE = (
    "Boxes are 95 % intervals. Grey: another point is significantly better in both figures. Dashed: the Pareto front, "
    "the points that no other one exceeds by its values."
)
_MARKERS = "osD^vP"
_FRONT_DASHES = (0, (4, 3))


class _Scale(NamedTuple):
    """What values of a figure are multiplied by on its axis, and what the axis is called."""

    factor: float
    name: str


def draw_pareto(comparison: RunComparison, folder: Path) -> list[Path]:
    """Write FILE into `folder`, which exists, over an older one. Returns its path, or none where there is no point to
    draw. Raises ReportError."""
    figure = _figure(comparison)
    if figure is None:
        return []
    try:
        figure.savefig(folder / FILE, dpi=DPI)
    except OSError as error:
        raise ReportError(f"The charts cannot be written to {folder}: {error.strerror or error}.") from error
    return [folder / FILE]


def _figure(comparison: RunComparison) -> Figure | None:
    """A panel for each plane and system-prompt mode that has points, under the title and the warnings."""
    from matplotlib.figure import Figure

    panels = _panels(comparison)
    if not panels:
        return None
    lines, head_in = head_lines(comparison, "Throughput against latency")
    columns, legend_in = legend_size(comparison, WIDTH_IN)
    foot_in, between_in = 0.85 + legend_in, 0.8
    height_in = head_in + (PANEL_IN + between_in) * len(panels) - between_in + foot_in
    figure = Figure(figsize=(WIDTH_IN, height_in), facecolor="white")
    write_lines(figure, lines)
    for place, (plane, mode, points) in enumerate(panels):
        bottom_in = foot_in + (len(panels) - 1 - place) * (PANEL_IN + between_in)
        axes = figure.add_axes((LEFT, bottom_in / height_in, RIGHT - LEFT, PANEL_IN / height_in))
        style(axes)
        across, up = _draw(axes, comparison, plane, points)
        axes.set_title(f"{up}, {PROMPT[mode]}", loc="left", fontsize=10, color=GREY)
        axes.set_xlabel(across, fontsize=10, color=GREY)
    keys, names = axes.get_legend_handles_labels()
    figure.legend(
        keys, names, loc="lower left", bbox_to_anchor=(LEFT - 0.02, 0.25 / height_in), ncols=columns, frameon=False
    )
    figure.text(LEFT - 0.02, 0.1 / height_in, NOTE, fontsize=8, color=GREY, va="bottom", parse_math=False)
    return figure


def _panels(comparison: RunComparison) -> list[tuple[ParetoPlane, str, list[ParetoPoint]]]:
    """The planes and system-prompt modes that have points."""
    return [
        (plane, mode, points)
        for plane in PLANES
        for mode in modes_of(comparison)
        if (points := pareto_points(comparison, plane, mode))
    ]


def page_charts(comparison: RunComparison) -> list[Chart]:
    """The charts for a page, one for each plane and system-prompt mode that has points."""
    columns, legend_in = legend_size(comparison, 4.7)
    foot_in = 0.5 + legend_in
    charts = []
    for plane, mode, points in _panels(comparison):
        figure, axes = canvas(height_in=2.9 + foot_in, foot_in=foot_in)
        across, up = _draw(axes, comparison, plane, points)
        name_axes(axes, across, up)
        legend(axes, columns)
        title = f"Throughput against {plane.words}, {PROMPT[mode]}"
        svg = svg_of(figure, f"pareto{plane.key}{mode}")
        charts.append(Chart(title, svg, _spoken(title, points), "", _table(title, plane, points)))
    return charts


def _draw(axes: Axes, comparison: RunComparison, plane: ParetoPlane, points: Sequence[ParetoPoint]) -> tuple[str, str]:
    """Draw the points. Returns the names of the axes, with their units."""
    across = _across(plane, points)
    up = f"tokens/s per {'GPU' if per_gpu(comparison) else 'server'}: up is better"
    axes.grid(visible=True, axis="x", color=LINE, linewidth=0.8)
    axes.xaxis.set_major_formatter(lambda value, _position: units.tick(round(value, 10)))
    for number, server in enumerate(comparison.servers):
        own = [point for point in points if point.server is server]
        colour = SERIES[number % len(SERIES)]
        xs = [point.across.estimate.value * across.factor for point in own]
        ys = [point.up.estimate.value for point in own]
        axes.plot(xs, ys, color=colour, linewidth=1.0, alpha=0.55, zorder=2)
        for point, x, y in zip(own, xs, ys, strict=True):
            _box(axes, point, across.factor, GREY if point.dominated else colour)
            _label(axes, point, x, y)
        look: dict[str, Any] = {
            "marker": _MARKERS[number % len(_MARKERS)],
            "ls": "none",
            "markeredgecolor": PAPER,
            "markersize": 6,
        }
        for is_dominated, fill in ((False, colour), (True, GREY)):
            chosen = [place for place, point in enumerate(own) if point.dominated is is_dominated]
            axes.plot([xs[at] for at in chosen], [ys[at] for at in chosen], color=fill, zorder=4, **look)
        axes.plot([], [], color=colour, label=server.name, **look)  # the legend's: a server's points may all be grey
    front = sorted(
        (point.across.estimate.value * across.factor, point.up.estimate.value) for point in points if point.on_front
    )
    # Between two of its points, the front is what the worse one of either figure still offers.
    stairs = "steps-pre" if plane.across.higher_is_better else "steps-post"
    axes.plot(*zip(*front, strict=True), color=INK, linewidth=1.0, ls=_FRONT_DASHES, drawstyle=stairs, zorder=3)
    _limits(axes, points, across.factor)
    return across.name, up


def _box(axes: Axes, point: ParetoPoint, factor: float, colour: str) -> None:
    """The intervals of both figures; where an end is not known the box ends at the value."""
    from matplotlib.patches import Rectangle

    (left, right), (bottom, top) = _ends(point.across), _ends(point.up)
    place, width, height = (left * factor, bottom), (right - left) * factor, top - bottom
    axes.add_patch(Rectangle(place, width, height, facecolor=colour, alpha=0.22, linewidth=0, zorder=1))
    axes.add_patch(Rectangle(place, width, height, fill=False, edgecolor=colour, linewidth=0.9, zorder=2))


def _ends(pooled: Pooled) -> tuple[float, float]:
    estimate = pooled.estimate
    value = estimate.value
    return min(value if estimate.low is None else estimate.low, value), max(
        value if estimate.high is None else estimate.high, value
    )


def _label(axes: Axes, point: ParetoPoint, x: float, y: float) -> None:
    axes.annotate(
        point.level.name,
        (x, y),
        xytext=(5, 5),
        textcoords="offset points",
        fontsize=SMALL_PT - 1,
        color=GREY if point.dominated else INK,
        zorder=5,
        parse_math=False,
    )


def _limits(axes: Axes, points: Sequence[ParetoPoint], factor: float) -> None:
    right = max(_ends(point.across)[1] for point in points) * factor
    top = max(_ends(point.up)[1] for point in points)
    axes.set_xlim(0, right * 1.1 or 1.0)
    axes.set_ylim(0, top * 1.12 or 1.0)


def _across(plane: ParetoPlane, points: Sequence[ParetoPoint]) -> _Scale:
    if plane.across is USER_RATE:
        return _Scale(1.0, "tokens/s per user, median: right is better")
    factor, unit = units.duration_axis(max(_ends(point.across)[1] for point in points))
    return _Scale(factor, f"{plane.words} ({unit}): left is better")


def _table(title: str, plane: ParetoPlane, points: Sequence[ParetoPoint]) -> Table:
    headings = ["users", "server", plane.across.name, "tokens/s", "on the front", "dominated"]
    return Table(f"The points of {title}", headings, list(_rows(plane, points)))


def _rows(plane: ParetoPlane, points: Sequence[ParetoPoint]) -> Iterator[list[str]]:
    for point in points:
        value = point.across.estimate.value
        across = units.rate(value) if plane.across is USER_RATE else units.duration(value)
        up = units.rate(point.up.estimate.value)
        marks = ("yes" if point.on_front else "no", "significantly" if point.dominated else "no")
        yield [point.level.name, point.server.name, across, up, *marks]


def _spoken(title: str, points: Sequence[ParetoPoint]) -> str:
    front = [f"{point.server.name} at {users_of(point.level.name)}" for point in points if point.on_front]
    grey = [f"{point.server.name} at {users_of(point.level.name)}" for point in points if point.dominated]
    behind = f" Significantly dominated: {spoken(grey)}." if grey else ""
    return f"{title}. On the Pareto front: {spoken(front)}.{behind}"
