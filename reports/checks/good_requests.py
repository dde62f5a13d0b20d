"""Which requests of a finished run met objectives, from requests.csv."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tokenswarm.metrics.objectives import Objectives
from tokenswarm.run_folder.csv_reader import Requests


def good_requests(requests: Requests, objectives: Objectives) -> NDArray[np.bool_]:
    """Whether each request met every bound: ok, and within all of them. A missing figure misses its bound, except the
    TPOT of a one-token answer, which is met."""
    good = requests.ok.copy()
    for name, bound_s in objectives.bounds.items():
        values = requests.figures[name.removesuffix("_s")]
        if name == "tpot_s":
            values = np.where(requests.figures["output_tokens"] == 1, 0.0, values)
        good &= values <= bound_s  # NaN is within no bound
    return good
