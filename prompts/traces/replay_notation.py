"""How the options of a replay are written: --trace-speed, --trace-window, --trace-sample, --trace-rate."""

from __future__ import annotations

import re
from argparse import Namespace
from contextlib import suppress
from enum import StrEnum
from typing import TypeVar

from tokenswarm.command_line import TimespanError, collect_errors, not_one_of, parse_timespan
from tokenswarm.metrics.trace_replay import TraceReplay, TraceSpread
from tokenswarm.prompts.traces.trace_records import TraceError, TraceFormat

#: A mistyped number would be a load of all requests at once.
_MOST_SPEED = 1_000_000.0
_MOST_RATE = 1_000_000.0
Choice = TypeVar("Choice", bound=StrEnum)
_NUMBER = re.compile(r"\d+(?:\.\d*)?|\.\d+", re.ASCII)


def replay_of(options: Namespace) -> TraceReplay | None:
    """What the options say; None without --trace, and for commands that send no load. Raises TraceError, OptionErrors
    for several."""
    if not (path := getattr(options, "trace", "").strip()):
        return None
    with collect_errors() as errors:
        kind = errors.of(_choice, "--trace-format", TraceFormat, options.trace_format)
        spread = errors.of(_choice, "--trace-spread", TraceSpread, options.trace_spread)
        speed = errors.of(_number_above_0, "--trace-speed", options.trace_speed, "times as fast, like 2", _MOST_SPEED)
        rate = errors.of(_rate_of, options.trace_rate)
        from_s, until_s = errors.of(_window_of, options.trace_window) or (0.0, None)
        sample = errors.of(_sample_of, options.trace_sample)
        seed = errors.of(_seed_of, options.seed)
        if rate is not None and speed not in (None, 1.0):
            errors.add(
                TraceError("--trace-speed and --trace-rate both say how fast --trace is replayed: give one of them.")
            )
    return TraceReplay(path, kind, speed, rate, from_s, until_s, sample, spread, bool(options.trace_skip_bad), seed)


def _choice(option: str, kind: type[Choice], text: str) -> Choice:
    try:
        return kind(text.strip())
    except ValueError:
        raise TraceError(not_one_of(option, kind, text)) from None


def _seed_of(value: object) -> int:
    """As every run has it: its sentence is the same, so that it stands once among all that is wrong."""
    with suppress(ValueError):
        if (seed := int(str(value))) >= 0:
            return seed
    raise TraceError(f"--seed takes a whole number of at least 0, got {value!r}.")


def _rate_of(text: str) -> float | None:
    return _number_above_0("--trace-rate", text, "requests a second, like 8", _MOST_RATE) if text.strip() else None


def _number_above_0(option: str, text: str, what: str, most: float) -> float:
    word = str(text).strip()
    if not _NUMBER.fullmatch(word) or not 0 < float(word) <= most:
        raise TraceError(f"{option} takes a number above 0 up to {most:,.0f}: {what}; got {text!r}.")
    return float(word)


def _window_of(text: str) -> tuple[float, float | None]:
    """`10m:20m`, `10m:` and `:20m` as seconds of the recorded time."""
    if not text.strip():
        return 0.0, None
    begin, colon, end = (part.strip() for part in text.partition(":"))
    try:
        from_s = parse_timespan("--trace-window", begin) if begin else 0.0
        until_s = parse_timespan("--trace-window", end) if end else None
    except TimespanError:
        colon = ""
    if not colon or (not begin and not end):
        raise TraceError(
            f"--trace-window takes a part of the recorded time, FROM:UNTIL, like 10m:20m, 10m: or :90s; got {text!r}."
        )
    if until_s is not None and until_s <= from_s:
        raise TraceError(f"--trace-window takes an end behind the beginning, like 10m:20m; got {text!r}.")
    return from_s, until_s


def _sample_of(text: str) -> float:
    word = text.strip()
    if not word:
        return 1.0
    number = word.removesuffix("%").strip()
    if not word.endswith("%") or not _NUMBER.fullmatch(number) or not 0 < float(number) <= 100:
        raise TraceError(f"--trace-sample takes a share of the sessions above 0 % up to 100 %, like 10%; got {text!r}.")
    return float(number) / 100
