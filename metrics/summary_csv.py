"""The rows of summary.csv: the figures of summary.json, flattened."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec

from metrics.quantiles import Quantile
from metrics.server import ServerFigures
from metrics.stage import Part
from metrics.summary import ConcurrencySummary, Figures, Goodput, LevelSummary
from metrics.timeline import Outcome


def summary_rows(levels: list[LevelSummary]) -> list[dict[str, Any]]:
    """summary.csv: a row a level and part, the figures flattened to one depth with `_` between the names."""
    rows = []
    for level in levels:
        for part in Part:
            row: dict[str, Any] = {
                "stage": level.stage,
                "system_prompt": level.system_prompt,
                "level": level.level,
                "users": level.users,
                "complete": level.complete,
                "meets_objectives": level.meets_objectives,
                "part": part.value,
            }
            figures_of_part = level.hold if part is Part.HOLD else level.whole
            row |= dict(_flattened("", _with_every_outcome(figures_of_part)))
            row |= _concurrency_cells(level.concurrency if part is Part.HOLD else None)
            rows.append(row)
    return rows


def _concurrency_cells(found: ConcurrencySummary | None) -> dict[str, float | None]:
    return {
        "users_actual_mean": found.mean if found else None,
        "users_actual_min": found.min if found else None,
        "users_short_share": found.short_share if found else None,
    }


def _with_every_outcome(figures_of_part: Figures) -> dict[str, Any]:
    """As builtins, with the same columns in every row: all outcomes, counted or not, and no free-form dictionaries."""
    builtins: dict[str, Any] = msgspec.to_builtins(figures_of_part)
    builtins["outcomes"] = {outcome.value: figures_of_part.outcomes.get(outcome, 0) for outcome in Outcome}
    builtins["output_tokens_sources"] = "+".join(sorted(figures_of_part.output_tokens_sources))
    builtins["stamps"] = "+".join(sorted(figures_of_part.stamps))
    builtins["goodput"] = builtins["goodput"] or dict.fromkeys(Goodput.__struct_fields__)
    builtins["server"] = builtins["server"] or dict.fromkeys(ServerFigures.__struct_fields__)
    for name, value in builtins.items():
        if isinstance(value, dict) and "p50" in value:
            for p in (name for name in value if name.startswith("p")):
                value[p] = value[p] or dict.fromkeys(Quantile.__struct_fields__)
            builtins[name] = value
    return builtins


def _flattened(prefix: str, value: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(value, dict):
        for name, inner in value.items():
            yield from _flattened(f"{prefix}_{name}" if prefix else name, inner)
    else:
        yield prefix.removesuffix("_value"), value
