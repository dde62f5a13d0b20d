"""Results folders with journals, drawn at random from what a server would do: seeded, and as a run writes them."""

from __future__ import annotations

import csv
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tests.reports.conftest import distribution, figures, level, run_json, summary_json
from tokenswarm.run_folder.schema import REQUEST_COLUMNS, WINDOW_COLUMNS

RAMP_S, LEVEL_TIME_S, WINDOW_S = 20.0, 300.0, 5.0
TOKENS = 101  # of each answer

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Course:
    """How a level went: medians, the shape of chance around them, and how many requests failed, one here and there.
    correlation: how much the TTFT of a request resembles that of the one before (0 to 1)."""

    users: int = 10
    system_prompt: str = "off"
    requests: int = 400
    ttft_s: float = 0.2
    token_rate: float = 3000.0
    tpot_s: float = 0.02
    failures: int = 0
    fall: float = 0.0
    hits: float | None = None
    correlation: float = 0.0


@dataclass(frozen=True)
class Drawn:
    """What chance made of a course: an entry an ok request, and a token rate a window of the hold."""

    ttft_s: Floats
    tpot_s: Floats
    rates: Floats

    @property
    def e2e_s(self) -> Floats:
        return self.ttft_s + (TOKENS - 1) * self.tpot_s


def write_folder(path: Path, courses: Sequence[Course], seed: int, **changes: Any) -> Path:
    """A folder whose summary is of its own requests and windows; `run` and `summary` change its two documents."""
    random = np.random.default_rng(seed)
    path.mkdir()
    levels, requests, windows = [], [], []
    for stage, course in enumerate(courses):
        began_s = stage * 320.0
        drawn = draw(course, random)
        requests += _request_rows(stage, course, drawn, began_s, random)
        windows += _window_rows(stage, drawn, began_s)
        levels.append(_level(stage, course, drawn))
    (path / "run.json").write_text(json.dumps(run_json(levels, **changes.get("run", {}))))
    (path / "summary.json").write_text(json.dumps(summary_json(levels, **changes.get("summary", {}))))
    write_csv(path / "requests.csv", REQUEST_COLUMNS, requests)
    write_csv(path / "windows.csv", WINDOW_COLUMNS, windows)
    return path


def write_csv(path: Path, columns: Sequence[str], rows: Sequence[dict[str, Any]]) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, columns)
        writer.writeheader()
        writer.writerows(rows)


def draw(course: Course, random: np.random.Generator) -> Drawn:
    ok = course.requests - course.failures
    windows = int((LEVEL_TIME_S - RAMP_S) / WINDOW_S)
    slope = 1 - course.fall * np.linspace(0, 1, windows)
    normal = random.standard_normal(ok)
    for place in range(1, ok):
        normal[place] = course.correlation * normal[place - 1] + (1 - course.correlation**2) ** 0.5 * normal[place]
    return Drawn(
        course.ttft_s * np.exp(0.3 * normal),
        random.normal(course.tpot_s, 0.05 * course.tpot_s, ok),
        course.token_rate * slope * random.normal(1, 0.02, windows),
    )


def _request_rows(
    stage: int, course: Course, drawn: Drawn, began_s: float, random: np.random.Generator
) -> list[dict[str, Any]]:
    sent_s = np.sort(random.uniform(began_s + RAMP_S, began_s + LEVEL_TIME_S, course.requests))
    rows = []
    failed = {int((number + 0.5) * course.requests / course.failures) for number in range(course.failures)}
    places = iter(range(len(drawn.ttft_s)))
    for number, sent in enumerate(sent_s):
        ok = number not in failed
        row = {"id": f"{stage}-{number}", "user": f"0.{number % course.users}", "level_index": stage, "phase": "hold"}
        row |= {"outcome": "ok" if ok else "timeout", "sent_s": f"{sent:.9f}", "output_tokens": TOKENS if ok else 0}
        if ok:
            place = next(places)
            ttft_ms, tpot_ms, e2e_ms = (values[place] * 1000 for values in (drawn.ttft_s, drawn.tpot_s, drawn.e2e_s))
            row |= {"ttft_ms": ttft_ms, "ttfvt_ms": ttft_ms, "tpot_ms": tpot_ms, "connect_ms": 0.0}
            row |= {"e2e_ms": e2e_ms, "duration_ms": e2e_ms + 1}
        rows.append(row)
    return rows


def _window_rows(stage: int, drawn: Drawn, began_s: float) -> list[dict[str, Any]]:
    of_ramp = [0.0] * int(RAMP_S / WINDOW_S)
    return [
        {
            "start_s": f"{began_s + WINDOW_S * number:.3f}",
            "end_s": f"{began_s + WINDOW_S * (number + 1):.3f}",
            "level_index": stage,
            "token_rate": f"{rate:.3f}",
        }
        for number, rate in enumerate([*of_ramp, *drawn.rates])
    ]


def _level(stage: int, course: Course, drawn: Drawn) -> dict[str, Any]:
    outcomes = {"ok": len(drawn.ttft_s), "timeout": course.failures}
    hold = figures(course.users, outcomes=outcomes, token_rate=float(drawn.rates.mean()))
    for name, values in (
        ("ttft_s", drawn.ttft_s),
        ("tpot_s", drawn.tpot_s),
        ("e2e_s", drawn.e2e_s),
        ("request_token_rate", 1 / drawn.tpot_s),
    ):
        p50, p95, p99 = (float(value) for value in np.quantile(values, [0.5, 0.95, 0.99], method="inverted_cdf"))
        hold[name] = distribution(p50, p95, p99, len(values)) | {"mean": float(values.mean())}
    if course.hits is not None:
        hold["server"] = {"prefix_cache_hit_ratio": course.hits}
    document = level(stage, course.users, course.system_prompt)
    return document | {"hold": hold, "whole": hold | {"seconds": LEVEL_TIME_S}}
