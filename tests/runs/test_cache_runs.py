"""Whole runs with shared prefixes beside a server with a prefix cache: what it finds there is what was sent."""

from __future__ import annotations

import shlex

import pytest

from tests.runs.harness import ROOT, Run, RunLocust, StartSimulator

pytestmark = pytest.mark.slow
SERVER = ("--profile", "fast", "--max-model-len", "16384")


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


def test_with_bust_nothing_is_found_in_the_cache(run_locust: RunLocust, start_simulator: StartSimulator) -> None:
    simulator = start_simulator(*SERVER)
    run = run_locust(
        *("-H", simulator.host, "-u", "3", "-r", "3", "-t", "4s", *documented(1)),
        *("--output-tokens", "4", "--input-tokens", "2600", "--system-prompt", "on"),
    )
    assert run.exit_code == 0, run.output
    found = cached_tokens(run, 0)
    assert len(found) > 10
    assert set(found) == {0}
    assert {row["prompt_tokens"] for row in run.requests if row["outcome"] == "ok"} == {"2600"}


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
