"""Runs whose times are those of a packet tap, and of a process that may not have one."""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path

import pytest

from tests.runs.harness import RunLocust, Start, StartSimulator, assert_whole, free_port, read_csv, until
from tokenswarm.client.measurement_options import MOST_TAPS, STAMP_SOURCES, Stamps
from tokenswarm.wire import tap_refusal

pytestmark = pytest.mark.slow

COUNTED_TAPS = """
import os
from locust import events
from locustfile import *

def count(when):
    inodes = {line.split()[-1] for line in open("/proc/net/packet")}
    links = [os.path.realpath(f"/proc/self/fd/{name}").partition("socket:")[2] for name in os.listdir("/proc/self/fd")]
    print(f"taps {when}:", sum(link.strip("[]") in inodes for link in links))

@events.test_stopping.add_listener
def stopping(**_):
    count("stopping")

@events.quitting.add_listener
def quitting(**_):
    count("quitting")
"""
OTHER_PROMPTS = """
import os
from tokenswarm import ChatUser, register_prompts

@register_prompts("other")
def other(seed):
    yield f"a question of process {os.getpid()}"
"""

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
    assert (
        run.document["options"]["stamps"] == "auto"
    )  # so that the run can be repeated by a process that may have less
    assert run.output.count(f"Timestamps of tokens: {STAMP_SOURCES[Stamps(used)]}") == max(1, processes)


def test_a_tap_is_closed_with_the_run(run_locust: RunLocust, start_simulator: StartSimulator, tmp_path: Path) -> None:
    """Its page may be left open for days, and the kernel would go on filling the tap's memory."""
    if reason := tap_refusal():
        pytest.skip(f"a packet tap needs Linux and the capability CAP_NET_RAW: {reason}")
    (tmp_path / "own.py").write_text(COUNTED_TAPS)
    simulator = start_simulator("--profile", "fast")
    run = run_locust("-H", simulator.host, "-u", "2", "-t", "2s", *STREAMS, locustfile=tmp_path / "own.py")
    assert {row["stamps"] for row in run.requests if row["outcome"] == "ok"} == {"tap"}
    counts = dict(re.findall(r"taps (\w+): (\d+)", run.output))
    assert counts["stopping"] != "0"
    assert counts["quitting"] == "0"


def test_a_worker_that_joins_without_the_capability_has_the_times_of_the_kernel(
    start_locust: Start, start_simulator: StartSimulator
) -> None:
    if reason := tap_refusal():
        pytest.skip(f"a packet tap needs Linux and the capability CAP_NET_RAW: {reason}")
    simulator = start_simulator("--profile", "fast", "--prefill-ms", "20", "--step-ms", "4")
    port = str(free_port())
    load = ("--levels", "4", "--ramp", "1s", "--level-time", "60s", "--system-prompt", "off", *STREAMS)
    master = start_locust("--headless", "--processes", "1", "-H", simulator.host, *load, "--master-bind-port", port)
    master.wait_for_requests(4)
    without = ("setpriv", "--bounding-set", "-net_raw")
    joined = start_locust("--worker", "--master-port", port, within=without)
    until(lambda: any(row["worker"] != "0" for row in read_csv(next(master.results.glob("*/requests.csv")))))
    master.interrupt()
    run = master.end()
    assert "Traceback" not in joined.end().output
    whole = [row for row in run.requests if row["outcome"] == "ok"]
    assert {(row["worker"], row["stamps"]) for row in whole} == {("0", "tap"), ("1", "kernel")}


def test_a_worker_that_cannot_begin_a_run_lets_its_master_know_why(
    start_locust: Start, start_simulator: StartSimulator, tmp_path: Path
) -> None:
    """Its code makes other prompts than the master's."""
    own = tmp_path / "own.py"
    own.write_text(OTHER_PROMPTS)
    simulator = start_simulator("--profile", "fast")
    load = ("-u", "2", "-t", "5s", "--prompts", "other", "--prompt-tokens", "1:200", *STREAMS)
    port = str(free_port())
    ports = ("--master-bind-port", port, "--master-port", port)
    waits = ("--headless", "--master", "--expect-workers", "1")
    master = start_locust(*waits, "-H", simulator.host, *load, *ports, locustfile=own)
    worker = start_locust("--worker", *ports, locustfile=own).end()
    run = master.end()
    for ended in (run, worker):
        assert ended.exit_code != 0
        assert "made other rows here than on the master" in ended.output
        assert "Traceback" not in ended.output


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
