"""Whether reports of long runs stay quick: a run of a million requests, made up, then read and counted.

    python -m benchmarks.long_report [REQUESTS]

Prints, for each thing that a report does, its time and the most memory its process had. Each runs in a process of its
own, so that neither leans on what another has read.
"""

from __future__ import annotations

import json
import os
import resource
import sys
import tempfile
import time
from collections.abc import Callable
from multiprocessing import get_context
from pathlib import Path
from shutil import copytree
from typing import Any

import numpy as np
import pyarrow as pa
from msgspec import structs
from pyarrow import csv

from tokenswarm.reports.checks.check_report import check_run
from tokenswarm.reports.checks.conditions import parse_conditions
from tokenswarm.reports.compare.comparison import RunComparison
from tokenswarm.reports.compare.comparison_page import comparison_html
from tokenswarm.reports.compare.gate_command import check_change
from tokenswarm.reports.html.run_page import draw_page
from tokenswarm.reports.stats.as_other_tools import COLUMNS, report_as
from tokenswarm.reports.stats.estimates import RunData
from tokenswarm.run_folder.csv_reader import load_requests
from tokenswarm.run_folder.exports import write_hlog, write_parquet
from tokenswarm.run_folder.reader import Results, load_results
from tokenswarm.run_folder.schema import FORMAT, REQUEST_COLUMNS

LEVELS = (100, 500, 1000)
RAMP_S, LEVEL_TIME_S, WINDOW_S, TOKENS = 20.0, 3600.0, 5.0, 180
CONDITIONS = "p50(ttft) > +5%, p95(ttft) > +5%, p99(ttft) > +5%, p95(tpot) > +5%, p95(e2e) > +5%, rate < -5%"


def write_run(folder: Path, requests: int) -> None:
    """A run of three levels of an hour each, as its journal would be."""
    random = np.random.default_rng(1)
    folder.mkdir()
    each = requests // len(LEVELS)
    levels = []
    for index, users in enumerate(LEVELS):
        began_s = index * (LEVEL_TIME_S + 60)
        ttft_ms = random.lognormal(np.log(200), 0.5, each)
        tpot_ms = random.normal(20, 1, each)
        _append_requests(folder, index, users, began_s, ttft_ms, tpot_ms, random)
        _append_windows(folder, index, users, began_s, random)
        levels.append(_level(index, users, ttft_ms, tpot_ms))
    plan = [
        {key: level[key] for key in ("index", "system_prompt", "level", "users")}
        | {"ramp_s": RAMP_S, "level_time_s": LEVEL_TIME_S}
        for level in levels
    ]
    run = {"format": FORMAT, "status": "finished", "started_at": "2026-11-23T00:00:00+00:00", "plan": plan}
    accounting = {"ended": requests, "recorded": requests, "rows": requests, "complete": True}
    summary = {
        "format": FORMAT,
        "status": "finished",
        "engine": "vllm",
        "model": "m",
        "host": "http://gpu",
        "accounting": accounting,
    }
    summary |= {"validity": {"verdict": "valid", "reasons": []}, "objectives": {}, "levels": levels}
    (folder / "run.json").write_text(json.dumps(run))
    (folder / "summary.json").write_text(json.dumps(summary))


def _append_requests(
    folder: Path, index: int, users: int, began_s: float, ttft_ms: Any, tpot_ms: Any, random: np.random.Generator
) -> None:
    n = len(ttft_ms)
    sent_s = began_s + np.sort(random.uniform(0, LEVEL_TIME_S, n))
    e2e_ms = ttft_ms + (TOKENS - 1) * tpot_ms
    numbers = {
        "level_index": index,
        "status": 200,
        "scheduled_s": sent_s,
        "sent_s": sent_s,
        "connect_ms": 0.0,
        "headers_ms": ttft_ms / 2,
        "ttft_ms": ttft_ms,
        "ttfvt_ms": ttft_ms,
        "ttft_uncertainty_ms": 0.0,
        "tpot_ms": tpot_ms,
        "e2e_ms": e2e_ms,
        "duration_ms": e2e_ms + 1,
        "output_tokens": TOKENS,
        "output_events": TOKENS,
        "output_arrivals": TOKENS,
        "prompt_tokens": 80,
        "gap_max_ms": tpot_ms * 2,
        "client_delay_max_ms": 0.1,
        "reads": TOKENS,
        "first_body_ms": ttft_ms / 2,
        "first_event_ms": ttft_ms / 2,
        "last_event_ms": e2e_ms,
        "events": TOKENS + 1,
        "worker": 0,
    }
    texts = {
        "id": [f"0-{number}" for number in range(n)],
        "user": [f"0.{number % users}" for number in range(n)],
        "phase": np.where(sent_s < began_s + RAMP_S, "ramp", "hold"),
        "system_prompt": "off",
        "level": str(users),
        "outcome": "ok",
        "output_tokens_source": "usage",
        "prompt_tokens_source": "usage",
        "gaps_measured": "True",
        "stamps": "kernel",
        "finish_reason": "stop",
        "prompt_id": [str(number % 303 + 1) for number in range(n)],
        "prompt_hash": [f"{number:016x}" for number in range(n)],
    }
    # What is left out is empty, as in a run without a fault.
    columns = numbers | texts
    _append(folder / "requests.csv", {name: _column(columns.get(name, ""), n) for name in REQUEST_COLUMNS})


