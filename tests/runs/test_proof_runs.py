"""Whole runs whose client is in its own way, or measures itself first: what they say of their own figures."""

from __future__ import annotations

import html
import re
import time
import urllib.request
from itertools import pairwise
from pathlib import Path
from xml.etree import ElementTree as ET

import psutil
import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.runs.blocked_locustfile import BLOCK_S
from tests.runs.harness import (
    Run,
    RunLocust,
    Simulator,
    Start,
    StartSimulator,
    assert_whole,
    free_port,
    read_csv,
    until,
)

pytestmark = pytest.mark.slow

BLOCKED = str(Path(__file__).with_name("blocked_locustfile.py"))
BLOCK_MS = BLOCK_S * 1000


@pytest.fixture
def simulator(start_simulator: StartSimulator) -> Simulator:
    """Its tokens come further apart than the loop is ever blocked, so that no read holds two."""
    return start_simulator("--profile", "fast", "--prefill-ms", "150", "--step-ms", "100")


def options(simulator: Simulator, stamps: str) -> tuple[str, ...]:
    load = ("-H", simulator.host, "-u", "3", "-r", "3", "-t", "5s", "--max-tokens", "4")
    return ("-f", BLOCKED, *load, "--engine", "vllm", "--ignore-eos", "--stamps", stamps)


def ttft_errors_ms(run: Run, simulator: Simulator) -> list[float]:
    """Request by request, in the order of sending."""
    truth = sorted(simulator.truth(), key=lambda sent: int(sent["t_wire_ns"]))
    rows = sorted(run.requests, key=lambda row: float(row["sent_s"]))
    assert len(rows) == len(truth) > 9
    return [
        float(row["ttft_ms"]) - (int(sent["t_first_ns"]) - int(sent["t_wire_ns"])) / 1e6
        for row, sent in zip(rows, truth)
    ]


def late_share(errors_ms: list[float]) -> float:
    """Those that are off by more than a third of a block."""
    return sum(abs(error_ms) > BLOCK_MS / 3 for error_ms in errors_ms) / len(errors_ms)


