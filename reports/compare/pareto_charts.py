"""Charts of a comparison's Pareto planes: a box of intervals for each server and level, as PNG and inside a page."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from tokenswarm.metrics.intervals import Pooled
from tokenswarm.metrics.level import PROMPT, users_of
from tokenswarm.reports import units
from tokenswarm.reports.compare.comparison import USER_RATE, Compared, RunComparison
from tokenswarm.reports.compare.comparison_charts import (
    DPI,
    LEFT,
    PANEL_IN,
    RIGHT,
    WIDTH_IN,
    head_lines,
    modes_of,
    with_mode,
    write_lines,
)
from tokenswarm.reports.compare.label_places import Box, label_places
from tokenswarm.reports.compare.pareto import PLANES, ParetoPlane, ParetoPoint, pareto_points, per_gpu
from tokenswarm.reports.html.chart_style import (
    OPEN_NOTE,
    OPEN_PT,
    SMALL_PT,
    canvas,
    legend,
    legend_size,
    name_axes,
    open_arrow,
    spoken,
    style,
    svg_of,
)
from tokenswarm.reports.html.document import Block, Chart, Charts, Table, Text
from tokenswarm.reports.palette import GREY, INK, LABELS, LINE, PAPER, SERIES
from tokenswarm.run_folder.reader import ReportError

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

FILE = "pareto.png"
NOTE = (
    "Grey: another point is significantly better in both figures. Dashed: the Pareto front, the points that no other "
    "one exceeds by its values."
)
#: What the intervals are drawn as, by whether a point has those of both figures, and whether one has that of one alone.
_INTERVALS = {
    (True, False): "Boxes are 95 % intervals.",
    (True, True): "Boxes are 95 % intervals. A line is the interval of one figure where the other one has none.",
    (False, True): "Lines are 95 % intervals of one figure; the other one has none.",
    (False, False): "No point has a 95 % interval.",
}
_MARKERS = "osD^vP"
_FRONT_DASHES = (0, (4, 3))
#: Width of a digit against its size.
_LETTER = 0.64


#: A plane, its system-prompt mode and its points.
Panel = tuple[ParetoPlane, str, list[ParetoPoint]]


class _Scale(NamedTuple):
    """What values of a figure are multiplied by on its axis, and what the axis is called."""

    factor: float
    name: str


def draw_pareto(comparison: RunComparison, folder: Path) -> list[Path]:
    """Write FILE into `folder`, which exists, over an older one. Returns its path, or none where there is no point to
    draw. Raises ReportError."""
    figure = figure_of(comparison)
    if figure is None:
        return []
    try:
        figure.savefig(folder / FILE, dpi=DPI)
    except OSError as error:
        raise ReportError(f"The charts cannot be written to {folder}: {error.strerror or error}.") from error
    return [folder / FILE]


def figure_of(comparison: RunComparison) -> Figure | None:
    """A panel for each plane and system-prompt mode that has points, under the title and the warnings."""
    from matplotlib.figure import Figure

    panels = _panels(comparison)
    if not panels:
        return None
    lines, head_in = head_lines(comparison, "Throughput against latency")
    columns, legend_in = legend_size([server.name for server in comparison.servers], WIDTH_IN)
    notes = textwrap.wrap(_note(comparison, panels), 150)
    notes_in = 0.14 * len(notes)
    foot_in, between_in = 0.7 + notes_in + legend_in, 0.8
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
        keys,
        names,
        loc="lower left",
        bbox_to_anchor=(LEFT - 0.02, (0.12 + notes_in) / height_in),
        ncols=columns,
        frameon=False,
    )
    text = "\n".join(notes)
    figure.text(LEFT - 0.02, 0.1 / height_in, text, fontsize=8, color=GREY, va="bottom", parse_math=False)
    return figure


def _panels(comparison: RunComparison) -> list[Panel]:
    """The planes and system-prompt modes that have points."""
    return [
        (plane, mode, points)
        for plane in PLANES
        for mode in modes_of(comparison)
        if (points := pareto_points(comparison, plane, mode))
    ]


def page_blocks(comparison: RunComparison) -> list[Block]:
    """The charts for a page, one for each plane and system-prompt mode that has points, under how they are read."""
    panels = _panels(comparison)
    return [Text(_note(comparison, panels), style="quiet"), Charts(_charts(comparison, panels))] if panels else []


def _charts(comparison: RunComparison, panels: Sequence[Panel]) -> list[Chart]:
    names = [server.name for server in comparison.servers]
    charts = []
    for plane, mode, points in panels:
        figure, axes = canvas(height_in=3.7, legend_of=names)
        across, up = _draw(axes, comparison, plane, points)
        name_axes(axes, across, up)
        legend(axes)
        title = f"Throughput against {plane.words}{with_mode(comparison, mode)}"
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
        for point in own:
            _box(axes, point, plane, across.factor, GREY if point.dominated else colour)
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
    _label(axes, comparison, points, across.factor)
    return across.name, up


def _box(axes: Axes, point: ParetoPoint, plane: ParetoPlane, factor: float, colour: str) -> None:
    """The intervals of both figures. Where an end is not known, the box ends at the value, with an arrow there."""
    from matplotlib.patches import Rectangle

    (left, right), (bottom, top) = _ends(plane.across, point.across, factor), _ends(plane.up, point.up)
    x, y = point.across.estimate.value * factor, point.up.estimate.value
    xs = [min(x if left is None else left, x), max(x if right is None else right, x)]
    ys = [min(y if bottom is None else bottom, y), max(y if top is None else top, y)]
    size = (xs[1] - xs[0], ys[1] - ys[0])
    axes.add_patch(Rectangle((xs[0], ys[0]), *size, facecolor=colour, alpha=0.22, linewidth=0, zorder=1))
    for known, edge_xs, edge_ys in (
        (left, xs[:1] * 2, ys),
        (right, xs[1:] * 2, ys),
        (bottom, xs, ys[:1] * 2),
        (top, xs, ys[1:] * 2),
    ):
        if known is not None:
            axes.plot(edge_xs, edge_ys, color=colour, linewidth=0.9, zorder=2)
    if not all(size):  # one of the figures has no interval
        axes.plot(xs, ys, color=colour, linewidth=0.9, zorder=2)
    for along, ends in (((OPEN_PT, 0.0), (left, right)), ((0.0, OPEN_PT), (bottom, top))):
        if ends.count(None) == 1:
            sign = 1 if ends[1] is None else -1
            open_arrow(axes, (x, y), (sign * along[0], sign * along[1]), colour, 0.9)


def _ends(compared: Compared, pooled: Pooled, factor: float = 1.0) -> tuple[float | None, float | None]:
    """Of its interval as it is drawn, None for an end that is not known."""
    low, high = compared.known_ends(pooled.estimate)
    return None if low is None else low * factor, None if high is None else high * factor


def _note(comparison: RunComparison, panels: Sequence[Panel]) -> str:
    """How the charts are read; what lines and arrows mean, where there are some."""
    open_loop = all(
        level.open_loop is not None
        for server in comparison.servers
        for run in server.runs
        for level in run.results.summary.levels
    )
    ends = [
        (_ends(plane.across, point.across), _ends(plane.up, point.up))
        for plane, _, points in panels
        for point in points
    ]
    numbers = {sum(one != (None, None) for one in of_point) for of_point in ends}
    is_open = any(one.count(None) == 1 for of_point in ends for one in of_point)
    load = "requests/s" if open_loop else "users"
    beside = f"The number beside a point is its {load}. It is left out where it would cover another or be "
    beside += "nearer to another point."
    drawn = _INTERVALS[2 in numbers, 1 in numbers]
    return " ".join([drawn, *([OPEN_NOTE] if is_open else []), NOTE, beside])


def _label(axes: Axes, comparison: RunComparison, points: Sequence[ParetoPoint], factor: float) -> None:
    """Each point's load beside it, in its server's colour, those of the front first; none where it would cover another
    one or be nearer to another point."""
    important = sorted(points, key=lambda point: (not point.on_front, point.dominated))
    data = [(point.across.estimate.value * factor, point.up.estimate.value) for point in important]
    scale = 72 / axes.figure.dpi
    at_pt: list[tuple[float, float]] = [(x * scale, y * scale) for x, y in axes.transData.transform(data)]
    size_pt = SMALL_PT - 1
    sizes = [(_LETTER * size_pt * len(point.level.name), size_pt) for point in important]
    plot = axes.get_window_extent()
    area = Box(*(edge * scale for edge in (plot.x0, plot.y0, plot.x1, plot.y1)))
    series = [comparison.servers.index(point.server) for point in important]
    places = label_places(at_pt, sizes, area, series)
    for point, number, xy, at, place in zip(important, series, data, at_pt, places, strict=True):
        if place is None:
            continue
        axes.annotate(
            point.level.name,
            xy,
            xytext=(place[0] - at[0], place[1] - at[1]),
            textcoords="offset points",
            fontsize=size_pt,
            color=GREY if point.dominated else LABELS[number % len(LABELS)],
            zorder=5,
            parse_math=False,
        )


def _limits(axes: Axes, points: Sequence[ParetoPoint], factor: float) -> None:
    right = max(_top(point.across) for point in points) * factor
    top = max(_top(point.up) for point in points)
    axes.set_xlim(0, right * 1.1 or 1.0)
    axes.set_ylim(0, top * 1.12 or 1.0)


def _top(pooled: Pooled) -> float:
    return max(pooled.estimate.value, pooled.estimate.high or 0.0)


def _across(plane: ParetoPlane, points: Sequence[ParetoPoint]) -> _Scale:
    if plane.across is USER_RATE:
        return _Scale(1.0, "tokens/s per user, median: right is better")
    factor, unit = units.duration_axis(max(_top(point.across) for point in points))
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
