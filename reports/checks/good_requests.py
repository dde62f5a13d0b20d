"""Which requests of a finished run met objectives, from requests.csv."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tokenswarm.metrics.intervals import Estimate, Series, share_within
from tokenswarm.metrics.objectives import GOOD_UP_TO, Objectives, score_numbers
from tokenswarm.run_folder.csv_reader import Requests


def good_requests(requests: Requests, objectives: Objectives) -> NDArray[np.bool_]:
    """Whether each request met every bound: ok, and within all of them. A missing figure misses its bound, except the
    TPOT of a one-token answer, which is met."""
    good: NDArray[np.bool_] = _scores(requests, objectives) <= 1.0
    return good


def good_share(requests: Requests, objectives: Objectives) -> Estimate | None:
    """The share of these requests that met every bound, those that users were to leave left out; None of no
    requests."""
    judged = requests.where(~requests.abandons)
    return share_within(score_numbers(_scores(judged, objectives)), GOOD_UP_TO)


def _scores(requests: Requests, objectives: Objectives) -> Series:
    """Of each request the largest of its figures / their bounds; inf where one is missing, and where it was not ok."""
    scores = np.where(requests.ok, 0.0, np.inf)
    for name, bound_s in objectives.bounds.items():
        values = requests.figures[name.removesuffix("_s")]
        if name == "tpot_s":
            values = np.where(requests.figures["output_tokens"] == 1, 0.0, values)
        scores = np.maximum(scores, np.where(np.isnan(values), np.inf, values / bound_s))
    return scores