def scraped(port: int) -> dict[str, dict[str, float]]:
    """Samples with one label at most, by name and that label."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as response:
        families = text_string_to_metric_families(response.read().decode())
    return {
        family.name: {sample.name + "".join(sample.labels.values()): sample.value for sample in family.samples}
        for family in families
    }


def test_a_blocked_loop_without_kernel_times_is_suspect_wherever_its_figures_are(
    start_locust: Start, simulator: Simulator
) -> None:
    port = free_port()
    started = start_locust("--headless", *options(simulator, "user"), "--metrics-port", str(port))
    started.wait_for_requests(6)
    live = scraped(port)
    run = started.end()
    assert run.exit_code == 0, run.output
    assert_whole(run)
    assert {row["stamps"] for row in run.requests} == {"user"}
    assert late_share(ttft_errors_ms(run, simulator)) > 0.05  # the stamp is right: these figures are not

    validity = run.summary["validity"]
    assert validity["verdict"] == "suspect"
    assert "client_delay" in {issue["kind"] for issue in validity["issues"]}
    assert run.document["validity"] == validity
    (worker,) = run.summary["workers"]
    assert worker["validity"]["verdict"] == "suspect"
    assert worker["loop_lag_p99_s"] > BLOCK_S / 2
    assert worker["cpu_utilization"] > 0  # how much of a core it gets for its block is for the machine to say
    assert "Verdict: SUSPECT" in run.output
    assert "!!! SUSPECT: " in run.output
    assert live["tokenswarm_suspect"] == {"tokenswarm_suspect": 1.0}
    assert live["tokenswarm_worker_cpu_utilization"]["tokenswarm_worker_cpu_utilization0"] > 0
    assert live["tokenswarm_loop_lag_seconds"]["tokenswarm_loop_lag_seconds_sum0"] > 0


@pytest.mark.alone
@pytest.mark.usefixtures("kernel_stamps")
def test_a_blocked_loop_does_no_harm_to_the_kernels_times(run_locust: RunLocust, simulator: Simulator) -> None:
    run = run_locust(*options(simulator, "kernel"))
    assert run.exit_code == 0, run.output
    assert_whole(run)
    assert late_share(ttft_errors_ms(run, simulator)) < 0.1
    assert run.summary["validity"] == run.document["validity"] == {"verdict": "valid", "reasons": [], "issues": []}
    (worker,) = run.summary["workers"]
    assert worker["validity"]["verdict"] == "valid"
    # It was blocked as much as without.
    assert worker["loop_lag_p99_s"] > BLOCK_S / 2
    assert worker["client_delay_p99_s"] > BLOCK_S / 2
    assert "Verdict: valid" in run.output
    assert "SUSPECT" not in run.output


def test_each_worker_measures_itself_before_the_load_with_its_share_of_it(run_locust: RunLocust) -> None:
    levels = (
        "--levels",
        "2,4",
        "--ramp",
        "0.5s",
        "--level-time",
        "2.5s",
        "--system-prompt",
        "off",
        "--max-tokens",
        "8",
    )
    run = run_locust("--processes", "2", *levels, "--max-tokens", "8", "--self-check")
    assert run.exit_code == 0, run.output
    assert_whole(run)
    checks = {check.pop("worker"): check for check in run.document["self_checks"]}
    assert sorted(checks) == [0, 1]
    for number, check in checks.items():
        assert check["users"] == 2
        assert check["answers"] >= 2
        for errors in (check["ttft_error_s"], check["gap_error_s"]):
            assert 0 <= errors["p50"] <= errors["p99"] <= errors["max"]
            assert errors["p50"] < 1  # in seconds
        assert (
            f"Self-check of worker {number}, before the run (2 users, {check['answers']} answers): TTFT error p50 "
            in run.output
        )
    assert {worker["worker"]: worker["self_check"] for worker in run.summary["workers"]} == checks
    assert sum(worker["requests"] for worker in run.summary["workers"]) == len(run.requests)
    # The levels begin when it is over, and are as long as they should be.
    assert [level["hold"]["seconds"] for level in run.summary["levels"]] == [2.0, 2.0]
    assert all(level["complete"] and level["hold"]["requests"] for level in run.summary["levels"])


def test_an_interruption_in_the_drain_is_no_drain_timeout(start_locust: Start, start_simulator: StartSimulator) -> None:
    simulator = start_simulator("--profile", "fast", "--step-ms", "40")
    level = ("--levels", "2", "--system-prompt", "off", "--ramp", "0s", "--level-time", "2s", "--max-tokens", "3000")
    started = start_locust("--headless", "-H", simulator.host, "--engine", "vllm", "--ignore-eos", *level)
    until(
        lambda: any(row["phase"] == "drain" for path in started.results.glob("*/windows.csv") for row in read_csv(path))
    )
    started.interrupt()
    run = started.end()
    assert run.exit_code in (3, 4), run.output
    assert {row["outcome"] for row in run.requests} == {"cut"}
    assert "cancelled_in_drain" not in {issue["kind"] for issue in run.summary["validity"]["issues"]}
    assert not run.summary["levels"][0]["complete"]


FROZEN_S = 3.5


@pytest.mark.alone
def test_a_frozen_client_makes_the_run_suspect_wherever_it_is_read(
    start_locust: Start, start_simulator: StartSimulator
) -> None:
    """Locust counts its users all the time."""
    simulator = start_simulator("--profile", "fast", "--prefill-ms", "20", "--step-ms", "20")
    level = ("--levels", "4", "--system-prompt", "off", "--ramp", "1s", "--level-time", "9s", "--max-tokens", "10")
    port = free_port()
    load = ("-H", simulator.host, "--engine", "vllm", "--ignore-eos", *level)
    started = start_locust("--headless", *load, "--metrics-port", str(port), "--metrics-linger", "600s", pictures=True)
    until(
        lambda: (
            sum(row["phase"] == "hold" for path in started.results.glob("*/requests.csv") for row in read_csv(path)) > 4
        )
    )
    client = psutil.Process(started.process.pid)
    client.suspend()
    time.sleep(FROZEN_S)
    client.resume()
    until(lambda: any(started.results.glob("*/report.html")))
    live = scraped(port)
    started.interrupt()
    run = started.end()
    assert run.exit_code == 0, run.output
    assert_whole(run)

    sent_s = sorted(float(row["sent_s"]) for row in run.requests if row["phase"] == "hold")
    still_s = max(after - before for before, after in pairwise(sent_s))
    assert still_s > FROZEN_S - 0.5, "the client was not frozen in the hold"
    (level_summary,) = run.summary["levels"]
    concurrency = level_summary["concurrency"]
    assert (concurrency["requested"], concurrency["min"]) == (4, 0)
    assert 0 < concurrency["mean"] < 3.8
    assert 2 / 8 < concurrency["short_share"] < 1
    (row,) = [row for row in read_csv(run.folder / "summary.csv") if row["scope"] == "hold"]
    assert float(row["users_actual_mean"]) == concurrency["mean"]
    assert float(row["users_short_share"]) == concurrency["short_share"]
    assert min(float(window["users_actual"]) for window in run.windows if window["phase"] == "hold") < 3.9
    assert {window["users"] for window in run.windows if window["phase"] == "hold"} <= {"4", "0"}
    assert run.summary["validity"]["verdict"] == "suspect"
    assert "fewer_users" in {issue["kind"] for issue in run.summary["validity"]["issues"]}
    assert live["tokenswarm_suspect"] == {"tokenswarm_suspect": 1.0}
    mean = f"{concurrency['mean']:.1f}".removesuffix(".0")
    page = (run.folder / "report.html").read_text(encoding="utf-8")
    for told in (run.output, page):
        assert re.search(rf"\b{re.escape(mean)}\s+of\s+4\s+on\s+average", told)


@pytest.mark.parametrize("sent_again", [True, False], ids=["users send again", "no request follows"])
def test_a_server_that_is_killed_in_a_level_makes_the_run_suspect_wherever_it_is_read(
    sent_again: bool, start_locust: Start, start_simulator: StartSimulator, tmp_path: Path
) -> None:
    simulator, junit = start_simulator("--profile", "fast"), tmp_path / "junit.xml"
    load = ("--levels", "2", "--ramp", "1s", "--level-time", "10s", "--system-prompt", "off", "--max-tokens", "8")
    wait = () if sent_again else ("--wait-after-failure", "60")
    started = start_locust("--headless", "-H", simulator.host, *load, *wait, "--junit", str(junit), pictures=True)
    started.wait_for_requests(2)
    simulator.process.kill()
    simulator.process.wait()
    run = started.end()
    assert run.exit_code == 1, run.output
    lost = [row for row in run.requests if row["outcome"] in ("refused", "truncated")]
    (issue,) = [found for found in run.summary["validity"]["issues"] if found["kind"] == "server_unreachable"]
    assert run.summary["validity"]["verdict"] == "suspect"
    assert (issue["level"], issue["values"]["failed"]) == (0, len(lost))
    assert issue["values"]["refused"] == sum(row["outcome"] == "refused" for row in lost)
    assert issue["values"]["refused"] >= 2 if sent_again else len(lost) == 2
    (error,) = [found.attrib["message"] for found in ET.parse(junit).iter("error")]
    table = " ".join(run.output.split())
    for text in (error, table, html.unescape((run.folder / "report.html").read_text("utf-8"))):
        assert issue["message"] in text
