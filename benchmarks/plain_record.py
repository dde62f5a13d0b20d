"""The record that a plain client keeps of its requests.

Of Tokenswarm it imports nothing: a locustfile that imports a part of it and measures nothing with it is refused.
"""

from __future__ import annotations

import csv
import os
import time
from itertools import count
from pathlib import Path

#: The environment variable with the path of a plain client's record.
LOG_VARIABLE = "BENCHMARK_CLIENT_LOG"
_COLUMNS = ("request_id", "sent_ns", "ttft_ns", "gap_max_ns", "events", "ok")


class TimedAnswer:
    """One request as a client in user space times it: it stamps what it has, when it has it."""

    __slots__ = ("events", "first_ns", "gap_max_ns", "last_ns", "ok", "request_id", "sent_ns")

    def __init__(self, request_id: str) -> None:
        self.request_id = request_id
        self.ok = False
        self.events = 0
        self.first_ns = self.last_ns = self.gap_max_ns = 0
        self.sent_ns = time.perf_counter_ns()

    def token(self, now_ns: int) -> None:
        """An event with text, which came at now_ns."""
        if not self.events:
            self.first_ns = now_ns
        elif now_ns - self.last_ns > self.gap_max_ns:
            self.gap_max_ns = now_ns - self.last_ns
        self.last_ns = now_ns
        self.events += 1


class ClientLog:
    """All answers of a process, written when it ends."""

    def __init__(self) -> None:
        self._numbers = count()
        self._answers: list[TimedAnswer] = []

    def begin(self) -> TimedAnswer:
        """A request that is sent now."""
        answer = TimedAnswer(str(next(self._numbers)))
        self._answers.append(answer)
        return answer

    def on_quitting(self, **_: object) -> None:
        """Locust is done: write all to the file that the environment names."""
        with Path(os.environ[LOG_VARIABLE]).open("w", newline="", encoding="utf-8") as file:
            rows = csv.writer(file, lineterminator="\n")
            rows.writerow(_COLUMNS)
            for answer in self._answers:
                ttft_ns = answer.first_ns - answer.sent_ns if answer.events else ""
                gap_max_ns = answer.gap_max_ns if answer.events > 1 else ""
                rows.writerow((answer.request_id, answer.sent_ns, ttft_ns, gap_max_ns, answer.events, int(answer.ok)))
