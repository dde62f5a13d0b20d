"""A trend in words and numbers: for the terminal, the page and CSV, all of the same texts."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from math import log

from tokenswarm.reports import units
from tokenswarm.reports.checks.conditions import TIMES
from tokenswarm.reports.compare.comparability import state_of
from tokenswarm.reports.compare.comparison_text import (
    aligned,
    ends_of_change,
    ends_text,
    teller,
    value_of_change,
    variation_assumed,
    wrapped,
)
from tokenswarm.reports.compare.trend import Trend, TrendPoint, TrendRun, TrendSeries
from tokenswarm.reports.html.chart_style import spoken
from tokenswarm.reports.stats.changes import FEWEST_DEGREES
from tokenswarm.sanitize import cell

HEADINGS = ("started", "run", "version", "figure", "95 % interval", "against baseline", "its interval", "result")
CSV_COLUMNS = (
    *("figure", "unit", "level", "system_prompt", "run", "started", "engine_version", "unreliable_because"),
    *("value", "low", "high", "count", "change_is", "change", "change_low", "change_high", "result"),
)
NONE_DEPARTS = "No run departs from the baseline."
_REASONS_CHARACTERS = 5000


def name_of(run: TrendRun) -> str:
    """The run's folder, marked wherever it stands if its figures are unreliable."""
    state = f" ({state_of([run.results]).upper()})" if run.unreliable else ""
    return run.results.folder.name + state


def series_name(series: TrendSeries) -> str:
    """`TTFT, median, 50 users without system prompt`."""
    return f"{series.compared.name}, {series.level}"


def baseline_text(trend: Trend, series: TrendSeries) -> str:
    """The baseline's value, its interval where it is known, and how many runs it is of."""
    estimate = series.baseline.estimate
    ends = ends_text(series.compared, estimate)
    known = "" if ends == units.UNDEFINED else f" ({ends})"
    runs = units.counted(len(trend.baseline), "run")
    return f"{teller(series.compared)(estimate.value)}{known}, {runs}"


def verdict_lines(trend: Trend) -> list[str]:
    """Which runs departed from the baseline, in what, and how many comparisons could not be decided."""
    lines = []
    for run in trend.runs:
        found = [
            f"{series_name(series)}: {point.result} ({_change(series, point)})"
            for series in trend.series
            for point in series.departed
            if point.run is run
        ]
        if found:
            lines.append(f"{name_of(run)} departs from the baseline: {'; '.join(found)}.")
    undecided, compared = len(trend.undecided), len(trend.compared)
    if not undecided:
        return lines or [NONE_DEPARTS]
    largest = _largest_undecided(trend)
    if undecided == compared:
        return [
            "Whether a run departs from the baseline is not known: no comparison could be decided "
            f"({units.TOO_FEW}; {units.counted(compared, 'comparison')}). {largest}".rstrip()
        ]
    decided = units.counted(compared - undecided, "comparison")
    return [
        *(lines or [f"No run departs from the baseline in the {decided} that could be decided."]),
        f"{units.count(undecided)} of {units.counted(compared, 'comparison')} could not be decided "
        f"({units.TOO_FEW}). {largest}".rstrip(),
    ]


def _largest_undecided(trend: Trend) -> str:
    """A sentence on the largest ratio among the comparisons that could not be decided; "" where there is none."""
    ratios = [
        (abs(log(point.change.estimate.value)), series, point)
        for series, point in trend.undecided
        if point.change is not None and not series.compared.share and point.change.estimate.value > 0
    ]
    if not ratios:
        return ""
    _, series, point = max(ratios, key=lambda found: found[0])
    return f"The largest change among them: {name_of(point.run)}, {series_name(series)}: {_change(series, point)}."


def unreliable_line(trend: Trend) -> str:
    """A sentence on the runs whose figures are unreliable; "" where there are none."""
    found = [name_of(run) for run in trend.runs if run.unreliable]
    if not found:
        return ""
    runs = f"{units.count(len(found))} of {units.counted(len(trend.runs), 'run')}"
    verb = "is" if len(found) == 1 else "are"
    return f"{runs} {verb} unreliable, and no part of the baseline: {spoken(found)}. The reasons are below."


