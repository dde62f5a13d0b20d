"""Presets of the start form: what each fills in. Nothing is set that the form does not show afterwards."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

#: What every preset sets, so that nothing of the run before remains in the load.
_COMMON = {"requests": "0", "warm_up": "", "think_time": "", "system_prompt": "off"}
_RATES_ALONE = {"session_rate": "", "rate_schedule": "", "trace": "", "arrivals": "poisson", "max_in_flight": "0"}


class Preset(msgspec.Struct, frozen=True):
    """fields: the value of each field by its name; if_empty: the same for fields that keep what they have."""

    name: str
    help: str
    fields: Mapping[str, str]
    if_empty: Mapping[str, str] = {}


PRESETS = (
    Preset(
        "Quick look",
        "Three short levels, about a minute: does it work, and roughly how fast is it?",
        {**_COMMON, "shape": "ladder", "levels": "1,5,10", "ramp": "2s", "level_time": "15s"},
    ),
    Preset(
        "Default ladder",
        "10, 50 and 100 users for 5 minutes each, without and with a system prompt.",
        {
            **_COMMON,
            "shape": "ladder",
            "levels": "10,50,100",
            "ramp": "20s",
            "level_time": "5m",
            "system_prompt": "both",
        },
    ),
    Preset(
        "Rate (open loop)",
        "Requests at a rate, whether or not earlier ones have ended: three rates, a minute each.",
        {**_COMMON, **_RATES_ALONE, "shape": "open", "rate": "1,2,5", "level_time": "1m"},
    ),
    Preset(
        "Capacity search",
        "The most users whose requests are within the SLO.",
        {
            **_COMMON,
            "shape": "capacity",
            "find_capacity": "users",
            "between": "1:1000",
            "precision": "5%",
            "ramp": "20s",
            "level_time": "2m",
        },
        {"slo": "ttft=500ms tpot=50ms"},
    ),
    Preset(
        "Soak",
        "One level for 4 hours: does the server stay as fast as it was?",
        {**_COMMON, "shape": "ladder", "levels": "50", "ramp": "20s", "level_time": "4h"},
    ),
)
