"""The description of a workload as plain text."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Sequence

from tokenswarm.metrics.level import users_of
from tokenswarm.reports import units
from tokenswarm.reports.progress_line import WITHOUT_DRAINS
from tokenswarm.reports.text_grid import TextColumn, grid_lines
from tokenswarm.workload.description import LevelFigures, ModeFigures, NumberFigures, PartFigures, WorkloadDescription

_WIDTH = 120
_MODES = {"off": "no system prompt", "on": "system prompt"}


def format_description(found: WorkloadDescription) -> str:
    """Tables and sentences, in lines of at most 120 characters unless a word is longer."""
    parts = [
        [line for text in too_short_lines(found) for line in textwrap.wrap(f"!!! {text}", _WIDTH)],
        _head(found),
        _lengths(found.modes),
        _sharing(found),
        _levels(found.levels),
        _totals(found),
        [line for note in found.notes for line in textwrap.wrap(note, _WIDTH)],
    ]
    return "\n\n".join("\n".join(part) for part in parts if part)


def too_short_lines(found: WorkloadDescription) -> list[str]:
    """Why a run would not start, a sentence for each system-prompt mode."""
    return [f"RUN {'WOULD' if each.is_sure else 'MAY'} NOT START, {each.text}" for each in found.too_short]


def _head(found: WorkloadDescription) -> list[str]:
    lines = [f"Prompts: {found.source}, seed {found.seed}; tokens: {_counted(found)}"]
    if found.abandon is not None and found.abandon_share is not None:
        drawn = ", ".join(units.percentage(mode.abandoned_share) for mode in found.modes)
        lines.append(
            f"Abandoned: {units.set_share(found.abandon_share)} of the requests, after={found.abandon} (drawn: {drawn})"
        )
    lines += [f"{head}: {_parts(parts)}" for head, parts in (("Models", found.models), ("Hosts", found.hosts)) if parts]
    return [part for line in lines for part in textwrap.wrap(line, _WIDTH)]


def _parts(parts: Sequence[PartFigures]) -> str:
    shares = ", ".join(f"{part.name} {units.set_share(part.share)}" for part in parts)
    drawn = ", ".join(units.percentage(part.drawn_share) for part in parts if part.drawn_share is not None)
    return f"{shares} of the {parts[0].part_of}{f' (drawn, of the requests: {drawn})' if drawn else ''}"


def _counted(found: WorkloadDescription) -> str:
    by = {
        "requested": "as requested, by the server's count",
        "recorded": "as recorded, by the server's count",
        "tokenizer": "by the tokenizer",
        "estimate": "estimated",
    }
    return by.get(found.token_counting, found.token_counting)


def _lengths(modes: Sequence[ModeFigures]) -> list[str]:
    rows: list[tuple[str, NumberFigures]] = []
    for mode in modes:
        name = _MODES[mode.system_prompt]
        rows += [(f"input tokens, {name}", mode.input_tokens), (f"output tokens, {name}", mode.output_tokens)]
        if mode.turns.max > 1:
            rows.append((f"turns of a session, {name}", mode.turns))
    if not rows:
        return ["No request is due within the levels."]
    figures = [figures for _, figures in rows]
    columns = [
        TextColumn("per request", [name for name, _ in rows], left=True),
        TextColumn("n", [units.count(each.n) for each in figures]),
        TextColumn("mean", [units.amount(each.mean) for each in figures]),
        *(TextColumn(name, [units.count(getattr(each, name)) for each in figures]) for name in _PERCENTILES),
    ]
    return grid_lines(columns)


_PERCENTILES = ("min", "p50", "p90", "p99", "max")


def _sharing(found: WorkloadDescription) -> list[str]:
    modes = found.modes
    if not modes:
        return []
    columns = [
        TextColumn("sharing", [_MODES[mode.system_prompt] for mode in modes], left=True),
        TextColumn("prefix groups", [units.count(mode.prefix_groups) for mode in modes]),
        TextColumn("tokens in --prefix groups", [units.percentage(mode.prefix_share) for mode in modes]),
        TextColumn(
            "input tokens from the cache, at least", [units.percentage(mode.cache_hit_ratio_min) for mode in modes]
        ),
        TextColumn("at most", [units.percentage(mode.cache_hit_ratio_max) for mode in modes]),
    ]
    blocks = f"The cache holds whole blocks of {units.counted(found.block_tokens, 'token')}."
    return [*grid_lines(columns), f"--cache {found.cache}: {_CACHES[found.cache]}. {blocks}"]


_CACHES = {
    "share": "the server's prefix cache may find whatever requests share",
    "bust": "the server's prefix cache finds nothing of another request",
    "flush": "the server's prefix cache may find whatever requests share, and is emptied before each level",
}


def _levels(levels: Sequence[LevelFigures]) -> list[str]:
    columns = [
        TextColumn("level", [_name(level) for level in levels], left=True),
        TextColumn("time", [_time(level.level_time_s) for level in levels]),
        TextColumn("ramp", [_time(level.ramp_s) for level in levels]),
        *_known("sessions", [_count(level.sessions) for level in levels]),
        *_known("requests", [_count(level.requests) for level in levels]),
        *_known("rate/s", [_figure(level.rate) for level in levels]),
        *_known(f"CV of times between {_arriving(levels)}", [_figure(level.gap_cv) for level in levels]),
        *_known("dispersion", [_figure(level.dispersion) for level in levels]),
        *_known("in flight, at most", [_count(level.max_in_flight) for level in levels]),
        *_known("think time, mean", [units.duration(level.think_time_mean_s) for level in levels]),
    ]
    lines = grid_lines(columns)
    if any(level.gap_cv is not None for level in levels):
        note = (
            "CV: standard deviation / mean of these times. Dispersion: variance / mean of the number of "
            f"{_arriving(levels)} in intervals of equal length. Both are about 1 for Poisson and 0 for constant "
            "arrivals."
        )
        lines += textwrap.wrap(note, _WIDTH)
    return lines


def _arriving(levels: Sequence[LevelFigures]) -> str:
    return "sessions" if any(level.sessions is not None for level in levels) else "requests"


def _known(head: str, cells: list[str]) -> Iterator[TextColumn]:
    if any(cell != units.UNDEFINED for cell in cells):
        yield TextColumn(head, cells)


def _name(level: LevelFigures) -> str:
    name = f"{users_of(level.level)}, {_MODES[level.system_prompt]}"
    return f"{name} (warm-up)" if level.warm_up else name


def _time(seconds: float | None) -> str:
    return units.UNDEFINED if seconds is None else units.planned_time(seconds)


def _count(number: int | None) -> str:
    return units.UNDEFINED if number is None else units.count(number)


def _figure(value: float | None) -> str:
    return units.UNDEFINED if value is None else units.amount(value)


def _totals(found: WorkloadDescription) -> list[str]:
    known = list(_totals_in_words(found))
    return textwrap.wrap(f"In all: {', '.join(known)}.", _WIDTH) if known else []


def _totals_in_words(found: WorkloadDescription) -> Iterator[str]:
    totals = found.totals
    about = "about " if totals.is_extrapolated else ""
    if totals.duration_s is not None:
        at_most = "at most " if totals.is_longest else ""
        yield f"{at_most}{units.length_of_time(totals.duration_s)} ({WITHOUT_DRAINS})"
    if totals.sessions is not None and totals.sessions != totals.requests:
        yield f"{about}{units.counted(totals.sessions, 'session')}"
    if totals.requests is not None:
        yield f"{about}{units.counted(totals.requests, 'request')}"
    if totals.input_tokens is not None:
        yield f"{about}{_count(totals.input_tokens)} input tokens"
    if totals.output_tokens is not None:
        at_most = "" if found.outputs_exact else "at most "
        yield f"{about}{at_most}{_count(totals.output_tokens)} output tokens"
