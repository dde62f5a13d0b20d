"""Whole capacity searches: what they find of a simulator that works on four requests at a time."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.runs.harness import RunLocust, Start, StartSimulator, assert_whole, read_csv, until

pytestmark = pytest.mark.slow
#: Answers take about 0.1 s, and the fifth of five requests waits for one of them.
SERVER = ("--dialect", "vllm", "--max-batch", "4", "--answer-median-tokens", "10", "--step-ms", "10", "--jitter", "0")
SLO = ("--slo", "ttft=60ms", "--slo-share", "80%", "--precision", "50%")
TIMES = ("--ramp", "0.5s", "--level-time", "12s", "--settle", "0.2s", "--drain-timeout", "5s")


def test_the_capacity_is_found_and_said_in_the_last_line(
    run_locust: RunLocust, start_simulator: StartSimulator, tmp_path: Path
) -> None:
    host = start_simulator(*SERVER).host
    written = ("--junit", str(tmp_path / "junit.xml"), "--markdown", str(tmp_path / "run.md"))
    run = run_locust("-H", host, "--find-capacity", "users", "--between", "1:32", *SLO, *TIMES, *written, pictures=True)
    assert run.exit_code == 0
    assert_whole(run)
    found = run.summary["capacity_search"]
    assert found["conclusion"] in ("bracket", "inconclusive")  # the latter on a busy machine
    assert 1 <= found["best"] <= 6
    assert max(found["best"], 4) < found["failing"] <= 9
    assert found["binding"] == "ttft_s"
    last = run.output.strip().splitlines()[-1]
    sentence = last.removeprefix("Capacity: ")
    assert f"Capacity: {sentence}" in (tmp_path / "run.md").read_text()
    assert f'<property name="capacity" value="{sentence}" />' in (tmp_path / "junit.xml").read_text()
    assert re.search(r"Capacity: .*; at \d users TTFT p80 crosses 60 ms; KV cache .* % full, .* requests waiting", last)
    levels = run.summary["levels"]
    assert [level["index"] for level in levels] == [probe["index"] for probe in found["probes"]]
    assert [level["level"] for level in levels] == [probe["level"] for probe in found["probes"]]
    assert len({level["level"] for level in levels}) == len(levels)
    assert any(level["level"].endswith(" #2") for level in levels)
    assert all(level["complete"] for level in levels)
    plan = run.document["plan"]
    assert [level["level"] for level in plan] == [level["level"] for level in levels]
    assert min(level["level_time_s"] for level in plan) < 11  # it was decided before its time
    for level in levels:
        assert level["hold"]["seconds"] == pytest.approx(plan[level["index"]]["level_time_s"] - 0.5, abs=0.01)
    page = (run.folder / "report.html").read_text()
    assert "TTFT p80 crosses 60 ms" in page
    assert "Probes of the search, in the order of time" in page


def test_a_rate_is_searched_for_with_workers(run_locust: RunLocust, start_simulator: StartSimulator) -> None:
    host = start_simulator(*SERVER, "--answer-median-tokens", "200").host
    run = run_locust(  # answers of one length, some 36 in a second, and loads that no look finds hard to decide
        *("-H", host, "--processes", "2", "--find-capacity", "rate", "--between", "10:160"),
        *(*SLO, "--precision", "100%"),
        *("--arrivals", "constant", "--max-tokens", "10", *TIMES[2:]),
    )
    assert_whole(run)
    found = run.summary["capacity_search"]
    assert found["conclusion"] in ("bracket", "inconclusive")
    assert found["failing"] is not None
    assert {row["worker"] for row in run.requests} == {"0", "1"}
    shortened = [level for level in run.document["plan"] if level["level_time_s"] < 11]
    assert shortened
    for level in shortened:  # workers have ended it too
        rows = [row for row in run.requests if int(row["level_index"]) == level["index"]]
        assert max(float(row["scheduled_s"]) for row in rows) - min(float(row["scheduled_s"]) for row in rows) < (
            level["level_time_s"] + 1.5
        )


def test_ctrl_c_leaves_the_bracket_so_far(start_locust: Start, start_simulator: StartSimulator) -> None:
    host = start_simulator(*SERVER).host
    started = start_locust("--headless", "-H", host, "--find-capacity", "users", "--between", "1:32", *SLO, *TIMES)

    def second_probe_sends() -> bool:
        paths = list(started.results.glob("*/requests.csv"))
        return bool(paths) and any(row["level_index"] == "1" for row in read_csv(paths[0]))

    until(second_probe_sends)
    started.interrupt()
    run = started.end()
    assert run.exit_code == 4
    found = run.summary["capacity_search"]
    assert found["conclusion"] == "unfinished"
    assert [probe["load"] for probe in found["probes"]] == [2.0]
    # On a busy machine the probe may be too short for a verdict.
    bracket = "at least 2 users" if found["best"] else "no load decided"
    assert f"Capacity: so far {bracket}: " in run.output
