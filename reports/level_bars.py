"""The two charts of levels, TTFT and token rate as bars: drawn once, into a PNG by itself and into the page."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tokenswarm.metrics.intervals import Estimate
from tokenswarm.metrics.level import PROMPT, users_of
from tokenswarm.reports import units
from tokenswarm.reports.palette import BAD, INK, LINE, MODE_COLOURS, MODE_HATCHES, PAPER
from tokenswarm.reports.text_table import NOT_COMPLETE
from tokenswarm.run_folder.schema import Figures, LevelSummary

if TYPE_CHECKING:
    from matplotlib.axes import Axes

#: Of the distance between two levels, what a bar takes up.
BAR = 0.38
LABEL_PT = 9.0
#: Of a number beside its mark: the distance, and about the width of a letter against its size.
GAP_PT, LETTER = 7.0, 0.62
#: How many times as wide as its longest bar the chart of TTFT is at least; letters of `p50 452 ms*, p95 733 ms*`.
TTFT_SPACE, _LONGEST_LABEL = 1.75, 24
#: The bound of TTFT among an SLO's objectives, and its line.
TTFT_BOUND = "ttft_s"
_BOUND_LOOK: dict[str, Any] = {"color": BAD, "linewidth": 1.4, "ls": (0, (4, 3))}
TTFT_AXIS = "TTFT ({unit}): bar p50 with its 95 % interval, diamond p95"
RATE_AXIS = "output tokens/s, all users together"


@dataclass(frozen=True, slots=True)
class Bar:
    """One bar's place: `group` counts levels from the top, `y` is the bar's centre."""

    group: int
    y: float
    level: LevelSummary


def side_by_side(levels: Sequence[LevelSummary]) -> list[Bar]:
    """Levels side by side where they differ in the system prompt alone; a level run twice is two groups."""
    groups: dict[tuple[str, int], list[LevelSummary]] = {}
    seen: Counter[tuple[str, str]] = Counter()
    for level in levels:
        groups.setdefault((level.level, seen[level.level, level.system_prompt]), []).append(level)
        seen[level.level, level.system_prompt] += 1
    modes = modes_of(levels)
    # A mode keeps its side even where its partner was never run.
    shift = {mode: (index - (len(modes) - 1) / 2) * BAR for index, mode in enumerate(modes)}
    return [
        Bar(group, group + shift[level.system_prompt], level)
        for group, members in enumerate(groups.values())
        for level in sorted(members, key=lambda level: modes.index(level.system_prompt))
    ]


def modes_of(levels: Sequence[LevelSummary]) -> list[str]:
    """The system-prompt modes that were run."""
    return [mode for mode in PROMPT if any(level.system_prompt == mode for level in levels)]


def names_of(bars: Sequence[Bar]) -> dict[int, str]:
    """What each group is called, marked where a level is not complete."""
    incomplete = {bar.group for bar in bars if not bar.level.complete}
    return {bar.group: users_of(bar.level.name) + NOT_COMPLETE * (bar.group in incomplete) for bar in bars}


def plot_height_in(bars: Sequence[Bar], bar_in: float) -> float:
    """The height of a plot whose bars are `bar_in` inches apart."""
    return bar_in * (len(bars) + 0.6 * len(names_of(bars)))


def draw_ttft(axes: Axes, bars: Sequence[Bar], bound_s: float | None = None, label_pt: float = LABEL_PT) -> str:
    """The median with its interval, a diamond at p95, a line at the SLO's bound where the axis reaches it. Returns what
    the axis shows, with its unit (ms or s)."""
    tops_s = [_top_s(bar.level.hold) for bar in bars]
    top_of_all_s = max(tops_s)
    factor, unit = units.duration_axis(top_of_all_s)
    _set_up(axes, bars)
    width_pt = axes.get_window_extent().width / axes.figure.dpi * 72
    # Behind the longest bar there is space for both of its numbers.
    free = 1 - (LETTER * label_pt * _LONGEST_LABEL + 2 * GAP_PT) / width_pt
    space = max(TTFT_SPACE, 1 / max(free, 0.3))
    points = width_pt / ((top_of_all_s or 1.0) * space)  # of a second
    if bound_s is not None and _is_on_axis(bars, bound_s):
        axes.axvline(bound_s * factor, zorder=1.5, **_BOUND_LOOK)
    for bar, top_s in zip(bars, tops_s, strict=True):
        p50, p95 = bar.level.hold.ttft_s.p50, bar.level.hold.ttft_s.p95
        if p50 is None:
            _write(axes, 0.0, bar.y, _why_missing(bar.level.hold), label_pt)
            continue
        _bar(axes, bar, p50.value * factor)
        low, high = (None if end is None else end * factor for end in (p50.low, p50.high))
        _whisker(axes, bar.y, p50.value * factor, low or 0.0, high)
        text = f"p50 {units.quantile(p50)}"
        if p95 is not None:
            axes.plot(p95.value * factor, bar.y, **diamond())
            of_p95, end_s = f"p95 {units.quantile(p95)}", max(p50.value, p50.high or 0.0)
            if (p95.value - end_s) * points > LETTER * label_pt * len(text) + 2 * GAP_PT:
                # Each number stands at its own mark, where both have space.
                _write(axes, end_s * factor, bar.y, text, label_pt)
                text = of_p95
            else:
                text = f"{text}, {of_p95}"
        _write(axes, top_s * factor, bar.y, text, label_pt)
    _from_zero(axes, top_of_all_s * factor, space)
    return TTFT_AXIS.format(unit=unit)


def draw_rate(
    axes: Axes, bars: Sequence[Bar], rates: Mapping[int, Estimate | None] | None = None, label_pt: float = LABEL_PT
) -> str:
    """Output tokens a second of all users, with the interval where `rates` has one by level index. Returns what the
    axis shows."""
    _set_up(axes, bars)
    top = 0.0
    for bar in bars:
        value, estimate = bar.level.hold.token_rate, (rates or {}).get(bar.level.index)
        if value is None:
            _write(axes, 0.0, bar.y, _why_missing(bar.level.hold), label_pt)
            continue
        _bar(axes, bar, value)
        end = value
        if estimate is not None and estimate.low is not None:
            _whisker(axes, bar.y, value, estimate.low, estimate.high)
            end = max(value, estimate.high or 0.0)
        _write(axes, end, bar.y, units.rate(value), label_pt)
        top = max(top, end)
    _from_zero(axes, top, 1.25)
    drawn = any(found is not None and found.low is not None for found in (rates or {}).values())
    return RATE_AXIS + (", with the 95 % interval" if drawn else "")


def mode_keys(bars: Sequence[Bar]) -> list[Any]:
    """The legend's entry for each system-prompt mode."""
    from matplotlib.patches import Patch

    return [Patch(**_look(mode), label=PROMPT[mode]) for mode in modes_of([bar.level for bar in bars])]


