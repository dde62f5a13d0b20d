"""A disk that fills up, a folder that is removed or made read-only: one sentence, the load ends, and what was recorded
is readable."""

from __future__ import annotations

import csv
import os
import resource
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from tests.runs.harness import Run, RunLocust, Simulator, Start, Started, StartSimulator, read_csv, run_folders
from tests.runs.topologies import assert_all_accounted, assert_complete

pytestmark = pytest.mark.slow

PLAN = ("--levels", "4", "--ramp", "1s", "--level-time", "100s", "--system-prompt", "off")
STREAMS = ("--max-tokens", "20", "--engine", "vllm", "--ignore-eos")
PREFILL_MS, STEP_MS = 20, 12
#: As many as four users can send in 5 s: a stream lasts for its prefill and 19 steps. A busy machine sends fewer.
REQUESTS_OF_5_S = 4 * (5_000 // (PREFILL_MS + 19 * STEP_MS) + 1)


@pytest.fixture
def simulator(start_simulator: StartSimulator) -> Simulator:
    return start_simulator("--profile", "fast", "--prefill-ms", str(PREFILL_MS), "--step-ms", str(STEP_MS))


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A folder on a disk of 8 MB."""
    place = tmp_path / "disk"
    place.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", str(place)], capture_output=True)
    if mounted.returncode:
        pytest.skip(f"no mounts here: {mounted.stderr!r}")
    yield place
    subprocess.run(["umount", "--lazy", str(place)], check=True)


def fill(disk: Path) -> None:
    """To the last byte."""
    with (disk / "filler").open("wb", buffering=0) as file:
        try:
            while file.write(bytes(65536)):
                pass
        except OSError:
            return


def assert_ended_early(run: Run, simulator: Simulator, since_ns: int) -> None:
    """The load stops within 5 s, in requests that the server received: as many on a slow machine as on any."""
    assert run.exit_code == 3, run.output
    assert "Traceback" not in run.output, run.output
    sent_ns = [int(row["t_wire_ns"]) for row in read_csv(simulator.truth_log)]
    assert sum(each_ns > since_ns for each_ns in sent_ns) <= REQUESTS_OF_5_S
    assert run.output.count("The results of this run are unreliable") == 1


def assert_whole_rows(path: Path, least: int) -> None:
    text = path.read_text()
    assert text.endswith("\n")
    rows = list(csv.reader(text.splitlines()))
    assert {len(row) for row in rows} == {len(rows[0])}
    assert len(rows) > least


@pytest.mark.parametrize(
    "processes",
    [(), pytest.param(("--processes", "2"), marks=pytest.mark.chaos)],
    ids=["one process", "--processes 2"],
)
def test_a_disk_that_fills_up_ends_the_load_and_its_folder_is_complete(
    processes: tuple[str, ...], start_locust: Start, simulator: Simulator, small_disk: Path
) -> None:
    results = small_disk / "results"
    asked = ("--headless", "-H", simulator.host, "--results", str(results), *PLAN, *STREAMS, *processes)
    started = start_locust(*asked, pictures=True)
    started = Started(started.process, results)
    started.wait_for_requests(8)
    since_ns = time.monotonic_ns()
    fill(small_disk)
    run = started.end()
    assert_ended_early(run, simulator, since_ns)
    assert run.document["status"] == run.summary["status"] == "failed"
    assert "No space left on device" in " ".join(run.summary["validity"]["reasons"])
    assert_all_accounted(run, None, simulator)
    assert not list(run.folder.glob("**/*.tmp"))


@pytest.mark.parametrize("free_bytes", [0, 500_000])
def test_a_full_disk_is_found_before_a_run(
    free_bytes: int, run_locust: RunLocust, simulator: Simulator, small_disk: Path
) -> None:
    fill(small_disk)
    filler = small_disk / "filler"
    os.truncate(filler, filler.stat().st_size - free_bytes)
    run = run_locust("-H", simulator.host, "--results", str(small_disk / "results"), *PLAN)
    assert run.exit_code == 2, run.output
    assert "cannot be written to (No space left on device)" in run.output
    assert "Traceback" not in run.output
    assert simulator.truth() == []


@pytest.mark.chaos
def test_files_that_may_not_grow_end_the_load_and_hold_whole_rows(start_locust: Start, simulator: Simulator) -> None:
    started = start_locust("--headless", "-H", simulator.host, *PLAN, *STREAMS)
    started.wait_for_requests(8)
    since_ns = time.monotonic_ns()
    (folder,) = run_folders(started.results)
    limit_bytes = (folder / "run.json").stat().st_size + 2000  # it can be written again, and the rows soon cannot
    psutil.Process(started.process.pid).rlimit(resource.RLIMIT_FSIZE, (limit_bytes, limit_bytes))
    run = started.end()
    assert_ended_early(run, simulator, since_ns)
    assert_whole_rows(run.folder / "requests.csv", 8)
    assert_whole_rows(run.folder / "windows.csv", 0)
    assert run.document["status"] == "failed"


def test_a_folder_that_is_removed_ends_the_load_and_is_made_again(start_locust: Start, simulator: Simulator) -> None:
    started = start_locust("--headless", "-H", simulator.host, *PLAN, *STREAMS, pictures=True)
    started.wait_for_requests(8)
    since_ns = time.monotonic_ns()
    shutil.rmtree(started.results)
    run = started.end()
    assert_ended_early(run, simulator, since_ns)
    assert run.document["status"] == "failed"
    assert_complete(run)
    assert_all_accounted(run, None, simulator)


@pytest.mark.chaos
@pytest.mark.skipif(shutil.which("setpriv") is None and os.geteuid() == 0, reason="root writes where it likes")
def test_a_folder_that_becomes_read_only_ends_the_load_and_stays_readable(
    start_locust: Start, simulator: Simulator
) -> None:
    ordinary = ("setpriv", "--bounding-set", "-dac_override") if os.geteuid() == 0 else ()
    started = start_locust("--headless", "-H", simulator.host, *PLAN, *STREAMS, within=ordinary)
    started.wait_for_requests(8)
    since_ns = time.monotonic_ns()
    (folder,) = run_folders(started.results)
    folder.chmod(0o500)
    run = started.end()
    folder.chmod(0o700)
    assert_ended_early(run, simulator, since_ns)
    assert run.document["status"] == "failed"
    assert_whole_rows(run.folder / "requests.csv", 8)
