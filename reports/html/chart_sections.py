"""Sections of a run's page that are charts. Each is made of a run and its journals, and is empty where there is nothing
to show. Every function may raise ReportError."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from metrics.journal import RECORDED_GAPS
from metrics.stage import PROMPT
from reports import units
from reports.courses import Course, load_course, load_server_course
from reports.drawing import svg_of
from reports.estimates import Measured
from reports.intervals import Estimate, Series
from reports.journals import codes, numbers, read_columns
from reports.level_charts import distribution_line, rate_against, rate_bars, spread, thinned_line, ttft_bars
from reports.notices import stage_name
from reports.page import Block, Figure, Figures, Row, Table, Text
from reports.results import Level, Results
from reports.table import SERVER_COLUMNS, SERVER_NOTE, columns_with_values
from reports.table_sections import PERCENTILES, level_table, percentiles
from reports.time_charts import Line, Span, before_drains, broken, over_time, spans_of

_SPREADS = (("ttft", "TTFT"), ("tpot", "TPOT"), ("gap", "Gaps"))


def bars(measured: Measured, rates: Mapping[int, Estimate | None]) -> list[Block]:
    """The article's two charts."""
    levels = measured.results.summary.levels
    first, last = levels[0], levels[-1]
    ttft = Figure(
        "Time to first token",
        svg_of(ttft_bars(levels), "ttft"),
        f"Bars of the median TTFT by users and system prompt, from {_told_ttft(first)} to {_told_ttft(last)}. "
        "The table at the top has every value.",
    )
    rate = Figure(
        "Token rate",
        svg_of(rate_bars(levels, rates), "rate"),
        f"Bars of the output tokens a second of all users, from {_told_rate(first)} to {_told_rate(last)}. "
        "The table at the top has every value.",
    )
    return [Figures([ttft, rate])]


def spreads(measured: Measured) -> list[Block]:
    """Distributions of TTFT, TPOT and gaps, by level."""
    levels = measured.results.summary.levels
    figures = []
    modes = list(dict.fromkeys(level.system_prompt for level in levels))
    gaps, exact_gaps = gap_curves(measured.results)
    for name, told in _SPREADS:
        for mode in modes:
            of_mode = [level for level in levels if level.system_prompt == mode]
            curves = {}
            for level in of_mode:
                curve = gaps.get(level.stage) if name == "gap" else _curve(measured, level, name)
                if curve is not None:
                    curves[f"{level.name} users"] = curve
            if curves:
                title = told if len(modes) == 1 else f"{told}, {PROMPT[mode]}"
                in_buckets = name == "gap" and not exact_gaps
                figures.append(_spread_figure(title, name, mode, curves, of_mode, in_buckets))
    if not figures:
        return []
    text = "Each line: the share of the ok requests sent in the hold (of gaps: of their gaps) that was at most so long."
    if not exact_gaps:
        text += " This folder keeps gaps in few buckets only: the dots are their bounds."
    return [Text(text, style="quiet"), Figures(figures)]


def course_of_the_run(measured: Measured) -> list[Block]:
    """Token rate, TTFT and users over the time of the run."""
    levels = measured.results.summary.levels
    course = load_course(measured.results)
    spans = spans_of(measured.results, course)
    if not spans:
        return []
    failed = {float(time_s): float(number) for time_s, number in zip(course.middle_s, course.failures) if number > 0}
    windows = "5-second windows" if course.together == 1 else f"up to {course.together} windows of 5 seconds as one"
    highest_s = np.nan_to_num(course.ttft_p95_s).max()
    factor, unit = units.duration_axis(float(highest_s))
    charts: list[tuple[str, str, Sequence[tuple[str, Series]]]] = [
        ("Token rate", "output tokens/s", [("", before_drains(course, spans))]),
        ("TTFT", unit, [("p50", course.ttft_p50_s * factor), ("p95", course.ttft_p95_s * factor)]),
        ("Users", "users, requests", [("users", course.users), ("requests in flight", course.in_flight)]),
    ]
    figures = []
    for number, (title, what, series) in enumerate(charts):
        lines = [
            Line(name, (line := broken(course, values)).time_s, line.values)
            for name, values in series
            if not np.isnan(values).all()
        ]
        if not lines:
            continue
        figure = over_time(spans, lines, what, failed if number == 0 else None)
        figures.append(
            Figure(
                title,
                svg_of(figure, f"time{number}"),
                f"{title} over the time of the run, {_told_course(spans)}."
                + (f" In {units.counted(len(failed), 'window')} requests failed." if failed and not number else ""),
                table=_course_table(course, spans) if number == 0 else None,
            )
        )
    text = f"In {windows}. Shaded: the hold of each level, by its users" + (
        "; +: with system prompt." if len({level.system_prompt for level in levels}) > 1 else "."
    )
    text += " The token rate is not drawn where a window reaches into a drain: nothing new is sent in it."
    return [Text(text, style="quiet"), Figures(figures)] if figures else []


