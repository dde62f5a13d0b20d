"""How far one machine's monotonic clock is from another's, measured by messages and their answers."""

from __future__ import annotations

from collections import deque
from typing import NamedTuple

#: A worker exchanges times with its master every 3 s: two minutes, in which clocks drift apart by milliseconds at most.
_KEPT = 40


class ClockExchange(NamedTuple):
    """One message and its answer, in nanoseconds: when this process sent the message and received the answer, on its
    perf_counter_ns, and when the other process received and answered it, on the other's."""

    sent_ns: int
    other_received_ns: int
    other_sent_ns: int
    received_ns: int

    @property
    def round_trip_ns(self) -> int:
        """Time that message and answer together were in transit."""
        return (self.received_ns - self.sent_ns) - (self.other_sent_ns - self.other_received_ns)

    @property
    def offset_ns(self) -> int:
        """What to add to this process's clock to have the other's; off by half the round trip at most."""
        return (self.other_received_ns - self.sent_ns + self.other_sent_ns - self.received_ns) // 2


class ClockOffset:
    """The estimate of NTP's clock filter: of the last 40 exchanges, the one with the shortest round trip."""

    def __init__(self) -> None:
        self._exchanges: deque[ClockExchange] = deque(maxlen=_KEPT)

    def add(self, exchange: ClockExchange) -> None:
        """Add an exchange. One with a negative round trip is impossible and is left out."""
        if exchange.round_trip_ns >= 0:
            self._exchanges.append(exchange)

    @property
    def offset_ns(self) -> int | None:
        """What to add to this process's perf_counter_ns to have the other's; None before the first exchange."""
        best = self._best
        return None if best is None else best.offset_ns

    @property
    def error_ns(self) -> int | None:
        """The largest error that the offset can have; None before the first exchange."""
        best = self._best
        return None if best is None else best.round_trip_ns // 2

    @property
    def _best(self) -> ClockExchange | None:
        return min(self._exchanges, key=lambda exchange: exchange.round_trip_ns, default=None)
