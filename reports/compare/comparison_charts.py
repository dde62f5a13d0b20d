"""A comparison's two charts: median TTFT and token rate, a group of bars a level, a bar a server.

Drawn twice by one hand: as PNG with its title and warnings, to be sent alone, and as SVG in a page's own colours.
"""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from tokenswarm.metrics.intervals import Pooled
from tokenswarm.metrics.level import PROMPT, users_of
from tokenswarm.reports import units
from tokenswarm.reports.compare.comparison import TOKEN_RATE, TTFT, Compared, Entry, RunComparison
from tokenswarm.reports.compare.comparison_text import entry_text, interval_text, title
from tokenswarm.reports.html.chart_style import (
    OPEN_NOTE,
    OPEN_PT,
    SMALL_PT,
    canvas,
    legend,
    legend_size,
    name_axes,
    spoken,
    style,
    svg_of,
    whisker,
)
from tokenswarm.reports.html.document import Chart
from tokenswarm.reports.palette import BAD, GREY, INK, PAPER, SERIES, hatch
from tokenswarm.run_folder.reader import ReportError

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

#: The files of --png.
FILES = {"ttft.png": TTFT, "token_rate.png": TOKEN_RATE}
AXIS = {TTFT: "time to first token, median", TOKEN_RATE: "output tokens a second, all users together"}

GROUP = 0.84  # of the distance between two levels, what their bars take up

WIDTH_IN, PANEL_IN, DPI = 10.0, 3.6, 160
#: Of a page's chart, what is left beside its texts.
PAGE_PLOT_IN = (4.7, 2.6)
LEFT, RIGHT = 0.08, 0.98


@dataclass(frozen=True, slots=True)
class _Scale:
    """What a figure's values are multiplied by on the axis, and the unit that makes."""

    factor: float
    unit: str


class HeadLine(NamedTuple):
    """A line above a chart by itself, its size in points."""

    text: str
    size: int
    colour: str
    height_in: float


def draw_comparison(comparison: RunComparison, folder: Path) -> list[Path]:
    """Write FILES into `folder`, over older ones, and return their paths. Raises ReportError."""
    drawn = []
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, compared in FILES.items():
            chart_of(comparison, compared).savefig(folder / name, dpi=DPI)
            drawn.append(folder / name)
    except OSError as error:
        raise ReportError(f"The charts cannot be written to {folder}: {error.strerror or error}.") from error
    return drawn


def chart_of(comparison: RunComparison, compared: Compared) -> Figure:
    """The chart by itself: title, warnings, a panel for each system-prompt mode on one scale."""
    from matplotlib.figure import Figure

    modes = modes_of(comparison)
    lines, head_in = head_lines(comparison, compared.name)
    columns, legend_in = legend_size([server.name for server in comparison.servers], WIDTH_IN)
    foot_in, between_in = 0.6 + legend_in, 0.75
    height_in = head_in + PANEL_IN * len(modes) + between_in * (len(modes) - 1) + foot_in
    figure = Figure(figsize=(WIDTH_IN, height_in), facecolor="white")
    write_lines(figure, lines)
    scale, _ = _scale(comparison, compared)
    for place, mode in enumerate(modes):
        bottom_in = foot_in + (len(modes) - 1 - place) * (PANEL_IN + between_in)
        axes = figure.add_axes((LEFT, bottom_in / height_in, RIGHT - LEFT, PANEL_IN / height_in))
        style(axes)
        _draw(axes, comparison, compared, mode, ((RIGHT - LEFT) * WIDTH_IN, PANEL_IN))
        axes.set_title(f"{AXIS[compared]} ({scale.unit}), {PROMPT[mode]}", loc="left", fontsize=10, color=GREY)
        note = _open_note(comparison, compared, mode)
        axes.set_xlabel(
            f"users ({note[:1].lower()}{note[1:].rstrip('.')})" if note else "users", fontsize=10, color=GREY
        )
    keys, names = axes.get_legend_handles_labels()
    figure.legend(
        keys, names, loc="lower left", bbox_to_anchor=(LEFT - 0.02, 0.0), ncols=columns, frameon=False, fontsize=10
    )
    return figure


def head_lines(comparison: RunComparison, what: str) -> tuple[list[HeadLine], float]:
    """(the lines above a chart by itself: its title and warnings; their height in inches)."""
    lines = [HeadLine(line, 15, INK, 0.3) for line in textwrap.wrap(f"{what}: {title(comparison)}", 72)]
    lines += [HeadLine(line, 10, BAD, 0.2) for notice in comparison.head_notices for line in textwrap.wrap(notice, 112)]
    return lines, 0.2 + sum(line.height_in for line in lines) + 0.35


def write_lines(figure: Figure, lines: Sequence[HeadLine]) -> None:
    """Write them at the top of the figure."""
    height_in, y_in = figure.get_figheight(), 0.2
    for line in lines:
        figure.text(
            LEFT - 0.05,
            1 - y_in / height_in,
            line.text,
            fontsize=line.size,
            fontweight="bold",
            color=line.colour,
            va="top",
            parse_math=False,
        )
        y_in += line.height_in


def page_figures(comparison: RunComparison, compared: Compared) -> list[Chart]:
    """The chart for a page, one for each system-prompt mode, on one scale."""
    scale, _ = _scale(comparison, compared)
    names = [server.name for server in comparison.servers]
    figures = []
    for mode in modes_of(comparison):
        figure, axes = canvas(height_in=PAGE_PLOT_IN[1] + 1.1, legend_of=names)
        _draw(axes, comparison, compared, mode, PAGE_PLOT_IN)
        name_axes(axes, "users", f"{AXIS[compared]} ({scale.unit})")
        legend(axes)
        key = f"{compared.figure.name}{mode}"
        svg, alt = svg_of(figure, key), _spoken(comparison, compared, mode)
        figures.append(
            Chart(f"{compared.name}{with_mode(comparison, mode)}", svg, alt, _open_note(comparison, compared, mode))
        )
    return figures


