"""Hand-made logs: requests as the server and as a client might have written them down."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from benchmarks.records import Seen, Served

MS = 1_000_000
MakeServed = Callable[..., Served]
MakeSeen = Callable[..., Seen]


@pytest.fixture
def served() -> MakeServed:
    """A request that reached the server at wire_ms and got its first token ttft_ms later."""

    def make(number: int, wire_ms: float, *, ttft_ms: float = 200.0, **changes: object) -> Served:
        fields = {
            "request_id": "",
            "tokens": 10,
            "gap_max_ns": 25 * MS,
            "late_max_ns": 0,
            "outcome": "ok",
            "last_ns": round((wire_ms + ttft_ms + 225) * MS),
        }
        first_ns = round((wire_ms + ttft_ms) * MS)
        return Served(number=number, wire_ns=round(wire_ms * MS), first_ns=first_ns, **(fields | changes))

    return make


@pytest.fixture
def seen() -> MakeSeen:
    """A request as a client saw it, sent at sent_ms of its own clock."""

    def make(sent_ms: float, *, ttft_ms: float | None = 200.0, **changes: object) -> Seen:
        fields = {
            "request_id": None,
            "sent_ns": round(sent_ms * MS),
            "gap_max_ns": 25 * MS,
            "events": 10,
            "ok": True,
        }
        ttft_ns = None if ttft_ms is None else round(ttft_ms * MS)
        return Seen(ttft_ns=ttft_ns, **(fields | changes))

    return make
