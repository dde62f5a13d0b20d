"""Whole runs beside the server's own metrics: what it counted stands in the results, and Prometheus can have it."""

from __future__ import annotations

import json
import math
import threading
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from tests.forked_process import run_command
from tests.runs.harness import (
    RunLocust,
    Start,
    StartSimulator,
    assert_whole,
    free_port,
    read_csv,
)
from tokenswarm.engines.server_metrics import read_metrics

pytestmark = pytest.mark.slow
LADDER = ("--levels", "2,4", "--system-prompt", "off", "--ramp", "1s", "--level-time", "5s")
WATTS = 300.0
HARDWARE = ("--gpus", "2", "--gpu-name", "H100", "--gpu-price", "3.6")
ASKED = ("--max-tokens", "24", "--engine", "vllm", "--ignore-eos")


@pytest.fixture
def exporter() -> Iterator[str]:
    """The address of something that answers as a DCGM exporter does, for one GPU of WATTS."""

    class Page(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            energy_mj = round(time.monotonic() * 1000 * WATTS)
            lines = ("DCGM_FI_DEV_GPU_UTIL gauge", 85), ("DCGM_FI_DEV_TOTAL_ENERGY_CONSUMPTION counter", energy_mj)
            body = "".join(
                f'# TYPE {name}\n{name.split()[0]}{{gpu="0",UUID="GPU-1"}} {value}\n' for name, value in lines
            ).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Page)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/metrics"
    server.shutdown()


def page(address: str) -> bytes:
    with urllib.request.urlopen(address, timeout=10) as response:
        return response.read()


def ask_once(host: str) -> None:
    body = {"model": "m", "messages": [{"role": "user", "content": "Why?"}], "max_tokens": 5, "ignore_eos": True}
    request = urllib.request.Request(f"{host}/v1/chat/completions", json.dumps(body).encode())
    with urllib.request.urlopen(request, timeout=10) as response:
        response.read()


def test_what_the_server_counted_stands_beside_what_we_did(
    run_locust: RunLocust, start_simulator: StartSimulator, exporter: str
) -> None:
    simulator = start_simulator("--profile", "fast", "--prefill-ms", "60", "--step-ms", "5")
    ask_once(simulator.host)  # some of its history is not this run's
    before = read_metrics(page(f"{simulator.host}/metrics"))
    run = run_locust("-H", simulator.host, *LADDER, *ASKED, "--gpu-metrics-url", exporter, *HARDWARE)
    assert run.exit_code == 0, run.output
    assert_whole(run)
    after = read_metrics(page(f"{simulator.host}/metrics"))

    assert run.document["server_metrics"] | {"samples": 0} == {
        "source": f"{simulator.host}/metrics",
        "gpu_source": exporter,
        "samples": 0,
        "failures": 0,
        "note": None,
    }
    rows = read_csv(run.folder / "server.csv")
    assert list(rows[0]) == ["time_s", "level_index", "metric", "value"]
    told = {concept: [float(row["value"]) for row in rows if row["metric"] == concept] for concept in before}
    for concept in ("output_tokens_total", "ttft_seconds_count", "prefix_cache_queries_total"):
        assert before[concept] <= told[concept][0] <= told[concept][-1] <= after[concept]
        assert told[concept] == sorted(told[concept])
    assert {row["value"] for row in rows if row["metric"] == "gpu_utilization"} == {"0.85"}
    # Between the first look and the last, all tokens but those of the first and the last moments.
    ours = sum(int(row["output_tokens"]) for row in run.requests)
    assert after["output_tokens_total"] - before["output_tokens_total"] == ours
    assert len(run.requests) == after["ttft_seconds_count"] - before["ttft_seconds_count"]

    for level in run.summary["levels"]:
        stage = [row for row in rows if int(row["level_index"]) == level["index"]]
        assert {row["metric"] for row in stage} >= {"requests_running", "output_tokens_total"}
        hold, server = level["hold"], level["hold"]["server"]
        assert 0 < server["requests_running_mean"] <= level["users"]
        assert server["gpu_utilization_mean"] == pytest.approx(0.85)
        assert 0 < server["kv_cache_utilization_mean"] < 1
        assert server["ttft_s_mean"] >= 0.06
        # The same span but for its edges: a request or two of each user's.
        assert math.isclose(server["output_token_rate"], hold["token_rate"], rel_tol=0.3)
        assert math.isclose(server["gpu_power_w_mean"], WATTS, rel_tol=0.05)
        by_hardware, rate = level["hardware"], hold["token_rate"]
        assert by_hardware == {
            "token_rate_per_gpu": rate / 2,
            "usd_per_million_tokens": pytest.approx(7.2 / 3600 / rate * 1e6),
            "joules_per_token": server["gpu_power_w_mean"] / rate,
        }
    assert run.summary["hardware"] == {"gpus": 2, "name": "H100", "usd_per_gpu_hour": 3.6}
    holds = [row for row in read_csv(run.folder / "summary.csv") if row["scope"] == "hold"]
    assert [float(row["token_rate_per_gpu"]) for row in holds] == pytest.approx(
        [level["hardware"]["token_rate_per_gpu"] for level in run.summary["levels"]], rel=1e-6
    )
    assert "outside server" in run.output
    again = run_command("report", str(run.folder), "--gpus", "4", "--gpu-price", "1.8")
    assert (again.returncode, "4 GPUs, $1.80 per GPU and hour" in again.stdout) == (0, True)


