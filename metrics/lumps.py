"""Outputs that do not arrive one by one: several at once, or several tokens in one event. Pure."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence

import numpy as np

#: So many outputs an arrival, in the mean, are no accident of packets.
BURST_OUTPUTS = 2.0
#: A server's count may hold a token that is no text: the one that ends the answer.
_END_TOKENS = 1


def arrivals_of(outputs_ns: Sequence[int]) -> int:
    """How many arrivals these outputs came in. outputs_ns: ascending."""
    times = np.asarray(outputs_ns, dtype=np.int64)
    return int(np.count_nonzero(times[1:] != times[:-1])) + 1 if len(times) else 0


def in_first_arrival(outputs_ns: Sequence[int]) -> int:
    """How many outputs arrived with the first. outputs_ns: ascending, one or more."""
    return bisect_right(outputs_ns, outputs_ns[0])


def largest_arrival_share(outputs_ns: Sequence[int], sizes: Sequence[int], tokens: int) -> float:
    """The share (0 to 1) of an answer's tokens that came in the arrival with the most of them.

    outputs_ns: when each output arrived, ascending, one or more. sizes: the bytes of each one's text, empty where they
    are not known. An output is a token; tokens beyond the number of outputs are taken to be where the text is.
    """
    events, surplus = len(outputs_ns), tokens - len(outputs_ns) - _END_TOKENS
    together = sum(sizes) if surplus > 0 and len(sizes) == events else 0
    if arrivals_of(outputs_ns) == events:  # each came alone, as nearly always
        return (1 + surplus * max(sizes) / together) / (events + surplus) if together else 1 / events
    times = np.asarray(outputs_ns, dtype=np.int64)
    edges = np.flatnonzero(times[1:] != times[:-1]) + 1  # where the next arrival begins
    largest = np.diff(edges, prepend=0, append=events)
    if not together:
        return float(largest.max() / events)
    texts = np.add.reduceat(np.asarray(sizes, dtype=np.int64), np.concatenate(([0], edges)))
    return float((largest + surplus * texts / together).max() / (events + surplus))
