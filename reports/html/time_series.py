"""What happened when, for drawing: windows.csv and server.csv thinned out, and examples of failed requests.

Only charts are drawn from what is thinned; every number of a report comes from the whole.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import ceil

import numpy as np

from metrics.timeline import Outcome
from reports.intervals import Series
from reports.journals import codes, numbers, read_columns
from reports.results import Results
from sanitize import server_text, unguarded

#: More points than these a chart of a phone's width cannot show.
MOST_POINTS = 360
_WINDOW_NAMES = ("start_s", "end_s", "stage", "users", "in_flight", "failures", "token_rate")
_IN_MS = ("ttft_p50_ms", "ttft_p95_ms")
_MOST_EXAMPLES = 3
_LONGEST_ERROR = 300


@dataclass(frozen=True, slots=True)
class Course:
    """The run's windows in the order of time; of a long run, several neighbours of a stage as one.

    token_rate, users, in_flight and ttft_p50_s are means of what is drawn as one, ttft_p95_s its highest, failures its
    sum. together: how many windows that are at most. NaN where there was no request, or the folder is too old to tell.
    """

    start_s: Series
    end_s: Series
    stage: Series
    users: Series
    in_flight: Series
    failures: Series
    token_rate: Series
    ttft_p50_s: Series
    ttft_p95_s: Series
    together: int

    @property
    def middle_s(self) -> Series:
        """Where each is drawn."""
        middle: Series = (self.start_s + self.end_s) / 2
        return middle


@dataclass(frozen=True, slots=True)
class FailureExample:
    """A request that failed: when it was sent (seconds since the run began), and the error in the server's words."""

    stage: int
    outcome: str
    status: int | None
    sent_s: float
    error: str


def load_course(results: Results) -> Course:
    """windows.csv. Raises ReportError."""
    table = read_columns(results.folder / "windows.csv", [*_WINDOW_NAMES, *_IN_MS])
    columns = {name: numbers(table, name) for name in _WINDOW_NAMES}
    columns |= {name.removesuffix("_ms") + "_s": numbers(table, name) / 1000 for name in _IN_MS}
    together = max(1, ceil(len(columns["stage"]) / MOST_POINTS))
    stage = columns["stage"]
    # A new point begins with each stage, and each so many windows after that.
    first = np.flatnonzero(np.r_[True, stage[1:] != stage[:-1]]) if len(stage) else np.empty(0, dtype=np.int64)
    within = np.arange(len(stage)) - np.repeat(first, np.diff(np.r_[first, len(stage)]))
    starts = np.flatnonzero(within % together == 0)
    thinned = {name: _thinned(name, values, starts) for name, values in columns.items()}
    return Course(**thinned, together=together)


def _thinned(name: str, values: Series, starts: np.ndarray[tuple[int], np.dtype[np.int64]]) -> Series:
    if not len(starts):
        return values
    if name in ("start_s", "stage"):
        return values[starts]
    if name == "end_s":
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


def load_server_course(results: Results) -> Mapping[str, tuple[Series, Series]]:
    """server.csv: of each concept the times (seconds since the run began) and values. Empty where the server told
    nothing, or the folder is too old. Raises ReportError."""
    path = results.folder / "server.csv"
    if not path.is_file():
        return {}
    table = read_columns(path, ["time_s", "concept", "value"], text=("concept",))
    if not len(table):
        return {}
    time_s, value = numbers(table, "time_s"), numbers(table, "value")
    entries, names = codes(table, "concept")
    found = {}
    for number, name in enumerate(names):
        of_concept = np.flatnonzero(entries == number)
        chosen = of_concept[:: max(1, ceil(len(of_concept) / MOST_POINTS))]
        found[name] = time_s[chosen], value[chosen]
    return found


def failure_examples(results: Results) -> list[FailureExample]:
    """Of each stage and outcome that is a failure, the first with each of up to three different errors. Raises
    ReportError."""
    table = read_columns(
        results.folder / "requests.csv", ["stage", "outcome", "status", "sent_s", "error"], text=("outcome", "error")
    )
    if not len(table):
        return []
    outcomes, outcome_names = codes(table, "outcome")
    known = {known.value for known in Outcome}
    failing = [number for number, name in enumerate(outcome_names) if name not in known or Outcome(name).is_failure]
    failed = np.flatnonzero(np.isin(outcomes, failing))
    stage, status, sent_s = (numbers(table, name) for name in ("stage", "status", "sent_s"))
    errors, error_names = codes(table, "error")
    examples: dict[tuple[int, str], dict[str, FailureExample]] = {}
    for row in failed[np.argsort(sent_s[failed], kind="stable")].tolist():
        outcome = outcome_names[outcomes[row]]
        error = (error_names[errors[row]] if errors[row] >= 0 else None) or ""
        found = examples.setdefault((int(stage[row]), outcome), {})
        if error in found or len(found) >= _MOST_EXAMPLES:
            continue
        code = None if np.isnan(status[row]) else int(status[row])
        told = server_text(" ".join(unguarded(error).split()), _LONGEST_ERROR)
        found[error] = FailureExample(int(stage[row]), outcome, code, float(sent_s[row]), told)
    return [example for _, found in sorted(examples.items()) for example in found.values()]