def test_prometheus_can_have_the_server_s_own_figures_which_a_master_reads_for_its_workers(
    start_locust: Start, start_simulator: StartSimulator
) -> None:
    simulator = start_simulator("--profile", "fast", "--step-ms", "5")
    port = str(free_port())
    load = ("--levels", "4", "--system-prompt", "off", "--ramp", "1s", "--level-time", "5s", "--processes", "2")
    started = start_locust("--headless", "-H", simulator.host, *load, *ASKED, "--metrics-port", port)
    started.wait_for_requests(3)
    text = page(f"http://127.0.0.1:{port}/metrics").decode()
    run = started.end()
    assert run.exit_code == 0, run.output
    labels = '{engine="vllm",model="simulated-llama-3-8b"}'
    assert f"\ntokenswarm_server_requests_running{labels} " in text
    assert f"\ntokenswarm_server_output_tokens_total{labels} " in text
    # One process looks, not three: five times in the hold, and where a part begins or ends.
    times = {row["time_s"] for row in read_csv(run.folder / "server.csv")}
    assert len(times) == run.document["server_metrics"]["samples"] <= 9
    (level,) = run.summary["levels"]
    assert level["hold"]["server"]["output_token_rate"] > 0


def test_a_run_goes_on_without_the_server_s_metrics_and_says_why(
    run_locust: RunLocust, start_simulator: StartSimulator
) -> None:
    simulator = start_simulator("--profile", "fast", "--step-ms", "5")
    nowhere = ("--server-metrics", "http://127.0.0.1:9")
    run = run_locust("-H", simulator.host, "-u", "2", "-r", "2", "-t", "2s", "--max-tokens", "24", *nowhere)
    assert run.exit_code == 0, run.output
    assert_whole(run)
    assert read_csv(run.folder / "server.csv") == []
    facts = run.document["server_metrics"]
    assert (facts["source"], facts["samples"]) == (None, 0)
    assert facts["note"].startswith("http://127.0.0.1:9/metrics: no connection")
    assert run.output.count(facts["note"]) == 1
    assert facts["failures"] > 0
    assert all(level["hold"]["server"] is None for level in run.summary["levels"])


@pytest.mark.parametrize("options", [("--server-metrics", "sometimes"), ("--gpu-metrics-url", "gpu:9400")])
def test_an_address_that_is_none_ends_in_one_sentence(run_locust: RunLocust, options: tuple[str, ...]) -> None:
    run = run_locust("-H", "http://127.0.0.1:9", *options)
    assert run.exit_code == 2
    assert f"{options[0]} takes " in run.output
    assert "Traceback" not in run.output


@contextmanager
def another_client(host: str, users: int) -> Iterator[None]:
    """So many users that send one request after another, in threads of the test's."""
    over = threading.Event()
    body = {"model": "m", "messages": [{"role": "user", "content": "Why?"}], "max_tokens": 200, "ignore_eos": True}

    def send() -> None:
        while not over.is_set():
            request = urllib.request.Request(f"{host}/v1/chat/completions", json.dumps(body).encode())
            with urllib.request.urlopen(request, timeout=30) as response:
                response.read()

    threads = [threading.Thread(target=send) for _ in range(users)]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        over.set()
        for thread in threads:
            thread.join()


@pytest.mark.parametrize("others", [0, 2])
def test_another_client_of_the_server_makes_the_run_suspect(
    others: int, run_locust: RunLocust, start_simulator: StartSimulator
) -> None:
    simulator = start_simulator("--profile", "fast", "--step-ms", "10")
    load = ("--levels", "1", "--system-prompt", "off", "--ramp", "0s", "--level-time", "13s")
    with another_client(simulator.host, others):
        run = run_locust("-H", simulator.host, *load, *ASKED)
    assert run.exit_code == 0, run.output
    issues = [issue for issue in run.summary["validity"]["issues"] if issue["kind"] == "other_load"]
    if not others:
        assert issues == []
        return
    (issue,) = issues
    assert issue["level"] == 0
    values = issue["values"]
    assert (values["server_requests_running"], values["run_requests_running"]) == (3, 1)
    assert values["server_output_tokens_per_s"] > 1.5 * values["run_output_tokens_per_s"]
    assert run.document["validity"] == run.summary["validity"]
