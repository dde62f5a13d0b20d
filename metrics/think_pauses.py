"""Requested against actual think times of the users of a level. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field

#: The mean pause deviates where it differs from the requested one by more than this share of it, and this time.
TOLERANCE_SHARE = 0.05
TOLERANCE_NS = 1_000_000


@dataclass(slots=True)
class ThinkPauses:
    """Of pauses that another request followed: their number, and the sums of requested and actual ones."""

    pauses: int = 0
    requested_ns: int = 0
    actual_ns: int = 0
    _ended_ns: dict[str, int] = field(default_factory=dict)

    def add(self, user: str, think_ns: int | None, ready_ns: int, ended_ns: int) -> None:
        """Count a user's next request. think_ns: what was requested before it, None for no pause that counts;
        ready_ns: when the user began to send it; ended_ns: when it was over. Requests of a user come in their order."""
        before_ns = self._ended_ns.get(user)
        self._ended_ns[user] = ended_ns
        if think_ns is not None and before_ns is not None:
            self.pauses += 1
            self.requested_ns += think_ns
            self.actual_ns += ready_ns - before_ns

    def forget(self, user: str) -> None:
        """No further request of it will come."""
        self._ended_ns.pop(user, None)

    @property
    def requested_mean_s(self) -> float | None:
        """Of the pauses, what was requested; None without any."""
        return self.requested_ns / self.pauses / 1e9 if self.pauses else None

    @property
    def actual_mean_s(self) -> float | None:
        """How long the pauses were; None without any."""
        return self.actual_ns / self.pauses / 1e9 if self.pauses else None

    @property
    def as_requested(self) -> bool:
        """Whether the mean pause is about the requested one."""
        off_ns = abs(self.actual_ns - self.requested_ns)
        return off_ns <= TOLERANCE_SHARE * self.requested_ns + TOLERANCE_NS * self.pauses
