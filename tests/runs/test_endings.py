"""Endings × topologies: whatever ends a run, its folder is complete for what ended and says how the run ended."""

from __future__ import annotations

import shutil
import signal
import time
from pathlib import Path

import pytest

from tests.runs.harness import Simulator, Start, StartSimulator, free_port, read_csv, until
from tests.runs.topologies import TOPOLOGIES, Cluster, assert_all_accounted, assert_complete, start_cluster

pytestmark = pytest.mark.slow

PLAN = ("--levels", "6", "--ramp", "1s", "--level-time", "60s", "--system-prompt", "off")
SHORT_PLAN = ("--levels", "6", "--ramp", "1s", "--level-time", "3s", "--system-prompt", "off")
STREAMS = ("--max-tokens", "40", "--engine", "vllm", "--ignore-eos")
#: Longer than any test waits.
ENDLESS = ("--max-tokens", "4000", "--engine", "vllm", "--ignore-eos")


@pytest.fixture
def simulator(start_simulator: StartSimulator) -> Simulator:
    """A stream takes half a second."""
    return start_simulator("--profile", "fast", "--prefill-ms", "20", "--step-ms", "12")


@pytest.mark.parametrize("topology", [*TOPOLOGIES[:2], pytest.param(TOPOLOGIES[2], marks=pytest.mark.chaos)])
def test_a_second_ctrl_c_cuts_the_streams_that_the_first_let_end_and_loses_nothing(
    topology: str, start_locust: Start, start_simulator: StartSimulator, tmp_path: Path
) -> None:
    simulator = start_simulator("--profile", "fast", "--prefill-ms", "20", "--step-ms", "50")
    cluster = start_cluster(
        topology, start_locust, tmp_path, "-H", simulator.host, *PLAN, *ENDLESS, "--stop-timeout", "100"
    )
    until(lambda: users_are_there(cluster))
    cluster.main.interrupt(signal.SIGINT, whole_group=True)
    time.sleep(2)  # more than signals that count as one take
    began_s = time.monotonic()
    cluster.main.interrupt(signal.SIGINT, whole_group=True)
    run = cluster.end()
    assert time.monotonic() - began_s < 60  # of the 100 s that streams were given
    assert run.exit_code == 4, run.output
    assert run.document["status"] == "interrupted"
    assert {row["outcome"] for row in run.requests} == {"cut"}
    assert len(run.requests) == 6
    assert_complete(run)
    assert_all_accounted(run, cluster, simulator)


@pytest.mark.parametrize(
    "topology", [TOPOLOGIES[0], *(pytest.param(each, marks=pytest.mark.chaos) for each in TOPOLOGIES[1:])]
)
def test_a_level_that_was_stopped_is_not_complete_though_its_streams_outlast_it(
    topology: str, start_locust: Start, start_simulator: StartSimulator, tmp_path: Path
) -> None:
    """Streams take 4 s. The run is stopped after 5 s of the level's 8, and the second streams end later than these."""
    simulator = start_simulator("--profile", "fast", "--prefill-ms", "20", "--step-ms", "50")
    plan = ("--levels", "6", "--ramp", "1s", "--settle", "0s", "--level-time", "8s", "--system-prompt", "off")
    streams = ("--max-tokens", "80", "--engine", "vllm", "--ignore-eos", "--stop-timeout", "30")
    cluster = start_cluster(topology, start_locust, tmp_path, "-H", simulator.host, *plan, *streams)
    until(lambda: any(len(read_csv(path)) for path in cluster.main.results.glob("*/windows.csv")))
    cluster.main.interrupt(signal.SIGINT, whole_group=True)
    run = cluster.end()
    assert (run.exit_code, run.document["status"]) == (4, "interrupted"), run.output
    assert {row["outcome"] for row in run.requests} == {"ok"}
    (level,) = run.summary["levels"]
    stopped_s = 1 + level["hold"]["seconds"]
    assert 4 < stopped_s < 8
    assert max(float(row["sent_s"]) + float(row["e2e_ms"]) / 1000 for row in run.requests) > 8
    assert level["complete"] is False
    assert level["hold"]["token_rate"] < 6 * 20 * 1.05
    assert level["hold"]["output_tokens"] < sum(int(row["output_tokens"]) for row in run.requests) - 6 * 20
    assert level["concurrency"]["min"] > 5
    assert_all_accounted(run, cluster, simulator)


ENDINGS = ("the plan's end", "Ctrl-C", "SIGTERM")
#: The others are in `make chaos`.
FAST = (("master + 3 workers", "the plan's end"), ("master + 3 workers", "SIGTERM"))


