"""Which row of the client's record is which row of the server's log.

By the request's id, where the client can send one. Tokenswarm sends none, so its requests are matched in order: sorted
by when they were sent, and by when the server's kernel received them. This is sound here, because the client is one
thread that takes the time and sends in one breath, and over the loopback `send` itself delivers the bytes to the
server's socket and stamps them there: two requests cannot overtake each other. It is checked as well: both sides must
have as many requests, and the difference between their clocks must be the same for all pairs. Pairs that are shifted
by one request differ by the time between two requests, which at 300 requests a second is above 5 ms for one in five.

Clients that send no id and may overtake themselves (several processes), or write down no time of sending, are matched
by how long the server's usage said that the answer was. Two answers of one length are 70 requests apart or more, so
they end in the order in which they began. Both sides must have as many answers of each length. Where times of sending
are known, they are checked here too: a wrong pair is off by all the time between two requests of one length, so none
may be off by half of the least such time.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from itertools import pairwise
from math import inf
from statistics import median

from benchmarks.records import Seen, Served

#: How far a pair's two times may be apart when the clocks' difference is taken away, and how many pairs may be further
#: apart: a client that is descheduled between taking the time and sending is.
TRAVEL_NS = 5_000_000
SLOW_TRAVELLERS = 0.01


class MatchError(ValueError):
    """The two records are not of the same requests; the text says why."""


def match(seen: list[Seen], served: list[Served]) -> list[tuple[Seen, Served]]:
    """Pairs, in the order of the server's log. Raises MatchError where a request of either side has no partner."""
    if seen and all(request.request_id for request in seen):
        return _by_id(seen, served)
    if any(request.usage_tokens is not None or request.sent_ns is None for request in seen):
        return _by_length(seen, served)
    return _by_order(seen, served)


def _by_id(seen: list[Seen], served: list[Served]) -> list[tuple[Seen, Served]]:
    by_id = {request.request_id: request for request in seen}
    if len(by_id) < len(seen):
        raise MatchError(f"the client used {len(seen) - len(by_id)} request ids twice")
    strangers = [request for request in served if request.request_id not in by_id]
    if strangers:
        raise MatchError(f"the server logged {len(strangers)} requests that the client knows nothing of")
    if len(served) < len(seen):
        raise MatchError(f"the client recorded {len(seen)} requests, the server {len(served)}")
    return [(by_id[request.request_id], request) for request in served]


def _by_order(seen: list[Seen], served: list[Served]) -> list[tuple[Seen, Served]]:
    if len(seen) != len(served):
        raise MatchError(f"the client recorded {len(seen)} requests, the server {len(served)}")
    pairs = list(
        zip(
            sorted(seen, key=lambda request: request.sent_ns or 0),
            sorted(served, key=lambda request: request.wire_ns),
            strict=True,
        )
    )
    _check_clocks(pairs, TRAVEL_NS)
    return pairs


def _by_length(seen: list[Seen], served: list[Served]) -> list[tuple[Seen, Served]]:
    """`seen` is in order of ending. What the client cut off in the end is in the server's log alone, and left out; so
    is an answer that ended when the client was no longer looking."""
    unknown = sum(request.usage_tokens is None for request in seen)
    if unknown:
        raise MatchError(f"{unknown} of {len(seen)} requests failed, and the client's record does not say which")
    ended = sorted((request for request in served if request.outcome == "ok"), key=lambda request: request.last_ns)
    by_length: defaultdict[int | None, list[Seen]] = defaultdict(list)
    for request in reversed(seen):
        by_length[request.usage_tokens].append(request)
    pairs = [(by_length[other.tokens].pop(), other) for other in ended[: len(seen)] if by_length[other.tokens]]
    if len(pairs) < len(seen):
        raise MatchError(
            f"of {len(seen)} answers that the client recorded, {len(seen) - len(pairs)} are of lengths that the "
            "server's were not of"
        )
    _check_clocks(pairs, _least_apart_ns([other for _, other in pairs]) / 2)
    return pairs


def _least_apart_ns(served: Sequence[Served]) -> float:
    """The least time between two requests of one length; infinite where no length comes twice."""
    arrivals_ns: defaultdict[int, list[int]] = defaultdict(list)
    for request in served:
        arrivals_ns[request.tokens].append(request.wire_ns)
    apart_ns = [after - before for of_length in arrivals_ns.values() for before, after in pairwise(sorted(of_length))]
    return min(apart_ns, default=inf)


def _check_clocks(pairs: Sequence[tuple[Seen, Served]], travel_ns: float) -> None:
    """Raises MatchError where the clocks' difference is not the same for all pairs but for `travel_ns`."""
    offsets_ns = [theirs.wire_ns - ours.sent_ns for ours, theirs in pairs if ours.sent_ns is not None]
    middle_ns = median(offsets_ns) if offsets_ns else 0
    slow = sum(abs(offset_ns - middle_ns) > travel_ns for offset_ns in offsets_ns)
    if slow > SLOW_TRAVELLERS * len(pairs):
        raise MatchError(
            f"by when they were sent, {slow} of {len(pairs)} requests are more than {travel_ns / 1e6:.3g} ms off: "
            "these are not the same requests"
        )
