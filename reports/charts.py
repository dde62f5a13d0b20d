"""A run's two charts: time to first token and token generation rate, by users, with and without the system prompt.

Figures are built without pyplot, whose state belongs to the program that runs us.
"""

from __future__ import annotations

import textwrap
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from metrics.stage import PROMPT
from reports import units
from reports.notices import notices
from reports.results import Figures, Level, Quantile, ReportError, Results

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

WIDTH_IN = 10.0
PLOT_HEIGHT_IN = 4.6
DPI = 160
LINE_IN = 0.2
LEFT = 0.1

# Okabe and Ito's palette, told apart in every kind of colour blindness; the hatch tells them apart in grey.
COLOURS = {"off": "#0072B2", "on": "#E69F00"}
HATCHES = {"off": "", "on": "//"}
INK = "#222222"
GREY = "#666666"
ALARM = "#B00020"

BAR = 0.38
# The type of the values above the bars, and what a letter and a line of it take up.
LABEL_PT = 9.0
LETTER_PT = 0.62 * LABEL_PT
TEXT_LINE_PT = 1.25 * LABEL_PT


@dataclass(frozen=True, slots=True)
class Bar:
    """One bar's place: `group` counts levels from the left, `x` is the bar's centre."""

    group: int
    x: float
    level: Level


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
    bars = side_by_side(results.summary.levels)
    tops = [_top_s(bar.level.hold) for bar in bars]
    factor, unit = units.duration_axis(max(tops))
    figure, axes = _frame(results, "Time to first token (TTFT)", bars)
    axes.set_ylabel(f"TTFT ({unit})")
    labels = []
    for bar, top in zip(bars, tops, strict=True):
        ttft = bar.level.hold.ttft_s
        if ttft.p50 is not None:
            _bar(axes, bar, ttft.p50.value * factor)
            _error_bar(axes, bar, ttft.p50, factor)
            if ttft.p95 is not None:
                axes.plot(bar.x, ttft.p95.value * factor, **_diamond())
        labels.append((top * factor, _ttft_lines(bar.level)))
    _label(axes, bars, labels, above_pt=8)
    marks = [_interval_key(), _diamond_key()]
    marked = any(units.NOT_CERTIFIED in line for _, lines in labels for line in lines)
    _finish(figure, axes, bars, "p50 ", marks, units.NOT_CERTIFIED_NOTE if marked else "")
    return figure


def token_rate_figure(results: Results) -> Figure:
    """Output tokens a second, all users together, by level."""
    bars = side_by_side(results.summary.levels)
    figure, axes = _frame(results, "Token generation rate", bars)
    axes.set_ylabel("output tokens/s, all users")
    labels = []
    for bar in bars:
        value = bar.level.hold.token_rate
        if value is not None:
            _bar(axes, bar, value)
        labels.append((value or 0.0, _rate_lines(bar.level)))
    _label(axes, bars, labels, above_pt=4)
    _finish(figure, axes, bars, "", [], "")
    return figure


def side_by_side(levels: Sequence[Level]) -> list[Bar]:
    """Levels side by side where they differ in the system prompt alone; a level run twice is two groups."""
    groups: dict[tuple[str, int], list[Level]] = {}
    seen: Counter[tuple[str, str]] = Counter()
    for level in levels:
        groups.setdefault((level.level, seen[level.level, level.system_prompt]), []).append(level)
        seen[level.level, level.system_prompt] += 1
    modes = [mode for mode in PROMPT if any(level.system_prompt == mode for level in levels)]
    # A mode keeps its side even where its partner was never run.
    shift = {mode: (index - (len(modes) - 1) / 2) * BAR for index, mode in enumerate(modes)}
    return [
        Bar(group, group + shift[level.system_prompt], level)
        for group, members in enumerate(groups.values())
        for level in sorted(members, key=lambda level: modes.index(level.system_prompt))
    ]


def _top_s(figures: Figures) -> float:
    """The highest point drawn for these figures, in seconds."""
    p50, p95 = figures.ttft_s.p50, figures.ttft_s.p95
    if p50 is None:
        return 0.0
    return max(p50.value, p50.high or 0.0, p95.value if p95 else 0.0)


def _gap(figures: Figures) -> str:
    if not figures.requests:
        return "no request"
    return "no value" if figures.outcomes.get("ok") else "no ok request"


def _ttft_lines(level: Level) -> list[str]:
    ttft = level.hold.ttft_s
    if ttft.p50 is None:
        return [_gap(level.hold)]
    lines = [f"p50 {units.quantile(ttft.p50)}"]
    return [f"p95 {units.quantile(ttft.p95)}", *lines] if ttft.p95 else lines


def _rate_lines(level: Level) -> list[str]:
    value = level.hold.token_rate
    return [_gap(level.hold)] if value is None else [units.rate(value)]


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
    alarms = [line for notice in notices(results) for line in textwrap.wrap(notice, 104)]
    lines = [(line, 15, "bold", INK, 0.28) for line in title]
    lines += [(line, 10, "normal", GREY, LINE_IN) for line in subtitle]
    lines += [(line, 10, "bold", ALARM, LINE_IN) for line in alarms]
    # The legend stands between these lines and the plot, the axis' own texts and the footnote below it.
    head, legend, foot = 0.15 + sum(line[4] for line in lines), 0.5, 0.85
    height = head + legend + PLOT_HEIGHT_IN + foot
    figure = Figure(figsize=(WIDTH_IN, height), facecolor="white")
    y = 0.15
    for text, size, weight, colour, line_in in lines:
        figure.text(
            LEFT, 1 - y / height, text, fontsize=size, fontweight=weight, color=colour, va="top", parse_math=False
        )
        y += line_in
    axes = figure.add_axes((LEFT, foot / height, 0.98 - LEFT, PLOT_HEIGHT_IN / height))
    _clean(axes, bars)
    return figure, axes


