"""How evenly a level served its users. Pure."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tokenswarm.metrics.intervals import Series


@dataclass(frozen=True, slots=True)
class Fairness:
    """Over the users of a level: Jain's index of their token rates (1: all equal, 1/users: one had everything; Jain,
    Chiu and Hawe, DEC-TR-301, 1984), and the mean TTFT of the user served slowest over that of the middle user."""

    users: int
    jain_token_rate: float
    slowest_ttft_ratio: float


def fairness_of(
    users: NDArray[np.int32], output_tokens: Series, streaming_s: Series, ttft_s: Series
) -> Fairness | None:
    """The fairness of a level from its ok requests, an entry a request: whose it was, tokens, last − first, TTFT.

    A user's token rate is (tokens − 1) over the time they took, summed over its requests. Users none of whose requests
    has a token rate are left out. None for fewer than two users.
    """
    with_rate = (output_tokens >= 2) & (streaming_s > 0)
    _, whose = np.unique(users[with_rate], return_inverse=True)
    if not len(whose) or whose.max() < 1:
        return None
    rates = np.bincount(whose, output_tokens[with_rate] - 1) / np.bincount(whose, streaming_s[with_rate])
    ttfts = np.bincount(whose, ttft_s[with_rate]) / np.bincount(whose)
    return Fairness(
        users=len(rates),
        jain_token_rate=float(rates.sum() ** 2 / (len(rates) * (rates**2).sum())),
        slowest_ttft_ratio=float(ttfts.max() / np.median(ttfts)),
    )
