"""A whole run of an open loop: requests come to the server when the schedule says."""

from __future__ import annotations

import json
import re
import signal
from pathlib import Path
from statistics import fmean
from typing import Any

import msgspec
import pytest

from tests.runs.harness import Run, RunLocust, Simulator, Start, StartSimulator
from tests.runs.test_worker_runs import workers_of
from tests.runs.topologies import assert_all_accounted, assert_complete, start_cluster
from tokenswarm.run_folder.schema import RunDocument
from tokenswarm.shapes.arrival_schedule import arrivals
from tokenswarm.shapes.level_arrivals import schedule_of

pytestmark = pytest.mark.slow

SHORT = ("--level-time", "3s", "--settle", "0s", "--max-tokens", "8", "--preflight", "off")


def test_requests_are_sent_in_order_at_the_times_of_the_schedule(
    run_locust: RunLocust, start_simulator: StartSimulator, tmp_path: Path
) -> None:
    log = tmp_path / "requests.jsonl"
    server = start_simulator("--dialect", "vllm", "--profile", "fast", "--request-log", str(log))
    run = run_locust("-H", server.host, "--rate", "5,20", "--traceparent", "--record", "events", *SHORT)
    assert run.exit_code == 0, run.output
    document = msgspec.json.decode((run.folder / "run.json").read_bytes(), type=RunDocument)
    sent: list[str] = []
    for level in document.plan:
        rows = sorted(
            (row for row in run.requests if row["level"] == level.name), key=lambda row: float(row["scheduled_s"])
        )
        times_ns = [round(float(row["scheduled_s"]) * 1e9) for row in rows]
        due_ns = [round(due.due_s * 1e9) for due in arrivals(schedule_of(level))]
        assert [time_ns - times_ns[0] for time_ns in times_ns] == [time_ns - due_ns[0] for time_ns in due_ns]
        assert all(float(row["sent_s"]) >= float(row["scheduled_s"]) for row in rows)
        assert {row["phase"] for row in rows} == {"hold"}
        sent += [row["trace_id"] for row in rows]
        load = run.summary["levels"][level.index]["open_loop"]
        assert (load["offered"], load["not_sent"]) == (len(due_ns), 0)
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    received = [line["headers"]["traceparent"].split("-")[1] for line in lines if line["method"] == "POST"]
    assert sorted(received) == sorted(sent)
    kept = [json.loads(line) for path in (run.folder / "records").glob("*.jsonl") for line in path.open()]
    assert sorted(each["id"] for each in kept) == sorted(row["id"] for row in run.requests)
    assert_scheduled_lag_and_ttft_add_up(run, {each["id"]: each["reads"] for each in kept})


def assert_scheduled_lag_and_ttft_add_up(run: Run, reads: dict[str, list[dict[str, Any]]]) -> None:
    """For each request, scheduled + lag + TTFT is when its first text came, within a microsecond."""
    from_scheduled_s: dict[str, list[float]] = {}
    for row in run.requests:
        scheduled_s, sent_s = float(row["scheduled_s"]), float(row["sent_s"])
        first_ms = next(read["after_ms"] for read in reads[row["id"]] if re.search('"content":"[^"]', read["data"]))
        first_s = sent_s + first_ms / 1e3
        lag_s, ttft_s = sent_s - scheduled_s, float(row["ttft_ms"]) / 1e3
        assert scheduled_s + lag_s + ttft_s == pytest.approx(first_s, abs=1e-6)
        from_scheduled_s.setdefault(row["level"], []).append(first_s - scheduled_s)
    for level in run.summary["levels"]:
        found = from_scheduled_s[level["level"]]
        shown = level["hold"]["ttft_scheduled_s"]
        assert (shown["count"], shown["mean"]) == (len(found), pytest.approx(fmean(found), abs=1e-6))


def test_a_server_that_stalls_gets_all_requests_all_the_same_and_all_their_waits_count(
    run_locust: RunLocust, start_simulator: StartSimulator
) -> None:
    """A closed loop would have sent next to nothing meanwhile. A limit makes requests wait at the client too, which
    TTFT from sent does not show."""
    stall = ("--pause-at", "50", "--pause-s", "2")
    server = start_simulator("--dialect", "vllm", "--profile", "fast", "--max-batch", "500", *stall)
    load = ("--rate", "50", "--arrivals", "constant", "--max-in-flight", "20")
    run = run_locust("-H", server.host, *load, *SHORT, "--level-time", "8s", pictures=True)
    assert run.exit_code == 0, run.output
    (level,) = run.summary["levels"]
    assert (level["open_loop"]["offered"], level["open_loop"]["not_sent"], len(run.requests)) == (400, 0, 400)
    rows = sorted(run.requests, key=lambda row: float(row["scheduled_s"]))
    sent_s = [float(row["sent_s"]) for row in rows]
    assert sent_s == sorted(sent_s)
    assert sorted(int(row["id"]) for row in server.truth()) == list(range(400))
    hold = level["hold"]
    assert hold["ttft_scheduled_s"]["p99"]["value"] >= 0.9 * 2
    assert hold["lag_s"]["max"] > 0.5
    assert hold["ttft_s"]["mean"] < hold["ttft_scheduled_s"]["mean"] - 0.1
    assert all("TTFT from schedule" in shown for shown in (run.output, (run.folder / "report.html").read_text()))


