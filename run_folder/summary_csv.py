"""The rows of summary.csv: the figures of summary.json, flattened."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import msgspec

from tokenswarm.metrics.level import Scope
from tokenswarm.metrics.quantiles import Quantile
from tokenswarm.metrics.timeline import Outcome
from tokenswarm.run_folder.abandon_figures import AbandonFigures, WasteFigures
from tokenswarm.run_folder.concurrency_summary import ConcurrencySummary
from tokenswarm.run_folder.hardware_figures import HardwareFigures
from tokenswarm.run_folder.length_figures import LengthFigures
from tokenswarm.run_folder.mix_figures import MemberFigures
from tokenswarm.run_folder.open_loop_figures import OpenLoopFigures
from tokenswarm.run_folder.schema import (
    Figures,
    Goodput,
    LevelSummary,
    ServerFigures,
)
from tokenswarm.run_folder.session_figures import SessionFigures
from tokenswarm.run_folder.think_time_figures import ThinkTimeFigures


def summary_rows(levels: Sequence[LevelSummary]) -> list[dict[str, Any]]:
    """summary.csv: one row for each level and scope, the figures flattened to one depth with `_` between the names."""
    rows = []
    for level in levels:
        for scope in Scope:
            row: dict[str, Any] = {
                "level_index": level.index,
                "system_prompt": level.system_prompt,
                "level": level.level,
                "users": level.users,
                "complete": level.complete,
                "meets_objectives": level.meets_objectives,
                "scope": scope.value,
            }
            figures = level.hold if scope is Scope.HOLD else level.whole
            row |= dict(_flattened("", _with_every_outcome(figures)))
            if figures.lag_s is not None:
                row |= _open_loop_cells(level.open_loop if scope is Scope.HOLD else None)
            if level.think_time is not None:
                row |= _think_time_cells(level.think_time if scope is Scope.WHOLE else None)
            if level.sessions is not None:
                row |= _session_cells(level.sessions, shown=scope is Scope.WHOLE)
            if level.abandonment is not None:
                row |= _abandon_cells(level.abandonment if scope is Scope.HOLD else None)
            if level.hardware is not None:
                row |= msgspec.to_builtins(level.hardware if scope is Scope.HOLD else HardwareFigures())
            row |= _concurrency_cells(level.concurrency if scope is Scope.HOLD else None)
            rows.append(row)
    return _with_members(rows, levels)


def _with_members(rows: list[dict[str, Any]], levels: Sequence[LevelSummary]) -> list[dict[str, Any]]:
    """Where requests went to several models or hosts, or have names: after the rows of each level, one for each model,
    host and name and each scope, with the columns `model`, `host` and `name` that say which. Their scope is `hold by
    model` and the like, so that rows of the scope `hold` are the totals alone."""
    parts = [figures for level in levels for figures in (level.hold, level.whole)]
    if not any(figures.models or figures.hosts or figures.names for figures in parts):
        return rows
    keys = [*list(rows[0])[: list(rows[0]).index("scope")], "seconds"]
    share_columns = ("model", "host", "name", "share", "requested_share")
    found = []
    for level, of_level in zip(levels, zip(rows[::2], rows[1::2])):
        found += [row | dict.fromkeys(share_columns) for row in of_level]
        for row, figures in zip(of_level, (level.hold, level.whole)):
            for kind, members in (("model", figures.models), ("host", figures.hosts), ("name", figures.names)):
                for member in members:
                    known = dict(_flattened("", _member_builtins(member)))
                    name = known.pop("name")
                    of_member = dict.fromkeys([*row, *share_columns]) | {key: row[key] for key in keys}
                    found.append(of_member | known | {"scope": f"{row['scope']} by {kind}", kind: name})
    return found


def _member_builtins(figures: MemberFigures) -> dict[str, Any]:
    builtins: dict[str, Any] = msgspec.to_builtins(figures)
    builtins["outcomes"] = {outcome.value: figures.outcomes.get(outcome, 0) for outcome in Outcome}
    builtins["prompts_repeated"] = builtins.pop("repeated")
    _fill_quantiles(builtins)
    return builtins


def _concurrency_cells(found: ConcurrencySummary | None) -> dict[str, float | None]:
    return {
        "users_actual_mean": found.mean if found else None,
        "users_actual_min": found.min if found else None,
        "users_short_share": found.short_share if found else None,
    }


def _think_time_cells(found: ThinkTimeFigures | None) -> dict[str, Any]:
    return {
        f"think_time_{name}": getattr(found, name, None)
        for name in ThinkTimeFigures.__struct_fields__
        if name != "requested"
    }


def _session_cells(found: SessionFigures, *, shown: bool) -> dict[str, Any]:
    """Without the figures by turn and by tokens, which are lists."""
    builtins: dict[str, Any] = msgspec.to_builtins(found)
    for name in ("turns", "uncached"):
        del builtins[name]
    _fill_quantiles(builtins)
    return {name: value if shown else None for name, value in _flattened("sessions", builtins)}


def _abandon_cells(found: AbandonFigures | None) -> dict[str, Any]:
    waste = found.waste if found else None
    names = (name for name in AbandonFigures.__struct_fields__ if not name.startswith("waste"))
    return {f"abandonment_{name}": getattr(found, name, None) for name in names} | {
        f"abandonment_waste_{name}": getattr(waste, name, None) for name in WasteFigures.__struct_fields__
    }


def _open_loop_cells(found: OpenLoopFigures | None) -> dict[str, Any]:
    names = (name for name in OpenLoopFigures.__struct_fields__ if name != "not_sent_by_workers")
    return {name: getattr(found, name, None) for name in names}


def _with_every_outcome(figures: Figures) -> dict[str, Any]:
    """As builtins, with the same columns in every row: all outcomes, counted or not, and no free-form dictionaries."""
    builtins: dict[str, Any] = msgspec.to_builtins(figures)
    builtins["outcomes"] = {outcome.value: figures.outcomes.get(outcome, 0) for outcome in Outcome}
    builtins["output_tokens_sources"] = "+".join(sorted(figures.output_tokens_sources))
    builtins["deviations"] = "+".join(sorted(figures.deviations))
    builtins["stamps"] = "+".join(sorted(figures.stamps))
    builtins["goodput"] = builtins["goodput"] or dict.fromkeys(Goodput.__struct_fields__)
    if figures.lag_s is None:
        for name in ("lag_s", "ttft_scheduled_s", "e2e_scheduled_s"):
            del builtins[name]
    for name in ("input_lengths", "output_lengths"):
        builtins[name] = builtins[name] or dict.fromkeys(LengthFigures.__struct_fields__)
    builtins["server"] = builtins["server"] or dict.fromkeys(ServerFigures.__struct_fields__)
    _fill_quantiles(builtins)
    for name in ("models", "hosts", "names"):  # they have rows of their own
        del builtins[name]
    return builtins


def _fill_quantiles(builtins: dict[str, Any]) -> None:
    """The same keys in every distribution."""
    for value in builtins.values():
        if isinstance(value, dict) and "p50" in value:
            for p in (name for name in value if name.startswith("p")):
                value[p] = value[p] or dict.fromkeys(Quantile.__struct_fields__)


def _flattened(prefix: str, value: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(value, dict):
        for name, inner in value.items():
            yield from _flattened(f"{prefix}_{name}" if prefix else name, inner)
    else:
        yield prefix.removesuffix("_value"), value
