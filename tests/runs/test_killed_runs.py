"""SIGKILL: of a forked worker, of a master, of the only process. What had ended is in the results, once."""

from __future__ import annotations

import time
from pathlib import Path

import psutil
import pytest

from tests.forked_process import run_command
from tests.runs.harness import (
    FILES,
    Run,
    Simulator,
    Start,
    Started,
    StartSimulator,
    environment,
    free_port,
    run_folders,
    until,
)
from tests.runs.test_worker_runs import LONG, STREAMS, counted_by_locust, workers_of
from tests.runs.topologies import assert_all_accounted, start_cluster

pytestmark = pytest.mark.slow


@pytest.fixture
def simulator(start_simulator: StartSimulator) -> Simulator:
    return start_simulator("--profile", "fast", "--prefill-ms", "20", "--step-ms", "12")


def recover(started: Started, *arguments: str) -> Run:
    """`tokenswarm recover` of the run's folder."""
    (folder,) = run_folders(started.results)
    done = run_command("recover", str(folder), *arguments, env=environment())
    return Run(done.returncode, done.stdout + done.stderr, started.results)


def has_ended(process: psutil.Process) -> bool:
    """Whether it runs no more, also where whoever inherited it does not wait for it."""
    try:
        return not process.is_running() or process.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def all_files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.suffix in (".csv", ".json")}


def test_the_only_process_is_killed_and_its_run_is_recovered(start_locust: Start, simulator: Simulator) -> None:
    started = start_locust("--headless", "-H", simulator.host, *STREAMS, *LONG)
    started.wait_for_requests(12)
    going = recover(started)
    assert (going.exit_code, "is still being written" in going.output) == (2, True), going.output
    started.process.kill()
    started.end()
    run = recover(started)
    assert run.exit_code == 0, run.output
    assert run.document["status"] == run.summary["status"] == "recovered"
    assert_all_accounted(run, None, simulator)
    assert 1 <= run.summary["accounting"]["unaccounted"] <= 8
    assert {path.name for path in run.folder.iterdir()} == FILES | {"spool"}
    before = all_files(run.folder)
    again = recover(started)
    assert again.exit_code == 0
    assert all_files(run.folder) == before


def test_a_killed_worker_s_ended_requests_are_read_from_its_spool(
    start_locust: Start, simulator: Simulator, tmp_path: Path
) -> None:
    started = start_locust(
        *("--headless", "--processes", "3", "-H", simulator.host, *STREAMS, "--json-file", str(tmp_path / "locust")),
        *("--levels", "6", "--ramp", "1s", "--level-time", "8s", "--system-prompt", "off"),
    )
    started.wait_for_requests(12)
    time.sleep(1.5)  # until it has what it has not reported
    workers_of(started, 3)[1].kill()
    run = started.end()
    assert run.exit_code == 3, run.output
    assert run.document["status"] == "failed"
    assert_all_accounted(run, None, simulator)
    assert counted_by_locust(tmp_path / "locust") == len(run.requests)
    assert {path.name for path in run.folder.iterdir()} == FILES
    assert "Traceback" not in run.output


def test_a_killed_master_s_run_is_recovered_with_what_its_forked_workers_had(
    start_locust: Start, simulator: Simulator
) -> None:
    started = start_locust("--headless", "--processes", "3", "-H", simulator.host, *STREAMS, *LONG)
    started.wait_for_requests(12)
    workers = workers_of(started, 3)
    time.sleep(1.5)
    started.process.kill()
    until(lambda: all(has_ended(worker) for worker in workers))
    run = recover(started)
    assert run.exit_code == 0, run.output
    assert_all_accounted(run, None, simulator)
    assert {row["worker"] for row in run.requests} == set("012")
    assert run.summary["accounting"]["unaccounted"] == 0  # the workers had the time to cut their streams


def test_a_killed_master_s_run_is_recovered_with_the_spools_of_other_machines(
    start_locust: Start, simulator: Simulator, tmp_path: Path
) -> None:
    port = str(free_port())
    ports = ("--master-port", port, "--master-bind-port", port)
    machines = [tmp_path / "machine-a", tmp_path / "machine-b"]
    for machine in machines:
        machine.mkdir()
    master = start_locust(
        *("--headless", "--master", "--expect-workers", "2", "-H", simulator.host, *STREAMS, *LONG, *ports)
    )
    workers = [start_locust("--worker", *ports, env={"TMPDIR": str(machine)}) for machine in machines]
    master.wait_for_requests(12)
    time.sleep(1.5)
    workers[1].process.kill()
    master.process.kill()
    left_alone = workers[0].end()
    assert left_alone.exit_code == 3
    assert "The master has sent nothing for 15 s: this worker ends; " in left_alone.output
    assert "that it had not acknowledged: " in left_alone.output
    assert "Traceback" not in left_alone.output
    without = recover(master)
    assert without.exit_code == 0, without.output
    rows = len(without.requests)
    (places,) = {len(list(machine.glob("tokenswarm-spool-*"))) for machine in machines}
    assert places == 1
    spools = [str(next(machine.glob("tokenswarm-spool-*"))) for machine in machines]
    run = recover(master, "--spool", spools[0], "--spool", spools[1])
    assert run.exit_code == 0, run.output
    assert len(run.requests) > rows
    assert_all_accounted(run, None, simulator)


@pytest.mark.chaos
def test_a_killed_worker_of_another_machine_is_merged_from_its_spool(
    start_locust: Start, simulator: Simulator, tmp_path: Path
) -> None:
    plan = ("--levels", "6", "--ramp", "1s", "--level-time", "8s", "--system-prompt", "off")
    cluster = start_cluster("master + 3 workers", start_locust, tmp_path, "-H", simulator.host, *STREAMS, *plan)
    cluster.main.wait_for_requests(12)
    time.sleep(1.5)
    cluster.workers[1].process.kill()
    failed = cluster.end()
    assert failed.exit_code == 3, failed.output
    rows = len(failed.requests)
    assert cluster.counted_by_locust == rows
    (spools,) = (tmp_path / "temporary").iterdir()
    run = recover(cluster.main, "--spool", str(spools))
    assert run.exit_code == 0, run.output
    assert len(run.requests) > rows
    assert_all_accounted(run, None, simulator)
