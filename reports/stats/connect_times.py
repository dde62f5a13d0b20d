"""How long requests waited for their connections, as tools count it that have connecting inside TTFT."""

from __future__ import annotations

import numpy as np

from tokenswarm.metrics.intervals import Series


def waited_for_connection(connect: Series, lag: Series, *, open_loop: bool) -> Series:
    """Of each request, in the unit of both. connect: what making its connection took, 0 or NaN where it was kept; lag:
    sent minus scheduled. An open loop connects ahead of the time at which a request is due: of that, the request has
    waited for what lies behind this time alone."""
    took = np.nan_to_num(connect)
    return np.minimum(took, np.maximum(np.nan_to_num(lag), 0.0)) if open_loop else took
