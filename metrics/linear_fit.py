"""The straight line through pairs of numbers, from sums alone."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(slots=True)
class LinearFit:
    """Least squares of y on x, of pairs that are given one by one and not kept."""

    pairs: int = 0
    _sum_x: int = 0
    _sum_y: int = 0
    _sum_xx: int = 0
    _sum_xy: int = 0

    def add(self, x: int, y: int) -> None:
        """Count a pair. Whole numbers, whose sums are exact however many there are."""
        self.pairs += 1
        self._sum_x += x
        self._sum_y += y
        self._sum_xx += x * x
        self._sum_xy += x * y

    @property
    def slope(self) -> float | None:
        """How much y grows with each unit of x; None where all x are the same."""
        spread = self.pairs * self._sum_xx - self._sum_x**2
        return (self.pairs * self._sum_xy - self._sum_x * self._sum_y) / spread if spread else None