def test_a_limit_of_requests_in_flight_makes_further_ones_wait(
    run_locust: RunLocust, start_simulator: StartSimulator
) -> None:
    """Requests take half a second or more: two at a time cannot keep up with twenty a second."""
    server = start_simulator("--dialect", "vllm", "--step-ms", "60", "--answer-median-tokens", "8")
    run = run_locust("-H", server.host, "--rate", "20", "--arrivals", "constant", "--max-in-flight", "2", *SHORT)
    assert run.exit_code == 0, run.output
    (level,) = run.summary["levels"]
    load, hold = level["open_loop"], level["hold"]
    assert load["in_flight_max"] <= 2.0
    assert (load["offered"], load["not_sent"]) == (60, 60 - hold["requests"])
    assert load["not_sent"] > 0
    assert hold["lag_s"]["max"] > 1.0
    assert hold["ttft_scheduled_s"]["max"] > hold["ttft_s"]["max"] + 1.0
    assert run.summary["validity"]["issues"][0]["kind"] == "not_sent"


#: Streams of a tenth of a second.
STREAMS = ("--max-tokens", "4", "--engine", "vllm", "--ignore-eos", "--preflight", "off", "--settle", "0s")


@pytest.fixture
def simulator(start_simulator: StartSimulator) -> Simulator:
    return start_simulator("--profile", "fast", "--prefill-ms", "0", "--step-ms", "25", "--max-batch", "500")


def due_times_s(run: Run) -> list[float]:
    """When the requests of the only level were due, since the run began."""
    document = msgspec.json.decode((run.folder / "run.json").read_bytes(), type=RunDocument)
    due_s = [arrival.due_s for arrival in arrivals(schedule_of(document.plan[0]))]
    scheduled_s = sorted(float(row["scheduled_s"]) for row in run.requests)
    return [scheduled_s[0] - due_s[0] + each for each in due_s]


def test_a_killed_worker_s_share_is_taken_over_and_what_it_owed_is_known(
    start_locust: Start, simulator: Simulator
) -> None:
    started = start_locust(
        *("--headless", "--processes", "3", "-H", simulator.host, *STREAMS, "--rate", "30", "--level-time", "9s")
    )
    started.wait_for_requests(40)
    workers_of(started, 3)[1].kill()
    run = started.end()
    assert run.exit_code == 3, run.output
    assert_all_accounted(run, None, simulator)
    (level,) = run.summary["levels"]
    load, in_flight = level["open_loop"], run.summary["accounting"]["unaccounted"]
    (gap,) = load["not_sent_by_workers"]
    assert len(run.requests) + in_flight + gap["requests"] == load["offered"]
    assert load["not_sent"] == gap["requests"] > 0
    kinds = {issue["kind"]: issue["values"] for issue in run.summary["validity"]["issues"]}
    assert kinds["worker_gap"]["not_sent"] == gap["requests"]
    due_s = due_times_s(run)
    scheduled_s = sorted(float(row["scheduled_s"]) for row in run.requests)
    matched = [min(due_s, key=lambda due_s, time_s=time_s: abs(due_s - time_s)) for time_s in scheduled_s]
    assert len(set(matched)) == len(matched)  # each arrival once
    assert max(abs(one - other) for one, other in zip(matched, scheduled_s, strict=True)) < 0.01  # workers' clocks


def test_workers_are_replaced_in_a_level_without_a_request_less(
    start_locust: Start, simulator: Simulator, tmp_path: Path
) -> None:
    cluster = start_cluster(
        *("master + 3 workers", start_locust, tmp_path, "-H", simulator.host, *STREAMS),
        *("--rate", "30", "--level-time", "12s"),
    )
    cluster.add_worker(start_locust)  # it may join before the run or in it
    cluster.main.wait_for_requests(40)
    cluster.workers[0].interrupt(signal.SIGTERM)
    run = cluster.end()
    assert run.exit_code == 0, run.output
    assert_complete(run)
    assert_all_accounted(run, cluster, simulator)
    (level,) = run.summary["levels"]
    load = level["open_loop"]
    assert (load["offered"], load["not_sent"], load["not_sent_by_workers"]) == (len(run.requests), 0, [])
    assert {row["worker"] for row in run.requests} == set("0123")
    assert "fewer_users" not in {issue["kind"] for issue in run.summary["validity"]["issues"]}
