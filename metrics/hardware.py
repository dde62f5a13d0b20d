"""The GPUs of the server under test, as the user states them: what rates and costs are counted by."""

from __future__ import annotations

from collections.abc import Mapping
from math import isfinite
from typing import Any

import msgspec

_MOST_GPUS = 1_000_000


class HardwareError(ValueError):
    """A statement that cannot be used; the text says what was expected and what came."""


class Hardware(msgspec.Struct, frozen=True):
    """gpus: how many serve the model. name: what they are, "" where that is not said. usd_per_gpu_hour: what one of
    them costs for an hour, None where that is not said."""

    gpus: int
    name: str = ""
    usd_per_gpu_hour: float | None = None

    @property
    def usd_per_hour(self) -> float | None:
        """What all of them cost for an hour."""
        return None if self.usd_per_gpu_hour is None else self.gpus * self.usd_per_gpu_hour


def parse_hardware(gpus: str, name: str, price: str) -> Hardware | None:
    """The values of --gpus, --gpu-name and --gpu-price; None where all are empty. Raises HardwareError."""
    if not gpus.strip():
        for option, value in (("--gpu-name", name), ("--gpu-price", price)):
            if value.strip():
                raise HardwareError(f"{option} needs the number of GPUs that serve the model, like --gpus 8.")
        return None
    try:
        number = int(gpus)
    except ValueError:
        number = 0
    if not 1 <= number <= _MOST_GPUS:
        raise HardwareError(f"--gpus takes the number of GPUs that serve the model, like 8, got {gpus.strip()!r}.")
    return Hardware(number, name.strip(), _price(price))


def _price(text: str) -> float | None:
    if not text.strip():
        return None
    try:
        found = float(text)
    except ValueError:
        found = -1.0
    if not (isfinite(found) and found > 0):
        raise HardwareError(f"--gpu-price takes US dollars for one GPU and hour, like 2.5, got {text.strip()!r}.")
    return found


def hardware_of(options: Mapping[str, Any]) -> Hardware | None:
    """What a run's recorded options say; None of older runs, and where they say nothing."""
    given = [str(options.get(name) or "") for name in ("gpus", "gpu_name", "gpu_price")]
    try:
        return parse_hardware(*given)
    except HardwareError:  # checked when the run was started
        return None
