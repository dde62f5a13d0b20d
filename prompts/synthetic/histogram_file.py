"""The file of `hist:FILE`: lengths in tokens with their weights.

Either a JSON object, {"128": 0.25, "512": 0.75}, or one length a line with its weight (1 where there is none) after a
comma or a space; lines that begin with # and a first line of names are skipped.
"""

from __future__ import annotations

import re
from math import isfinite
from pathlib import Path

import msgspec

from tokenswarm.prompts.prompt_records import PromptError
from tokenswarm.sanitize import UnusableFile, read_text

_MOST_BYTES = 64 * 2**20
_MOST_TOKENS = 10_000_000
_LINE = re.compile(r"(?P<length>\d+)(?:\s*[,;\s]\s*(?P<weight>\d+(?:\.\d+)?(?:[eE][+-]?\d+)?))?")


def read_histogram(name: str) -> dict[int, float]:
    """Weights by length. Raises PromptError with the number of the line that cannot be read."""
    try:
        text = read_text(Path(name).expanduser(), _MOST_BYTES)
    except UnusableFile as error:
        raise PromptError(f"hist:{name}: the file {error}.") from None
    weights = _of_json(name, text) if text.lstrip().startswith("{") else _of_lines(name, text)
    if not sum(weights.values()):
        raise PromptError(f"hist:{name}: expected lengths with weights above 0, found none.")
    return weights


def _of_json(name: str, text: str) -> dict[int, float]:
    try:
        weights = msgspec.json.decode(text, type=dict[int, float], strict=False)
    except (msgspec.MsgspecError, RecursionError) as error:
        raise PromptError(f'hist:{name}: expected JSON like {{"128": 0.25, "512": 0.75}} ({error}).') from None
    for length, weight in weights.items():
        if not 1 <= length <= _MOST_TOKENS or not (isfinite(weight) and weight >= 0):
            raise PromptError(
                f"hist:{name}: expected lengths from 1 to {_MOST_TOKENS:,} with weights of at least 0, got "
                f"{length}: {weight:g}."
            )
    return weights


def _of_lines(name: str, text: str) -> dict[int, float]:
    weights: dict[int, float] = {}
    rows = 0
    for number, line in enumerate(text.splitlines(), start=1):
        row = line.strip()
        if not row or row.startswith("#"):
            continue
        rows += 1
        match = _LINE.fullmatch(row)
        if match is None and rows == 1 and not row[0].isdigit() and row[0] != "-":
            continue  # names of columns
        if match is None or not 1 <= int(match["length"]) <= _MOST_TOKENS:
            raise PromptError(
                f"hist:{name}: line {number}: expected a length from 1 to {_MOST_TOKENS:,} and its weight, like "
                f"128,0.25; got {row[:60]!r}."
            )
        length = int(match["length"])
        weights[length] = weights.get(length, 0.0) + float(match["weight"] or 1)
    return weights
