"""What tables say of a level's figures by GPU, dollar and joule, and the sentence about the highest load within the
SLO."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

from tokenswarm.metrics.hardware import Hardware
from tokenswarm.metrics.level import level_text
from tokenswarm.reports import units
from tokenswarm.run_folder.hardware_figures import HardwareFigures
from tokenswarm.run_folder.schema import LevelSummary, Summary

_NOTE = "Tokens/s per GPU: output tokens per second in the hold, divided by --gpus."
_PRICE_NOTE = "$ per million tokens: by --gpu-price."
_ENERGY_NOTE = "J per token: energy of all GPUs that the DCGM exporter shows, idle ones included."


class HardwareColumn(NamedTuple):
    """A column of figures of a level's hold."""

    group: str
    head: str
    cell: Callable[[LevelSummary], str]


def _of(level: LevelSummary) -> HardwareFigures:
    return level.hardware or HardwareFigures()


HARDWARE_COLUMNS = (
    HardwareColumn("tokens/s", "per GPU", lambda level: units.rate(_of(level).token_rate_per_gpu)),
    HardwareColumn("$ per million", "tokens", lambda level: units.dollars(_of(level).usd_per_million_tokens)),
    HardwareColumn("J per", "token", lambda level: units.rate(_of(level).joules_per_token)),
)


def with_hardware_figures(levels: Sequence[LevelSummary]) -> bool:
    """Whether any of them has such a figure."""
    return any(column.cell(level) != units.UNDEFINED for column in HARDWARE_COLUMNS for level in levels)


def hardware_note(levels: Sequence[LevelSummary]) -> str:
    """What the columns with figures show."""
    found = [_of(level) for level in levels]
    parts = [
        _NOTE,
        _PRICE_NOTE if any(figures.usd_per_million_tokens is not None for figures in found) else "",
        _ENERGY_NOTE if any(figures.joules_per_token is not None for figures in found) else "",
    ]
    return " ".join(filter(None, parts))


def hardware_lines(summary: Summary) -> list[str]:
    """The hardware as stated, and what it gives at the highest load that meets the SLO, of each system-prompt mode."""
    if summary.hardware is None:
        return []
    lines = [f"Hardware: {hardware_text(summary.hardware)}"]
    for found in summary.capacity:
        at = next(
            (
                level
                for level in summary.levels
                if (level.system_prompt, level.level) == (found.system_prompt, found.level)
            ),
            None,
        )
        if at is None or at.hardware is None or at.hardware.token_rate_per_gpu is None:
            continue
        cost = at.hardware.usd_per_million_tokens
        price = "" if cost is None else f", {units.dollars(cost)} per million output tokens"
        rate = units.rate(at.hardware.token_rate_per_gpu)
        lines.append(f"Within the SLO, at {level_text(at.name, at.system_prompt)}: {rate} tokens/s per GPU{price}")
    return lines


def hardware_text(hardware: Hardware) -> str:
    """`8 × H100, $2.50 per GPU and hour`."""
    what = f"{hardware.gpus} × {hardware.name}" if hardware.name else units.counted(hardware.gpus, "GPU")
    price = hardware.usd_per_gpu_hour
    return what + ("" if price is None else f", {units.dollars(price)} per GPU and hour")
