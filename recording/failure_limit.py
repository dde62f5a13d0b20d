"""When a run is not worth going on: so many of its last requests failed."""

from __future__ import annotations

import re
from collections import Counter, deque
from collections.abc import Iterable
from dataclasses import dataclass
from math import ceil, inf

from tokenswarm.metrics.timeline import Outcome
from tokenswarm.recording.worker_report import RequestRow

OFF = "off"
#: A server that answered before may be restarting.
OUTAGE_S = 15.0
_ROUNDING = 1e-6
_SERVER = "check the server and its log"
#: Of whole answers that the user's own code refuses.
_CHECK = "compare the answers with what check= of the locustfile expects"
_LIMIT = re.compile(r"(\d+(?:\.\d+)?)\s*%\s*:\s*(\d+)", re.ASCII)


class FailureLimitError(ValueError):
    """--stop-after-failures could not be read; the text says what was expected and what came."""


@dataclass(frozen=True, slots=True)
class FailureLimit:
    """share: above 0, to 1, of the last `requests` (at least 1) that ended."""

    share: float
    requests: int

    @classmethod
    def parse(cls, text: str) -> FailureLimit | None:
        """Read `100%:50`; None for `off`. Raises FailureLimitError."""
        if text.strip() == OFF:
            return None
        match = _LIMIT.fullmatch(text.strip())
        share, requests = (float(match[1]) / 100, int(match[2])) if match else (0.0, 0)
        if not (0 < share <= 1 and requests >= 1):
            raise FailureLimitError(
                "--stop-after-failures takes a share (above 0 %, to 100 %) and a number of requests like 100%:50, or "
                f"off, got {text!r}."
            )
        return cls(share, requests)

    def __str__(self) -> str:
        return f"{self.share * 100:g}%:{self.requests}"


class FailureWatch:
    """Looks at ended requests in the order in which they are recorded. Pure."""

    def __init__(self, limit: FailureLimit | None, outage_s: float = OUTAGE_S) -> None:
        """limit: None for none. outage_s: for how long the limit must be exceeded once any request was answered."""
        self._limit = limit
        self._outage_ns = outage_s * 1e9
        self._answered = False
        self._exceeded_since_ns: int | None = None
        # 7% of 100 are 7, whatever a float makes of it.
        self._fewest_failures = inf if limit is None else ceil(limit.share * limit.requests - _ROUNDING)
        self._last: deque[RequestRow] = deque()
        self._failed = 0

    @property
    def has_limit(self) -> bool:
        """Whether a run is stopped at all."""
        return self._limit is not None

    def reason_to_stop(self, rows: Iterable[RequestRow]) -> str | None:
        """With these requests, why the run is to be stopped: at least the limit's share of the last requests failed, of
        as many as it names. Once any request was answered this must last for a while: with many users a server that
        restarts fails that many in a second, and may come back. Requests that the run itself cut, and that their
        users left, count neither way. None while it goes on."""
        if self._limit is None:
            return None
        for row in rows:
            if row.outcome in (Outcome.CUT, Outcome.ABANDONED):
                continue
            self._add(row, self._limit.requests)
            self._answered |= row.outcome is Outcome.OK
            if len(self._last) < self._limit.requests or self._failed < self._fewest_failures:
                self._exceeded_since_ns = None
            elif not self._answered or self._has_lasted(row.ended_ns):
                return self._reason(self._limit)
        return None

    def _has_lasted(self, now_ns: int) -> bool:
        if self._exceeded_since_ns is None:
            self._exceeded_since_ns = now_ns
        return now_ns - self._exceeded_since_ns >= self._outage_ns

    def _add(self, row: RequestRow, kept: int) -> None:
        self._last.append(row)
        self._failed += row.outcome.is_failure
        if len(self._last) > kept:
            self._failed -= self._last.popleft().outcome.is_failure

    def _reason(self, limit: FailureLimit) -> str:
        failed = [row for row in self._last if row.outcome.is_failure]
        errors = Counter((_in_words(row), row.outcome is Outcome.WRONG_ANSWER) for row in failed)
        ((error, is_answered), times), *_ = errors.most_common(1)
        often = "all" if times == len(failed) else f"{times:,}"
        return (
            f"{len(failed):,} of the last {limit.requests:,} requests failed (--stop-after-failures {limit}), {often} "
            f"with {error.rstrip('. ')}; {_CHECK if is_answered else _SERVER}, or give --stop-after-failures off to go "
            "on all the same"
        )


def _in_words(row: RequestRow) -> str:
    """The outcome and the message, or the message alone where it has the outcome."""
    if not row.error:
        return str(row.outcome)
    return row.error if row.outcome in row.error else f"{row.outcome}: {row.error}"