def notes(trend: Trend) -> list[str]:
    """What the figures rest on."""
    names = spoken([run.results.folder.name for run in trend.baseline])
    lines = [
        f"Baseline: {names}. A run departs from it where chance does not explain the change, what differs from run to "
        "run included: of twenty series without a change, at most one shows a departure by chance (Holm's method "
        "over the runs of a series)."
    ]
    if len(trend.baseline) - 1 < FEWEST_DEGREES and trend.variation:
        lines.append(f"{variation_assumed(trend.variation)} Take three runs or more as the baseline to measure it.")
    lines += [f"{name_of(run)}: {'; '.join(run.unreliable)}." for run in trend.runs if run.unreliable]
    return lines


def rows(series: TrendSeries) -> list[list[str]]:
    """The series, a row a run."""
    return [
        [
            units.moment(point.run.results.run.started_at),
            name_of(point.run),
            point.run.results.run.engine_version or units.UNDEFINED,
            teller(series.compared)(point.estimate.value),
            ends_text(series.compared, point.estimate),
            units.UNDEFINED if point.change is None else value_of_change(series.compared, point.change.estimate),
            units.UNDEFINED if point.change is None else ends_of_change(series.compared, point.change.estimate),
            point.result.value,
        ]
        for point in series.points
    ]


def trend_table(trend: Trend, notices: Sequence[str], width: int) -> str:
    """The whole trend for a terminal, in lines of at most `width` characters but for the tables."""
    width = max(width, 60)
    parts = [
        [f"Trend of {units.counted(len(trend.runs), 'run')}"],
        [line for notice in notices for line in wrapped(f"!!! {notice}", width)],
        wrapped(f"!!! {unreliable_line(trend)}", width) if unreliable_line(trend) else [],
        [line for text in verdict_lines(trend) for line in wrapped(text, width)],
        *(
            [f"{series_name(series)}; baseline {baseline_text(trend, series)}", *aligned(HEADINGS, rows(series))]
            for series in trend.series
        ),
        [line for text in notes(trend) for line in wrapped(text, width)],
    ]
    return "\n\n".join("\n".join(part) for part in parts if part)


def trend_csv(trend: Trend) -> str:
    """A row a figure, level and run: seconds, tokens a second, shares from 0 to 1, unrounded; empty where an interval
    has no such end."""
    out = io.StringIO()
    writer = csv.DictWriter(out, CSV_COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(_csv_row(series, point) for series in trend.series for point in series.points)
    return out.getvalue()


def _csv_row(series: TrendSeries, point: TrendPoint) -> dict[str, object]:
    compared, run = series.compared, point.run.results.run
    row: dict[str, object] = {
        "figure": str(compared.figure),
        "unit": "share" if compared.share else "s" if compared.figure.name in TIMES else "tok/s",
        "level": series.level.level,
        "system_prompt": series.level.system_prompt,
        "run": cell(point.run.results.folder.name),
        "started": run.started_at.isoformat(),
        "engine_version": cell(run.engine_version or ""),
        "unreliable_because": cell("; ".join(point.run.unreliable), _REASONS_CHARACTERS),
        "value": point.estimate.value,
        "low": point.estimate.low,
        "high": point.estimate.high,
        "count": point.estimate.count,
        "change_is": "difference" if compared.share else "ratio",
        "result": point.result.value,
    }
    if point.change:
        change = point.change.estimate
        row |= {"change": change.value, "change_low": change.low, "change_high": change.high}
    return row


def _change(series: TrendSeries, point: TrendPoint) -> str:
    assert point.change is not None
    return value_of_change(series.compared, point.change.estimate)


def departed_names(series: TrendSeries) -> str:
    """The runs of the series that departed, for who cannot see its chart."""
    names = [f"{name_of(point.run)} ({point.result.value})" for point in series.departed]
    undecided = len(series.undecided)
    parts = [
        *([f"Departed from the baseline: {spoken(names)}."] if names else []),
        *([f"Could not be decided: {units.counted(undecided, 'run')}."] if undecided else []),
    ]
    return " ".join(parts) or NONE_DEPARTS
