"""What a client reports of its requests: the record that the plain clients keep, and how Tokenswarm's is read."""

from __future__ import annotations

import csv
import os
import time
from itertools import count
from pathlib import Path

from benchmarks.records import Seen

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


def read_client_log(folder: Path) -> list[Seen]:
    """The one record in `folder` that a plain client kept. Raises OSError."""
    with (folder / "client.csv").open(newline="", encoding="utf-8") as file:
        return [
            Seen(
                request_id=row["request_id"],
                sent_ns=int(row["sent_ns"]),
                ttft_ns=int(row["ttft_ns"]) if row["ttft_ns"] else None,
                gap_max_ns=int(row["gap_max_ns"]) if row["gap_max_ns"] else None,
                events=int(row["events"]),
                ok=row["ok"] == "1",
            )
            for row in csv.DictReader(file)
        ]


def read_tokenswarm(folder: Path) -> list[Seen]:
    """requests.csv of the one run whose results folder lies in `folder`. Raises OSError."""
    with next(iter(folder.glob("*/requests.csv")), folder / "requests.csv").open(newline="", encoding="utf-8") as file:
        return [
            Seen(
                request_id=None,
                sent_ns=round(float(row["sent_s"]) * 1e9),
                ttft_ns=_ns(row["ttft_ms"]),
                gap_max_ns=_ns(row["gap_max_ms"]),
                events=int(row["output_events"]),
                ok=row["outcome"] == "ok",
            )
            for row in csv.DictReader(file)
        ]


def reads_of_tokenswarm(folder: Path) -> int:
    """How often its sockets were read, by requests.csv. Raises OSError."""
    with next(iter(folder.glob("*/requests.csv")), folder / "requests.csv").open(newline="", encoding="utf-8") as file:
        return sum(int(row["reads"]) for row in csv.DictReader(file))


def _ns(milliseconds: str) -> int | None:
    return round(float(milliseconds) * 1e6) if milliseconds else None
