"""Messages that are dropped: all are counted, a few are logged."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

#: How many senders' first dropped messages are logged. A client can invent any number of senders.
_LOGGED_SENDERS = 100
_NAME_CHARACTERS = 100


class DroppedMessages:
    """Counts dropped messages by reason, and logs the first of each sender and reason."""

    def __init__(self, log: Callable[[str], None]) -> None:
        """log: takes a line of the log."""
        self.counts: Counter[str] = Counter()
        self._log = log
        self._logged: set[tuple[str, str]] = set()

    def drop(self, sender: str, reason: str, detail: str = "") -> None:
        """Count a message. reason: one of a few fixed texts, without text of the sender; detail: logged besides."""
        self.counts[reason] += 1
        more = f" ({detail[:500]})" if detail else ""
        self._log_once(sender, reason, f"Messages of {{}} are dropped: {reason}{more}; further ones are only counted")

    def name_useless(self, worker: str, reason: str) -> None:
        """Log once why this client that would be a worker is not used. reason: a fixed text."""
        self._log_once(worker, reason, f"Worker {{}} is not used: {reason}")

    def _log_once(self, sender: str, reason: str, line: str) -> None:
        """line: with {} for the sender's name."""
        if (sender, reason) in self._logged or len(self._logged) > _LOGGED_SENDERS:
            return
        self._logged.add((sender, reason))
        if len(self._logged) > _LOGGED_SENDERS:
            self._log("Dropped messages of further senders are counted and not logged")
            return
        self._log(line.replace("{}", sender[:_NAME_CHARACTERS].encode("unicode_escape").decode(), 1))
