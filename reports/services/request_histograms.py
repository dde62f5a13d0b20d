"""What the metrics of OpenTelemetry's conventions count that no file of a run has as a histogram: durations, times to
the first chunk, and tokens of the requests that were sent in the hold of a level."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator
from math import inf
from typing import Any

from tokenswarm.metrics.level import Phase
from tokenswarm.metrics.timeline import Outcome
from tokenswarm.run_folder.csv_reader import read_rows
from tokenswarm.run_folder.reader import ReportError, Results
from tokenswarm.sanitize import shown

#: The bounds that the conventions advise.
DURATION_BOUNDS_S = tuple(0.01 * 2**power for power in range(14))
CHUNK_BOUNDS_S = (
    *(0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0),
    *(20.0, 40.0, 80.0, 160.0),
)
TOKEN_BOUNDS = tuple(4.0**power for power in range(14))
#: A count of tokens that Tokenswarm guessed from the length of a text: the conventions want none of these.
ESTIMATE = "estimate"
_TEXT = ("id", "phase", "outcome", "prompt_tokens_source")
_NUMBERS = ("level_index", "duration_ms", "first_event_ms", "prompt_tokens", "output_tokens")


class BoundedHistogram:
    """Counts of values between bounds, each bucket with its upper one; their exact sum, least and greatest."""

    def __init__(self, bounds: tuple[float, ...]) -> None:
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.sum, self.min, self.max = 0.0, inf, -inf

    def record(self, value: float) -> None:
        self.counts[bisect_left(self.bounds, value)] += 1
        self.sum += value
        self.min, self.max = min(self.min, value), max(self.max, value)


class RequestHistograms:
    """Of one level. durations_s: by outcome, of requests whose response came to its proper end; first_chunks_s, tokens
    (of input, of output): of ok requests."""

    def __init__(self) -> None:
        self.durations_s: dict[str, BoundedHistogram] = {}
        self.first_chunk_s = BoundedHistogram(CHUNK_BOUNDS_S)
        self.tokens = {"input": BoundedHistogram(TOKEN_BOUNDS), "output": BoundedHistogram(TOKEN_BOUNDS)}

    def count(self, row: dict[str, Any]) -> None:
        if row["duration_ms"] is not None:
            by_outcome = self.durations_s.setdefault(row["outcome"], BoundedHistogram(DURATION_BOUNDS_S))
            by_outcome.record(row["duration_ms"] / 1e3)
        if row["outcome"] != Outcome.OK.value:
            return
        if row["first_event_ms"] is not None:
            self.first_chunk_s.record(row["first_event_ms"] / 1e3)
        if row["output_tokens"] is not None:
            self.tokens["output"].record(row["output_tokens"])
        if row["prompt_tokens"] is not None and row["prompt_tokens_source"] != ESTIMATE:
            self.tokens["input"].record(row["prompt_tokens"])


def request_histograms(results: Results) -> dict[int, RequestHistograms]:
    """By the level's index. Raises ReportError."""
    found: dict[int, RequestHistograms] = {}
    for row in _rows(results):
        if row["phase"] == Phase.HOLD.value:
            try:
                found.setdefault(int(row["level_index"]), RequestHistograms()).count(row)
            except (ValueError, OverflowError, TypeError):
                raise unusable_row(results, row["id"]) from None
    return found


def unusable_row(results: Results, request: str | None) -> ReportError:
    """The error for a row of requests.csv with a value that no run writes."""
    path = results.folder / "requests.csv"
    return ReportError(f"{path} is not as a run writes it: the row of request {shown(request or '')!r} cannot be used.")


def _rows(results: Results) -> Iterator[dict[str, Any]]:
    names = (*_TEXT, *_NUMBERS)
    for block in read_rows(results.folder / "requests.csv", list(names), text=_TEXT):
        for values in zip(*(block[name] for name in names), strict=True):
            yield dict(zip(names, values, strict=True))
