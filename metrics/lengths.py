"""Requested against actual lengths of requests, in tokens."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from math import ceil

#: A length deviates where it differs by more than one token and by more than this share of the requested one.
TOLERANCE_TOKENS = 1
TOLERANCE_SHARE = 0.01


@dataclass(slots=True)
class LengthComparison:
    """Of requests whose length was requested and is known: their number, both sums, how many deviate, and how often
    each difference (actual − requested) occurred."""

    requests: int = 0
    requested_tokens: int = 0
    actual_tokens: int = 0
    deviating: int = 0
    differences: Counter[int] = field(default_factory=Counter)

    def add(self, requested: int, actual: int) -> None:
        """Count a request."""
        self.requests += 1
        self.requested_tokens += requested
        self.actual_tokens += actual
        self.differences[actual - requested] += 1
        self.deviating += abs(actual - requested) > max(TOLERANCE_TOKENS, TOLERANCE_SHARE * requested)

    @property
    def equal(self) -> int:
        """Requests whose length is the requested one."""
        return self.differences[0]

    def largest_difference(self, share: float = 1.0) -> int:
        """The largest difference, in either direction, of that share of the requests with the smallest ones."""
        left = ceil(share * self.requests)
        sizes = Counter[int]()
        for difference, count in self.differences.items():
            sizes[abs(difference)] += count
        for size in sorted(sizes):
            left -= sizes[size]
            if left <= 0:
                return size
        return 0
