"""Sections of a run's page that are charts. Each is made of a run and its journals, and is empty where there is nothing
to show. Every function may raise ReportError."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from tokenswarm.metrics.intervals import Estimate, Series
from tokenswarm.metrics.level import PROMPT, users_of
from tokenswarm.reports import units
from tokenswarm.reports.html.chart_style import svg_of
from tokenswarm.reports.html.document import Block, Chart, Charts, Row, Table, Text
from tokenswarm.reports.html.level_charts import (
    distribution_line,
    rate_against,
    rate_chart,
    spread,
    thinned_line,
    ttft_chart,
)
from tokenswarm.reports.html.table_sections import PERCENTILES, level_table, percentiles
from tokenswarm.reports.html.time_charts import (
    Line,
    Span,
    axis_end,
    before_drains,
    broken,
    over_time,
    sampled_line,
    spans_of,
    users_line,
)
from tokenswarm.reports.html.time_series import TimeSeries, load_server_series, load_time_series
from tokenswarm.reports.level_bars import TTFT_BOUND
from tokenswarm.reports.level_names import level_name
from tokenswarm.reports.server_note import server_note
from tokenswarm.reports.stats.estimates import RunData
from tokenswarm.reports.text_table import SERVER_COLUMNS, columns_with_values
from tokenswarm.run_folder.csv_reader import codes, numbers, read_columns
from tokenswarm.run_folder.reader import Results
from tokenswarm.run_folder.schema import RECORDED_GAPS, LevelSummary

_TTFT = "TTFT"
_USERS, _IN_FLIGHT = "Users", "Requests in flight"
#: Charts of what is counted at the end of each window.
_COUNTED = (_USERS, _IN_FLIGHT)
_SAMPLED_REQUESTS = ("requests_running", "requests_waiting")
_SPREADS = (("ttft", "TTFT"), ("tpot", "TPOT"), ("gap", "Gaps"))


def bars(measured: RunData, rates: Mapping[int, Estimate | None]) -> list[Block]:
    """The article's two charts."""
    levels = measured.results.summary.levels
    first, last = levels[0], levels[-1]
    ttft = Chart(
        "Time to first token",
        svg_of(ttft_chart(levels, measured.results.summary.objectives.get(TTFT_BOUND)), "ttft"),
        f"Bars of the median TTFT by level and system prompt, from {_ttft_text(first)} to {_ttft_text(last)}. "
        "The table at the top has every value.",
    )
    rate = Chart(
        "Token rate",
        svg_of(rate_chart(levels, rates), "rate"),
        f"Bars of the output tokens a second by level and system prompt, from {_rate_text(first)} to "
        f"{_rate_text(last)}. The table at the top has every value.",
    )
    return [Charts([ttft, rate])]


def spreads(measured: RunData) -> list[Block]:
    """Distributions of TTFT, TPOT and gaps, by level."""
    levels = measured.results.summary.levels
    figures = []
    modes = list(dict.fromkeys(level.system_prompt for level in levels))
    gaps, exact_gaps = gap_curves(measured.results)
    for name, label in _SPREADS:
        for mode in modes:
            of_mode = [level for level in levels if level.system_prompt == mode]
            curves = {}
            for level in of_mode:
                curve = gaps.get(level.index) if name == "gap" else _curve(measured, level, name)
                if curve is not None:
                    curves[users_of(level.name)] = curve
            if curves:
                title = label if len(modes) == 1 else f"{label}, {PROMPT[mode]}"
                in_buckets = name == "gap" and not exact_gaps
                figures.append(_spread_figure(title, name, mode, curves, of_mode, in_buckets))
    if not figures:
        return []
    when = "due" if any(level.open_loop for level in levels) else "sent"
    text = (
        "Each line shows, for each time on the horizontal axis, the share of a level's successful requests that took "
        "no longer. In the chart of gaps (the times between the events of a stream) it is the share of all gaps. Only "
        f"requests {when} in the hold."
    )
    if not exact_gaps:
        text += " This folder has gaps in a few buckets only; the dots are the bounds of the buckets."
    return [Text(text, style="quiet"), Charts(figures)]


