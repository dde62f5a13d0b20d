"""Whether a level's requests reached the server to the end: since when all that ended had no answer."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

from tokenswarm.metrics.timeline import Outcome
from tokenswarm.recording.worker_report import RequestRow

_CUT_SHORT = (Outcome.TRUNCATED, Outcome.TIMEOUT, Outcome.CUT, Outcome.ABANDONED)


class Unreached(NamedTuple):
    """Requests that failed since the server last answered one. In seconds of the run, from the first of these to the
    last; refused: those that got no connection."""

    from_s: float
    until_s: float
    failed: int
    refused: int


class _Failed(NamedTuple):
    ended_s: float
    refused: bool


@dataclass(slots=True)
class ServerReach:
    """Of one level. Requests may be entered in any order, as workers report at different times."""

    answered_s: float = float("-inf")
    _failed: list[_Failed] = field(default_factory=list)

    def add(self, row: RequestRow) -> None:
        """Count a request that has ended."""
        answered_s = _answered_s(row)
        if answered_s is not None and answered_s > self.answered_s:
            self.answered_s = answered_s
            if self._failed:
                self._failed = [failed for failed in self._failed if failed.ended_s > answered_s]
        if row.outcome in (Outcome.REFUSED, Outcome.TRUNCATED) and row.ended_ns / 1e9 > self.answered_s:
            self._failed.append(_Failed(row.ended_ns / 1e9, row.outcome is Outcome.REFUSED))

    @property
    def unreached(self) -> Unreached | None:
        """None where the last request that ended had an answer."""
        if not self._failed:
            return None
        ends_s = [failed.ended_s for failed in self._failed]
        return Unreached(min(ends_s), max(ends_s), len(ends_s), sum(failed.refused for failed in self._failed))


def _answered_s(row: RequestRow) -> float | None:
    """When the server last answered this request, in seconds of the run: of a response that was cut short, its head."""
    if row.headers_ns is None:
        return None
    return (row.sent_ns + row.headers_ns) / 1e9 if row.outcome in _CUT_SHORT else row.ended_ns / 1e9
