"""Whole runs whose users leave responses before their end, held against what the simulator sent and generated."""

from __future__ import annotations

from math import sqrt
from pathlib import Path
from statistics import fmean

import pytest

from tests.runs.harness import RunLocust, StartSimulator, assert_whole, read_csv, run_folders
from tokenswarm.metrics.objectives import Objectives
from tokenswarm.reports.checks.slo import with_objectives
from tokenswarm.run_folder.reader import load_results

pytestmark = pytest.mark.slow

TOKENS, LEFT_AFTER = 100, 30
SHARE = 0.5


def test_what_users_leave_and_what_the_server_goes_on_to_do(
    run_locust: RunLocust, start_simulator: StartSimulator, tmp_path: Path
) -> None:
    server = start_simulator("--step-ms", "10", "--on-disconnect", "generate")
    run = run_locust(
        *("-H", server.host, "--levels", "8", "--ramp", "0s", "--level-time", "15s", "--system-prompt", "off"),
        *("--ignore-eos", "--max-tokens", str(TOKENS), "--abandon", f"50% after={LEFT_AFTER}tok", "--slo", "ttft=10s"),
        *("--markdown", str(tmp_path / "run.md")),
        pictures=True,
    )
    assert run.exit_code == 0, run.output
    assert_whole(run)
    left = [row for row in run.requests if row["outcome"] == "abandoned"]
    drawn = [row for row in run.requests if row["abandons"] == "True"]
    ok = [row for row in run.requests if row["outcome"] == "ok"]
    assert {row["outcome"] for row in drawn} <= {"abandoned", "cut"}
    assert abs(len(drawn) - SHARE * len(run.requests)) <= 4 * sqrt(SHARE * (1 - SHARE) * len(run.requests))
    assert all(row["e2e_ms"] and int(row["output_tokens"]) == TOKENS for row in ok)
    assert all(LEFT_AFTER <= int(row["output_tokens"]) < LEFT_AFTER + 20 for row in left)
    assert all(float(row["abandoned_ms"]) > float(row["ttft_ms"]) and row["duration_ms"] == "" for row in left)
    # What the client cut is gone for the server, whoever cut it.
    assert len(server.truth("client_gone")) == sum(row["outcome"] in ("abandoned", "cut") for row in run.requests)

    (level,) = run.summary["levels"]
    held = [row for row in run.requests if row["phase"] == "hold"]
    found, goodput = level["abandonment"], level["hold"]["goodput"]
    assert (found["requested_share"], found["after"], found["requests"]) == (SHARE, f"{LEFT_AFTER}tok", len(held))
    assert found["drawn"] == sum(row["abandons"] == "True" for row in held)
    assert found["abandoned"] == level["hold"]["outcomes"]["abandoned"] > 0
    kinds = {issue["kind"] for issue in run.summary["validity"]["issues"]}
    assert found["as_requested"] and kinds <= {"uncertain_ttft"}, run.summary["validity"]  # of a busy machine
    assert level["hold"]["failures"] == 0 and level["hold"]["requests_not_judged"] == found["drawn"]
    assert goodput["fraction"] == pytest.approx(level["hold"]["outcomes"]["ok"] / (len(held) - found["drawn"]))
    (again,) = with_objectives(load_results(run.folder), Objectives.parse("ttft=10s")).summary.levels
    assert (again.hold.requests_not_judged, again.hold.goodput.fraction) == (found["drawn"], goodput["fraction"])
    # The server goes on with the rest of each answer, at the pace at which it streams.
    waste, rest = found["waste"], TOKENS - LEFT_AFTER
    tpot_s = fmean(float(row["tpot_ms"]) for row in ok) / 1000
    assert waste["samples"] >= 10
    assert waste["seconds_per_request"] == pytest.approx(rest * tpot_s, rel=0.3)
    assert waste["tokens"] == pytest.approx(rest * found["abandoned"], rel=0.2)
    assert 0 < waste["tokens_low"] <= waste["tokens"] <= waste["tokens_high"]
    assert waste["share"] == pytest.approx(
        waste["tokens"] / (waste["tokens"] + level["hold"]["output_tokens"]), rel=0.01
    )

    line = next(line for line in run.output.splitlines() if "of which" in line and "drawn" in line)
    assert f"{found['abandoned']} of {len(held)} requests" in line
    assert f"Abandoned requests (--abandon 50 % after={LEFT_AFTER}tok)" in (tmp_path / "run.md").read_text()
    assert "tokens nobody read" in (run.folder / "report.html").read_text()
    assert run.document["abandonment"] == {"share": 0.5, "after": "30tok", "after_s": None, "after_tokens": 30}
    rows = {row["scope"]: row for row in read_csv(run.folder / "summary.csv")}
    assert int(rows["hold"]["abandonment_abandoned"]) == int(rows["hold"]["outcomes_abandoned"]) == found["abandoned"]


def test_one_and_four_workers_leave_the_same_turns_and_their_sessions_end(
    run_locust: RunLocust, start_simulator: StartSimulator, tmp_path: Path
) -> None:
    server = start_simulator("--profile", "fast")
    found = []
    for processes in ((), ("--processes", "4")):
        run = run_locust(
            *("-H", server.host, "-u", "8", "-r", "8", "-t", "4s", "--turns", "3", "--input-tokens", "u(40,60)"),
            *("--output-tokens", "u(8,16)", "--session-header", "X-Session-Id", "--prompt-nonce", "same"),
            *("--abandon", "20% after=first", "--results", str(tmp_path / f"results-{len(found)}"), *processes),
        )
        (folder,) = run_folders(tmp_path / f"results-{len(found)}")
        rows = read_csv(folder / "requests.csv")
        assert run.exit_code == 0, run.output
        leaves = {(row["session"], row["turn"]): row["abandons"] for row in rows}
        assert len(leaves) == len(rows)
        left = {row["session"]: int(row["turn"]) for row in rows if row["outcome"] == "abandoned"}
        assert set(left.values()) == {1, 2, 3}
        assert all(int(row["turn"]) <= left.get(row["session"], 3) for row in rows)
        (level,) = load_results(folder).summary.levels
        assert level.sessions is not None and level.abandonment is not None
        assert level.sessions.abandoned == len(left) and level.sessions.failed == 0
        assert level.abandonment.late_max_s is not None
        found.append(leaves)
    alone, by_four = found
    both = alone.keys() & by_four.keys()
    assert len(both) > 50 and {alone[turn] for turn in both} == {"True", "False"}
    assert all(alone[turn] == by_four[turn] for turn in both)
