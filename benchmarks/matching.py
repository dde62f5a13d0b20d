"""Which row of the client's record is which row of the server's log.

By the request's id, where the client can send one. Tokenswarm sends none, so its requests are matched in order: sorted
by when they were sent, and by when the server's kernel received them. This is sound here, because the client is one
thread that takes the time and sends in one breath, and over the loopback `send` itself delivers the bytes to the
server's socket and stamps them there: two requests cannot overtake each other. It is checked as well: both sides must
have as many requests, and the difference between their clocks must be the same for all pairs. Pairs that are shifted
by one request differ by the time between two requests, which at 300 requests a second is above 5 ms for one in five.
"""

from __future__ import annotations

from statistics import median

from benchmarks.records import Seen, Served

#: How far a pair's two times may be apart when the clocks' difference is taken away, and how many pairs may be further
#: apart: a client that is put aside between taking the time and sending is.
TRAVEL_NS = 5_000_000
SLOW_TRAVELLERS = 0.01


class MatchError(ValueError):
    """The two records do not tell of the same requests; the text says how."""


def match(seen: list[Seen], served: list[Served]) -> list[tuple[Seen, Served]]:
    """Pairs, in the order of the server's log. Raises MatchError where a request of either side has no partner."""
    if seen and all(request.request_id for request in seen):
        return _by_id(seen, served)
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
            sorted(seen, key=lambda request: request.sent_ns),
            sorted(served, key=lambda request: request.wire_ns),
            strict=True,
        )
    )
    offsets_ns = [theirs.wire_ns - ours.sent_ns for ours, theirs in pairs]
    middle_ns = median(offsets_ns) if offsets_ns else 0
    slow = sum(abs(offset_ns - middle_ns) > TRAVEL_NS for offset_ns in offsets_ns)
    if slow > SLOW_TRAVELLERS * len(pairs):
        raise MatchError(
            f"in order of sending, {slow} of {len(pairs)} requests are more than {TRAVEL_NS / 1e6:g} ms off: "
            "these are not the same requests"
        )
    return pairs
