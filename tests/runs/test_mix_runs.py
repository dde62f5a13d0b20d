"""Whole runs of several models and hosts: what the servers got is what the results say of each."""

from __future__ import annotations

import json
from collections import Counter
from math import sqrt
from pathlib import Path
from typing import Any

import pytest

from tests.runs.harness import Run, RunLocust, StartSimulator, read_csv

pytestmark = pytest.mark.slow

SHORT = ("--settle", "0s", "--max-tokens", "8", "--system-prompt", "off", "--traceparent")
SHARES = {"base": 0.7, "sql": 0.3}


def posts(log: Path) -> list[dict[str, Any]]:
    rows = [json.loads(line) for line in log.read_text().splitlines()]
    return [row for row in rows if row["method"] == "POST"]


def check_members(run: Run, kind: str) -> None:
    """The rows of each scope sum to the total, in summary.json, summary.csv and requests.csv."""
    rows = read_csv(run.folder / "summary.csv")
    for level in run.summary["levels"]:
        for scope in ("hold", "whole"):
            members = level[scope][f"{kind}s"]
            assert len(members) == 2
            for name in ("requests", "failures"):
                assert sum(member[name] for member in members) == level[scope][name]
            tokens = sum(member["output_tokens"] for member in members)
            assert tokens == pytest.approx(level[scope]["output_tokens"])
            in_csv = [
                row
                for row in rows
                if row["scope"] == f"{scope} by {kind}" and row["level_index"] == str(level["index"])
            ]
            assert [(row[kind], int(row["requests"])) for row in in_csv] == [
                (member["name"], member["requests"]) for member in members
            ]
        sent = Counter(row[kind] for row in run.requests if row["level_index"] == str(level["index"]))
        assert sent == {member["name"]: member["requests"] for member in level["whole"][f"{kind}s"]}


def test_two_models_at_two_hosts_get_their_shares_from_two_processes(
    run_locust: RunLocust, start_simulator: StartSimulator, tmp_path: Path
) -> None:
    logs = [tmp_path / f"requests-{number}.jsonl" for number in range(2)]
    hosts = [start_simulator("--dialect", "vllm", "--profile", "fast", "--request-log", str(log)).host for log in logs]
    run = run_locust(
        *(
            "-H",
            hosts[0],
            "-H",
            hosts[1],
            "--models",
            "base=70% sql=30%",
            "--levels",
            "4",
            "--level-time",
            "4s",
            *SHORT,
        ),
        *("--ramp", "0s", "--processes", "2", "--preflight", "on"),
        pictures=True,
    )
    assert run.exit_code == 0, run.output
    assert run.document["model"] == "base=70% sql=30%"
    assert run.document["host"] == ",".join(hosts)
    check_members(run, "model")
    check_members(run, "host")
    by_trace = {
        post["headers"]["traceparent"].split("-")[1]: (post["body"]["model"], host)
        for log, host in zip(logs, hosts)
        for post in posts(log)
        if "traceparent" in post["headers"]
    }
    over = [row for row in run.requests if row["outcome"] != "cut"]
    assert len({row["worker"] for row in over}) == 2
    assert all(by_trace[row["trace_id"]] == (row["model"], row["host"]) for row in over)
    users = {(row["user"], row["host"]) for row in run.requests}
    assert len(users) == len({user for user, _ in users}) == 4
    assert Counter(host for _, host in users) == dict.fromkeys(hosts, 2)
    for log in logs:
        preflight = [post["body"]["model"] for post in posts(log) if "traceparent" not in post["headers"]]
        assert sorted(preflight) == ["base", "sql"]
    count = Counter(row["model"] for row in run.requests)
    total = sum(count.values())
    for name, share in SHARES.items():
        assert abs(count[name] - total * share) <= 4 * sqrt(total * share * (1 - share))
    page = (run.folder / "report.html").read_text()
    for member in run.summary["levels"][0]["hold"]["models"]:
        assert member["requested_share"] == SHARES[member["name"]]
        assert f"{member['requests']:,}" in page
        assert any(member["name"] in line and f"{member['requests']:,}" in line for line in run.output.splitlines())


def test_the_open_loop_spreads_its_requests_over_models_and_hosts(
    run_locust: RunLocust, start_simulator: StartSimulator
) -> None:
    hosts = [start_simulator("--dialect", "vllm", "--profile", "fast").host for _ in range(2)]
    run = run_locust(
        *("-H", ",".join(hosts), "--models", "base=70% sql=30%", "--rate", "60", "--level-time", "3s", *SHORT),
    )
    assert run.exit_code == 0, run.output
    check_members(run, "model")
    assert set(SHARES) == {row["model"] for row in run.requests}
    check_members(run, "host")
    whole = run.summary["levels"][0]["whole"]
    counts = [member["requests"] for member in whole["hosts"]]
    assert max(counts) - min(counts) <= 1
    assert [member["requested_share"] for member in whole["hosts"]] == [0.5, 0.5]