@pytest.mark.parametrize(
    ("topology", "ending"),
    [
        pytest.param(topology, ending, marks=() if (topology, ending) in FAST else pytest.mark.chaos)
        for topology in TOPOLOGIES
        for ending in ENDINGS
    ],
)
def test_each_request_is_counted_once_however_the_run_ends(
    topology: str, ending: str, start_locust: Start, simulator: Simulator, tmp_path: Path
) -> None:
    plan = SHORT_PLAN if ending == "the plan's end" else PLAN
    cluster = start_cluster(topology, start_locust, tmp_path, "-H", simulator.host, *plan, *STREAMS)
    if ending != "the plan's end":
        cluster.main.wait_for_requests(6)
        number = signal.SIGTERM if ending == "SIGTERM" else signal.SIGINT
        cluster.main.interrupt(number, whole_group=ending == "Ctrl-C")
    run = cluster.end()
    finished = ending == "the plan's end"
    assert run.exit_code == (0 if finished else 4), run.output
    assert run.document["status"] == ("finished" if finished else "interrupted")
    assert_complete(run)
    assert_all_accounted(run, cluster, simulator)
    assert list(tmp_path.rglob("*.spool")) == []


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=["SIGTERM", "Ctrl-C"])
@pytest.mark.parametrize("when", ["in the run", "after the report was drawn"])
def test_one_signal_ends_a_process_with_a_page(
    when: str, number: signal.Signals, start_locust: Start, simulator: Simulator
) -> None:
    page = ("--autostart", "--web-host", "127.0.0.1", "--web-port", str(free_port()))
    in_the_run = when == "in the run"
    started = start_locust("-H", simulator.host, *page, *(PLAN if in_the_run else SHORT_PLAN), *STREAMS)
    if in_the_run:
        started.wait_for_requests(6)
    else:
        until(lambda: bool(list(started.results.glob("*/charts/token_rate.png"))))
    started.interrupt(number)
    run = started.end()
    assert run.exit_code == (4 if in_the_run else 0), run.output
    assert run.document["status"] == ("interrupted" if in_the_run else "finished")
    assert run.output.count("leaving web ui running") <= (0 if in_the_run else 1)  # the signal may come before it
    assert (run.folder / "report.html").is_file()


def users_are_there(cluster: Cluster) -> bool:
    """Whether the windows show six requests under way."""
    windows = list(cluster.main.results.glob("*/windows.csv"))
    return bool(windows) and ",6,6,0,0," in windows[0].read_text()


#: Says when Locust imports it, and is the project's.
BEGINS = """
import os
os.write(1, b"the import begins\\n")
from locustfile import *
"""
EARLY = [(topology, delay_s) for topology in TOPOLOGIES for delay_s in (0.1, 0.4, 0.8, 1.2, 1.6, 2.0, 2.5, 3.0)]


@pytest.mark.parametrize(
    ("topology", "delay_s"),
    [
        pytest.param(*each, marks=() if each in (("--processes 3", 0.1), ("--processes 3", 1.6)) else pytest.mark.chaos)
        for each in EARLY
    ],
)
def test_ctrl_c_in_the_first_seconds_ends_with_a_sentence_or_a_complete_folder(
    topology: str, delay_s: float, start_locust: Start, simulator: Simulator, tmp_path: Path
) -> None:
    (tmp_path / "begins.py").write_text(BEGINS)
    cluster = start_cluster(
        *(topology, start_locust, tmp_path, "-H", simulator.host, *PLAN, *STREAMS),
        locustfile=tmp_path / "begins.py",
        env={"PYTHONHASHSEED": "0"},  # started, not forked: the first seconds are those of a person's start
    )
    for started in (cluster.main, *cluster.workers):  # what meets Locust's own imports is not ours to answer
        assert started.process.stdout is not None
        while "the import begins" not in (line := started.process.stdout.readline()):
            assert line, "it ended before it began"
    time.sleep(delay_s)
    cluster.main.interrupt(signal.SIGINT, whole_group=True)
    for worker in cluster.workers:  # those whose master ended before they met it wait for one
        if not worker.results.exists() or not list(worker.results.iterdir()):
            worker.interrupt(signal.SIGINT)
    run = cluster.end()
    assert run.exit_code == 4, run.output
    assert "Traceback" not in run.output, run.output
    if run.results.exists() and list(run.results.iterdir()):
        assert run.document["status"] == "interrupted"
        assert_complete(run)
        assert_all_accounted(run, cluster, simulator)
    else:
        assert "interrupted before the run began" in run.output or "Stopping the run" in run.output


@pytest.mark.skipif(shutil.which("timeout") is None, reason="no timeout command")
@pytest.mark.parametrize(
    ("topology", "name"),
    [
        pytest.param(topology, name, marks=() if (topology, name) == ("--processes 3", "INT") else pytest.mark.chaos)
        for topology in TOPOLOGIES
        for name in ("INT", "TERM")
    ],
)
def test_a_wrapper_that_signals_the_process_and_its_group_ends_the_run_once(
    topology: str, name: str, start_locust: Start, simulator: Simulator, tmp_path: Path
) -> None:
    cluster = start_cluster(
        *(topology, start_locust, tmp_path, "-H", simulator.host, *PLAN, *STREAMS, "--stop-timeout", "20"),
        within=("timeout", "-s", name, "3600"),
    )
    cluster.main.wait_for_requests(6)
    cluster.main.process.send_signal(signal.SIGALRM)  # as if its time were over
    run = cluster.end()
    assert run.exit_code == 124, run.output  # timeout's own
    assert run.document["status"] == "interrupted"
    assert {row["outcome"] for row in run.requests} == {"ok"}  # the group's signal was not a second interrupt
    assert_complete(run)
    assert_all_accounted(run, cluster, simulator)