def _clean(axes: Axes, bars: Sequence[Bar]) -> None:
    names = {bar.group: bar.level.name for bar in bars}
    axes.set_xticks(list(names), list(names.values()), parse_math=False)
    # One level alone keeps a bar's width, not the plot's.
    spare = max(0.6, 1.1 - 0.25 * len(names))
    axes.set_xlim(-spare, len(names) - 1 + spare)
    axes.set_xlabel("users", color=INK)
    axes.yaxis.set_major_formatter(lambda value, _position: units.tick(value))
    axes.tick_params(axis="x", length=0)
    axes.grid(axis="y", color="#DDDDDD", linewidth=0.8)
    axes.set_axisbelow(True)
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)


def _bar(axes: Axes, bar: Bar, height: float) -> None:
    mode = bar.level.system_prompt
    axes.bar(bar.x, height, BAR * 0.94, color=COLOURS[mode], hatch=HATCHES[mode], edgecolor="white", linewidth=0)


def _error_bar(axes: Axes, bar: Bar, p50: Quantile, factor: float) -> None:
    """The 95 % interval of a median; only its lower half where the upper end is unknown, and none where both are."""
    if p50.low <= 0 and p50.high is None:
        return
    high = p50.value if p50.high is None else p50.high
    # Bounds come from histogram buckets and may cross the value by less than a bucket.
    below, above = max(p50.value - p50.low, 0.0) * factor, max(high - p50.value, 0.0) * factor
    axes.errorbar(bar.x, p50.value * factor, yerr=[[below], [above]], **_interval())


def _interval() -> dict[str, Any]:
    return {"fmt": "none", "ecolor": INK, "elinewidth": 1.4, "capsize": 5, "capthick": 1.4}


def _diamond() -> dict[str, Any]:
    return {
        "marker": "D",
        "markersize": 7,
        "color": "white",
        "markeredgecolor": INK,
        "markeredgewidth": 1.4,
        "ls": "none",
    }


def _interval_key() -> Any:
    from matplotlib.lines import Line2D

    return Line2D(
        [], [], color=INK, marker="|", markersize=9, markeredgewidth=1.4, linewidth=1.4, label="95 % interval of p50"
    )


def _diamond_key() -> Any:
    from matplotlib.lines import Line2D

    return Line2D([], [], label="p95", **_diamond())


def _label(axes: Axes, bars: Sequence[Bar], labels: Sequence[tuple[float, list[str]]], above_pt: float) -> None:
    """Write each bar's values above all that is drawn for it, turned where bars stand close, and make room for them."""
    texts = [
        lines if bar.level.complete else ["not complete", *lines] for bar, (_, lines) in zip(bars, labels, strict=True)
    ]
    turned = max(len(line) for text in texts for line in text) * LETTER_PT > _pitch_pt(axes, bars)
    tall_pt = max(len("  ".join(text)) * LETTER_PT if turned else len(text) * TEXT_LINE_PT for text in texts)
    free = 1 - (tall_pt + above_pt + 6) / (PLOT_HEIGHT_IN * 72)
    top = max(top for top, _ in labels)
    axes.set_ylim(0, top / free or 1.0)
    if not top:
        axes.set_yticks([0])
    for bar, (bar_top, _), text in zip(bars, labels, texts, strict=True):
        axes.annotate(
            "  ".join(reversed(text)) if turned else "\n".join(text),
            (bar.x, bar_top),
            xytext=(0, above_pt),
            textcoords="offset points",
            ha="center",
            va="bottom",
            rotation=90 if turned else 0,
            fontsize=LABEL_PT,
            color=INK,
            # A grid line through a number makes it hard to read.
            bbox={"facecolor": "white", "edgecolor": "none", "pad": 1.0},
            parse_math=False,
        )


def _pitch_pt(axes: Axes, bars: Sequence[Bar]) -> float:
    """The distance between the middles of neighbouring bars, in points: the room a label has."""
    left, right = axes.get_xlim()
    step = BAR if len({bar.level.system_prompt for bar in bars}) > 1 else 1.0
    return step / (right - left) * (0.98 - LEFT) * WIDTH_IN * 72


def _finish(figure: Figure, axes: Axes, bars: Sequence[Bar], of: str, marks: list[Any], footnote: str) -> None:
    from matplotlib.patches import Patch

    modes = [mode for mode in PROMPT if any(bar.level.system_prompt == mode for bar in bars)]
    keys: list[Any] = [
        Patch(facecolor=COLOURS[mode], hatch=HATCHES[mode], edgecolor="white", linewidth=0, label=of + PROMPT[mode])
        for mode in modes
    ]
    axes.legend(
        handles=keys + marks,
        loc="lower left",
        bbox_to_anchor=(-0.01, 1.01),
        ncols=len(keys + marks),
        frameon=False,
        fontsize=10,
        handlelength=1.8,
        columnspacing=1.6,
    )
    if footnote:
        figure.text(LEFT, 0.02, footnote, fontsize=9, color=GREY, va="bottom", parse_math=False)
