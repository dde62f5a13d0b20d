"""Workers that come and go under load, and a cluster key: whole runs against a simulator."""

from __future__ import annotations

import random
import re
import signal
import time
from pathlib import Path

import pytest

from tests.runs.harness import Run, Simulator, Start, Started, StartSimulator, free_port, read_csv, until
from tests.runs.test_worker_runs import STREAMS, assert_each_request_once
from tokenswarm.run_control.interrupts import TOGETHER_S

pytestmark = pytest.mark.slow

KEY = "0123456789abcdef-this-is-the-cluster-key"


@pytest.fixture
def simulator(start_simulator: StartSimulator) -> Simulator:
    return start_simulator("--profile", "fast", "--prefill-ms", "20", "--step-ms", "12")


def plan(users: int, level_time: str) -> tuple[str, ...]:
    return ("--levels", str(users), "--ramp", "1s", "--level-time", level_time, "--system-prompt", "off")


def ports() -> tuple[str, ...]:
    port = str(free_port())
    return ("--master-port", port, "--master-bind-port", port)


def rows_of(started: Started) -> list[dict[str, str]]:
    written = list(started.results.glob("*/requests.csv"))
    return read_csv(written[0]) if written else []


def in_flight_at(run: Run, when_s: float) -> int:
    return sum(
        float(row["sent_s"]) <= when_s < float(row["sent_s"]) + float(row["duration_ms"] or 0) / 1e3
        for row in run.requests
    )


def test_a_rolling_update_of_all_workers_keeps_all_users_and_cuts_no_stream(
    start_locust: Start, simulator: Simulator
) -> None:
    where = ports()
    master = start_locust(
        *("--headless", "--master", "--expect-workers", "2", "-H", simulator.host, *STREAMS, *plan(6, "90s"), *where),
        *("--stop-timeout", "20"),
    )
    old = [start_locust("--worker", *where) for _ in range(2)]
    master.wait_for_requests(12)
    new = []
    for leaving in old:
        seen = {row["worker"] for row in rows_of(master)}
        new.append(start_locust("--worker", *where))
        until(lambda seen=seen: bool({row["worker"] for row in rows_of(master)} - seen))
        leaving.interrupt(signal.SIGTERM)
        left = leaving.end()
        assert left.exit_code == 0, left.output
        assert "Traceback" not in left.output
    master.wait_for_requests(len(rows_of(master)) + 40)  # of three seconds or more
    master.interrupt()
    run = master.end()
    assert run.exit_code == 4, run.output
    assert_each_request_once(run, simulator)
    assert {row["outcome"] for row in run.requests} == {"ok"}
    events = [event["event"] for event in run.summary["events"]]
    assert sorted(events) == sorted(["joined", "leaving", "left"] * 2)
    # From the last change on, all users are there, and only on the new workers.
    last_s = max(event["time_s"] for event in run.summary["events"]) + 1
    end_s = max(float(row["sent_s"]) for row in run.requests)
    moments = [last_s + (end_s - last_s) * step / 20 for step in range(20)]
    counts = [in_flight_at(run, moment) for moment in moments]
    assert max(counts) == 6
    assert sum(counts) / len(counts) > 5.5  # between two requests a user has none
    after = {row["worker"] for row in run.requests if float(row["sent_s"]) > last_s}
    assert after == {str(event["worker"]) for event in run.summary["events"] if event["event"] == "joined"}


def test_a_stopped_worker_lets_its_streams_end_and_stopped_again_cancels_them(
    start_locust: Start, simulator: Simulator
) -> None:
    where = ports()
    streams = ("--max-tokens", "250", "--engine", "vllm", "--ignore-eos")  # of three seconds
    master = start_locust(
        *("--headless", "--master", "--expect-workers", "3", "-H", simulator.host, *streams, *plan(6, "90s"), *where),
        *("--stop-timeout", "20"),
    )
    patient, hurried, _ = workers = [start_locust("--worker", *where) for _ in range(3)]
    master.wait_for_requests(6)
    patient.interrupt(signal.SIGTERM)
    hurried.interrupt(signal.SIGTERM)
    assert hurried.process.stdout is not None
    while "Stop it again" not in (line := hurried.process.stdout.readline()):
        assert line, "it ended at once"
    time.sleep(TOGETHER_S)  # signals that come closer together count as one
    hurried.interrupt(signal.SIGTERM)
    ends = [worker.end() for worker in (patient, hurried)]
    ended = len(read_csv(next(master.results.glob("*/requests.csv"))))
    master.wait_for_requests(ended + 6)  # by then it knows that both have left
    master.interrupt()
    run = master.end()
    assert [end.exit_code for end in ends] == [0, 0]
    assert all("Traceback" not in worker.end().output for worker in (workers[2],))
    assert "Traceback" not in ends[0].output + ends[1].output + run.output
    assert_each_request_once(run, simulator)
    left = {event["worker"] for event in run.summary["events"] if event["event"] == "left"}
    assert len(left) == 2
    cut = [row for row in run.requests if row["outcome"] == "cut"]
    assert len({row["worker"] for row in cut}) == 1
    assert {int(row["worker"]) for row in cut} <= left
    assert {row["error"] for row in cut} == {"its worker was stopped"}
    assert not any("drain timeout" in reason for reason in run.summary["validity"]["reasons"])
    assert {row["outcome"] for row in run.requests if row not in cut} == {"ok"}


