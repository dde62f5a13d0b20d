"""Times as options take them: `300`, `500ms`, `20s`, `5m`, `1h30m`."""

from __future__ import annotations

import re
from typing import Any

_NUMBER = r"\d+(?:\.\d+)?"
# A number without a unit is accepted alone only: 1h30 could mean half an hour more, or half a minute.
_TIMESPAN = re.compile(
    rf"(?P<bare>{_NUMBER})|(?:(?P<h>{_NUMBER})h)?(?:(?P<m>{_NUMBER})m)?(?:(?P<s>{_NUMBER})s)?(?:(?P<ms>{_NUMBER})ms)?",
    re.ASCII,
)
_UNIT_SECONDS = {"bare": 1.0, "h": 3600.0, "m": 60.0, "s": 1.0, "ms": 0.001}


class TimespanError(ValueError):
    """The text is not a time; the error's text names the option, what it takes and what it got."""


def parse_timespan(option: str, text: Any, *, above_zero: bool = False) -> float:
    """Seconds in `300`, `20s`, `5m`, `1h30m` or `500ms`. Raises TimespanError, also for 0 with `above_zero`."""
    match = _TIMESPAN.fullmatch(str(text).strip())
    if match and any(match.groups()):
        seconds = sum(float(number or 0) * _UNIT_SECONDS[unit] for unit, number in match.groupdict().items())
        if seconds > 0 or not above_zero:
            return seconds
    takes = "a time above 0" if above_zero else "a time"
    raise TimespanError(f"{option} takes {takes} like 500ms, 20s, 5m or 1h30m, got {text!r}.")


def timespan_text(seconds: float) -> str:
    """A number of seconds as one would give it to an option: `20s`, `5m`, `1h30m`, `500ms`."""
    milliseconds = round(seconds * 1000)
    parts = []
    for unit, length in (("h", 3_600_000), ("m", 60_000), ("s", 1000), ("ms", 1)):
        count, milliseconds = divmod(milliseconds, length)
        if count:
            parts.append(f"{count}{unit}")
    return "".join(parts) or "0s"