def server(measured: Measured) -> list[Block]:
    """The server's own metrics, on the time axis of the run."""
    levels = measured.results.summary.levels
    blocks: list[Block] = []
    if any(level.hold.server is not None for level in levels):
        blocks += [
            level_table("By level", columns_with_values(SERVER_COLUMNS, levels), levels),
            Text(SERVER_NOTE, style="quiet"),
        ]
    told = load_server_course(measured.results)
    if not told:
        return blocks
    course = load_course(measured.results)
    spans = spans_of(measured.results, course)
    if not spans:
        return blocks
    charts = [
        ("Requests in the server", "requests", {"requests_running": "running", "requests_waiting": "waiting"}, 1),
        (
            "How full the server is",
            "%",
            {"kv_cache_utilization": "KV cache", "gpu_utilization": "GPU", "prefix_cache_hit_ratio": "prefix hits"},
            100,
        ),
    ]
    figures = []
    for number, (title, what, names, factor) in enumerate(charts):
        lines = [Line(name, told[key][0], told[key][1] * factor) for key, name in names.items() if key in told]
        if lines:
            svg = svg_of(over_time(spans, lines, what), f"server{number}")
            named = ", ".join(line.name for line in lines)
            alt = f"{title} over the time of the run: {named}. Means are in the table."
            figures.append(Figure(title, svg, alt))
    if (figure := _against_gpu(course, spans, told)) is not None:
        figures.append(figure)
    return [*blocks, Figures(figures)] if figures else blocks


def _curve(measured: Measured, level: Level, name: str) -> tuple[Series, Series] | None:
    values = measured.requests.of(level).latencies(name)
    return distribution_line(values) if len(values) else None


def gap_curves(results: Results) -> tuple[Mapping[int, tuple[Series, Series]], bool]:
    """(By stage the bounds in seconds and the share of the gaps that is at most each, whether they are the recorded
    buckets and not Prometheus' few). Empty for folders without histograms. Levels of one name cannot be told apart
    there: left out."""
    path = results.folder / "histograms.csv"
    if not path.is_file():
        return {}, True
    text = ("metric", "system_prompt", "level", "part", "le")
    table = read_columns(path, [*text, "count"], text=text)
    columns = {name: np.array(names)[entries] for name in text for entries, names in [codes(table, name)] if names}
    if not columns:
        return {}, True
    recorded = RECORDED_GAPS in columns["metric"]
    chosen = (columns["metric"] == (RECORDED_GAPS if recorded else "gap_s")) & (columns["part"] == "hold")
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
        curves[level.stage] = thinned_line(bounds_s, shares) if recorded else _in_use(bounds_s, shares)
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
    levels: Sequence[Level],
    in_buckets: bool,
) -> Figure:
    rows: list[Row] = [
        [f"{level.name} users", *percentiles(values)]
        for level in levels
        if (values := getattr(level.hold, f"{name}_s")) is not None and values.count
    ]
    medians = [f"{row[0]} {row[3]}" for row in rows]
    return Figure(
        title,
        svg_of(spread(curves, name.upper() if name != "gap" else "gap", in_buckets=in_buckets), f"{name}{mode}"),
        f"Cumulative distribution of {title} by level. Medians: {', '.join(medians)}.",
        table=Table(title, ["level", *PERCENTILES], rows),
    )


def _course_table(course: Course, spans: Sequence[Span]) -> Table:
    names = {span.level.stage: stage_name(span.level) for span in spans}
    rows: list[Row] = [
        [
            f"{units.clock(course.start_s[at])}",
            names.get(int(course.stage[at]), units.UNDEFINED),
            *(units.amount(float(column[at])) for column in (course.users, course.in_flight)),
            units.rate(float(course.token_rate[at])),
            *(units.duration(float(column[at])) for column in (course.ttft_p50_s, course.ttft_p95_s)),
            units.amount(float(course.failures[at])),
        ]
        for at in range(len(course.stage))
    ]
    headings = ["from", "level", "users", "in flight", "tokens/s", "TTFT p50", "TTFT p95", "failures"]
    return Table("The windows as they are drawn", headings, rows)


def _against_gpu(course: Course, spans: Sequence[Span], told: Mapping[str, tuple[Series, Series]]) -> Figure | None:
    if "gpu_utilization" not in told:
        return None
    time_s, busy = told["gpu_utilization"]
    points = {}
    for span in spans:
        inside = (time_s >= span.hold_began_s) & (time_s <= span.hold_ended_s)
        if inside.any():
            rates = np.interp(time_s[inside], course.middle_s, course.token_rate)
            name = span.level.level + (" +" if span.level.system_prompt == "on" else "")
            points[name] = busy[inside] * 100, rates
    if not points:
        return None
    svg = svg_of(rate_against(points, "GPU utilization (%)", "output tokens/s"), "gpu")
    return Figure(
        "Token rate against GPU utilization", svg, "Each look at the GPU in a hold, against the token rate then."
    )


def _told_ttft(level: Level) -> str:
    return f"{units.quantile(level.hold.ttft_s.p50)} at {stage_name(level)}"


def _told_rate(level: Level) -> str:
    return f"{units.rate(level.hold.token_rate)} at {stage_name(level)}"


def _told_course(spans: Sequence[Span]) -> str:
    return "; ".join(
        f"{stage_name(span.level)} from {units.clock(span.began_s)} to {units.clock(span.hold_ended_s)}"
        for span in spans
    )
