"""What the benchmarks that are a part of bench.json have in common: their command, and the file that they write."""

from __future__ import annotations

import json
import os
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

from benchmarks.figures import BurstRow, StallRow
from benchmarks.launch import LaunchError
from benchmarks.machine import machine

RESULTS = Path(__file__).resolve().parent / "results"
Row = TypeVar("Row", BurstRow, StallRow)


def part_document(
    rows: Sequence[BurstRow] | Sequence[StallRow], where: dict[str, Any], when: datetime
) -> dict[str, Any]:
    """The part of bench.json that these rows are."""
    return {
        "started_at": when.isoformat(timespec="seconds"),
        "machine": where,
        "rows": [asdict(one) for one in rows],
    }


def measure_part(
    name: str, measure: Callable[[tuple[int, int], Path], Sequence[Row]], table: Callable[[Sequence[Row]], str]
) -> int:
    """Measure, write NAME.json and print the table. measure: of the client's and the server's core, in a folder that is
    then removed. Returns 0, or 2 with one sentence where it cannot be done here."""
    cores = sorted(os.sched_getaffinity(0)) if sys.platform == "linux" else []
    if len(cores) < 2:
        print(f"{name}: two cores of a Linux machine are needed; run it there.", file=sys.stderr)
        return 2
    where, when = machine(), datetime.now(UTC)
    try:
        with tempfile.TemporaryDirectory() as folder:
            rows = measure((cores[0], cores[-1]), Path(folder))
    except (LaunchError, OSError) as error:
        print(f"{name}: {error}.", file=sys.stderr)
        return 2
    RESULTS.mkdir(exist_ok=True)
    text = json.dumps({name: part_document(rows, where, when)}, indent=1)
    (RESULTS / f"{name}.json").write_text(text + "\n", encoding="utf-8")
    print(f"\n{table(rows)}\n\nIn {RESULTS}: {name}.json")
    return 0


def parse_numbers(text: str) -> tuple[int, ...]:
    """Of an option like `500,1000`. Raises ValueError, which argparse turns into a message."""
    found = tuple(int(part) for part in text.split(","))
    if min(found) < 1:
        raise ValueError(text)
    return found
