"""ServeGen's clients: chunk-i-trace.csv says how many requests arrive in each window of 10 minutes and how unevenly,
chunk-i-dataset.json how long they are, in windows of 6 hours. The requests are drawn from both, by the seed.

The first file has no header: second, requests/s, CV, Gamma or Weibull (empty in idle windows), shape, scale. Gaps are
drawn and then scaled, so that those of a window fill it. In the second one, lengths are texts: "{120: 0.5, 300: 0.5}".
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from math import inf
from pathlib import Path
from typing import NamedTuple
from zlib import crc32

import msgspec
import numpy as np

from tokenswarm.prompts.traces.trace_records import MOST_TOKENS, Counts, RowFault, Times, shown_value

WINDOW_S = 600.0
#: Of the name of a file of windows, and what stands in its place in that of the lengths.
TRACE_ENDING, DATASET_ENDING = "-trace.csv", "-dataset.json"
_COLUMNS = 6
_MOST_RATE = 100_000.0
#: Of a length, so that the sum of all is a number too.
_MOST_WEIGHT = 1e200
_MOST = 1e12
_MOST_DIGITS = len(str(MOST_TOKENS))
_FORM = 'lengths like "{120: 0.5, 300: 0.5}"'
_ENTRY = re.compile(r"\s*(\d+)\s*:\s*(\d+(?:\.\d*)?(?:[eE][+-]?\d+)?)\s*", re.ASCII)
_NUMBER = re.compile(r"\d+(?:\.\d*)?(?:[eE][+-]?\d+)?", re.ASCII)


class RateWindow(NamedTuple):
    """10 minutes. rate: requests/s; shape, scale: of the gaps, which are drawn from a Weibull distribution if
    is_weibull, else from a gamma distribution."""

    begin_s: float
    rate: float
    is_weibull: bool
    shape: float
    scale: float


class LengthWindow(NamedTuple):
    """Lengths from a time on, until the next window. Weights are by tokens."""

    begin_s: float
    input_tokens: Mapping[int, float]
    output_tokens: Mapping[int, float]


class _Lengths(msgspec.Struct):
    input_tokens: str
    output_tokens: str


class DrawnRequests(NamedTuple):
    """Of one window, in their order; times count from its trace's beginning."""

    times_s: Times
    input_tokens: Counts
    output_tokens: Counts


def rate_window(cells: Sequence[str]) -> RateWindow | None:
    """A row of the first file; None for an idle window. Raises RowFault."""
    if len(cells) != _COLUMNS:
        raise RowFault(f"expected {_COLUMNS} cells, got {len(cells)}")
    begin_s, rate, pattern = _number("the second", cells[0]), _number("the rate", cells[1]), cells[3].strip()
    if not rate:
        return None
    if rate > _MOST_RATE:
        raise RowFault(f"expected at most {_MOST_RATE:,.0f} requests/s, got {cells[1]}")
    if pattern not in ("Gamma", "Weibull"):
        raise RowFault(f"expected Gamma or Weibull, got {shown_value(pattern)}")
    shape, scale = _number("the shape", cells[4]), _number("the scale", cells[5])
    if not shape or not scale:
        raise RowFault(f"expected a shape and a scale above 0, got {cells[4]} and {cells[5]}")
    return RateWindow(begin_s, rate, pattern == "Weibull", shape, scale)


def length_windows(content: bytes) -> list[LengthWindow]:
    """The second file, in order. Raises RowFault."""
    try:
        read = msgspec.json.decode(content, type=dict[str, _Lengths])
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise RowFault(f"expected JSON with input_tokens and output_tokens by second ({error})") from None
    found = [
        LengthWindow(
            _number("the second", begin), _weights(begin, lengths.input_tokens), _weights(begin, lengths.output_tokens)
        )
        for begin, lengths in read.items()
    ]
    return sorted(found, key=lambda window: window.begin_s)


def drawn_requests(window: RateWindow, lengths: Sequence[LengthWindow], seed: int, client: str) -> DrawnRequests:
    """The requests of a window: as many as its rate says, at times by the seed and the client's name. Raises RowFault
    where the lengths have none for its time."""
    place = bisect_right(lengths, window.begin_s, key=lambda each: each.begin_s) - 1
    of_time = lengths[place] if place >= 0 else None
    if of_time is None or not of_time.input_tokens or not of_time.output_tokens:
        raise RowFault(f"expected lengths for the second {window.begin_s:.0f} in the file of lengths, got none")
    number = round(window.rate * WINDOW_S)
    draws = np.random.Generator(np.random.PCG64([seed, int(window.begin_s), crc32(client.encode(errors="replace"))]))
    with np.errstate(over="ignore"):
        if window.is_weibull:
            gaps = draws.weibull(window.shape, number + 1) * window.scale
        else:
            gaps = draws.gamma(window.shape, window.scale, number + 1)
        ends = np.cumsum(gaps)
    if not 0 < ends[-1] < inf:
        raise RowFault(f"expected a shape and a scale of gaps, got {window.shape:g} and {window.scale:g}")
    times_s = window.begin_s + ends[:number] * (WINDOW_S / ends[-1])
    return DrawnRequests(
        times_s, _draw(draws, of_time.input_tokens, number), _draw(draws, of_time.output_tokens, number)
    )


def dataset_of(path: Path) -> Path:
    """The file of lengths that belongs to a file of windows."""
    name = path.name.removesuffix(".gz")
    return path.with_name(name.removesuffix(TRACE_ENDING) + DATASET_ENDING)


def _draw(draws: np.random.Generator, weights: Mapping[int, float], number: int) -> Counts:
    shares = np.array(list(weights.values()))
    values = np.array(list(weights), dtype=np.int64)
    return values[np.minimum(np.searchsorted(np.cumsum(shares / shares.sum()), draws.random(number)), len(values) - 1)]


def _weights(begin: str, text: str) -> dict[int, float]:
    """Weights above 0 by tokens above 0, of a dictionary as Python writes it."""
    inner = text.strip()
    if not (inner.startswith("{") and inner.endswith("}")):
        raise RowFault(f"second {begin}: expected {_FORM}, got {text[:40]!r}")
    found: dict[int, float] = {}
    for entry in filter(str.strip, inner[1:-1].split(",")):
        match = _ENTRY.fullmatch(entry)
        if match is None or not _is_length(match[1]) or float(match[2]) > _MOST_WEIGHT:
            raise RowFault(f"second {begin}: expected {_FORM}, got {entry.strip()[:40]!r}")
        if int(match[1]) and float(match[2]):
            found[int(match[1])] = float(match[2])
    return found


def _is_length(digits: str) -> bool:
    """Python refuses to read numbers of thousands of digits."""
    digits = digits.lstrip("0")
    return len(digits) <= _MOST_DIGITS and int(digits or "0") <= MOST_TOKENS


def _number(name: str, text: str) -> float:
    if not _NUMBER.fullmatch(text.strip()) or not float(text) < _MOST:
        raise RowFault(f"expected {name} to be a number of at least 0, got {shown_value(text)}")
    return float(text)
