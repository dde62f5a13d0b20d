"""Synthetic results folders, written as a run would leave them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tokenswarm.run_folder.schema import FORMAT, HISTOGRAM_COLUMNS, REQUEST_COLUMNS, WINDOW_COLUMNS

Json = dict[str, Any]


def quantile(value: float, certified: bool = True) -> Json:
    return {"value": value, "low": value * 0.94, "high": value * 1.08 if certified else None, "certified": certified}


def distribution(p50: float, p95: float, p99: float, count: int) -> Json:
    """p95 needs 59 values to be certified, p99 needs 299."""
    if not count:
        return {"count": 0, "mean": None, "min": None, "max": None, "p50": None, "p90": None, "p95": None, "p99": None}
    return {
        "count": count,
        "mean": p50 * 1.1,
        "min": p50 / 2,
        "max": p99 * 1.2,
        "p50": quantile(p50, count >= 6),
        "p90": quantile((p50 + p95) / 2, count >= 29),
        "p95": quantile(p95, count >= 59),
        "p99": quantile(p99, count >= 299),
    }


def figures(users: int = 10, ttft_s: float = 0.06, outcomes: dict[str, int] | None = None, **changes: Any) -> Json:
    """A part of a level, its rates growing with its users; anything can be changed by name."""
    outcomes = {"ok": 400} if outcomes is None else outcomes
    ok, requests = outcomes.get("ok", 0), sum(outcomes.values())
    part: Json = {
        "seconds": 280.0,
        "requests": requests,
        "outcomes": outcomes,
        "failures": requests - ok - outcomes.get("cut", 0),
        "output_tokens": ok * 200.0,
        "token_rate": users * 48.5 if ok else None,
        "good_token_rate": users * 48.5 if ok else None,
        "request_rate": requests / 280,
        "goodput": None,
        "output_tokens_sources": {"usage": ok},
        "ttft_s": distribution(ttft_s, ttft_s * 2.1, ttft_s * 3.4, ok),
        "ttfvt_s": distribution(ttft_s, ttft_s * 2.1, ttft_s * 3.4, ok),
        "tpot_s": distribution(0.0206, 0.0251, 0.0312, ok),
        "gap_s": distribution(0.0201, 0.0301, 0.0412, ok * 200),
        "e2e_s": distribution(4.1, 8.2, 10.3, ok),
        "request_token_rate": distribution(48.5, 52.1, 55.0, ok),
        "connect_s": distribution(0.0002, 0.0003, 0.0004, users),
        "client_delay_s": distribution(0.00002, 0.0001, 0.0003, ok * 200),
    }
    return part | changes


def level(stage: int, users: int, system_prompt: str = "off", complete: bool = True, **changes: Any) -> Json:
    hold = figures(users, **{"ttft_s": 0.0032 * users + 0.028, **changes})
    return {
        "index": stage,
        "system_prompt": system_prompt,
        "level": str(users),
        "users": users,
        "complete": complete,
        "hold": hold,
        "whole": hold | {"seconds": 300.0},
    }


def run_json(levels: list[Json], **changes: Any) -> Json:
    return {
        "format": FORMAT,
        "tokenswarm_version": "0.1.0",
        "started_at": "2024-06-05T14:03:00Z",
        "ended_at": "2024-06-05T14:38:00Z",
        "status": "finished",
        "host": "http://gpu:8000",
        "engine": "vllm",
        "model": "llama-3-8b",
        "shape": "ladder",
        "plan": [
            {"ramp_s": 20.0, "level_time_s": 300.0}
            | {key: one[key] for key in ("index", "system_prompt", "level", "users")}
            for one in levels
        ],
        "options": {},
        "prompts": {},
        "workers": 1,
        "python": "3.12.3",
        "platform": "Linux",
    } | changes


def summary_json(levels: list[Json], **changes: Any) -> Json:
    fired = sum(one["whole"]["requests"] for one in levels)
    return {
        "format": FORMAT,
        "status": "finished",
        "engine": "vllm",
        "model": "llama-3-8b",
        "host": "http://gpu:8000",
        "validity": {"verdict": "valid", "reasons": []},
        "accounting": {"ended": fired, "recorded": fired, "rows": fired, "complete": True},
        "objectives": {},
        "levels": levels,
    } | changes


def ladder() -> list[Json]:
    """The article's run: 10, 50 and 100 users, without and with the system prompt."""
    stages = [(mode, users) for mode in ("off", "on") for users in (10, 50, 100)]
    return [level(stage, users, mode, outcomes={"ok": users * 8}) for stage, (mode, users) in enumerate(stages)]


COLUMNS_OF = {"windows.csv": WINDOW_COLUMNS, "histograms.csv": HISTOGRAM_COLUMNS}


def write_requests_of_no_level(folder: Path, number: int) -> None:
    """So many rows, as the summary counts them, of requests that no figure is of."""
    row = dict.fromkeys(REQUEST_COLUMNS, "") | {"level_index": "-1", "phase": "ramp", "outcome": "cut", "sent_s": "0"}
    lines = [",".join(REQUEST_COLUMNS), *[",".join(row.values())] * number]
    (folder / "requests.csv").write_text("\n".join(lines) + "\n")


Make = Callable[..., Json]
Write = Callable[..., Path]


@pytest.fixture
def make_level() -> Make:
    """Make one level of summary.json; figures of its hold and whole can be changed by name."""
    return level


@pytest.fixture
def make_ladder() -> Callable[[], list[Json]]:
    """Make the levels of the article's run."""
    return ladder


@pytest.fixture
def write_run(tmp_path: Path) -> Write:
    """Write a results folder of these levels (by default the article's ladder); `run` and `summary` change it."""

    def write(levels: list[Json] | None = None, run: Json | None = None, summary: Json | None = None) -> Path:
        levels = ladder() if levels is None else levels
        folder = tmp_path / "20240605-140300-vllm"
        folder.mkdir(exist_ok=True)
        (folder / "run.json").write_text(json.dumps(run_json(levels, **run or {})))
        of_summary = summary_json(levels, **summary or {})
        (folder / "summary.json").write_text(json.dumps(of_summary))
        for name in ("windows.csv", "histograms.csv"):
            (folder / name).write_text(",".join(COLUMNS_OF[name]) + "\n")
        write_requests_of_no_level(folder, of_summary["accounting"]["rows"])
        return folder

    return write
