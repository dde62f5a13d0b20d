"""Whether a level's token rate changed while it was held: its last fifth against its first. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from math import sqrt
from typing import Literal

import numpy as np

from tokenswarm.metrics.intervals import Estimate, Series, long_run_variance, plus_minus, student_t, student_tail

#: Fewer windows than this are not judged: a fifth of them would be two.
FEWEST_WINDOWS = 15


@dataclass(frozen=True, slots=True)
class Drift:
    """first, last: mean token rate of the hold's first and last fifth, tokens a second. change: last − first, relative
    to first (−0.1: a tenth less), with its 95 % interval. chance: how probable so large a change in this direction is
    in a steady hold, 0 to 1."""

    first: float
    last: float
    change: Estimate
    chance: float = 1.0

    @property
    def course(self) -> Literal["falls", "rises", "steady"]:
        """What may be said: a fall or a rise only where the interval excludes zero."""
        if self.change.high is not None and self.change.high < 0:
            return "falls"
        if self.change.low is not None and self.change.low > 0:
            return "rises"
        return "steady"


def drift_of(rates: Series) -> Drift | None:
    """The drift of a hold, from the token rates of its windows in order. None for fewer than 15 windows.

    The noise of the two fifths is that of the low cosine frequencies of the whole hold, what a step between the fifths
    or a straight slope explains left out: otherwise a fall would count as noise against itself. A steady hold is called
    falling at most once in twenty (tests/metrics/test_drift.py).
    """
    n = len(rates)
    if n < FEWEST_WINDOWS:
        return None
    fifth = n // 5
    contrast = np.zeros(n)
    contrast[:fifth], contrast[-fifth:] = -1 / fifth, 1 / fifth
    first, last = float(rates[:fifth].mean()), float(rates[-fifth:].mean())
    if first <= 0:
        return None
    cosines = max(2, round(0.41 * n ** (2 / 3)))
    variance = long_run_variance(rates, cosines, [np.ones(n), contrast, np.linspace(-1.0, 1.0, n)])
    error = sqrt(variance * float(contrast @ contrast)) / first
    change = plus_minus(last / first - 1, student_t(cosines) * error, n, scale=1.0)
    chance = student_tail(abs(change.value) / error, cosines) if change.certified else 1.0
    return Drift(first, last, change, chance)
