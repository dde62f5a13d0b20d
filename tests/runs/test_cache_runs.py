"""Whole runs with shared prefixes beside a server with a prefix cache: what it finds there is what was sent."""

from __future__ import annotations

import json
import shlex
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from tests.runs.harness import ROOT, Run, RunLocust, StartSimulator

pytestmark = pytest.mark.slow
SERVER = ("--profile", "fast", "--max-model-len", "16384")
SHORT = ("-u", "3", "-r", "3", "-t", "4s")


def documented(which: int) -> list[str]:
    """The options of an example of docs/workloads.md that has --prefix, without its server, users and time."""
    text = (ROOT / "docs" / "workloads.md").read_text(encoding="utf-8")
    examples = [line for line in text.splitlines() if line.startswith("    locust") and "--prefix" in line]
    words = shlex.split(examples[which])
    assert words[:8] == ["locust", "--headless", "-H", "http://gpu:8000", "-u", "32", "-t", "5m"]
    return words[8:]


def cached_tokens(run: Run, level: int) -> list[int]:
    """Of each ok request of a level, in the order of sending."""
    rows = [row for row in run.requests if row["outcome"] == "ok" and row["level_index"] == str(level)]
    return [int(row["cached_tokens"]) for row in sorted(rows, key=lambda row: float(row["sent_s"]))]


def test_groups_of_requests_hit_the_cache_as_expected(run_locust: RunLocust, start_simulator: StartSimulator) -> None:
    simulator = start_simulator(*SERVER, "--cache-block-tokens", "64")
    workers = ("--processes", "2")
    run = run_locust("-H", simulator.host, *SHORT, *workers, *documented(0), "--output-tokens", "4", pictures=True)
    assert run.exit_code == 0, run.output
    rows = [row for row in run.requests if row["outcome"] == "ok"]
    assert {row["prompt_tokens"] for row in rows} == {"2200"}
    groups = Counter(int(row["prefix_group"]) for row in rows)
    assert set(groups) <= set(range(64))
    assert groups[0] > len(rows) / 10
    facts = run.document["prompts"]
    assert (facts["cache_block_tokens"], facts["cache_block_source"]) == (64, "server")
    for scope in ("hold", "whole"):
        prompts = run.summary["levels"][0][scope]["prompts"]
        assert prompts["expected_share_min"] - 0.01 <= prompts["cached_share"] <= prompts["expected_share_max"] + 0.01
        assert 0 < prompts["expected_share_max"] - prompts["expected_share_min"] + 0.001 < 0.05
    page = (run.folder / "report.html").read_text()
    assert "Prefix-cache hits of each hold" in page
    kinds = {issue["kind"] for issue in run.summary["validity"]["issues"]}
    assert "prefix_hits" not in kinds
    assert "FEWER PREFIX-CACHE HITS" not in run.output


def test_with_bust_nothing_is_found_in_the_cache(run_locust: RunLocust, start_simulator: StartSimulator) -> None:
    simulator = start_simulator(*SERVER)
    run = run_locust(
        *("-H", simulator.host, *SHORT, *documented(1)),
        *("--output-tokens", "4", "--input-tokens", "2600", "--system-prompt", "on"),
    )
    assert run.exit_code == 0, run.output
    found = cached_tokens(run, 0)
    assert len(found) > 10
    assert set(found) == {0}
    assert {row["prompt_tokens"] for row in run.requests if row["outcome"] == "ok"} == {"2600"}
    prompts = run.summary["levels"][0]["hold"]["prompts"]
    assert (prompts["cached_share"], prompts["expected_share_min"]) == (0, 0)


def test_a_flushed_cache_holds_nothing_of_the_level_before(
    run_locust: RunLocust, start_simulator: StartSimulator
) -> None:
    simulator = start_simulator(*SERVER, "--enable-debug")
    run = run_locust(
        *("-H", simulator.host, "--levels", "1,2", "--ramp", "1s", "--level-time", "3s", "--settle", "0s"),
        *("--system-prompt", "off", "--input-tokens", "600", "--output-tokens", "4"),
        *("--prefix", "tokens=480", "--cache", "flush"),
    )
    assert run.exit_code == 0, run.output
    for level in (0, 1):
        found = cached_tokens(run, level)
        assert 1 <= found.count(0) <= level + 1  # of each user the first, where they began together
        assert 0 in found[: level + 1]
        assert 480 <= max(found) < 520
    assert [level["cache_flushed"] for level in run.summary["levels"]] == [True, True]
    assert [level["complete"] for level in run.summary["levels"]] == [True, True]


def test_a_second_run_of_the_same_prompts_says_that_they_were_in_the_cache_and_so_does_a_refused_flush(
    run_locust: RunLocust, start_simulator: StartSimulator, tmp_path: Path
) -> None:
    simulator = start_simulator(*SERVER)
    here = ("-H", simulator.host, "-u", "3", "-r", "30", "-t", "30s", "--prompt-nonce", "same")
    here = (*here, "--input-tokens", "300", "--output-tokens", "4")
    summaries: list[dict[str, Any]] = []
    for name, options in (("first", ()), ("second", ("--cache", "flush"))):
        run = run_locust(*here, "--requests", "300", *options, "--results", str(tmp_path / name))
        assert run.exit_code == 0, run.output
        summaries.append(json.loads(next((tmp_path / name).glob("*/summary.json")).read_text()))
    issues = [{issue["kind"]: issue["values"] for issue in summary["validity"]["issues"]} for summary in summaries]
    assert not issues[0].keys() & {"prefix_hits", "cache_not_flushed"}
    assert issues[1].keys() >= {"prefix_hits", "cache_not_flushed"}
    assert issues[1]["prefix_hits"]["cached_share"] > 0.5 > issues[1]["prefix_hits"]["expected_share_max"]
    assert "served from cache" in run.output
    assert "VLLM_SERVER_DEV_MODE=1" in run.output
