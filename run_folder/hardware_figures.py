"""How summary.json has a level's figures by GPU, dollar and joule."""

from __future__ import annotations

import msgspec


class HardwareFigures(msgspec.Struct, frozen=True, kw_only=True):
    """Of a level's hold. token_rate_per_gpu: output tokens/s of ok and other requests together, by the GPUs of --gpus.
    usd_per_million_tokens: what a million output tokens cost at this rate, with the price of --gpu-price.
    joules_per_token: energy of all GPUs that the DCGM exporter shows, by output tokens. None: not known."""

    token_rate_per_gpu: float | None = None
    usd_per_million_tokens: float | None = None
    joules_per_token: float | None = None
