"""What happened when, for drawing: windows.csv and server.csv thinned out.

Only charts are drawn from what is thinned; every number of a report comes from the whole.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import ceil

import numpy as np

from tokenswarm.metrics.intervals import Series
from tokenswarm.run_folder.csv_reader import codes, numbers, read_columns
from tokenswarm.run_folder.reader import Results

#: More points than these a chart of a phone's width cannot show.
MOST_POINTS = 360
_WINDOW_NAMES = (
    *("start_s", "end_s", "level_index", "users", "in_flight", "failures", "token_rate"),
    *("offered_rate", "sent_rate", "completed_rate"),
)
_IN_MS = ("ttft_p50_ms", "ttft_p95_ms")


@dataclass(frozen=True, slots=True)
class TimeSeries:
    """The run's windows in the order of time; of a long run, several neighbours of a level as one.

    token_rate, ttft_p50_s and the rates of requests are means of what is drawn as one, ttft_p95_s its highest, failures
    its sum; users and in_flight are as they were at its end. together: how many windows that are at most. NaN where
    there was no request, no open loop (offered_rate), or the folder is of an older format without it.
    """

    start_s: Series
    end_s: Series
    level_index: Series
    users: Series
    in_flight: Series
    failures: Series
    token_rate: Series
    offered_rate: Series
    sent_rate: Series
    completed_rate: Series
    ttft_p50_s: Series
    ttft_p95_s: Series
    together: int

    @property
    def middle_s(self) -> Series:
        """Where each is drawn."""
        middle: Series = (self.start_s + self.end_s) / 2
        return middle


def load_time_series(results: Results) -> TimeSeries:
    """windows.csv. Raises ReportError."""
    table = read_columns(results.folder / "windows.csv", [*_WINDOW_NAMES, *_IN_MS])
    columns = {name: numbers(table, name) for name in _WINDOW_NAMES}
    columns |= {name.removesuffix("_ms") + "_s": numbers(table, name) / 1000 for name in _IN_MS}
    together = max(1, ceil(len(columns["level_index"]) / MOST_POINTS))
    level_index = columns["level_index"]
    # A new point begins with each level, and each so many windows after that.
    first = (
        np.flatnonzero(np.r_[True, level_index[1:] != level_index[:-1]])
        if len(level_index)
        else np.empty(0, dtype=np.int64)
    )
    within = np.arange(len(level_index)) - np.repeat(first, np.diff(np.r_[first, len(level_index)]))
    starts = np.flatnonzero(within % together == 0)
    thinned = {name: _thinned(name, values, starts) for name, values in columns.items()}
    return TimeSeries(**thinned, together=together)


def _thinned(name: str, values: Series, starts: np.ndarray[tuple[int], np.dtype[np.int64]]) -> Series:
    if not len(starts):
        return values
    if name in ("start_s", "level_index"):
        return values[starts]
    if name in ("end_s", "users", "in_flight"):
        return values[np.r_[starts[1:] - 1, len(values) - 1]]
    if name == "ttft_p95_s":
        return np.fmax.reduceat(values, starts)
    known = ~np.isnan(values)
    sums = np.add.reduceat(np.where(known, values, 0.0), starts)
    counts = np.add.reduceat(known.astype(np.float64), starts)
    if name == "failures":
        return sums
    with np.errstate(invalid="ignore"):
        means: Series = sums / np.where(counts > 0, counts, np.nan)
    return means


def load_server_series(results: Results) -> Mapping[str, tuple[Series, Series]]:
    """server.csv: of each metric the times (seconds since the run began) and values. Empty where the server reported
    nothing, or the folder is too old. Raises ReportError."""
    path = results.folder / "server.csv"
    if not path.is_file():
        return {}
    table = read_columns(path, ["time_s", "metric", "value"], text=("metric",))
    if not len(table):
        return {}
    time_s, value = numbers(table, "time_s"), numbers(table, "value")
    entries, names = codes(table, "metric")
    found = {}
    for number, name in enumerate(names):
        of_metric = np.flatnonzero(entries == number)
        chosen = of_metric[:: max(1, ceil(len(of_metric) / MOST_POINTS))]
        found[name] = time_s[chosen], value[chosen]
    return found