def _append_windows(folder: Path, index: int, users: int, began_s: float, random: np.random.Generator) -> None:
    start_s = began_s + np.arange(0, LEVEL_TIME_S, WINDOW_S)
    n = len(start_s)
    columns = {"start_s": start_s, "end_s": start_s + WINDOW_S, "level_index": index}
    columns |= {"token_rate": users * 40 * random.normal(1, 0.03, n)}
    _append(folder / "windows.csv", {name: _column(value, n) for name, value in columns.items()})


def _column(value: Any, n: int) -> Any:
    return pa.array(np.full(n, value) if np.isscalar(value) else value)


def _append(path: Path, columns: dict[str, Any]) -> None:
    options = csv.WriteOptions(include_header=not path.exists(), quoting_style="needed")
    with path.open("ab") as file:
        csv.write_csv(pa.table(columns), file, options)


def _level(index: int, users: int, ttft_ms: Any, tpot_ms: Any) -> dict[str, Any]:
    def distribution(values: Any) -> dict[str, Any]:
        quantiles = {
            f"p{round(p * 100)}": {"value": value, "low": value, "high": value, "certified": True}
            for p, value in zip((0.5, 0.9, 0.95, 0.99), np.quantile(values, (0.5, 0.9, 0.95, 0.99)).tolist())
        }
        return {"count": len(values), "mean": float(values.mean()), "max": float(values.max())} | quantiles

    n = len(ttft_ms)
    figures = {
        "seconds": LEVEL_TIME_S - RAMP_S,
        "requests": n,
        "outcomes": {"ok": n},
        "failures": 0,
        "token_rate": users * 40.0,
        "goodput": None,
        "output_tokens_sources": {"usage": n},
        "ttft_s": distribution(ttft_ms / 1000),
        "tpot_s": distribution(tpot_ms / 1000),
        "e2e_s": distribution((ttft_ms + (TOKENS - 1) * tpot_ms) / 1000),
        "request_token_rate": distribution(1000 / tpot_ms),
        "request_rate": n / LEVEL_TIME_S,
    }
    level = {"index": index, "system_prompt": "off", "level": str(users), "users": users, "complete": True}
    return level | {"hold": figures, "whole": figures}


def read(folder: Path) -> None:
    """Every figure of the page: percentiles, rates, drift and fairness of each level."""
    measured = RunData(load_results(folder))
    for level in measured.results.summary.levels:
        for condition in parse_conditions(CONDITIONS, relative=True):
            assert condition.figure is not None
            assert measured.estimate(level, condition.figure) is not None
        assert measured.drift(level) is not None
        assert measured.fairness(level) is not None


def page(folder: Path) -> None:
    """report.html."""
    results = load_results(folder)
    draw_page(results, check_run([], results))


def gate(folder: Path) -> None:
    """The run against itself."""
    results = load_results(folder)
    check_change(parse_conditions(CONDITIONS, relative=True), [results], [results])


def compare(folder: Path) -> None:
    """Four servers' runs and the page of them, from one folder."""
    labels = ["a", "b", "c", "d"]
    comparison_html(RunComparison([_renamed(folder, label) for label in labels], labels=labels))


def _renamed(folder: Path, name: str) -> Results:
    """The run as if it were another one, in a folder of its own that shares the files."""
    linked = folder.with_name(f"{folder.name}-{name}")
    if not linked.exists():
        copytree(folder, linked, copy_function=os.link)
    results = load_results(linked)
    return structs.replace(results, run=structs.replace(results.run, host=f"http://{name}"))


def as_vllm(folder: Path) -> None:
    """As another tool would count it."""
    results = load_results(folder)
    report_as("vllm", load_requests(results, COLUMNS), results)


def parquet(folder: Path) -> None:
    """The requests as Parquet."""
    write_parquet(load_results(folder), folder / "requests.parquet")


def hlog(folder: Path) -> None:
    """The latencies as an HdrHistogram log."""
    write_hlog(load_results(folder), folder / "latencies.hlog")


TASKS: dict[str, Callable[[Path], None]] = {
    "percentiles, rates, drift, fairness": read,
    "report.html": page,
    "gate": gate,
    "compare, four runs, --html": compare,
    "--as vllm": as_vllm,
    "--parquet": parquet,
    "--hlog": hlog,
}


def measured(name: str, folder: Path) -> tuple[float, float]:
    """(seconds, MB) of a task, in the process it is called in."""
    began = time.perf_counter()
    TASKS[name](folder)
    return time.perf_counter() - began, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def main(requests: int) -> None:
    """Make the run, do each task, print the table."""
    with tempfile.TemporaryDirectory() as parent:
        folder = Path(parent) / "run"
        with get_context("spawn").Pool(1, maxtasksperchild=1) as pool:
            pool.apply(write_run, (folder, requests))
            size_mb = (folder / "requests.csv").stat().st_size / 1e6
            print(f"{requests:,} requests, requests.csv of {size_mb:,.0f} MB")
            for name in TASKS:
                seconds, megabytes = pool.apply(measured, (name, folder))
                print(f"{name:<36} {seconds:6.1f} s {megabytes:7,.0f} MB")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000)
