"""The histograms of a run's levels as histograms.csv has them, in its buckets."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import NamedTuple

from tokenswarm.metrics.buckets import EXPOSED
from tokenswarm.metrics.level import Scope
from tokenswarm.run_folder.csv_reader import codes, numbers, read_columns
from tokenswarm.run_folder.distribution import Distribution
from tokenswarm.run_folder.reader import ReportError, Results
from tokenswarm.run_folder.schema import LevelSummary

_TEXT = ("metric", "system_prompt", "level", "scope", "le")


class RecordedHistogram(NamedTuple):
    """bounds: of the buckets, each with its upper one; counts: one more, of what is above them all. values: summary of
    the same values."""

    bounds: tuple[float, ...]
    counts: tuple[int, ...]
    values: Distribution


def recorded_histograms(results: Results) -> dict[int, dict[str, RecordedHistogram]]:
    """Of each level's hold, by the level's index and the figure; figures without a value are left out, as are levels
    whose name another one has, as the file cannot distinguish them. Raises ReportError."""
    buckets = _buckets(results)
    keys = Counter((level.system_prompt, level.level) for level in results.summary.levels)
    found = {}
    for level in results.summary.levels:
        key = (level.system_prompt, level.level)
        if keys[key] == 1:
            found[level.index] = {
                figure: histogram
                for figure in EXPOSED
                if (histogram := _histogram(level, figure, buckets.get((figure, *key), {}))) is not None
            }
    return found


def _histogram(level: LevelSummary, figure: str, buckets: Mapping[float, int]) -> RecordedHistogram | None:
    values = getattr(level.hold, figure)
    if values is None or not values.count or not buckets:
        return None
    bounds = sorted(buckets)
    return RecordedHistogram(tuple(bounds[:-1]), tuple(buckets[bound] for bound in bounds), values)


def _buckets(results: Results) -> dict[tuple[str, str, str], dict[float, int]]:
    """By figure, system prompt and level, of the hold: the count of each bucket by its upper bound."""
    path = results.folder / "histograms.csv"
    if not path.is_file() and results.files_missing is None:  # of an older format
        return {}
    table = read_columns(path, [*_TEXT, "count"], text=_TEXT)
    columns = [
        [names[entry] for entry in entries.tolist()] for entries, names in (codes(table, name) for name in _TEXT)
    ]
    found: dict[tuple[str, str, str], dict[float, int]] = {}
    for figure, system_prompt, level, scope, le, count in zip(*columns, numbers(table, "count").tolist(), strict=True):
        if scope == Scope.HOLD.value and figure in EXPOSED:
            try:
                found.setdefault((figure, system_prompt, level), {})[float(le)] = int(count)
            except ValueError:
                raise ReportError(f"{path} is not as a run writes it: {le} and {count} are no bucket.") from None
    return found
