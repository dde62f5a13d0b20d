"""Failed requests of a run by their errors, in the server's own words, from requests.csv."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from tokenswarm.metrics.level import Phase
from tokenswarm.metrics.timeline import Outcome
from tokenswarm.run_folder.csv_reader import codes, is_one_of, numbers, read_columns
from tokenswarm.run_folder.reader import Results
from tokenswarm.sanitize import server_text, unguarded

_MOST_EXAMPLES = 3
_LONGEST_ERROR = 300


@dataclass(frozen=True, slots=True)
class FailedRequest:
    """A request that failed: when it was sent (seconds since the run began), and the error in the server's words."""

    level_index: int
    outcome: str
    status: int | None
    sent_s: float
    error: str


def failure_examples(results: Results) -> list[FailedRequest]:
    """Of each level and outcome that is a failure, the first with each of up to three different errors. Raises
    ReportError."""
    examples: dict[tuple[int, str], dict[str, FailedRequest]] = {}
    for failure in _failures(results):
        found = examples.setdefault((failure.level_index, failure.outcome), {})
        if failure.error not in found and len(found) < _MOST_EXAMPLES:
            found[failure.error] = failure
    return [example for _, found in sorted(examples.items()) for example in found.values()]


def commonest_error(results: Results) -> tuple[str, int] | None:
    """The error that most of the failed requests ended with, and how many did; None where none failed. Of a run that
    ended in its first warm-up, requests of that. Raises ReportError."""
    in_warm_up = not any(level.whole.requests for level in results.summary.levels)
    errors = Counter(failure.error or failure.outcome for failure in _failures(results, in_warm_up=in_warm_up))
    return errors.most_common(1)[0] if errors else None


def _failures(results: Results, *, in_warm_up: bool = False) -> Iterator[FailedRequest]:
    """Every failed request in the order they were sent, those of warm-ups left out, or in_warm_up alone."""
    table = read_columns(
        results.folder / "requests.csv",
        ["level_index", "phase", "outcome", "status", "sent_s", "error"],
        text=("phase", "outcome", "error"),
    )
    if not len(table):
        return
    outcomes, outcome_names = codes(table, "outcome")
    known = {known.value for known in Outcome}
    failing = [number for number, name in enumerate(outcome_names) if name not in known or Outcome(name).is_failure]
    warm_up = is_one_of(codes(table, "phase"), [Phase.WARM_UP.value])
    failed = np.flatnonzero(np.isin(outcomes, failing) & (warm_up == in_warm_up))
    level_index, status, sent_s = (numbers(table, name) for name in ("level_index", "status", "sent_s"))
    errors, error_names = codes(table, "error")
    texts = [server_text(" ".join(unguarded(error or "").split()), _LONGEST_ERROR) for error in error_names]
    for row in failed[np.argsort(sent_s[failed], kind="stable")].tolist():
        code = None if np.isnan(status[row]) else int(status[row])
        error = texts[errors[row]] if errors[row] >= 0 else ""
        yield FailedRequest(int(level_index[row]), outcome_names[outcomes[row]], code, float(sent_s[row]), error)
