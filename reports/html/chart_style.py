"""The style of a page's charts: matplotlib figures that become SVG in the page's own colours, light or dark.

A figure is drawn in the colours of LIGHT, which name the page's variables: svg_of puts the variables in their place.
Its width is a phone's, so that its letters can be read there; on a wide screen figures stand side by side.
"""

from __future__ import annotations

import io
import re
from collections.abc import Sequence
from math import ceil, floor, log10
from typing import TYPE_CHECKING

from tokenswarm.reports import units
from tokenswarm.reports.palette import GREY, INK, LIGHT, LINE

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

#: 72 of a figure's inches' parts are the SVG's units: 5.2 in are as wide as a phone's screen.
WIDTH_IN, HEIGHT_IN = 5.2, 3.3
LEFT_IN, FOOT_IN = 0.58, 0.8
_RIGHT_IN, _TOP_IN = 0.22, 0.32
#: Letters as a phone shows them; the page makes them smaller where charts are wider.
SMALL_PT = 11.0
#: A letter of the page's font against its size; a legend's width, and in points what an entry has besides its name.
_LETTER, _LEGEND_IN, _KEY_PT = 0.6, 5.0, 46.0
_LEGEND_LINE_IN = 0.2
_MOST_COLUMNS = 4
#: Marks of an axis at least, and decades from which on these alone are marked.
_FEWEST_TICKS, _MANY_DECADES = 3, 4
#: How long the arrow of an interval is towards an end that is not known, and what it means.
OPEN_PT = 13.0
OPEN_NOTE = "Arrow: this end of the interval is not known."

_VARIABLES = {colour: f"var(--{name})" for name, colour in LIGHT.items()}


def legend_size(names: Sequence[str], width_in: float = _LEGEND_IN) -> tuple[int, float]:
    """(columns of names that fit side by side, the height in inches of the rows that makes)."""
    longest_pt = _LETTER * SMALL_PT * max(map(len, names), default=0) + _KEY_PT
    columns = max(1, min(len(names), _MOST_COLUMNS, int(width_in * 72 / longest_pt)))
    return columns, _LEGEND_LINE_IN * ceil(len(names) / columns)


def canvas(
    height_in: float = HEIGHT_IN, left_in: float = LEFT_IN, foot_in: float = FOOT_IN, legend_of: Sequence[str] = ()
) -> tuple[Figure, Axes]:
    """An empty figure and its axes, without frame or decoration. Margins in inches: left_in for the ticks' labels,
    foot_in for what stands below the plot, one row of a legend included. They are fixed, so that charts above one
    another share their axis. legend_of: names in the legend; the figure is as high as its rows make it."""
    from matplotlib.figure import Figure

    more_in = legend_size(legend_of)[1] - _LEGEND_LINE_IN
    height_in, foot_in = height_in + more_in, foot_in + more_in
    figure = Figure(figsize=(WIDTH_IN, height_in))
    figure.patch.set_visible(False)
    left, bottom = left_in / WIDTH_IN, foot_in / height_in
    axes = figure.add_axes((left, bottom, 1 - left - _RIGHT_IN / WIDTH_IN, 1 - bottom - _TOP_IN / height_in))
    axes.patch.set_visible(False)
    style(axes)
    return figure, axes


def style(axes: Axes) -> None:
    """The page's look: a light grid for values, no box."""
    axes.tick_params(labelsize=SMALL_PT, colors=GREY, length=0)
    axes.grid(axis="y", color=LINE, linewidth=0.8)
    axes.set_axisbelow(True)
    axes.yaxis.set_major_formatter(lambda value, _position: units.tick(value))
    for name, spine in axes.spines.items():
        spine.set_visible(name == "bottom")
        spine.set_color(GREY)


def name_axes(axes: Axes, x: str, y: str, outdent_in: float = 0.0) -> None:
    """Each with its unit; the vertical one's stands above it, level, where it is read without turning one's head; by
    outdent_in inches left of the plot."""
    axes.set_xlabel(x, fontsize=SMALL_PT, color=GREY, labelpad=2)
    plot_in = axes.get_window_extent().width / axes.figure.dpi
    axes.set_title(y, loc="left", x=-outdent_in / plot_in, fontsize=SMALL_PT, color=GREY, pad=6)


def legend(axes: Axes) -> None:
    """Below the plot and the name of its axis, in the middle of the figure."""
    place = axes.get_window_extent()
    dpi = axes.figure.dpi
    columns, _ = legend_size(axes.get_legend_handles_labels()[1])
    axes.legend(
        loc="upper center",
        bbox_to_anchor=((WIDTH_IN / 2 * dpi - place.x0) / place.width, -0.42 * dpi / place.height),
        borderpad=0,
        ncols=columns,
        frameon=False,
        fontsize=SMALL_PT,
        labelcolor=INK,
        handlelength=2.6,
        columnspacing=1.4,
        labelspacing=0.3,
    )


