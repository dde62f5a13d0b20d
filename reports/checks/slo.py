"""A finished run held against other objectives than its own: goodput, levels that meet them, and the largest of these.

Everything is counted again from requests.csv; the folder itself is left as it is.
"""

from __future__ import annotations

import msgspec

from tokenswarm.metrics.objectives import Objectives
from tokenswarm.recording.summary import capacities
from tokenswarm.reports.checks.good_requests import good_requests, good_share
from tokenswarm.run_folder.csv_reader import Requests, load_requests
from tokenswarm.run_folder.reader import Results
from tokenswarm.run_folder.schema import Capacity, Figures, Goodput, LevelSummary

FIGURES = ("ttft", "tpot", "e2e", "ttft_scheduled", "e2e_scheduled", "output_tokens")


def with_objectives(results: Results, objectives: Objectives) -> Results:
    """The same results, judged by these objectives. Raises ReportError where requests.csv cannot be read."""
    requests = load_requests(results, FIGURES)
    levels = tuple(_level(level, requests, objectives) for level in results.summary.levels)
    largest = msgspec.convert(capacities(levels), tuple[Capacity, ...], from_attributes=True)
    summary = msgspec.structs.replace(
        results.summary,
        objectives=objectives.bounds,
        objective_share=objectives.share,
        levels=levels,
        capacity=largest,
        capacity_search=None,  # it was held against its own
    )
    return msgspec.structs.replace(results, summary=summary)


def _level(level: LevelSummary, requests: Requests, objectives: Objectives) -> LevelSummary:
    hold = _figures(level.hold, requests.of(level), objectives)
    whole = _figures(level.whole, requests.of(level, hold=False), objectives)
    met = hold.goodput is not None and (hold.goodput.fraction or 0.0) >= objectives.share
    return msgspec.structs.replace(level, hold=hold, whole=whole, meets_objectives=met and level.complete)


def _figures(figures: Figures, requests: Requests, objectives: Objectives) -> Figures:
    if figures.seconds <= 0:
        return msgspec.structs.replace(figures, goodput=None)
    good = good_requests(requests, objectives)
    share = good_share(requests, objectives)
    fraction = (None, None, None) if share is None else (share.value, share.low, share.high)
    return msgspec.structs.replace(figures, goodput=Goodput(int(good.sum()) / figures.seconds, None, *fraction))
