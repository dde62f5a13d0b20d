"""Whole runs held against the description of their workload: what was described is what the simulator received."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import pytest

from tests.runs.harness import ROOT, RunLocust, StartSimulator

pytestmark = pytest.mark.slow


def described(*options: str) -> dict[str, Any]:
    command = [sys.executable, str(ROOT / "tokenswarm.py"), "workload", *options, "--json"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    return json.loads(done.stdout)


def test_a_run_sends_what_was_described(run_locust: RunLocust, start_simulator: StartSimulator) -> None:
    server = start_simulator("--profile", "fast", "--max-model-len", "16384", "--cache-block-tokens", "16")
    options = (
        *("--levels", "4", "--ramp", "0s", "--level-time", "1m", "--requests", "300", "--system-prompt", "off"),
        *("--input-tokens", "n(2300,60,min=2150)", "--output-tokens", "u(4,9)", "--engine", "vllm"),
        *("--prefix", "groups=16 tokens=2048 zipf=1.2", "--abandon", "20% after=first"),
    )
    found = described(*options)
    run = run_locust("-H", server.host, *options)
    assert run.exit_code == 0, run.output
    (mode,), (level,) = found["modes"], run.summary["levels"]
    rows = run.requests
    assert len(rows) == mode["requests"] == found["totals"]["requests"] == 300
    asked = sorted(int(row["input_tokens_requested"]) for row in rows)
    assert sum(asked) == found["totals"]["input_tokens"]
    assert (asked[0], asked[-1], asked[149]) == tuple(mode["input_tokens"][name] for name in ("min", "max", "p50"))
    ok = [row for row in rows if row["outcome"] == "ok"]
    assert all(row["prompt_tokens"] == row["input_tokens_requested"] for row in ok)
    assert sum(int(row["output_tokens_requested"]) for row in rows) == found["totals"]["output_tokens"]
    assert sum(row["abandons"] == "True" for row in rows) == round(300 * mode["abandoned_share"])
    assert len({row["prefix_group"] for row in rows}) == mode["prefix_groups"]
    prompts = level["whole"]["prompts"]
    assert prompts["expected_share_min"] - 0.02 <= mode["cache_hit_ratio_max"] <= prompts["expected_share_max"] + 0.02
    assert prompts["cached_share"] == pytest.approx(mode["cache_hit_ratio_max"], abs=0.02)
