"""What is counted of a window of a level: five seconds."""

from __future__ import annotations

from array import array
from dataclasses import dataclass, field


@dataclass(slots=True)
class WindowStats:
    """Five seconds of a level. users and in_flight as they were at its end; requests_completed: that ended ok."""

    users: int = 0
    in_flight: int = 0
    requests_sent: int = 0
    requests_ended: int = 0
    requests_completed: int = 0
    failures: int = 0
    output_tokens: float = 0.0
    ttfts_ns: array[int] = field(default_factory=lambda: array("q"))

    def add(self, other: WindowStats) -> None:
        """Count another window's requests and tokens in this one."""
        self.requests_sent += other.requests_sent
        self.requests_ended += other.requests_ended
        self.requests_completed += other.requests_completed
        self.failures += other.failures
        self.output_tokens += other.output_tokens
        self.ttfts_ns.extend(other.ttfts_ns)
