"""A run's two charts: time to first token and token generation rate, by users, with and without the system prompt.

Figures are built without pyplot, whose state belongs to the program that runs us.
"""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tokenswarm.reports import units
from tokenswarm.reports.html.chart_style import style
from tokenswarm.reports.level_bars import (
    TTFT_BOUND,
    Bar,
    bound_keys,
    draw_rate,
    draw_ttft,
    mode_keys,
    names_of,
    plot_height_in,
    side_by_side,
)
from tokenswarm.reports.palette import BAD, GREY, INK
from tokenswarm.reports.search_levels import in_load_order
from tokenswarm.reports.text_table import NOT_COMPLETE, NOT_COMPLETE_NOTE
from tokenswarm.reports.warnings import warnings_of
from tokenswarm.run_folder.reader import ReportError, Results

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

WIDTH_IN = 10.0
BAR_IN, LETTER_IN = 0.5, 0.09
DPI = 160
LINE_IN = 0.2
TEXT_LEFT = 0.02
_MOST_NOTICES = 3
#: Of the footnote: two lines fit below the axis.
_FOOT_PT, _FOOT_CHARACTERS = 8, 165


def draw_charts(results: Results, folder: str | Path) -> list[Path]:
    """Write `charts/ttft.png` and `charts/token_rate.png` under `folder`, over older ones, and return their paths.

    Raises ReportError where they cannot be written.
    """
    charts = Path(folder) / "charts"
    drawn = []
    if charts.is_symlink():
        raise ReportError(f"The charts cannot be written to {charts}: it is a link to another place; remove it.")
    try:
        charts.mkdir(parents=True, exist_ok=True)
        for name, figure in (("ttft.png", ttft_figure(results)), ("token_rate.png", token_rate_figure(results))):
            draft = charts / f".{name}"
            try:
                figure.savefig(draft, dpi=DPI, format="png")
                draft.replace(charts / name)
            finally:
                draft.unlink(missing_ok=True)
            drawn.append(charts / name)
    except OSError as error:
        raise ReportError(f"The charts cannot be written to {charts}: {error.strerror or error}.") from error
    return drawn


def ttft_figure(results: Results) -> Figure:
    """TTFT by level: bars are the median with its 95 % interval, diamonds the 95th percentile. Drawn in ms or s."""
    results = in_load_order(results)
    bars = side_by_side(results.summary.levels)
    bound_s = results.summary.objectives.get(TTFT_BOUND)
    figure, axes = _frame(results, "Time to first token (TTFT)", bars)
    _finish(figure, axes, bars, draw_ttft(axes, bars, bound_s), bound_keys(bars, bound_s))
    return figure


def token_rate_figure(results: Results) -> Figure:
    """Output tokens a second, all users together, by level."""
    results = in_load_order(results)
    bars = side_by_side(results.summary.levels)
    figure, axes = _frame(results, "Token generation rate", bars)
    _finish(figure, axes, bars, draw_rate(axes, bars))
    return figure


def _frame(results: Results, what: str, bars: Sequence[Bar]) -> tuple[Figure, Axes]:
    """A figure with its title, subtitle and warnings, tall enough for them, and the empty plot below."""
    from matplotlib.figure import Figure

    summary = results.summary
    title = textwrap.wrap(f"{what}: {summary.engine}, {summary.model or 'model not named'}", 66)
    facts = (
        summary.host or "host not named",
        units.moment(results.run.started_at),
        f"run {results.status}",
        f"figures {summary.validity.verdict}",
    )
    subtitle = textwrap.wrap(" · ".join(facts), 120)
    alarms = [line for notice in _most_important(warnings_of(results)) for line in textwrap.wrap(notice, 104)]
    lines = [(line, 15, "bold", INK, 0.28) for line in title]
    lines += [(line, 10, "normal", GREY, LINE_IN) for line in subtitle]
    lines += [(line, 10, "bold", BAD, LINE_IN) for line in alarms]
    # The legend stands between these lines and the plot, the axis' own texts and the footnote below it.
    plot_in = plot_height_in(bars, BAR_IN)
    left = (0.2 + LETTER_IN * max(map(len, names_of(bars).values()))) / WIDTH_IN
    head, legend, foot = 0.15 + sum(line[4] for line in lines), 0.5, 0.85
    height = head + legend + plot_in + foot
    figure = Figure(figsize=(WIDTH_IN, height), facecolor="white")
    y = 0.15
    for text, size, weight, colour, line_in in lines:
        figure.text(
            TEXT_LEFT, 1 - y / height, text, fontsize=size, fontweight=weight, color=colour, va="top", parse_math=False
        )
        y += line_in
    axes = figure.add_axes((left, foot / height, 0.98 - left, plot_in / height))
    style(axes)
    return figure, axes


def _most_important(notices: Sequence[str]) -> list[str]:
    """The first ones, and how many more there are: a chart is small."""
    if len(notices) <= _MOST_NOTICES + 1:
        return list(notices)
    return [*notices[:_MOST_NOTICES], f"{len(notices) - _MOST_NOTICES} more warnings are in the report."]


def _finish(figure: Figure, axes: Axes, bars: Sequence[Bar], axis: str, keys: Sequence[Any] = ()) -> None:
    """keys: of the legend, besides those of the system-prompt modes."""
    axes.set_xlabel(axis, color=INK)
    axes.legend(
        handles=[*mode_keys(bars), *keys],
        loc="lower left",
        bbox_to_anchor=(-0.01, 1.0),
        ncols=3,
        frameon=False,
        fontsize=10,
        handlelength=1.8,
        columnspacing=1.6,
    )
    shown = [text.get_text() for text in (*axes.texts, *axes.get_yticklabels())]
    notes = [
        *([NOT_COMPLETE_NOTE] if any(text.endswith(NOT_COMPLETE) for text in shown) else []),
        *([units.NOT_CERTIFIED_SHORT] if any(units.NOT_CERTIFIED in text for text in shown) else []),
    ]
    if notes:
        y = 0.12 / figure.get_figheight()
        text = "\n".join(textwrap.wrap(" · ".join(notes), _FOOT_CHARACTERS))
        figure.text(TEXT_LEFT, y, text, fontsize=_FOOT_PT, color=GREY, va="bottom", parse_math=False)
