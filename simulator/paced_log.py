"""The paced server's log: a CSV row a request, the columns being the fields of `Served`."""

from __future__ import annotations

import csv
from collections.abc import Iterable
from dataclasses import astuple, dataclass, fields
from pathlib import Path

_TEXTS = {"request_id", "outcome"}


@dataclass(frozen=True, slots=True)
class Served:
    """A request as the server's own log has it; times on CLOCK_MONOTONIC.

    wire_ns: the kernel received the request's last bytes. first_ns, last_ns: just before the first and the last write
    that held a token, 0 where there was none. gap_max_ns: longest time between two such writes. late_max_ns: how far
    behind its schedule a token ever was, its write being done. request_id: what the client sent as X-Request-Id.
    """

    number: int
    request_id: str
    wire_ns: int
    first_ns: int
    last_ns: int
    tokens: int
    gap_max_ns: int
    late_max_ns: int
    outcome: str

    @property
    def ttft_ns(self) -> int:
        return self.first_ns - self.wire_ns


def write_server_log(path: Path, served: Iterable[Served]) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        rows = csv.writer(file, lineterminator="\n")
        rows.writerow(field.name for field in fields(Served))
        rows.writerows(map(astuple, served))


def read_server_log(path: Path) -> list[Served]:
    """Raises OSError, and ValueError for a file that is no such log."""
    with path.open(newline="", encoding="utf-8") as file:
        return [
            Served(**{name: text if name in _TEXTS else int(text) for name, text in row.items()})  # type: ignore[arg-type]
            for row in csv.DictReader(file)
        ]