def whisker(
    axes: Axes, x: float, value: float, ends: tuple[float | None, float | None], colour: str, width_pt: float = 1.2
) -> None:
    """An upright interval, nothing without an end. One end alone is drawn from the value on, and an arrow where the
    interval is open."""
    known = [end for end in ends if end is not None]
    if not known:
        return
    middle, half = (min(value, *known) + max(value, *known)) / 2, (max(value, *known) - min(value, *known)) / 2
    closed = len(known) == 2
    axes.errorbar(
        x, middle, yerr=half, fmt="none", ecolor=colour, elinewidth=width_pt, capsize=2.5 * closed, capthick=width_pt
    )
    if closed:
        return
    axes.plot(x, known[0], marker="_", markersize=6, color=colour, markeredgewidth=width_pt, ls="none", zorder=3)
    open_arrow(axes, (x, value), (0, -OPEN_PT if ends[0] is None else OPEN_PT), colour, width_pt)


def open_arrow(
    axes: Axes, at: tuple[float, float], to_pt: tuple[float, float], colour: str, width_pt: float = 1.2
) -> None:
    """An arrow from a value towards the end of its interval that is not known; to_pt: where to, in points from it."""
    axes.annotate(
        "",
        at,
        xytext=to_pt,
        textcoords="offset points",
        arrowprops={
            "arrowstyle": "<|-",
            "color": colour,
            "lw": width_pt,
            "ls": (0, (1.5, 1.5)),
            "shrinkA": 0,
            "shrinkB": 0,
        },
        zorder=3,
    )


def log_ticks(low: float, high: float) -> list[float]:
    """Marks of a logarithmic axis from low > 0 to high: 1, 2 and 5 in each decade, of a wide axis the decades alone, of
    a narrow one whole steps of 1, 2 or 5; three at least."""
    decades = range(floor(log10(low)), ceil(log10(high)) + 1)
    for steps in ((1,), (1, 2, 5)):
        ticks = [tick for decade in decades for step in steps if low <= (tick := step * 10.0**decade) <= high]
        if len(ticks) >= _MANY_DECADES or (len(ticks) >= _FEWEST_TICKS and len(steps) > 1):
            return ticks
    sizes = (step * 10.0**decade for decade in range(decades[-1], decades[0] - 9, -1) for step in (5, 2, 1))
    for size in sizes:
        if floor(high / size) - ceil(low / size) + 1 >= _FEWEST_TICKS:
            return [number * size for number in range(ceil(low / size), floor(high / size) + 1)]
    return [low, high]


def svg_of(figure: Figure, key: str) -> str:
    """The figure as SVG for the inside of a page, which sets the size of its letters: with 10 px they are as drawn.
    key: of letters and digits, another for each figure of the page, which its identifiers begin with."""
    import matplotlib as mpl

    out = io.StringIO()
    # Text stays text: small, sharp and searchable. Without dates and random names, one run is one page, byte for byte.
    with mpl.rc_context({"svg.fonttype": "none", "svg.hashsalt": key, "path.simplify": True}):
        figure.savefig(out, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    return _for_a_page(out.getvalue(), key)


def _for_a_page(svg: str, key: str) -> str:
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>|<!--.*?-->", "", svg, flags=re.DOTALL)
    svg = re.sub(r' xmlns(:xlink)?="[^"]*"', "", svg).replace("xlink:href", "href")
    svg = re.sub(r'<svg [^>]*?viewBox="([^"]*)"[^>]*>', r'<svg viewBox="\1" aria-hidden="true">', svg, count=1)
    # Groups are named for matplotlib's own sake; what is referred to keeps its name, made one of its own.
    used = set(re.findall(r'(?:href="#|url\(#)([^")]+)', svg))
    svg = re.sub(r' id="([^"]*)"', lambda match: f' id="{key}-{match[1]}"' if match[1] in used else "", svg)
    svg = re.sub(r'(href="#|url\(#)', rf"\g<1>{key}-", svg)
    svg = re.sub(r"font-family: [^;\"]+;? ?", "", svg)
    svg = re.sub(r"font-size: ([\d.]+)px", lambda match: f"font-size: {float(match[1]) / 10:g}em", svg)
    svg = re.sub(r"<defs>\s*<style.*?</style>\s*</defs>|<g/>", "", svg, flags=re.DOTALL)
    svg = re.sub(r"#[0-9a-f]{6}\b", lambda match: _VARIABLES.get(match[0], match[0]), svg)
    return re.sub(r"\n\s*", "\n", svg).strip()


def spoken(values: Sequence[str]) -> str:
    """A list as it is read aloud: `a, b and c`."""
    *head, last = values
    return f"{', '.join(head)} and {last}" if head else last
