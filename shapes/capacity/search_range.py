"""The loads that a capacity search may probe: a range, a precision, and the steps between them. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil, floor, log, log2, log10, sqrt

#: A search that probes so many loads is short enough; where doubling would take more, they grow by a larger factor.
FEW_LOADS = 12
#: Loads on both sides of one without a decision.
_BESIDE_INCONCLUSIVE = 2
_FACTORS = (2, 4, 8, 16)
#: Significant digits of a rate that is probed.
_DIGITS = 3


@dataclass(frozen=True, slots=True)
class SearchRange:
    """Loads from low to high (users where `whole`, else requests/s). precision: the bracket that is searched for is so
    wide, as a share of its lower edge; whole users cannot be closer than 1."""

    low: float
    high: float
    precision: float = 0.05
    whole: bool = True

    @property
    def factor(self) -> int:
        """By how much the load grows until a probe fails: 2, or the smallest power of 2 with which the search probes at
        most 12 loads, one of which it cannot decide."""
        return next((factor for factor in _FACTORS if self._most_loads(factor) <= FEW_LOADS), _FACTORS[-1])

    @property
    def first(self) -> float:
        """The load of the first probe: one step above the lowest, as a pass there says what one at the lowest would."""
        return self.grown(self.low)

    def grown(self, load: float) -> float:
        """The next larger load, at most the highest."""
        return min(self.high, self._rounded(load * self.factor))

    def are_close(self, below: float, above: float) -> bool:
        """Whether there is nothing to be probed between two loads."""
        return above / below <= 1 + self.precision or (self.whole and above - below <= 1)

    def between(self, below: float, above: float) -> float | None:
        """The load halfway on the scale of logarithms; None where the two are close."""
        if self.are_close(below, above):
            return None
        middle = self._rounded(sqrt(below * above))
        if self.whole:
            middle = min(max(middle, floor(below) + 1.0), ceil(above) - 1.0)
        return middle if below < middle < above else None

    def beside(self, load: float) -> tuple[float, float]:
        """The loads next to one, below and above, that are as far from each other as the precision."""
        apart = sqrt(1 + self.precision)
        step = 1.0 if self.whole else 10.0 ** (floor(log10(load)) - _DIGITS + 1)
        below, above = ceil(load / apart / step) * step, floor(load * apart / step) * step
        if self.whole:
            below, above = min(below, load - 1), max(above, load + 1)
        return (below, above) if self.whole else (round(below, 9), round(above, 9))

    def _most_loads(self, factor: int) -> int:
        width = min(factor, self.high / self.low)
        growing = max(1, ceil(log(self.high / self.low) / log(factor) - 1e-9))
        halving = max(0, ceil(log2(max(1.0, log(width) / log(1 + self.precision))) - 1e-9))
        return growing + halving + _BESIDE_INCONCLUSIVE

    def _rounded(self, load: float) -> float:
        return float(max(1, round(load))) if self.whole else round(load, _DIGITS - 1 - floor(log10(load)))