def bound_keys(bars: Sequence[Bar], bound_s: float | None) -> list[Any]:
    """The legend's entry for the SLO's bound; none without one."""
    from matplotlib.lines import Line2D

    if bound_s is None:
        return []
    beyond = "" if _is_on_axis(bars, bound_s) else ", beyond the axis"
    return [Line2D([], [], **_BOUND_LOOK, label=f"SLO: {units.objective(TTFT_BOUND, bound_s)}{beyond}")]


def _is_on_axis(bars: Sequence[Bar], bound_s: float) -> bool:
    return bound_s <= max(_top_s(bar.level.hold) for bar in bars) * TTFT_SPACE


def diamond() -> dict[str, Any]:
    """How p95 is marked."""
    return {
        "marker": "D",
        "markersize": 5,
        "color": PAPER,
        "markeredgecolor": INK,
        "markeredgewidth": 1.2,
        "ls": "none",
    }


def _set_up(axes: Axes, bars: Sequence[Bar]) -> None:
    names = names_of(bars)
    axes.set_yticks(list(names), list(names.values()), parse_math=False)
    axes.set_ylim(len(names) - 0.5, -0.5)
    axes.xaxis.set_major_formatter(lambda value, _position: units.tick(value))
    axes.grid(visible=False, axis="y")
    axes.grid(visible=True, axis="x", color=LINE, linewidth=0.8)
    axes.set_axisbelow(True)
    axes.tick_params(axis="y", labelcolor=INK, length=0)


def _look(mode: str) -> dict[str, Any]:
    return {"facecolor": MODE_COLOURS[mode], "hatch": MODE_HATCHES[mode], "edgecolor": PAPER, "linewidth": 0}


def _bar(axes: Axes, bar: Bar, length: float) -> None:
    axes.barh(bar.y, length, BAR * 0.92, **_look(bar.level.system_prompt))


def _whisker(axes: Axes, y: float, value: float, low: float, high: float | None) -> None:
    """Only its lower half where the upper end is unknown, only its upper half where the lower end is (0), and none
    where both are."""
    if low <= 0 and high is None:
        return
    # Bounds come from histogram buckets and may cross the value by less than a bucket.
    below, above = max(value - low, 0.0) if low > 0 else 0.0, max((value if high is None else high) - value, 0.0)
    axes.errorbar(value, y, xerr=[[below], [above]], fmt="none", ecolor=INK, elinewidth=1.2, capsize=3, capthick=1.2)


def _write(axes: Axes, x: float, y: float, text: str, label_pt: float) -> None:
    axes.annotate(
        text,
        (x, y),
        xytext=(GAP_PT, 0),
        textcoords="offset points",
        ha="left",
        va="center",
        fontsize=label_pt,
        color=INK,
        # A line of the grid or of the SLO through a number makes it hard to read.
        bbox={"facecolor": PAPER, "edgecolor": "none", "pad": 0.6},
        parse_math=False,
    )


def _from_zero(axes: Axes, top: float, space: float) -> None:
    """An axis that has its numbers up to `top`, and space for what is written beside the bars."""
    from matplotlib.ticker import MaxNLocator

    axes.set_xlim(0, (top or 1.0) * space)
    if not top:
        axes.set_xticks([])  # no bar: numbers would be of nothing
        return
    axes.set_xticks([tick for tick in MaxNLocator(4, steps=[1, 2, 2.5, 5, 10]).tick_values(0, top) if tick <= top])


def _top_s(figures: Figures) -> float:
    """The highest value drawn for these figures, in seconds."""
    p50, p95 = figures.ttft_s.p50, figures.ttft_s.p95
    if p50 is None:
        return 0.0
    return max(p50.value, p50.high or 0.0, p95.value if p95 else 0.0)


def _why_missing(figures: Figures) -> str:
    if not figures.requests:
        return "no request"
    return "no value" if figures.outcomes.get("ok") else "no ok request"