def _draw(axes: Axes, comparison: RunComparison, compared: Compared, mode: str, size_in: tuple[float, float]) -> None:
    """The bars of a system-prompt mode into a plot of about this width and height."""
    scale, top = _scale(comparison, compared)
    levels = [level for level in comparison.levels if level.system_prompt == mode]
    wide = GROUP / len(comparison.servers)
    letter_pt = 0.6 * (SMALL_PT - 1)
    letters_pt = letter_pt * max(len(_label(entry)) for level in levels for entry in comparison.of(compared, level))
    # Values stand upright beside each other where their bars are close together.
    turned = letters_pt > wide / (len(levels) + 0.1) * size_in[0] * 72
    for number, server in enumerate(comparison.servers):
        look: dict[str, Any] = {
            "color": SERIES[number % len(SERIES)],
            "hatch": hatch(number),
            "edgecolor": PAPER,
            "linewidth": 0,
        }
        axes.bar(0, 0, 0, label=server.name, **look)  # for the legend: a server may have no bar
        for place, level in enumerate(levels):
            (entry,) = [entry for entry in comparison.of(compared, level) if entry.server is server]
            x = place + (number - (len(comparison.servers) - 1) / 2) * wide
            over, above_pt = 0.0, 4.0
            if entry.pooled is not None:
                axes.bar(x, entry.pooled.estimate.value * scale.factor, wide * 0.92, **look)
                over = _spread(axes, compared, entry.pooled, x, scale.factor, len(server.levels(level)) > 1)
                above_pt += OPEN_PT * (_open_ends(entry) == (False, True))
            _write(axes, _label(entry), x, over, turned, above_pt)
    free = 1 - ((letters_pt if turned else 2 * letter_pt) + 10) / (size_in[1] * 72)
    axes.set_ylim(0, top * scale.factor / max(free, 0.3) or 1.0)
    axes.set_xticks(range(len(levels)), [level.name for level in levels])
    axes.set_xlim(-0.55, len(levels) - 0.45)


def _spread(axes: Axes, compared: Compared, pooled: Pooled, x: float, factor: float, repeated: bool) -> float:
    """The interval, as far as its ends are known, and of repeated runs the smallest and the largest. Returns the
    highest point drawn."""
    value = pooled.estimate.value * factor
    low, high = (None if end is None else end * factor for end in compared.known_ends(pooled.estimate))
    whisker(axes, x, value, (low, high), INK)
    ends = [end for end in (low, high) if end is not None]
    top = max([value, *ends])
    if not repeated:
        return top
    runs = [pooled.smallest * factor, pooled.largest * factor]
    axes.plot([x, x], runs, ls="none", marker="o", ms=3.5, color=PAPER, markeredgecolor=INK, markeredgewidth=1.0)
    return max(top, *runs)


def _open_ends(entry: Entry) -> tuple[bool, bool]:
    """Whether the lower and the upper end of its interval are open; neither where there is no interval."""
    low, high = entry.compared.known_ends(entry.pooled.estimate) if entry.pooled else (None, None)
    return low is None and high is not None, high is None and low is not None


def _open_note(comparison: RunComparison, compared: Compared, mode: str) -> str:
    """What the arrow of an interval means, "" where none is drawn."""
    entries = [
        entry for entry in comparison.entries if entry.compared is compared and entry.level.system_prompt == mode
    ]
    return OPEN_NOTE if any(any(_open_ends(entry)) for entry in entries) else ""


def _write(axes: Axes, text: str, x: float, over: float, turned: bool, above_pt: float) -> None:
    axes.annotate(
        text,
        (x, over),
        xytext=(0, above_pt),
        textcoords="offset points",
        ha="center",
        va="bottom",
        rotation=90 if turned else 0,
        fontsize=SMALL_PT - 1,
        color=INK,
        # A grid line through a number makes it hard to read.
        bbox={"facecolor": PAPER, "edgecolor": "none", "pad": 0.8},
        parse_math=False,
    )


def _label(entry: Entry) -> str:
    return entry_text(entry).removesuffix(" tok/s")


def _scale(comparison: RunComparison, compared: Compared) -> tuple[_Scale, float]:
    """(the axis' unit, the highest that is drawn, in the figure's own)."""
    tops = [
        max(entry.pooled.estimate.value, entry.pooled.estimate.high or 0.0, entry.pooled.largest)
        for level in comparison.levels
        for entry in comparison.of(compared, level)
        if entry.pooled
    ]
    top = max(tops, default=0.0)
    return (_Scale(*units.duration_axis(top)) if compared is TTFT else _Scale(1.0, "tok/s")), top


def modes_of(comparison: RunComparison) -> list[str]:
    """The system-prompt modes that were run."""
    return list(dict.fromkeys(level.system_prompt for level in comparison.levels))


def with_mode(comparison: RunComparison, mode: str) -> str:
    """`, with system prompt` behind a title; empty where all levels of the page have one mode."""
    return f", {PROMPT[mode]}" if len(modes_of(comparison)) > 1 else ""


def _spoken(comparison: RunComparison, compared: Compared, mode: str) -> str:
    """The chart for who cannot see it."""
    text = [
        f"at {users_of(level.name)} "
        + spoken(
            [
                f"{entry.server.name} {entry_text(entry)} ({interval_text(entry)})"
                for entry in comparison.of(compared, level)
            ]
        )
        for level in comparison.levels
        if level.system_prompt == mode
    ]
    return f"Bars of {compared.name} {PROMPT[mode]}, with 95 % intervals: {'; '.join(text)}."
