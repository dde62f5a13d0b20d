"""A run's folder whose histograms are counted by the test from its requests, to compare exports with."""

from __future__ import annotations

import csv
import json
from bisect import bisect_left
from pathlib import Path
from typing import Any

from tests.reports.folders import Course, write_csv, write_folder
from tokenswarm.metrics.buckets import EXPOSED
from tokenswarm.run_folder.schema import HISTOGRAM_COLUMNS, REQUEST_COLUMNS

#: By the figure of histograms.csv: the column of requests.csv.
COUNTED = {"ttft_s": "ttft_ms", "tpot_s": "tpot_ms", "e2e_s": "e2e_ms"}
TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
RUN = {
    "name": "nightly",
    "tags": {"gpu": "H100"},
    "engine_version": "0.32.0",
    "run_id": 17,
    "options": {"levels": "10,50", "max_tokens": 128, "seed": 1},
    "changed_options": ["levels", "max_tokens"],
}


def write_exported_run(path: Path) -> Path:
    """Two levels: 10 users, of whose requests 3 time out; 50 with the system prompt. The first request has a trace of
    its own."""
    write_folder(path, [Course(10, requests=60, failures=3), Course(50, "on", requests=70)], seed=1, run=RUN)
    rows = rows_of(path)
    for place, row in enumerate(rows):
        row |= {"level": "10" if row["level_index"] == "0" else "50", "scheduled_s": row["sent_s"], "headers_ms": "5.5"}
        row |= {"system_prompt": "off" if row["level_index"] == "0" else "on", "status": "200"}
        row |= {"prompt_tokens": str(7 + place), "prompt_tokens_source": "usage", "output_tokens_source": "usage"}
        if row["outcome"] == "ok":
            row |= {"first_event_ms": row["ttft_ms"], "finish_reason": "stop"}
    rows[0]["trace_id"] = TRACE
    rows[1] |= {"prompt_tokens_source": "estimate", "model": "llama-3-70b", "host": "https://other"}
    rows[2] |= {"ttfvt_ms": str(float(rows[2]["ttft_ms"]) + 40)}
    rows[3]["duration_ms"] = rows[63]["duration_ms"] = "9000"
    write_csv(path / "requests.csv", REQUEST_COLUMNS, rows)
    write_csv(path / "histograms.csv", HISTOGRAM_COLUMNS, _histogram_rows(rows))
    return path


def rows_of(folder: Path) -> list[dict[str, str]]:
    with (folder / "requests.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def summary_of(folder: Path) -> dict[str, Any]:
    document: dict[str, Any] = json.loads((folder / "summary.json").read_text())
    return document


def _histogram_rows(rows: list[dict[str, str]]) -> list[dict[str, Any]]:
    found = []
    for level, system_prompt in (("10", "off"), ("50", "on")):
        of_level = [row for row in rows if row["level"] == level and row["outcome"] == "ok"]
        for figure, column in COUNTED.items():
            bounds = EXPOSED[figure]
            counts = [0] * (len(bounds) + 1)
            for row in of_level:
                counts[bisect_left(bounds, float(row[column]) / 1e3)] += 1
            for scope in ("hold", "whole"):
                found += [
                    {"metric": figure, "system_prompt": system_prompt, "level": level, "scope": scope}
                    | {"le": bound, "count": count if scope == "hold" else count + 1}
                    for bound, count in zip([*bounds, "+Inf"], counts, strict=True)
                ]
    return found
