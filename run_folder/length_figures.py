"""How summary.json has requested against actual lengths."""

from __future__ import annotations

import msgspec

from tokenswarm.metrics.lengths import LengthComparison


class LengthFigures(msgspec.Struct, frozen=True):
    """Requested against actual lengths, in tokens, of the ok requests that have both.

    equal_share: of them, of exactly the requested length; difference_p99, difference_max: of |actual − requested|;
    deviating_share: of those that differ by more than a token and by more than 1 % of the requested length.
    """

    requests: int
    requested_mean: float
    actual_mean: float
    equal_share: float
    difference_p99: int
    difference_max: int
    deviating_share: float

    @classmethod
    def of(cls, found: LengthComparison) -> LengthFigures | None:
        """As it is written down; None where no length was requested or is known."""
        if not found.requests:
            return None
        return cls(
            found.requests,
            found.requested_tokens / found.requests,
            found.actual_tokens / found.requests,
            found.equal / found.requests,
            found.largest_difference(0.99),
            found.largest_difference(),
            found.deviating / found.requests,
        )