def run_timeline(measured: RunData) -> list[Block]:
    """Token rate, TTFT and the load over the time of the run."""
    levels = measured.results.summary.levels
    series = load_time_series(measured.results)
    spans = spans_of(measured.results, series)
    if not spans:
        return []
    failed = {float(time_s): float(number) for time_s, number in zip(series.middle_s, series.failures) if number > 0}
    windows = "5 seconds" if series.together == 1 else f"up to {series.together} windows of 5 seconds"
    highest_s = float(np.nan_to_num(series.ttft_p95_s).max())
    end_s = axis_end([series.ttft_p50_s, series.ttft_p95_s])
    factor, unit = units.duration_axis(end_s or highest_s)
    charts: list[tuple[str, str, Sequence[tuple[str, Series]]]] = [
        ("Token rate", "output tokens/s", [("", before_drains(series, spans))]),
        (_TTFT, unit, [("p50", series.ttft_p50_s * factor), ("p95", series.ttft_p95_s * factor)]),
        *_load_charts(series),
    ]
    figures = []
    for number, (title, what, curves) in enumerate(charts):
        known = [(name, values) for name, values in curves if not np.isnan(values).all()]
        made = [
            users_line(series, spans, values) if title in _COUNTED else broken(series, values) for _, values in known
        ]
        lines = [Line(name, line.time_s, line.values) for (name, _), line in zip(known, made, strict=True)]
        if not lines:
            continue
        end = end_s * factor if end_s is not None and title == _TTFT else None
        figure = over_time(spans, lines, what, failed if number == 0 else None, end)
        figures.append(
            Chart(
                title,
                svg_of(figure, f"time{number}"),
                f"{title} over the time of the run, {_spans_text(spans)}."
                + (f" In {units.counted(len(failed), 'window')} requests failed." if failed and not number else ""),
                f"▲ beyond the axis: up to {units.duration(highest_s)}" if end is not None else "",
                table=_timeline_table(series, spans) if number == 0 else None,
            )
        )
    both = len({level.system_prompt for level in levels}) > 1
    counted, load = (
        ("Requests in flight", "rate") if _is_open(series) else ("Users and requests in flight", "number of users")
    )
    drawn = (
        "Each step is one count."
        if _is_open(series)
        else "In a ramp the line goes straight from count to count; after it, each step is one count."
    )
    text = (
        f"Each point covers {windows}; the last point of a level may cover less. {counted}: the last count of "
        f"that time (there is one each second), so the last point of a level can be 0. {drawn} "
        f"Shaded: the hold of each level, with its {load}{' (+: with system prompt)' if both else ''}. The chart of "
        "the token rate leaves out points that overlap a drain, in which no new requests are sent."
    )
    return [Text(text, style="quiet"), Charts(figures)] if figures else []


def _load_charts(series: TimeSeries) -> list[tuple[str, str, Sequence[tuple[str, Series]]]]:
    """The load over time: users of a closed loop, rates of an open one; requests in flight of both."""
    if not _is_open(series):
        return [(_USERS, "users, requests", [("users", series.users), ("requests in flight", series.in_flight)])]
    rates = [("offered", series.offered_rate), ("sent", series.sent_rate), ("completed", series.completed_rate)]
    return [("Request rate", "requests/s", rates), (_IN_FLIGHT, "requests", [("", series.in_flight)])]


def _is_open(series: TimeSeries) -> bool:
    """Whether the windows are of an open loop."""
    return not np.isnan(series.offered_rate).all()


def server(measured: RunData) -> list[Block]:
    """The server's own metrics, on the time axis of the run."""
    levels = measured.results.summary.levels
    blocks: list[Block] = []
    if any(level.hold.server is not None for level in levels):
        blocks += [
            level_table("Server metrics by level", columns_with_values(SERVER_COLUMNS, levels), levels),
            Text(server_note(measured.results), style="quiet"),
        ]
    samples = load_server_series(measured.results)
    if not samples:
        return blocks
    series = load_time_series(measured.results)
    spans = spans_of(measured.results, series)
    if not spans:
        return blocks
    charts = [
        ("Requests in the server", "requests", {"requests_running": "running", "requests_waiting": "waiting"}, 1),
        (
            "Cache and GPU utilization" if "gpu_utilization" in samples else "Cache utilization",
            "%",
            {"kv_cache_utilization": "KV cache", "gpu_utilization": "GPU", "prefix_cache_hit_ratio": "prefix hits"},
            100,
        ),
    ]
    figures = []
    for number, (title, what, names, factor) in enumerate(charts):
        lines = [
            sampled_line(name, *samples[key], spans)
            if key in _SAMPLED_REQUESTS
            else Line(name, samples[key][0], samples[key][1] * factor)
            for key, name in names.items()
            if key in samples
        ]
        if lines:
            svg = svg_of(over_time(spans, lines, what), f"server{number}")
            named = ", ".join(line.name for line in lines)
            alt = f"{title} over the time of the run: {named}. Means are in the table."
            figures.append(Chart(title, svg, alt))
    if (figure := _against_gpu(series, spans, samples)) is not None:
        figures.append(figure)
    return [*blocks, Charts(figures)] if figures else blocks


def _curve(measured: RunData, level: LevelSummary, name: str) -> tuple[Series, Series] | None:
    values = measured.requests.of(level).latencies(name)
    return distribution_line(values) if len(values) else None