def test_a_run_does_not_start_with_a_worker_that_cannot_load_what_it_needs(
    start_locust: Start, simulator: Simulator
) -> None:
    where = ports()
    master = start_locust("--headless", "--master", "--expect-workers", "2", "-H", simulator.host, *STREAMS, *where)
    able = start_locust("--worker", *where)
    unable = start_locust("--worker", *where, "--prompts", "/no/such/file.jsonl").end()
    assert unable.exit_code == 2
    run = master.end()
    assert run.exit_code == 2, run.output
    assert re.search("Run not started: worker .* cannot take part: .*/no/such/file.jsonl", run.output)
    assert list(run.results.glob("*")) == []
    assert "Traceback" not in unable.output + run.output + able.end().output


def test_with_a_cluster_key_only_those_who_have_it_take_part(
    start_locust: Start, simulator: Simulator, tmp_path: Path
) -> None:
    where = ports()
    file = tmp_path / "key"
    file.write_text(KEY + "\n")
    by_variable = {"TOKENSWARM_CLUSTER_KEY": KEY}
    by_file = ("--cluster-key-file", str(file))
    master = start_locust(
        *("--headless", "--master", "--expect-workers", "2", "-H", simulator.host, *STREAMS, *plan(4, "5s"), *where),
        env=by_variable,
        pictures=True,
    )
    wrong = start_locust("--worker", *where, env={"TOKENSWARM_CLUSTER_KEY": KEY[::-1]})
    without = start_locust("--worker", *where)
    for worker, sentence in ((wrong, "it has another cluster key"), (without, "it has no cluster key")):
        refused = worker.end()
        assert refused.exit_code == 2
        assert f"tokenswarm: the master rejects this worker: {sentence}" in refused.output
        assert "Traceback" not in refused.output
    workers = [start_locust("--worker", *where, *by_file), start_locust("--worker", *where, env=by_variable)]
    run = master.end()
    outputs = [run.output, *(worker.end().output for worker in workers)]
    assert run.exit_code == 0, run.output
    assert_each_request_once(run, simulator)
    assert {row["worker"] for row in run.requests} == {"0", "1"}
    for sentence in ("it has another cluster key than this master", "it has no cluster key"):
        assert sum(sentence in line for line in run.output.splitlines()) == 1
    assert all("Traceback" not in output for output in outputs)
    written = [path.read_bytes() for path in run.folder.rglob("*") if path.is_file()]
    assert all(KEY.encode() not in text for text in (*written, *(output.encode() for output in outputs)))


def test_a_worker_with_a_key_ends_where_its_master_has_none(start_locust: Start, simulator: Simulator) -> None:
    where = ports()
    master = start_locust("--headless", "--master", "--expect-workers", "1", "-H", simulator.host, *where)
    worker = start_locust("--worker", *where, env={"TOKENSWARM_CLUSTER_KEY": KEY}).end()
    assert worker.exit_code == 2
    assert "it has a cluster key, its master has none" in worker.output
    master.interrupt()
    assert "it has a cluster key, its master has none" in master.end().output


@pytest.mark.parametrize("given", ["argument", "short", "missing"])
def test_a_key_that_cannot_be_used_ends_the_start_and_is_not_repeated(given: str, start_locust: Start) -> None:
    arguments = {"argument": ("--cluster-key", KEY), "missing": ("--cluster-key-file", "/no/such/file")}.get(given, ())
    run = start_locust("--headless", *arguments, env={"TOKENSWARM_CLUSTER_KEY": "hunter2"} if given == "short" else {})
    ended = run.end()
    assert ended.exit_code == 2
    sentences = [line for line in ended.output.splitlines() if line.startswith("tokenswarm: ")]
    cures = {"argument": "set TOKENSWARM_CLUSTER_KEY", "short": "characters", "missing": "--cluster-key-file"}
    assert cures[given] in sentences[-1]
    assert "Traceback" not in ended.output
    assert KEY not in ended.output
    assert "hunter2" not in ended.output


@pytest.mark.chaos
def test_whatever_becomes_of_workers_all_users_are_back_at_the_end(
    start_locust: Start, simulator: Simulator, tmp_path: Path
) -> None:
    (tmp_path / "other.py").write_text("from locustfile import *  # and something else\n")
    where = ports()
    master = start_locust(
        *("--headless", "--master", "--expect-workers", "3", "-H", simulator.host, *STREAMS, *plan(12, "100s"), *where)
    )
    workers = [start_locust("--worker", *where) for _ in range(3)]
    master.wait_for_requests(24)
    began_s = time.monotonic()
    draw = random.Random(7)
    for number in range(6):
        workers.append(start_locust("--worker", *where))
        strangers = [start_locust("--worker", *where, locustfile=tmp_path / "other.py") for _ in range(2)]
        victim = workers.pop(draw.randrange(len(workers) - 1))
        match number % 3:
            case 0:
                victim.interrupt(signal.SIGTERM)
            case 1:
                victim.process.kill()
            case 2:
                victim.interrupt(signal.SIGSTOP)
                time.sleep(6)
                victim.interrupt(signal.SIGCONT)
                workers.append(victim)
        assert [stranger.end().exit_code for stranger in strangers] == [2, 2]
    assert time.monotonic() - began_s < 80, "the machine is too slow for this"
    run = master.end()
    assert run.exit_code == 3, run.output  # workers were killed
    assert "Traceback" not in run.output
    counts = [in_flight_at(run, 90 + step / 4) for step in range(36)]
    assert max(counts) == 12
    assert sum(counts) / len(counts) > 11
    assert len({row["id"] for row in run.requests}) == len(run.requests)
