"""Runs whose times are those of a packet tap, and of a process that may not have one."""

from __future__ import annotations

import os
import sys

import pytest

from tests.runs.harness import RunLocust, StartSimulator, assert_whole
from tokenswarm.client.measurement_options import MOST_TAPS, STAMP_SOURCES, Stamps
from tokenswarm.wire import tap_refusal

pytestmark = pytest.mark.slow

STREAMS = ("--engine", "vllm", "--max-tokens", "20", "--ignore-eos")


def test_each_worker_has_a_tap_of_its_own_and_the_results_say_so(
    run_locust: RunLocust, start_simulator: StartSimulator
) -> None:
    if reason := tap_refusal():
        pytest.skip(f"a packet tap needs Linux and the capability CAP_NET_RAW: {reason}")
    simulator = start_simulator("--profile", "fast", "--prefill-ms", "50", "--step-ms", "4")
    load = ("-u", "4", "-r", "4", "-t", "2s", "--processes", "2")
    run = run_locust("-H", simulator.host, *load, *STREAMS, "--stamps", "tap")
    assert run.exit_code == 0, run.output
    assert_whole(run)
    assert {row["stamps"] for row in run.requests} == {"tap"}
    assert {row["worker"] for row in run.requests} == {"0", "1"}
    assert run.document["requests"]["stamps"] == "tap"
    assert run.output.count("Timestamps of tokens: the kernel's receive time of each segment (packet tap)") == 2


@pytest.mark.parametrize(("processes", "used"), [(0, "tap"), (MOST_TAPS, "tap"), (MOST_TAPS + 1, "kernel")])
def test_auto_is_the_tap_where_few_processes_of_this_machine_send_the_load(
    run_locust: RunLocust, start_simulator: StartSimulator, processes: int, used: str
) -> None:
    if reason := tap_refusal():
        pytest.skip(f"a packet tap needs Linux and the capability CAP_NET_RAW: {reason}")
    simulator = start_simulator("--profile", "fast", "--prefill-ms", "50", "--step-ms", "4")
    forked = ("--processes", str(processes)) if processes else ()
    run = run_locust("-H", simulator.host, "-u", "5", "-r", "5", "-t", "2s", *forked, *STREAMS)
    assert run.exit_code == 0, run.output
    assert {row["stamps"] for row in run.requests} == {used}
    assert run.document["requests"]["stamps"] == used
    assert run.output.count(f"Timestamps of tokens: {STAMP_SOURCES[Stamps(used)]}") == max(1, processes)


def test_without_the_capability_a_tap_is_refused_and_auto_has_the_times_of_the_kernel(
    run_locust: RunLocust, start_simulator: StartSimulator
) -> None:
    if not sys.platform.startswith("linux"):
        pytest.skip("setpriv, which takes the capability away, is Linux's")
    without = ("setpriv", "--bounding-set", "-net_raw") if os.geteuid() == 0 else ()
    simulator = start_simulator("--profile", "fast", "--prefill-ms", "50", "--step-ms", "4")
    load = ("-H", simulator.host, "-u", "2", "-r", "2", "-t", "2s", *STREAMS)
    refused = run_locust(*load, "--stamps", "tap", within=without)
    assert refused.exit_code == 2
    assert (
        "--stamps tap needs Linux and the capability CAP_NET_RAW, and there is no packet socket for this process "
        "(Operation not permitted): run it as root, give its container the capability NET_RAW, or leave --stamps out."
    ) in refused.output
    assert "Traceback" not in refused.output
    run = run_locust(*load, within=without)
    assert run.exit_code == 0, run.output
    assert {row["stamps"] for row in run.requests} == {"kernel"}
    assert run.document["requests"]["stamps"] == "kernel"
