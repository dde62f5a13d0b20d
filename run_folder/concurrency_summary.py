"""Requested and actual users of a level as summary.json has them."""

from __future__ import annotations

import msgspec

from tokenswarm.metrics.concurrency import Concurrency


class ConcurrencySummary(msgspec.Struct, frozen=True):
    """Users that were there in the whole seconds of a hold: mean over them, the fewest, and the share of them (0 to 1)
    in which less than 95 % of the requested users were there."""

    requested: int
    mean: float
    min: float
    short_share: float

    @classmethod
    def of(cls, found: Concurrency | None) -> ConcurrencySummary | None:
        """As it is written down."""
        if found is None:
            return None
        mean, least, share = (round(figure, 4) for figure in (found.mean, found.min, found.short_share))
        return cls(found.requested, mean, least, share)
