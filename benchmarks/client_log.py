"""How the record that a plain client kept of its requests is read, and Tokenswarm's."""

from __future__ import annotations

import csv
from pathlib import Path

from benchmarks.records import Seen


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
