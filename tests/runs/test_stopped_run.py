"""A whole run whose process is stopped for longer than its timeouts, as by a hypervisor: the server is not to blame."""

from __future__ import annotations

import signal
import time

import pytest

from tests.runs.harness import Start, StartSimulator, assert_whole

pytestmark = [pytest.mark.slow, pytest.mark.chaos]
STOPPED_S = 3.5


@pytest.mark.parametrize("token_times", ["all", "sampled", "ends"])
def test_a_run_that_was_stopped_for_longer_than_its_idle_timeout_loses_no_answer(
    start_locust: Start, start_simulator: StartSimulator, token_times: str
) -> None:
    host = start_simulator("--profile", "fast", "--prefill-ms", "100", "--step-ms", "50").host
    load = ("-H", host, "-u", "20", "-r", "20", "-t", "14s", "--max-tokens", "40", "--engine", "vllm", "--ignore-eos")
    timeouts = ("--idle-timeout", "2s", "--first-token-timeout", "3s", "--drain-timeout", "20s")
    started = start_locust("--headless", *load, *timeouts, "--token-times", token_times)
    started.wait_for_requests(20)
    started.process.send_signal(signal.SIGSTOP)
    time.sleep(STOPPED_S)
    started.process.send_signal(signal.SIGCONT)
    run = started.end()
    assert_whole(run)
    assert {row["outcome"] for row in run.requests} <= {"ok", "cut"}
    assert {row["output_tokens"] for row in run.requests if row["outcome"] == "ok"} == {"40"}
