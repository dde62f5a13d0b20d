"""A level's figures by GPU, dollar and joule."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from tokenswarm.metrics.hardware import Hardware
from tokenswarm.run_folder.hardware_figures import HardwareFigures
from tokenswarm.run_folder.schema import LevelSummary

_SECONDS_PER_HOUR = 3600.0
_MILLION = 1e6


def with_hardware(levels: Iterable[LevelSummary], hardware: Hardware | None) -> tuple[LevelSummary, ...]:
    """The levels with their figures by hardware; None where nothing is known of it."""
    return tuple(msgspec.structs.replace(level, hardware=_figures(level, hardware)) for level in levels)


def _figures(level: LevelSummary, hardware: Hardware | None) -> HardwareFigures | None:
    rate = level.hold.token_rate
    power_w = level.hold.server.gpu_power_w_mean if level.hold.server else None
    if hardware is None and power_w is None:
        return None
    if not rate:
        return HardwareFigures()
    usd_per_hour = hardware.usd_per_hour if hardware else None
    return HardwareFigures(
        token_rate_per_gpu=rate / hardware.gpus if hardware else None,
        usd_per_million_tokens=None if usd_per_hour is None else usd_per_hour / _SECONDS_PER_HOUR / rate * _MILLION,
        joules_per_token=None if power_w is None else power_w / rate,
    )
