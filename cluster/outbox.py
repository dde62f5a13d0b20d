"""A worker's reports, kept until its master has acknowledged them."""

from __future__ import annotations

from tokenswarm.recording.worker_report import Report

#: What one message carries at most, unless a single report is larger.
_MESSAGE_BYTES = 1_000_000
#: What is kept at most. A request takes about 100 bytes: this holds half a million unacknowledged requests.
_KEPT_BYTES = 64_000_000


class OutboxFull(ValueError):
    """The master acknowledges no reports; the text says how many bytes are kept."""


class Outbox:
    """Reports in order, from the first unacknowledged one. They are sent again with every message, so that a lost
    message leaves no gap. last: the number of the last report."""

    def __init__(self) -> None:
        self._reports: dict[int, bytes] = {}
        self._ended: dict[int, int] = {}
        self._ended_acknowledged = 0
        self._size = 0
        self.last = 0

    def put(self, report: Report) -> None:
        """Keep a report. Raises OutboxFull."""
        encoded = report.encode()
        if self._size + len(encoded) > _KEPT_BYTES:
            raise OutboxFull(f"{self._size:,} bytes of reports were never acknowledged by the master")
        self._reports[report.number] = encoded
        self._ended[report.number] = report.ended
        self._size += len(encoded)
        self.last = report.number

    def acknowledge(self, number: int) -> None:
        """All reports up to this one are in the master's statistics: forget them."""
        for known in [each for each in self._reports if each <= number]:
            self._size -= len(self._reports.pop(known))
            self._ended_acknowledged = self._ended.pop(known)

    def ended_by(self, number: int) -> int:
        """Requests that had ended when that report was taken; for one that was acknowledged, when the last such was."""
        return self._ended.get(number, self._ended_acknowledged)

    def message(self) -> tuple[int, list[bytes]]:
        """(number of the last report in it, reports): what to send now, from the first that is not acknowledged."""
        through, size = 0, 0
        reports: list[bytes] = []
        for number, encoded in self._reports.items():
            if reports and size + len(encoded) > _MESSAGE_BYTES:
                break
            through, size = number, size + len(encoded)
            reports.append(encoded)
        return through, reports

    @property
    def ended_acknowledged(self) -> int:
        """Requests that are in the master's statistics."""
        return self._ended_acknowledged
