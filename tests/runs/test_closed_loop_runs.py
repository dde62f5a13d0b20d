"""Whole runs of closed loops with think times."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from tests.runs.harness import Run, RunLocust, Start, StartSimulator, assert_whole
from tests.runs.test_worker_runs import workers_of
from tokenswarm import main as command

pytestmark = pytest.mark.slow


def test_users_wait_their_think_time_between_requests(run_locust: RunLocust, start_simulator: StartSimulator) -> None:
    server = start_simulator("--profile", "fast")
    load = ("--levels", "4", "--ramp", "1s", "--level-time", "4s", "--system-prompt", "off", "--max-tokens", "8")
    run = run_locust("-H", server.host, *load, "--think-time", "u(200ms,600ms)")
    assert run.exit_code == 0, run.output
    assert_whole(run)
    users = {row["user"] for row in run.requests}
    assert len(users) == 4
    pauses_s: list[float] = []
    for user in users:
        rows = sorted((row for row in run.requests if row["user"] == user), key=lambda row: float(row["sent_s"]))
        assert rows[0]["think_ms"] == ""
        for before, row in pairwise(rows):
            pause_s = float(row["sent_s"]) - float(before["sent_s"]) - float(before["duration_ms"]) / 1000
            assert 0.2 <= float(row["think_ms"]) / 1000 <= min(0.6, pause_s + 0.001)
            pauses_s.append(pause_s)
    found = run.summary["levels"][0]["think_time"]
    assert (found["requested"], found["requested_mean_s"], found["pauses"]) == ("u(200ms,600ms)", 0.4, len(pauses_s))
    assert found["actual_mean_s"] == pytest.approx(sum(pauses_s) / len(pauses_s), abs=0.01)
    assert run.summary["levels"][0]["concurrency"]["mean"] > 2.5  # users that think are there, and mostly think


def test_a_level_s_end_does_not_wait_for_a_thinking_user(
    run_locust: RunLocust, start_simulator: StartSimulator
) -> None:
    server = start_simulator("--profile", "fast")
    run = run_locust("-H", server.host, "-u", "2", "-r", "2", "-t", "2s", "--max-tokens", "4", "--think-time", "1h")
    assert run.exit_code == 0, run.output
    assert len(run.requests) == 2
    assert run.summary["levels"][0]["whole"]["outcomes"] == {"ok": 2}


def test_each_level_sends_exactly_so_many_requests(run_locust: RunLocust, start_simulator: StartSimulator) -> None:
    server = start_simulator("--profile", "fast")
    load = ("--levels", "2,5", "--ramp", "0", "--system-prompt", "off", "--max-tokens", "8", "--requests", "21")
    run = run_locust("-H", server.host, *load)
    assert run.exit_code == 0, run.output
    assert_whole(run)
    assert len(server.truth()) == 42
    for level in run.summary["levels"]:
        of_level = [row for row in run.requests if int(row["level_index"]) == level["index"]]
        assert len(of_level) == level["whole"]["requests"] == 21
        assert level["complete"]
        began_s = min(float(row["start_s"]) for row in run.windows if int(row["level_index"]) == level["index"])
        ended_s = max(float(row["sent_s"]) + float(row["duration_ms"]) / 1000 for row in of_level)
        assert level["whole"]["seconds"] == pytest.approx(ended_s - began_s, abs=0.01)


def test_workers_divide_the_requests(run_locust: RunLocust, start_simulator: StartSimulator) -> None:
    server = start_simulator("--profile", "fast")
    run = run_locust(
        *("-H", server.host, "--processes", "2", "-u", "3", "-r", "3", "-t", "60s"),
        *("--max-tokens", "8", "--requests", "31"),
    )
    assert run.exit_code == 0, run.output
    assert len(server.truth()) == len(run.requests) == 31
    counts = sorted(sum(row["worker"] == worker for row in run.requests) for worker in ("0", "1"))
    assert counts in ([10, 21], [11, 20])


def test_a_level_ends_without_the_requests_that_a_lost_worker_had_not_sent(
    start_locust: Start, start_simulator: StartSimulator
) -> None:
    server = start_simulator("--profile", "fast", "--prefill-ms", "20", "--step-ms", "12")
    started = start_locust(
        *("--headless", "-H", server.host, "--processes", "3", "-u", "6", "-r", "6", "-t", "10m", "--engine", "vllm"),
        *("--max-tokens", "30", "--ignore-eos", "--requests", "60"),
    )
    started.wait_for_requests(6)
    workers_of(started, 3)[1].kill()
    run = started.end()
    assert run.exit_code == 3, run.output
    (level,) = run.summary["levels"]
    by_worker = Counter(row["worker"] for row in run.requests)
    assert sorted(by_worker.values())[-2:] == [20, 20]  # the others sent their own share, and no more
    assert 40 < len(run.requests) + run.summary["accounting"]["unaccounted"] < 60
    assert level["complete"]
    assert "not_sent" in {issue["kind"] for issue in run.summary["validity"]["issues"]}


def test_an_open_loop_sends_exactly_so_many_requests(run_locust: RunLocust, start_simulator: StartSimulator) -> None:
    server = start_simulator("--profile", "fast")
    run = run_locust("-H", server.host, "--rate", "inf,10", "--requests", "30", "--max-tokens", "8")
    assert run.exit_code == 0, run.output
    assert len(server.truth()) == len(run.requests) == 60
    once, paced = run.summary["levels"]
    assert [level["hold"]["requests"] for level in (once, paced)] == [30, 30]
    assert len({row["scheduled_s"] for row in run.requests if row["level"] == "inf/s"}) == 1
    assert (once["open_loop"]["offered"], once["open_loop"]["not_sent"]) == (30, 0)
    assert paced["open_loop"]["offered_rate"] == pytest.approx(30 / paced["hold"]["seconds"])


def test_a_warm_up_is_recorded_and_in_no_figure(run_locust: RunLocust, start_simulator: StartSimulator) -> None:
    """Its last request, the third of all, fails: neither a figure nor the exit code is of it."""
    server = start_simulator("--profile", "fast", "--error-every", "3")
    ladder = ("--levels", "1", "--ramp", "0", "--system-prompt", "off")
    load = (*ladder, "--max-tokens", "8", "--warm-up", "3", "--requests", "2")
    run = run_locust("-H", server.host, *load)
    assert run.exit_code == 0, run.output
    assert len(server.truth()) == 4
    assert [(row["level_index"], row["phase"], row["outcome"]) for row in run.requests] == [
        ("0", "warm-up", "ok"),
        ("0", "warm-up", "ok"),
        ("0", "warm-up", "http_error"),
        ("1", "hold", "ok"),
        ("1", "hold", "ok"),
    ]
    (level,) = run.summary["levels"]
    assert (level["index"], level["hold"]["outcomes"], level["hold"]["ttft_s"]["count"]) == (1, {"ok": 2}, 2)
    (warm_up,) = run.summary["warm_ups"]
    assert (warm_up["index"], warm_up["requests"], warm_up["failures"]) == (0, 3, 1)
    assert {row["level_index"]: row["phase"] for row in reversed(run.windows)} == {"0": "warm-up", "1": "hold"}
    assert run.summary["accounting"]["recorded"] == 5


WARM_UP_OF_AN_HOUR = (
    "--levels",
    "4,8",
    "--ramp",
    "1s",
    "--system-prompt",
    "off",
    "--max-tokens",
    "8",
    "--warm-up",
    "1h",
)


@pytest.mark.parametrize("ending", ["Ctrl-C", "failures"])
def test_a_run_that_ends_in_its_first_warm_up_is_reported_like_any_other(
    ending: str, start_locust: Start, start_simulator: StartSimulator, tmp_path: Path
) -> None:
    server = start_simulator("--profile", "fast", "--api-key-env", "KEY", env={"KEY": "right"})
    junit, markdown = tmp_path / "junit.xml", tmp_path / "run.md"
    junit.write_text("of another run")
    checks = ("--fail-if", "p95(ttft) > 1s", "--junit", str(junit), "--markdown", str(markdown))
    failing = ending == "failures"
    started = start_locust(
        *("--headless", "-H", server.host, *WARM_UP_OF_AN_HOUR, *checks),
        *(("--preflight", "off", "--engine", "vllm", "--model", "m", "--wait-after-failure", "0") if failing else ()),
        env={"LLM_API_KEY": "wrong" if failing else "right"},
        pictures=True,
    )
    if not failing:
        started.wait_for_requests(1)
        started.interrupt()
    run = started.end()
    status = "failed" if failing else "interrupted"
    assert (run.exit_code, run.document["status"]) == (3 if failing else 4, status), run.output
    (level,) = run.summary["levels"]
    assert (level["level"], level["complete"], level["hold"]["requests"], level["hold"]["seconds"]) == (
        "4",
        False,
        0,
        0,
    )
    assert level["hold"]["ttft_s"]["p50"] is None
    assert (level["concurrency"], level["load_audit"]) == (None, None)  # nothing was requested of its hold
    assert run.summary["warm_ups"][0]["requests"] == len(run.requests) > 0
    validity = run.document["validity"]
    assert validity["verdict"] == ("failed" if failing else "suspect")
    assert [issue["kind"] for issue in validity["issues"]] == [*(["run_failed"] if failing else []), "nothing_measured"]
    assert run.summary["validity"] == validity
    assert "nothing was measured" in run.output
    for told in (run.output, (run.folder / "report.html").read_text(encoding="utf-8"), markdown.read_text()):
        assert ("the key in LLM_API_KEY" in told) == failing
    assert [case.find("error") is not None for case in ET.parse(junit).iter("testcase")] == [True, True]
    assert command(["report", str(run.folder)]) == 0
    assert command(["recover", str(run.folder)]) == 0
    assert "Traceback" not in run.output


def test_workers_send_exactly_so_many_requests_of_an_open_loop_and_its_warm_up(
    run_locust: RunLocust, start_simulator: StartSimulator
) -> None:
    server = start_simulator("--profile", "fast")
    load = ("--rate", "20,inf", "--arrivals", "constant", "--max-tokens", "8", "--warm-up", "8", "--requests", "30")
    run = run_locust("-H", server.host, "--processes", "3", *load)
    assert run.exit_code == 0, run.output
    assert len(server.truth()) == len(run.requests) == 2 * (8 + 30)
    for place, phase, requests in ((0, "warm-up", 8), (1, "hold", 30), (2, "warm-up", 8), (3, "hold", 30)):
        rows = [row for row in run.requests if int(row["level_index"]) == place]
        assert [row["phase"] for row in rows] == [phase] * requests
        assert {row["worker"] for row in rows} == set("012")
    for level in run.summary["levels"]:
        assert (level["hold"]["requests"], level["open_loop"]["offered"], level["open_loop"]["not_sent"]) == (30, 30, 0)
    assert [each["requests"] for each in run.summary["warm_ups"]] == [8, 8]


def waits_after(run: Run, rows: list[dict[str, str]]) -> list[float]:
    """From the sending of each of these to that of the user's next request, in seconds; none of a user's last."""
    sent_s = {user: sorted(float(row["sent_s"]) for row in run.requests if row["user"] == user) for user in users(run)}
    pairs = {(user, one): other - one for user, times_s in sent_s.items() for one, other in pairwise(times_s)}
    found = [pairs.get((row["user"], float(row["sent_s"]))) for row in rows]
    return [wait_s for wait_s in found if wait_s is not None]


def users(run: Run) -> set[str]:
    return {row["user"] for row in run.requests}


LIMITED = ("--max-batch", "1", "--max-queue", "0", "--overload", "429", "--retry-after", "1", "--step-ms", "20")


def test_users_wait_as_long_as_a_limit_asks_for(run_locust: RunLocust, start_simulator: StartSimulator) -> None:
    """One request at a time is let in: of two users, the other is refused and waits."""
    server = start_simulator("--profile", "fast", *LIMITED)
    load = ("--levels", "2", "--ramp", "0", "--system-prompt", "off", "--level-time", "4s", "--max-tokens", "30")
    run = run_locust("-H", server.host, *load, "--honour-retry-after", "--wait-after-failure", "0", pictures=True)
    assert run.exit_code == 0, run.output
    (level,) = run.summary["levels"]
    refused = [row for row in run.requests if row["outcome"] == "refused_by_limit"]
    assert {row["status"] for row in refused} == {"429"}
    assert level["whole"]["outcomes"]["refused_by_limit"] == len(refused) > 0
    assert level["whole"]["failures"] == 0
    assert "Refused by a limit" in run.output and "Refused by a limit" in (run.folder / "report.html").read_text()
    assert min(waits_after(run, refused)) >= 1.0


def test_otherwise_they_wait_as_after_any_failure(run_locust: RunLocust, start_simulator: StartSimulator) -> None:
    server = start_simulator("--profile", "fast", *LIMITED)
    load = ("--levels", "2", "--ramp", "0", "--system-prompt", "off", "--level-time", "3s", "--max-tokens", "30")
    run = run_locust("-H", server.host, *load, "--wait-after-failure", "300ms")
    assert run.exit_code == 1, run.output
    failed = [row for row in run.requests if row["outcome"] == "http_error"]
    assert run.summary["levels"][0]["whole"]["failures"] == len(failed) > 3
    assert 0.3 <= min(waits_after(run, failed)) < 1.0