def gap_curves(results: Results) -> tuple[Mapping[int, tuple[Series, Series]], bool]:
    """(By level index the bounds in seconds and the share of the gaps that is at most each, whether they are the
    recorded buckets and not Prometheus' few). Empty for folders without histograms. Levels of one name cannot be
    distinguished there, and are left out."""
    path = results.folder / "histograms.csv"
    if not path.is_file():
        return {}, True
    text = ("metric", "system_prompt", "level", "scope", "le")
    table = read_columns(path, [*text, "count"], text=text)
    columns = {name: np.array(names)[entries] for name in text for entries, names in [codes(table, name)] if names}
    if not columns:
        return {}, True
    recorded = RECORDED_GAPS in columns["metric"]
    chosen = (columns["metric"] == (RECORDED_GAPS if recorded else "gap_s")) & (columns["scope"] == "hold")
    counts = numbers(table, "count")
    keys = [(level.system_prompt, level.level) for level in results.summary.levels]
    curves = {}
    for level, key in zip(results.summary.levels, keys, strict=True):
        of_level = chosen & (columns["level"] == level.level) & (columns["system_prompt"] == level.system_prompt)
        bounded = of_level & (columns["le"] != "+Inf")
        if keys.count(key) > 1 or not counts[bounded].sum():
            continue
        bounds_s = columns["le"][bounded].astype(np.float64)
        shares = np.cumsum(counts[bounded]) / counts[of_level].sum()
        curves[level.index] = thinned_line(bounds_s, shares) if recorded else _in_use(bounds_s, shares)
    return curves, recorded


def _in_use(bounds_s: Series, shares: Series) -> tuple[Series, Series]:
    """From the last bound that no value is below to the first that all are."""
    first, last = int(np.argmax(shares > 0)), int(np.argmax(shares >= shares[-1]))
    return bounds_s[max(0, first - 1) : last + 1], shares[max(0, first - 1) : last + 1]


def _spread_figure(
    title: str,
    name: str,
    mode: str,
    curves: Mapping[str, tuple[Series, Series]],
    levels: Sequence[LevelSummary],
    in_buckets: bool,
) -> Chart:
    rows: list[Row] = [
        [users_of(level.name), *percentiles(values)]
        for level in levels
        if (values := getattr(level.hold, f"{name}_s")) is not None and values.count
    ]
    medians = [f"{row[0]} {row[3]}" for row in rows]
    return Chart(
        title,
        svg_of(spread(curves, name.upper() if name != "gap" else "gap", in_buckets=in_buckets), f"{name}{mode}"),
        f"Cumulative distribution of {title} by level. Medians: {', '.join(medians)}.",
        table=Table(title, ["level", *PERCENTILES], rows),
    )


def _timeline_table(series: TimeSeries, spans: Sequence[Span]) -> Table:
    both = len({span.level.system_prompt for span in spans}) > 1
    names = {span.level.index: level_name(span.level) if both else users_of(span.level.name) for span in spans}
    rates = {"offered/s": series.offered_rate, "sent/s": series.sent_rate, "completed/s": series.completed_rate}
    load = rates if _is_open(series) else {}
    counts = {"in flight": series.in_flight} if load else {"users": series.users, "in flight": series.in_flight}
    rows: list[Row] = [
        [
            f"{units.clock(series.start_s[at])}",
            names.get(int(series.level_index[at]), units.UNDEFINED),
            *(units.rate(float(column[at])) for column in load.values()),
            *(units.amount(float(column[at])) for column in counts.values()),
            units.rate(float(series.token_rate[at])),
            *(units.duration(float(column[at])) for column in (series.ttft_p50_s, series.ttft_p95_s)),
            units.amount(float(series.failures[at])),
        ]
        for at in range(len(series.level_index))
    ]
    headings = ["from", "level", *load, *counts, "tokens/s", "TTFT p50", "TTFT p95", "failures"]
    return Table("The points of the charts", headings, rows)


def _against_gpu(
    series: TimeSeries, spans: Sequence[Span], samples: Mapping[str, tuple[Series, Series]]
) -> Chart | None:
    if "gpu_utilization" not in samples:
        return None
    time_s, busy = samples["gpu_utilization"]
    points = {}
    for span in spans:
        inside = (time_s >= span.hold_began_s) & (time_s <= span.hold_ended_s)
        if inside.any():
            rates = np.interp(time_s[inside], series.middle_s, series.token_rate)
            name = span.level.level + (" +" if span.level.system_prompt == "on" else "")
            points[name] = busy[inside] * 100, rates
    if not points:
        return None
    svg = svg_of(rate_against(points, "GPU utilization (%)", "output tokens/s"), "gpu")
    return Chart(
        "Token rate against GPU utilization",
        svg,
        "Samples of GPU utilization in a hold, against the token rate then.",
    )


def _ttft_text(level: LevelSummary) -> str:
    return f"{units.quantile(level.hold.ttft_s.p50)} at {level_name(level)}"


def _rate_text(level: LevelSummary) -> str:
    return f"{units.rate(level.hold.token_rate)} at {level_name(level)}"


def _spans_text(spans: Sequence[Span]) -> str:
    return "; ".join(
        f"{level_name(span.level)} from {units.clock(span.began_s)} to {units.clock(span.hold_ended_s)}"
        for span in spans
    )
