"""A worker's reports, kept until its master has acknowledged them."""

from __future__ import annotations

from metrics.records import Report

#: What one message carries at most, unless a single report is larger.
_MESSAGE_BYTES = 1_000_000
#: What is kept at most. A request takes about 100 bytes: this is half a million requests that nobody acknowledged.
_KEPT_BYTES = 64_000_000


class OutboxFull(ValueError):
    """The master acknowledges nothing; the text says how much is kept."""


class Outbox:
    """Reports in order, from the first that is not acknowledged. Sent again with every message, they arrive whatever
    became of the messages before: none of them can be missing in the middle."""

    def __init__(self) -> None:
        self._reports: dict[int, bytes] = {}
        self._fired: dict[int, int] = {}
        self._fired_acknowledged = 0
        self._size = 0
        self.last = 0

    def put(self, report: Report) -> None:
        """Keep one more. Raises OutboxFull."""
        encoded = report.encode()
        if self._size + len(encoded) > _KEPT_BYTES:
            raise OutboxFull(f"{self._size:,} bytes of reports were never acknowledged by the master")
        self._reports[report.number] = encoded
        self._fired[report.number] = report.fired
        self._size += len(encoded)
        self.last = report.number

    def acknowledge(self, number: int) -> None:
        """All reports up to this one are in the master's books: forget them."""
        for known in [each for each in self._reports if each <= number]:
            self._size -= len(self._reports.pop(known))
            self._fired_acknowledged = self._fired.pop(known)

    def fired_by(self, number: int) -> int:
        """Requests that had ended when that report was taken; for one that was acknowledged, when the last such was."""
        return self._fired.get(number, self._fired_acknowledged)

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
    def fired_acknowledged(self) -> int:
        """Requests that are in the master's books."""
        return self._fired_acknowledged
